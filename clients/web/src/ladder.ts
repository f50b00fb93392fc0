/** The merged order book as a ladder: asks, highest first, the spread, bids. Rows are kept and rewritten in place. */

import type { Book, Level } from "./book";
import { AttributeSlot, element, TextSlot } from "./cells";
import { add, columned, decimals, grouped, spreadBps, text, thousandths, type Decimal } from "./decimal";

class LadderRow {
  readonly row: HTMLTableRowElement;
  readonly #price: TextSlot;
  readonly #size: TextSlot;
  readonly #total: TextSlot;
  readonly #venues: TextSlot;
  readonly #bar: HTMLElement;
  #length = -1;

  constructor(body: HTMLTableSectionElement) {
    this.row = element(body, "tr");
    const price = element(this.row, "td", "number price");
    this.#bar = element(price, "span", "bar");
    this.#bar.setAttribute("aria-hidden", "true");
    this.#price = new TextSlot(price);
    this.#size = new TextSlot(element(this.row, "td", "number"));
    this.#total = new TextSlot(element(this.row, "td", "number"));
    this.#venues = new TextSlot(element(this.row, "td", "venues"));
  }

  set(level: Level, total: Decimal, whole: Decimal, places: number, sizePlaces: number): void {
    this.#price.set(columned(level.priceText, places));
    this.#size.set(columned(level.sizeText, sizePlaces));
    this.#total.set(columned(text(total), sizePlaces));
    const one = level.venues.length === 1;
    this.#venues.set(level.venues.map((part) => (one ? part.venue : `${part.venue} ${grouped(part.size)}`)).join(" · "));
    const length = thousandths(total, whole) / 10;
    if (length !== this.#length) {
      this.#length = length;
      this.#bar.style.width = `${length}%`;
    }
  }
}

/** One side; `upward` has the best level at the bottom, as asks stand. */
class LadderSide {
  readonly #body: HTMLTableSectionElement;
  readonly #rows: LadderRow[] = [];

  constructor(
    table: HTMLTableElement,
    side: "asks" | "bids",
    private readonly upward: boolean,
  ) {
    this.#body = element(table, "tbody", side);
    this.#body.dataset["side"] = side;
  }

  set(levels: readonly Level[], places: number, sizePlaces: number): void {
    while (this.#rows.length < levels.length) this.#rows.push(new LadderRow(this.#body));
    while (this.#rows.length > levels.length) this.#rows.pop()?.row.remove();
    const totals: Decimal[] = [];
    for (const level of levels) {
      const before = totals[totals.length - 1];
      totals.push(before === undefined ? level.size : add(before, level.size));
    }
    const whole = totals[totals.length - 1];
    if (whole === undefined) return;
    levels.forEach((level, index) => {
      const row = this.#rows[this.upward ? levels.length - 1 - index : index];
      const total = totals[index];
      if (row !== undefined && total !== undefined) row.set(level, total, whole, places, sizePlaces);
    });
  }
}

export class Ladder {
  readonly #asks: LadderSide;
  readonly #bids: LadderSide;
  readonly #spread: TextSlot;
  readonly #crossed: TextSlot;
  readonly #sequence: AttributeSlot;

  constructor(table: HTMLTableElement) {
    this.#asks = new LadderSide(table, "asks", true);
    const row = element(element(table, "tbody", "middle"), "tr");
    const cell = element(row, "td", "spread");
    cell.colSpan = 4;
    this.#crossed = new TextSlot(element(cell, "span", "crossed"));
    this.#spread = new TextSlot(element(cell, "span"));
    this.#bids = new LadderSide(table, "bids", false);
    this.#sequence = new AttributeSlot(table, "data-sequence");
  }

  set(book: Book): void {
    const asks = book.asks();
    const bids = book.bids();
    const levels = [...asks, ...bids];
    const places = Math.max(0, ...levels.map((level) => decimals(level.priceText)));
    const sizePlaces = Math.max(0, ...levels.map((level) => level.size.scale));
    this.#asks.set(asks, places, sizePlaces);
    this.#bids.set(bids, places, sizePlaces);
    const spread = spreadBps(bids[0]?.price ?? null, asks[0]?.price ?? null);
    this.#spread.set(spread === null ? "one side is empty" : `spread ${text(spread)} bps`);
    this.#crossed.set(book.crossed ? "CROSSED" : "");
    this.#sequence.set(book.sequence === null ? "" : String(book.sequence));
  }
}
