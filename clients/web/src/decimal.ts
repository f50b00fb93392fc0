/**
 * Decimals as the contract sends them: text, kept exact.
 *
 * A decimal is a whole number of units of 10^-scale. Nothing here goes through a binary float; what is computed (a
 * spread, a ratio) is rounded once, half away from zero, and says so.
 */

export interface Decimal {
  readonly units: bigint;
  readonly scale: number;
}

const SHAPE = /^(-?)(\d+)(?:\.(\d+))?$/;

/** Reads a decimal; null where the text is empty or is none. */
export function parse(text: string): Decimal | null {
  const found = SHAPE.exec(text);
  if (found === null) return null;
  const [, sign, whole = "", fraction = ""] = found;
  const units = BigInt(whole + fraction);
  return { units: sign === "-" ? -units : units, scale: fraction.length };
}

function aligned(a: Decimal, b: Decimal): [bigint, bigint, number] {
  const scale = Math.max(a.scale, b.scale);
  return [a.units * 10n ** BigInt(scale - a.scale), b.units * 10n ** BigInt(scale - b.scale), scale];
}

/** Returns a number below, equal to or above zero as `a` is below, equal to or above `b`. */
export function compare(a: Decimal, b: Decimal): number {
  const [x, y] = aligned(a, b);
  return x < y ? -1 : x > y ? 1 : 0;
}

export function add(a: Decimal, b: Decimal): Decimal {
  const [x, y, scale] = aligned(a, b);
  return { units: x + y, scale };
}

export function subtract(a: Decimal, b: Decimal): Decimal {
  const [x, y, scale] = aligned(a, b);
  return { units: x - y, scale };
}

export function multiply(a: Decimal, b: Decimal): Decimal {
  return { units: a.units * b.units, scale: a.scale + b.scale };
}

/** How often `step` goes into `value`, rounded down; both must be above zero or `value` zero. */
export function wholeTimes(value: Decimal, step: Decimal): bigint {
  const [x, y] = aligned(value, step);
  return x / y;
}

/** Writes a decimal with exactly its scale of digits after the point. */
export function text(value: Decimal): string {
  const negative = value.units < 0n;
  const digits = (negative ? -value.units : value.units).toString().padStart(value.scale + 1, "0");
  const whole = digits.slice(0, digits.length - value.scale);
  const fraction = value.scale === 0 ? "" : `.${digits.slice(digits.length - value.scale)}`;
  return `${negative ? "-" : ""}${whole}${fraction}`;
}

/** Divides, rounding half away from zero. The divisor must not be zero. */
function divided(dividend: bigint, divisor: bigint): bigint {
  const negative = dividend < 0n !== divisor < 0n;
  const a = dividend < 0n ? -dividend : dividend;
  const b = divisor < 0n ? -divisor : divisor;
  const rounded = (2n * a + b) / (2n * b);
  return negative ? -rounded : rounded;
}

/**
 * Returns ask less bid over their middle, in basis points with two decimals; null without both sides.
 * Negative where the bid is above the ask.
 */
export function spreadBps(bid: Decimal | null, ask: Decimal | null): Decimal | null {
  if (bid === null || ask === null) return null;
  const [b, a] = aligned(bid, ask);
  if (a + b <= 0n) return null;
  return { units: divided((a - b) * 2n * 10_000n * 100n, a + b), scale: 2 };
}

/** Returns `part` of `whole` in thousandths, from 0 to 1000: for lengths on a screen. */
export function thousandths(part: Decimal, whole: Decimal): number {
  const [x, y] = aligned(part, whole);
  if (y <= 0n || x <= 0n) return 0;
  return Number(x >= y ? 1000n : (x * 1000n) / y);
}

/** Writes a fraction as a percentage, exactly: `0.0000125` is `0.00125%`. Empty stays empty. */
export function percent(fraction: string): string {
  const value = parse(fraction);
  if (value === null) return fraction;
  const scale = Math.max(value.scale - 2, 0);
  const units = value.scale < 2 ? value.units * 10n ** BigInt(2 - value.scale) : value.units;
  return `${text({ units, scale })}%`;
}

/** Groups the digits before the point by threes: `67123.5` is `67,123.5`. */
export function grouped(value: string): string {
  const [whole = "", fraction] = value.split(".");
  const shown = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? shown : `${shown}.${fraction}`;
}

/** How many digits stand after the point. */
export function decimals(value: string): number {
  const point = value.indexOf(".");
  return point < 0 ? 0 : value.length - point - 1;
}

/**
 * Groups a decimal and fills it with no-break spaces up to `places` decimals, so that the points of a column stand
 * under each other without claiming digits that nobody sent. Empty stays empty.
 */
export function columned(value: string, places: number): string {
  if (value === "") return "";
  const missing = places - decimals(value);
  const point = value.includes(".") || places === 0 ? 0 : 1;
  return grouped(value) + "\u00a0".repeat(Math.max(missing + point, 0));
}
