/** In which order markets stand. What has no value comes last, whichever way the order goes; equals stand by name. */

import type { Price } from "@contract/perpmesh/marketdata/v1/price_pb.js";
import { State } from "@contract/perpmesh/marketdata/v1/state_pb.js";
import { compare, parse, spreadBps, type Decimal } from "./decimal";
import { milliseconds } from "./words";

export type Column = "market" | "bid" | "ask" | "spread" | "last" | "mark" | "funding" | "state" | "age";

export interface Order {
  readonly column: Column;
  readonly descending: boolean;
}

export const COLUMNS: readonly Column[] = ["market", "bid", "ask", "spread", "last", "mark", "funding", "state", "age"];

/** What is worth looking at first has the largest number. */
const CONCERN: Readonly<Record<number, number>> = {
  [State.LIVE]: 0,
  [State.HALTED]: 1,
  [State.RECOVERING]: 2,
  [State.STALE]: 3,
};

function whole(value: number): Decimal {
  return { units: BigInt(Math.round(value)), scale: 0 };
}

function largest(values: readonly (Decimal | null)[]): Decimal | null {
  return values.reduce((best, value) => (value !== null && (best === null || compare(value, best) > 0) ? value : best), null);
}

function figure(price: Price, column: Exclude<Column, "market">): Decimal | null {
  switch (column) {
    case "bid":
      return parse(price.bestBid?.price ?? "");
    case "ask":
      return parse(price.bestAsk?.price ?? "");
    case "spread":
      return spreadBps(parse(price.bestBid?.price ?? ""), parse(price.bestAsk?.price ?? ""));
    case "last":
      return largest(price.venues.map((venue) => parse(venue.lastPrice)));
    case "mark":
      return largest(price.venues.map((venue) => parse(venue.markPrice)));
    case "funding":
      return largest(price.venues.map((venue) => parse(venue.fundingRate)));
    case "state":
      return largest(price.venues.map((venue) => whole(CONCERN[venue.state] ?? 4)));
    case "age":
      return largest(
        price.venues.map((venue) => {
          const age = milliseconds(venue.age);
          return age === null ? null : whole(age);
        }),
      );
  }
}

/** Returns the names of the markets in order. */
export function ordered(prices: Iterable<Price>, order: Order): string[] {
  const { column } = order;
  const sign = order.descending ? -1 : 1;
  const rows = [...prices].map((price) => ({
    market: price.market,
    value: column === "market" ? null : figure(price, column),
  }));
  rows.sort((a, b) => {
    const byName = a.market < b.market ? -1 : a.market > b.market ? 1 : 0;
    if (column === "market") return sign * byName;
    if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null) || byName;
    return sign * compare(a.value, b.value) || byName;
  });
  return rows.map((row) => row.market);
}

/**
 * Whether a market has every word of the filter in its name. The ending that all names share is left out, unless the
 * reader writes the hyphen: `e` finds ETH-PERP and not every market.
 */
export function matches(market: string, filter: string): boolean {
  const name = market.toUpperCase();
  const base = name.replace(/-PERP$/, "");
  const words = filter.toUpperCase().split(/\s+/);
  return words.every((word) => (word.includes("-") ? name : base).includes(word));
}
