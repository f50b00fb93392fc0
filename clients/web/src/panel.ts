/** One market opened: its merged order book, its trades and what each venue says of it. */

import type { Gap } from "@contract/perpmesh/type/v1/stream_pb.js";
import type { Price } from "@contract/perpmesh/marketdata/v1/price_pb.js";
import { State } from "@contract/perpmesh/marketdata/v1/state_pb.js";
import { Side } from "@contract/perpmesh/type/v1/side_pb.js";
import { Book } from "./book";
import { byId, element, TextSlot } from "./cells";
import { grouped, percent } from "./decimal";
import { Ladder } from "./ladder";
import { listTrades, TRADES_SHOWN, watchBook, watchTrades, type BookEvent, type TradeEvent } from "./mesh";
import { TradeTape } from "./trades";
import { Watch, type Link, type Listener } from "./watch";
import { age, milliseconds, sourceWord, stateWord, timeOfDay } from "./words";

const SIDES: Readonly<Record<number, string>> = { [Side.BUY]: "buy", [Side.SELL]: "sell" };

/** What the reader is told of a stream; empty while all is well. */
export function linkWords(link: Link): string {
  switch (link.kind) {
    case "connecting":
      return "Connecting.";
    case "live":
      return "";
    case "waiting":
      return `Not connected: ${link.why} Trying again.`;
    case "paused":
      return "Paused while the page is hidden.";
    case "stopped":
      return `Stopped: ${link.why}`;
  }
}

interface Follower {
  start(): void;
  pause(): void;
  close(): void;
}

export class Panel {
  readonly #section = byId("panel", HTMLElement);
  readonly #title = byId("panel-title", HTMLHeadingElement);
  readonly #bookStatus = new TextSlot(byId("book-status", HTMLElement));
  readonly #tradesStatus = new TextSlot(byId("trades-status", HTMLElement));
  readonly #bookTable = byId("book", HTMLTableElement);
  readonly #ladder = new Ladder(this.#bookTable);
  readonly #trades = element(byId("trades", HTMLTableElement), "tbody");
  readonly #venues = byId("venues", HTMLElement);
  #venuesShown = "";
  #market: string | null = null;
  #book = new Book();
  #tape = new TradeTape(TRADES_SHOWN);
  #followers: Follower[] = [];
  #filling = new AbortController();
  #due = new Set<() => void>();

  constructor(private readonly notice: (text: string) => void) {}

  get market(): string | null {
    return this.#market;
  }

