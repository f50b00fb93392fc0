/** The rows of one market: its best bid and ask over all live venues, and below it what each venue shows. */

import type { BestLevel, Price, VenuePrice } from "@contract/perpmesh/marketdata/v1/price_pb.js";
import { State } from "@contract/perpmesh/marketdata/v1/state_pb.js";
import { AttributeSlot, element, TextSlot } from "./cells";
import { columned, decimals, grouped, parse, percent, spreadBps, text } from "./decimal";
import { age, milliseconds, sourceWord, stateWord } from "./words";

function spreadText(bid: string, ask: string): string {
  const spread = spreadBps(parse(bid), parse(ask));
  return spread === null ? "" : text(spread);
}

class BestCell {
  readonly #price: TextSlot;
  readonly #venue: TextSlot;

  constructor(row: HTMLTableRowElement) {
    const cell = element(row, "td", "number best");
    this.#venue = new TextSlot(element(cell, "span", "venue"));
    this.#price = new TextSlot(element(cell, "span", "price"));
  }

  set(best: BestLevel | undefined, places: number): void {
    this.#price.set(best === undefined ? "–" : columned(best.price, places));
    this.#venue.set(best?.venue ?? "");
  }
}

function cell(row: HTMLTableRowElement, className: string): TextSlot {
  return new TextSlot(element(row, "td", className));
}

class VenueRow {
  readonly #row: HTMLTableRowElement;
  readonly #texts: Record<"bidSize" | "bid" | "ask" | "askSize" | "spread" | "last" | "mark" | "funding", TextSlot>;
  readonly #source: TextSlot;
  readonly #state: TextSlot;
  readonly #stateBeside: TextSlot;
  readonly #stateAttribute: AttributeSlot;
  readonly #reason: AttributeSlot;
  readonly #bestBid: AttributeSlot;
  readonly #bestAsk: AttributeSlot;
  readonly #age: TextSlot;
  #ageMs: number | null = null;

