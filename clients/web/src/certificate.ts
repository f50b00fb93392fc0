/**
 * Checks a quote by oneself: that it adds up, that its plan costs what the books say, and that its certificate holds.
 *
 * The certificate's bounds are recomputed from the quote's inputs by the formula of `certificate.proto`:
 *
 *     L_S(m) = m * Q + sum over v in S of min over x of (C_v(x) - m * x)
 *
 * C_v is convex and bends where a level of the book ends, so its least value over the lots is at the smallest or the
 * largest size or at a lot beside a bend. Everything is exact; a difference of less than `DUST` is rounding of the
 * fields themselves. Where a holding time or a volatility adds charges that this page does not recompute, it says so.
 */

import type { Quote } from "@contract/perpmesh/routing/v1/quote_pb.js";
import type { QuoteInputs, QuoteInputs_VenueInputs } from "@contract/perpmesh/routing/v1/quote_inputs_pb.js";
import { CostKind } from "@contract/perpmesh/type/v1/cost_pb.js";
import { Side } from "@contract/perpmesh/type/v1/side_pb.js";
import { add, compare, multiply, parse, subtract, text, wholeTimes, type Decimal } from "./decimal";

const ZERO: Decimal = { units: 0n, scale: 0 };
const ONE: Decimal = { units: 1n, scale: 0 };
/** A billionth of a dollar. */
const DUST: Decimal = { units: 1n, scale: 9 };

export interface Verdict {
  /** What does not hold; empty when all that was checked does. */
  readonly faults: readonly string[];
  /** What was checked, as parts of a sentence. */
  readonly checked: readonly string[];
  /** Why something was not checked; empty when nothing was left out. */
  readonly unchecked: string;
}

function number(value: string): Decimal {
  return parse(value) ?? ZERO;
}

function negated(value: Decimal): Decimal {
  return { units: -value.units, scale: value.scale };
}

function sum(values: readonly Decimal[]): Decimal {
  return values.reduce(add, ZERO);
}

function near(a: Decimal, b: Decimal): boolean {
  const difference = subtract(a, b);
  return compare(difference.units < 0n ? negated(difference) : difference, DUST) < 0;
}

/** The money of walking a side of a book for a size; null where the levels do not reach so far. */
function walk(venue: QuoteInputs_VenueInputs, size: Decimal): Decimal | null {
  let left = size;
  let money = ZERO;
  for (const level of venue.levels) {
    if (left.units === 0n) break;
    const there = number(level.size);
    const taken = compare(left, there) < 0 ? left : there;
    money = add(money, multiply(taken, number(level.price)));
    left = subtract(left, taken);
  }
  return left.units === 0n ? money : null;
}

/** C_v(x): the money a venue takes for a size, negative for what a sale brings. */
function cost(venue: QuoteInputs_VenueInputs, side: Side, size: Decimal): Decimal | null {
  const money = walk(venue, size);
  if (money === null) return null;
  const rates = [venue.takerFeeRate, venue.interfaceFeeRate, venue.platformFeeRate, venue.priorityFeeRate];
  const fee = sum(rates.map(number));
  return side === Side.BUY ? multiply(money, add(ONE, fee)) : negated(multiply(money, subtract(ONE, fee)));
}

/** The least of C_v(x) - m * x over the venue's lots; null where it has none. */
function least(venue: QuoteInputs_VenueInputs, side: Side, m: Decimal): Decimal | null {
  const lot = number(venue.lot);
  const [low, high] = [number(venue.minSize), number(venue.maxSize)];
  if (lot.units <= 0n || compare(low, high) > 0) return null;
  const times = (count: bigint): Decimal => multiply(lot, { units: count, scale: 0 });
  const first = wholeTimes(low, lot) + (compare(times(wholeTimes(low, lot)), low) < 0 ? 1n : 0n);
  const last = wholeTimes(high, lot);
  const counts = new Set([first, last]);
  let depth = ZERO;
  for (const level of venue.levels) {
    depth = add(depth, number(level.size));
    const at = wholeTimes(depth, lot);
    for (const count of [at, at + 1n]) if (count >= first && count <= last) counts.add(count);
  }
  let best: Decimal | null = null;
  for (const count of counts) {
    const size = times(count);
    const money = cost(venue, side, size);
    if (money === null) continue;
    const value = subtract(money, multiply(m, size));
    if (best === null || compare(value, best) < 0) best = value;
  }
  return best;
}