  open(market: string): void {
    this.close();
    this.#market = market;
    this.#title.textContent = market;
    this.#section.hidden = false;
    this.#section.dataset["market"] = market;
    this.#book = new Book();
    this.#tape = new TradeTape(TRADES_SHOWN);
    this.#filling = new AbortController();
    this.#paintBook();
    this.#paintTrades();
    this.#followers = [
      new Watch(watchBook(market), this.#bookListener(this.#book)),
      new Watch(watchTrades(market), this.#tradeListener(market, this.#tape)),
    ];
    for (const follower of this.#followers) follower.start();
    this.#title.focus({ preventScroll: true });
    const top = this.#section.getBoundingClientRect().top;
    // Beside the table it is in sight; above it, on a small screen, the reader may have scrolled past.
    if (top < 0 || top > window.innerHeight / 2) this.#section.scrollIntoView({ block: "start" });
  }

  close(): void {
    this.#filling.abort();
    for (const follower of this.#followers) follower.close();
    this.#followers = [];
    this.#market = null;
    this.#section.hidden = true;
    delete this.#section.dataset["market"];
    this.#venues.replaceChildren();
    this.#venuesShown = "";
  }

  pause(): void {
    for (const follower of this.#followers) follower.pause();
  }

  resume(): void {
    for (const follower of this.#followers) follower.start();
  }

  /** Shows what each venue says of the market. */
  setPrice(price: Price): void {
    const rows = price.venues.map((venue) => {
      const aged = (spanMs: number | null): string => (spanMs === null ? "never" : `${age(spanMs)} old`);
      const facts = [
        ["index", grouped(venue.indexPrice)],
        ["mark", grouped(venue.markPrice)],
        ["last", grouped(venue.lastPrice)],
        ["funding", percent(venue.fundingRate)],
        ["24 h volume", venue.volume24h === "" ? "" : `$${grouped(venue.volume24h)}`],
        ["open interest", grouped(venue.openInterest)],
        ["these values", aged(milliseconds(venue.contextAge))],
      ];
      const given = facts.filter(([, value]) => value !== "").map(([name, value]) => `${name} ${value}`);
      const source = sourceWord(venue.source);
      return {
        term: [venue.venue, source, stateWord(venue.state)].filter((word) => word !== "").join(" · "),
        text: [venue.state === State.LIVE ? "" : venue.stateReason, given.join(", ")].filter((one) => one !== ""),
      };
    });
    const said = JSON.stringify(rows);
    if (said === this.#venuesShown) return;
    this.#venuesShown = said;
    this.#venues.replaceChildren();
    for (const row of rows) {
      element(this.#venues, "dt").textContent = row.term;
      for (const text of row.text) element(this.#venues, "dd").textContent = text;
    }
  }

  #bookListener(book: Book): Listener<BookEvent> {
    return {
      opened: (): void => undefined,
      live: (): void => undefined,
      ended: (end): void => this.notice(`Order book: ${end.reason}: ${end.message}`),
      link: (link): void => {
        this.#bookTable.dataset["connected"] = String(link.kind === "live");
        this.#bookStatus.set(linkWords(link));
      },
      event: (event): string | null => {
        if (event.case === "gap") {
          this.notice(gapWords("Order book", event.value));
          return null;
        }
        const wrong = event.case === "snapshot" ? book.replace(event.value) : book.apply(event.value);
        if (wrong === null) this.#soon(this.#paintBook);
        return wrong;
      },
    };
  }

  #tradeListener(market: string, tape: TradeTape): Listener<TradeEvent> {
    return {
      opened: (fresh): void => {
        if (fresh) tape.clear();
      },
      live: (): void => this.#soon(this.#paintTrades),
      ended: (end): void => this.notice(`Trades: ${end.reason}: ${end.message}`),
      link: (link): void => this.#tradesStatus.set(linkWords(link)),
      event: (event): string | null => {
        if (event.case === "gap") {
          void this.#fill(market, tape, event.value);
          return null;
        }
        if (tape.add([event.value])) this.#soon(this.#paintTrades);
        return null;
      },
    };
  }

  /** Fetches what a gap names; says so where it cannot. */
  async #fill(market: string, tape: TradeTape, gap: Gap): Promise<void> {
    if (gap.fromSequence === 0n) {
      this.notice(gapWords("Trades", gap));
      return;
    }
    const signal = this.#filling.signal;
    try {
      const found = await listTrades(market, gap.fromSequence, gap.toSequence, signal);
      if (!signal.aborted && tape.add(found)) this.#soon(this.#paintTrades);
    } catch {
      if (!signal.aborted) this.notice(gapWords("Trades", gap));
    }
  }

  /** Paints in the next frame, once however often it is asked for. */
  #soon(paint: () => void): void {
    if (this.#due.size === 0) {
      window.requestAnimationFrame(() => {
        const due = [...this.#due];
        this.#due.clear();
        for (const one of due) one.call(this);
      });
    }
    this.#due.add(paint);
  }

  #paintBook(): void {
    this.#ladder.set(this.#book);
  }

  #paintTrades(): void {
    const rows = this.#tape.newestFirst().map((trade) => {
      const row = document.createElement("tr");
      row.dataset["sequence"] = String(trade.sequence);
      const side = SIDES[trade.side] ?? "";
      element(row, "td", "time").textContent = timeOfDay(trade.tradeTime);
      element(row, "td", side).textContent = trade.liquidation ? `${side} (liquidation)` : side;
      element(row, "td", "number").textContent = grouped(trade.price);
      element(row, "td", "number").textContent = grouped(trade.size);
      element(row, "td").textContent = trade.venue;
      return row;
    });
    this.#trades.replaceChildren(...rows);
  }
}

export function gapWords(what: string, gap: Gap): string {
  const where = gap.venue === "" ? gap.market : `${gap.market} at ${gap.venue}`;
  const numbers = gap.fromSequence === 0n ? "" : ` ${gap.fromSequence} to ${gap.toSequence}`;
  return `${what} of ${where}: messages${numbers} were lost; ${gap.message}`;
}
