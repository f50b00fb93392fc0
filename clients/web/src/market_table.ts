/**
 * The table of all markets. Prices are kept as they come and painted once a frame, changed cells only; a market that
 * the filter hides costs nothing but its last price. The order is looked at again every `REORDER_MS`, so that rows
 * sorted by a moving value can be read.
 */

import type { Price } from "@contract/perpmesh/marketdata/v1/price_pb.js";
import { State, type Source } from "@contract/perpmesh/marketdata/v1/state_pb.js";
import { MarketRows } from "./market_rows";
import { COLUMNS, matches, ordered, type Column, type Order } from "./order";

const REORDER_MS = 2_000;
const AGES_MS = 500;

export interface Summary {
  readonly markets: number;
  readonly shown: number;
  readonly venues: number;
  readonly notLive: number;
  readonly crossed: number;
}

export class MarketTable {
  readonly #rows = new Map<string, MarketRows>();
  readonly #dirty = new Set<MarketRows>();
  readonly #headers = new Map<Column, HTMLElement>();
  #seen: Set<string> | null = null;
  #order: Order = { column: "market", descending: false };
  #filter = "";
  #shown: readonly string[] = [];
  #connected = false;
  #scheduled = false;

  constructor(
    private readonly table: HTMLTableElement,
    open: (market: string) => void,
    private readonly arranged: () => void,
  ) {
    table.addEventListener("click", (event) => {
      const target = event.target instanceof Element ? event.target : null;
      const market = target?.closest<HTMLElement>("tbody[data-market]")?.dataset["market"];
      // Whoever selects text to copy does not want to go anywhere.
      if (market !== undefined && document.getSelection()?.isCollapsed !== false) open(market);
    });
    for (const column of COLUMNS) {
      const header = table.querySelector<HTMLElement>(`th[data-sort="${column}"]`);
      if (header === null) continue;
      this.#headers.set(column, header);
      header.querySelector("button")?.addEventListener("click", () => this.#sortBy(column));
    }
    window.setInterval(() => this.#arrange(), REORDER_MS);
    window.setInterval(() => this.#tick(), AGES_MS);
  }

  /** A stream begins with the present: what it does not bring is gone once it is live. */
  beginPresent(): void {
    this.#seen = new Set();
  }

  /** The present is complete. */
  endPresent(): void {
    const seen = this.#seen;
    this.#seen = null;
    if (seen !== null) {
      for (const [market, rows] of this.#rows) {
        if (seen.has(market)) continue;
        rows.body.remove();
        this.#rows.delete(market);
        this.#dirty.delete(rows);
      }
    }
    this.#arrange();
  }

  /** The names of all markets, in their order. */
  markets(): readonly string[] {
    return [...this.#rows.keys()].sort();
  }

  put(prices: readonly Price[], receivedMs: number): void {
    let added = false;
    for (const price of prices) {
      this.#seen?.add(price.market);
      let rows = this.#rows.get(price.market);
      if (rows === undefined) {
        rows = new MarketRows(price, receivedMs);
        this.#rows.set(price.market, rows);
        added = true;
      } else {
        rows.update(price, receivedMs);
      }
      this.#dirty.add(rows);
    }
    if (added && this.#seen === null) this.#arrange();
    this.#schedule();
  }

  /** Whether what is shown is being kept up to date. */
  setConnected(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    this.table.dataset["connected"] = String(connected);
    for (const rows of this.#rows.values()) this.#dirty.add(rows);
    this.#schedule();
  }

  setFilter(text: string): void {
    this.#filter = text;
    this.#arrange();
  }

  /** Marks the market that the panel shows. */
  setOpen(market: string | null): void {
    for (const [name, rows] of this.#rows) rows.body.classList.toggle("open", name === market);
  }

  price(market: string): Price | undefined {
    return this.#rows.get(market)?.price;
  }

  sources(): Map<string, Source> {
    const sources = new Map<string, Source>();
    for (const rows of this.#rows.values()) {
      for (const venue of rows.price.venues) sources.set(venue.venue, venue.source);
    }
    return sources;
  }

  summary(): Summary {
    const prices = [...this.#rows.values()].map((rows) => rows.price);
    return {
      markets: prices.length,
      shown: this.#shown.length,
      venues: this.sources().size,
      notLive: prices.filter((price) => price.venues.some((venue) => venue.state !== State.LIVE)).length,
      crossed: prices.filter((price) => price.crossed).length,
    };
  }

  #sortBy(column: Column): void {
    const descending = column === this.#order.column && !this.#order.descending;
    this.#order = { column, descending };
    for (const [name, header] of this.#headers) {
      if (name === column) header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    }
    this.#arrange();
  }

  /** Puts the rows that the filter lets through in order, moving only those that stand elsewhere. */
  #arrange(): void {
    const prices = [...this.#rows.values()].map((rows) => rows.price);
    const wanted = prices.filter((price) => matches(price.market, this.#filter));
    this.#shown = ordered(wanted, this.#order);
    const shown = new Set(this.#shown);
    for (const [market, rows] of this.#rows) if (!shown.has(market)) rows.body.remove();
    const focused = document.activeElement;
    let place: Element | null = this.table.tHead;
    for (const market of this.#shown) {
      const body: Element | undefined = this.#rows.get(market)?.body;
      if (body === undefined || place === null) continue;
      if (place.nextElementSibling !== body) place.after(body);
      place = body;
    }
    // A row that is moved loses the focus that was in it.
    if (focused instanceof HTMLElement && focused.isConnected && document.activeElement !== focused) {
      focused.focus({ preventScroll: true });
    }
    this.#schedule();
    this.arranged();
  }

  #schedule(): void {
    if (this.#scheduled || this.#dirty.size === 0) return;
    this.#scheduled = true;
    window.requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#paint();
    });
  }

  #paint(): void {
    const nowMs = performance.now();
    for (const rows of this.#dirty) {
      if (!rows.body.isConnected) continue; // painted when it is shown again
      this.#dirty.delete(rows);
      rows.paint(this.#connected, nowMs);
    }
  }

  #tick(): void {
    const nowMs = performance.now();
    for (const market of this.#shown) this.#rows.get(market)?.paintAges(nowMs);
  }
}