function sumsOf(quote: Quote): string[] {
  const faults: string[] = [];
  const expect = (a: Decimal, b: Decimal, what: string): void => {
    if (!near(a, b)) faults.push(`${what}: ${text(a)} and ${text(b)}`);
  };
  const amounts = (costs: readonly { amount: string }[]): Decimal => sum(costs.map((one) => number(one.amount)));
  expect(amounts(quote.costs), number(quote.totalCost), "the cost lines and their total differ");
  expect(sum(quote.legs.map((leg) => number(leg.size))), number(quote.size), "the legs and the size differ");
  expect(sum(quote.legs.map((leg) => number(leg.totalCost))), number(quote.totalCost), "the legs' costs and the total differ");
  for (const leg of quote.legs) expect(amounts(leg.costs), number(leg.totalCost), `the costs at ${leg.venue} and their total differ`);
  for (const other of quote.alternatives) {
    if (other.feasible && compare(add(number(other.totalCost), DUST), number(quote.totalCost)) < 0) {
      faults.push(`an alternative costs less: ${other.totalCost}`);
    }
  }
  return faults;
}

function booksOf(quote: Quote, inputs: QuoteInputs): string[] {
  const faults: string[] = [];
  const mid = number(quote.arrivalMidPrice);
  for (const leg of quote.legs) {
    const venue = inputs.venues.find((one) => one.venue === leg.venue);
    const size = number(leg.size);
    const money = venue === undefined || leg.resting ? null : walk(venue, size);
    if (money === null) continue;
    const beyond = subtract(money, multiply(size, mid));
    const said = sum(leg.costs.filter((one) => one.kind === CostKind.BOOK).map((one) => number(one.amount)));
    if (!near(said, quote.side === Side.BUY ? beyond : negated(beyond))) {
      faults.push(`the book of ${leg.venue} says ${text(beyond)}, the quote ${text(said)}`);
    }
  }
  return faults;
}

function boundsOf(quote: Quote, inputs: QuoteInputs): string[] {
  const faults: string[] = [];
  const certificate = quote.certificate;
  if (certificate === undefined) return ["there is no certificate"];
  const size = number(quote.size);
  const value = multiply(size, number(quote.arrivalMidPrice));
  const taken = quote.side === Side.BUY ? add(number(quote.totalCost), value) : subtract(number(quote.totalCost), value);
  if (!near(taken, number(certificate.cost))) faults.push(`the plan takes ${text(taken)}, the certificate says ${certificate.cost}`);
  const venues = new Map(inputs.venues.map((one) => [one.venue, one]));
  if (certificate.setBounds.length !== 2 ** venues.size - 1) faults.push("not every set of venues has a bound");
  let smallest: Decimal | null = null;
  for (const set of certificate.setBounds.filter((one) => one.feasible)) {
    const m = number(set.multiplier);
    let bound = multiply(m, size);
    for (const name of set.venues) {
      const venue = venues.get(name);
      const part = venue === undefined ? null : least(venue, quote.side, m);
      if (part === null) faults.push(`${name} could not be recomputed`);
      else bound = add(bound, part);
    }
    if (!near(bound, number(set.bound))) {
      faults.push(`the bound of ${set.venues.join(" and ")} is ${text(bound)}, the certificate says ${set.bound}`);
    }
    if (smallest === null || compare(bound, smallest) < 0) smallest = bound;
  }
  if (smallest === null) return [...faults, "no set of venues has a bound"];
  if (!near(smallest, number(certificate.lowerBound))) faults.push(`the lower bound is ${text(smallest)}, the certificate says ${certificate.lowerBound}`);
  if (!near(subtract(number(certificate.cost), number(certificate.lowerBound)), number(certificate.gap))) faults.push("the gap is not cost less bound");
  return faults;
}

/** Checks a quote; only one that carries its inputs can be checked against its books. */
export function check(quote: Quote): Verdict {
  const checked = ["its sums"];
  const faults = sumsOf(quote);
  const inputs = quote.inputs;
  if (inputs === undefined) return { faults, checked, unchecked: "The quote came without its inputs." };
  checked.push("its walk of the books");
  faults.push(...booksOf(quote, inputs));
  const holding = inputs.holdingTime;
  const extra = (holding !== undefined && (holding.seconds !== 0n || holding.nanos !== 0)) || number(inputs.volatility).units !== 0n;
  if (extra || quote.legs.some((leg) => leg.resting)) {
    return { faults, checked, unchecked: "The bounds are not recomputed here for plans that rest, hold or charge for delay." };
  }
  checked.push("the bound of every set of venues");
  faults.push(...boundsOf(quote, inputs));
  return { faults, checked, unchecked: "" };
}