  constructor(body: HTMLTableSectionElement, venue: string) {
    this.#row = element(body, "tr", "venue-row");
    this.#row.dataset["venue"] = venue;
    const name = element(this.#row, "th", "venue-name");
    name.scope = "row";
    element(name, "span").textContent = venue;
    // On a phone there is no column for the state; the style shows one of the two.
    this.#stateBeside = new TextSlot(element(name, "span", "tag"));
    this.#source = new TextSlot(element(name, "span", "source"));
    const bidSize = cell(this.#row, "number size");
    const bid = element(this.#row, "td", "number");
    const ask = element(this.#row, "td", "number");
    this.#texts = {
      bidSize,
      bid: new TextSlot(bid),
      ask: new TextSlot(ask),
      askSize: cell(this.#row, "number size"),
      spread: cell(this.#row, "number spread"),
      last: cell(this.#row, "number more"),
      mark: cell(this.#row, "number more"),
      funding: cell(this.#row, "number more"),
    };
    this.#bestBid = new AttributeSlot(bid, "data-best");
    this.#bestAsk = new AttributeSlot(ask, "data-best");
    const state = element(this.#row, "td", "state");
    this.#state = new TextSlot(element(state, "span", "tag"));
    this.#reason = new AttributeSlot(state, "title");
    this.#age = cell(this.#row, "number age");
    this.#stateAttribute = new AttributeSlot(this.#row, "data-state");
  }

  paint(price: Price, venue: VenuePrice, places: number, connected: boolean): void {
    const texts = this.#texts;
    texts.bidSize.set(grouped(venue.bidSize));
    texts.bid.set(columned(venue.bid, places));
    texts.ask.set(columned(venue.ask, places));
    texts.askSize.set(grouped(venue.askSize));
    texts.spread.set(spreadText(venue.bid, venue.ask));
    texts.last.set(columned(venue.lastPrice, places));
    texts.mark.set(columned(venue.markPrice, places));
    texts.funding.set(percent(venue.fundingRate));
    this.#bestBid.set(price.bestBid?.venue === venue.venue ? "best" : "");
    this.#bestAsk.set(price.bestAsk?.venue === venue.venue ? "best" : "");
    this.#source.set(sourceWord(venue.source));
    // What this page no longer hears about is not live, whatever was said last.
    const live = venue.state === State.LIVE;
    const said = live && !connected ? "LAST KNOWN" : stateWord(venue.state);
    this.#state.set(said);
    this.#stateBeside.set(said);
    this.#stateAttribute.set(live ? (connected ? "live" : "cut") : stateWord(venue.state).toLowerCase());
    this.#reason.set(venue.stateReason);
    this.#ageMs = milliseconds(venue.age);
  }

  paintAge(sinceMs: number): void {
    this.#age.set(this.#ageMs === null ? "–" : age(this.#ageMs + sinceMs));
  }

  place(body: HTMLTableSectionElement): void {
    body.appendChild(this.#row);
  }

  remove(): void {
    this.#row.remove();
  }
}

export class MarketRows {
  readonly body: HTMLTableSectionElement;
  readonly #sequence: AttributeSlot;
  readonly #bid: BestCell;
  readonly #ask: BestCell;
  readonly #bidSize: TextSlot;
  readonly #askSize: TextSlot;
  readonly #spread: TextSlot;
  readonly #crossedTag: TextSlot;
  readonly #crossed: AttributeSlot;
  readonly #state: TextSlot;
  readonly #venues = new Map<string, VenueRow>();
  #price: Price;
  #receivedMs: number;

  constructor(price: Price, receivedMs: number) {
    this.#price = price;
    this.#receivedMs = receivedMs;
    this.body = document.createElement("tbody");
    this.body.dataset["market"] = price.market;
    const row = element(this.body, "tr", "market-row");
    const name = element(row, "th", "market-name");
    name.scope = "rowgroup";
    const button = element(name, "button");
    button.type = "button";
    button.textContent = price.market;
    button.title = "Show the order book and trades";
    this.#bidSize = cell(row, "number size");
    this.#bid = new BestCell(row);
    this.#ask = new BestCell(row);
    this.#askSize = cell(row, "number size");
    const spread = element(row, "td", "number spread");
    this.#crossedTag = new TextSlot(element(spread, "span", "crossed"));
    this.#spread = new TextSlot(element(spread, "span"));
    for (const className of ["number more", "number more", "number more"]) element(row, "td", className);
    this.#state = cell(row, "state");
    element(row, "td", "number age");
    this.#crossed = new AttributeSlot(row, "data-crossed");
    this.#sequence = new AttributeSlot(this.body, "data-sequence");
  }

  get price(): Price {
    return this.#price;
  }

  update(price: Price, receivedMs: number): void {
    this.#price = price;
    this.#receivedMs = receivedMs;
  }

  /** Brings the rows to the last price. All of it or nothing: a reader never sees half of a price. */
  paint(connected: boolean, nowMs: number): void {
    const price = this.#price;
    const places = Math.max(
      0,
      ...price.venues.flatMap((venue) => [venue.bid, venue.ask, venue.lastPrice, venue.markPrice].map(decimals)),
    );
    this.#bid.set(price.bestBid, places);
    this.#ask.set(price.bestAsk, places);
    this.#bidSize.set(grouped(price.bestBid?.size ?? ""));
    this.#askSize.set(grouped(price.bestAsk?.size ?? ""));
    this.#spread.set(spreadText(price.bestBid?.price ?? "", price.bestAsk?.price ?? ""));
    this.#crossedTag.set(price.crossed ? "CROSSED" : "");
    this.#crossed.set(price.crossed ? "crossed" : "");
    const live = price.venues.filter((venue) => venue.state === State.LIVE).length;
    this.#state.set(connected ? `${live} of ${price.venues.length} live` : "");
    this.#paintVenues(places, connected);
    this.paintAges(nowMs);
    this.#sequence.set(String(price.sequence));
  }

  paintAges(nowMs: number): void {
    for (const row of this.#venues.values()) row.paintAge(nowMs - this.#receivedMs);
  }

  #paintVenues(places: number, connected: boolean): void {
    const price = this.#price;
    for (const [name, row] of this.#venues) {
      if (price.venues.some((venue) => venue.venue === name)) continue;
      row.remove();
      this.#venues.delete(name);
    }
    let added = false;
    for (const venue of price.venues) {
      let row = this.#venues.get(venue.venue);
      if (row === undefined) {
        row = new VenueRow(this.body, venue.venue);
        this.#venues.set(venue.venue, row);
        added = true;
      }
      row.paint(price, venue, places, connected);
    }
    if (added) for (const venue of price.venues) this.#venues.get(venue.venue)?.place(this.body);
  }
}
