/**
 * One order book, kept by a snapshot and the deltas after it.
 *
 * A delta says which state it applies to and how many levels each side has afterwards. Where either does not hold, a
 * change was lost: `apply` says what is wrong and leaves the book as it was, and the stream has to be opened again.
 */

import type { BookDelta, BookLevel, BookVersion, OrderBook } from "@contract/perpmesh/marketdata/v1/book_pb.js";
import { compare, parse, type Decimal } from "./decimal";

export interface Level {
  readonly price: Decimal;
  readonly priceText: string;
  readonly size: Decimal;
  readonly sizeText: string;
  readonly venues: readonly { readonly venue: string; readonly size: string }[];
}

type Side = Map<string, Level>;

/** The same for the same price, however many zeros it was written with. */
function key(price: Decimal): string {
  let { units, scale } = price;
  while (scale > 0 && units % 10n === 0n) {
    units /= 10n;
    scale -= 1;
  }
  return `${units}e-${scale}`;
}

function change(side: Side, levels: readonly BookLevel[]): string | null {
  for (const level of levels) {
    const price = parse(level.price);
    const size = parse(level.size);
    if (price === null || size === null || size.units < 0n) return `a level reads "${level.size}" at "${level.price}"`;
    if (size.units === 0n) side.delete(key(price));
    else side.set(key(price), { price, priceText: level.price, size, sizeText: level.size, venues: level.venues });
  }
  return null;
}

export class Book {
  #bids: Side = new Map();
  #asks: Side = new Map();
  #sequence: bigint | null = null;
  #versions: readonly BookVersion[] = [];
  #crossed = false;

  /** The number of the state, or null before the first snapshot. */
  get sequence(): bigint | null {
    return this.#sequence;
  }

  get versions(): readonly BookVersion[] {
    return this.#versions;
  }

  get crossed(): boolean {
    return this.#crossed;
  }

  /** The bids, highest price first. */
  bids(): Level[] {
    return [...this.#bids.values()].sort((a, b) => compare(b.price, a.price));
  }

  /** The asks, lowest price first. */
  asks(): Level[] {
    return [...this.#asks.values()].sort((a, b) => compare(a.price, b.price));
  }

  /** Takes a whole book; returns what is wrong with it, or null. */
  replace(snapshot: OrderBook): string | null {
    const bids: Side = new Map();
    const asks: Side = new Map();
    const wrong = change(bids, snapshot.bids) ?? change(asks, snapshot.asks);
    if (wrong !== null) return wrong;
    this.#set(bids, asks, snapshot);
    return null;
  }

  /** Takes a change; returns what is wrong with it, or null. */
  apply(delta: BookDelta): string | null {
    if (this.#sequence === null) return "a change came before any book";
    if (delta.previousSequence !== this.#sequence) {
      return `a change to state ${delta.previousSequence} came while this is ${this.#sequence}`;
    }
    const bids = new Map(this.#bids);
    const asks = new Map(this.#asks);
    const wrong = change(bids, delta.bids) ?? change(asks, delta.asks);
    if (wrong !== null) return wrong;
    if (bids.size !== delta.bidLevelCount || asks.size !== delta.askLevelCount) {
      return (
        `after change ${delta.sequence} there should be ${delta.bidLevelCount} bids and ${delta.askLevelCount} asks, ` +
        `and there are ${bids.size} and ${asks.size}`
      );
    }
    this.#set(bids, asks, delta);
    return null;
  }

  #set(bids: Side, asks: Side, from: OrderBook | BookDelta): void {
    this.#bids = bids;
    this.#asks = asks;
    this.#sequence = from.sequence;
    this.#versions = from.versions;
    this.#crossed = from.crossed;
  }
}
