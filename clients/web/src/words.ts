/** The words and figures that a reader sees. */

import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { Source, State } from "@contract/perpmesh/marketdata/v1/state_pb.js";

const STATES: Readonly<Record<number, string>> = {
  [State.LIVE]: "LIVE",
  [State.STALE]: "STALE",
  [State.RECOVERING]: "RECOVERING",
  [State.HALTED]: "HALTED",
};

/** A state's name; one of a later contract is shown by its number, so that it is never taken for another. */
export function stateWord(state: State): string {
  return STATES[state] ?? `STATE ${state}`;
}

/** How a value is marked that is not the market's; empty for the venue's own main network. */
export function sourceWord(source: Source): string {
  if (source === Source.MAINNET) return "";
  if (source === Source.TESTNET) return "TESTNET";
  return source === Source.SIMULATED ? "SIMULATED" : "SOURCE UNKNOWN";
}

/** What the whole page has to say about where its values come from; empty where all is from main networks. */
export function sourceBanner(sources: ReadonlyMap<string, Source>): string {
  const kinds = new Set(sources.values());
  if (kinds.size === 0 || (kinds.size === 1 && kinds.has(Source.MAINNET))) return "";
  if (kinds.size === 1 && kinds.has(Source.SIMULATED)) {
    return "Synthetic data. Every venue here is simulated: no price, size or trade on this page is the market's.";
  }
  if (kinds.size === 1 && kinds.has(Source.TESTNET)) {
    return "Test networks. The venues are real, their prices are not the market's.";
  }
  const marked = [...sources].filter(([, source]) => source !== Source.MAINNET);
  const named = marked.map(([venue, source]) => `${venue} (${sourceWord(source)})`).sort();
  return `Not all of this is the market: ${named.join(", ")}.`;
}

/** Milliseconds of a duration, or null where there is none. */
export function milliseconds(span: Duration | undefined): number | null {
  return span === undefined ? null : Number(span.seconds) * 1000 + span.nanos / 1e6;
}

/** An age such as `0.4 s`, `12 s`, `3 min` or `2 h`. */
export function age(spanMs: number): string {
  const seconds = Math.max(spanMs, 0) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  if (seconds < 7170) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** The reader's time of day with milliseconds. */
export function timeOfDay(time: Timestamp | undefined): string {
  if (time === undefined) return "";
  const date = new Date(Number(time.seconds) * 1000);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0"));
  return `${parts.join(":")}.${String(Math.floor(time.nanos / 1e6)).padStart(3, "0")}`;
}

const BROWSERS: readonly (readonly [string, RegExp])[] = [
  ["Edge", /Edg\/(\d+)/],
  ["Opera", /OPR\/(\d+)/],
  ["Firefox", /Firefox\/(\d+)/],
  ["Chrome", /Chrome\/(\d+)/],
  ["Safari", /Version\/(\d+)[.\d]* .*Safari/],
];
const SYSTEMS = ["Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux"];

/** What a program calls itself, in words where it is a browser: `Chrome 131 on Linux`. */
export function programWords(userAgent: string): string {
  if (userAgent === "") return "unknown";
  if (!userAgent.startsWith("Mozilla/")) return userAgent;
  const system = SYSTEMS.find((one) => userAgent.includes(one));
  for (const [name, shape] of BROWSERS) {
    const version = shape.exec(userAgent)?.[1];
    if (version !== undefined) return `${name} ${version}${system === undefined ? "" : ` on ${system}`}`;
  }
  return userAgent;
}

/** The reader's date and time of day, to the minute; empty where there is none. */
export function dateAndTime(time: Timestamp | undefined): string {
  if (time === undefined) return "";
  return new Date(Number(time.seconds) * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** `1 market`, `2 markets`. */
export function counted(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}
