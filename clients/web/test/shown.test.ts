import assert from "node:assert/strict";
import test from "node:test";
import { create } from "@bufbuild/protobuf";
import { PriceSchema, type Price } from "@contract/perpmesh/marketdata/v1/price_pb.js";
import { Source, State } from "@contract/perpmesh/marketdata/v1/state_pb.js";
import { TradeSchema } from "@contract/perpmesh/marketdata/v1/trade_pb.js";
import { matches, ordered } from "../src/order";
import { TradeTape } from "../src/trades";
import { age, sourceBanner, sourceWord, stateWord } from "../src/words";

function price(market: string, bid: string, ask: string, state = State.LIVE): Price {
  return create(PriceSchema, {
    market,
    ...(bid === "" ? {} : { bestBid: { price: bid, size: "1", venue: "lighter" } }),
    ...(ask === "" ? {} : { bestAsk: { price: ask, size: "1", venue: "lighter" } }),
    venues: [{ venue: "lighter", state }],
  });
}

test("markets are ordered by exact value, those without one last either way", () => {
  const prices = [price("B", "10", "11"), price("A", "9.99999999999999999", "11"), price("D", "", ""), price("C", "10.0", "12")];
  assert.deepEqual(ordered(prices, { column: "bid", descending: false }), ["A", "B", "C", "D"]);
  assert.deepEqual(ordered(prices, { column: "bid", descending: true }), ["B", "C", "A", "D"]);
  assert.deepEqual(ordered(prices, { column: "spread", descending: true }), ["C", "A", "B", "D"]);
  assert.deepEqual(ordered(prices, { column: "market", descending: true }), ["D", "C", "B", "A"]);
});

test("by state, what needs a look comes first when descending", () => {
  const prices = [price("A", "1", "2"), price("B", "1", "2", State.STALE), price("C", "1", "2", State.RECOVERING)];
  assert.deepEqual(ordered(prices, { column: "state", descending: true }), ["B", "C", "A"]);
});

test("a trade is shown once, newest first, up to the limit", () => {
  const tape = new TradeTape(3);
  const trade = (sequence: bigint) => create(TradeSchema, { sequence });
  const numbers = (): bigint[] => tape.newestFirst().map((one) => one.sequence);
  assert.equal(tape.add([trade(2n), trade(5n)]), true);
  assert.equal(tape.add([trade(5n)]), false);
  assert.equal(tape.add([trade(3n), trade(4n)]), true);
  assert.deepEqual(numbers(), [5n, 4n, 3n]);
});

test("only the main network goes unmarked, and an unknown state or source is never taken for a good one", () => {
  assert.equal(sourceWord(Source.MAINNET), "");
  assert.equal(sourceWord(Source.SIMULATED), "SIMULATED");
  assert.equal(sourceWord(Source.TESTNET), "TESTNET");
  assert.equal(sourceWord(9 as Source), "SOURCE UNKNOWN");
  assert.equal(stateWord(State.LIVE), "LIVE");
  assert.equal(stateWord(9 as State), "STATE 9");
});

test("the banner says what is synthetic", () => {
  const banner = (...sources: Source[]): string => sourceBanner(new Map(sources.map((source, at) => [`v${at}`, source])));
  assert.equal(banner(), "");
  assert.equal(banner(Source.MAINNET, Source.MAINNET), "");
  assert.match(banner(Source.SIMULATED, Source.SIMULATED), /^Synthetic data\. Every venue here is simulated/);
  assert.match(banner(Source.TESTNET), /^Test networks/);
  assert.equal(banner(Source.MAINNET, Source.SIMULATED), "Not all of this is the market: v1 (SIMULATED).");
});

test("an age is short to read", () => {
  const shown = [-5, 0, 400, 9_940, 9_960, 59_000, 119_000, 120_000, 7_300_000].map(age);
  assert.deepEqual(shown, ["0.0 s", "0.0 s", "0.4 s", "9.9 s", "10 s", "59 s", "119 s", "2 min", "2 h"]);
});

test("a filter looks into the name, and into its shared ending only when that is written", () => {
  const names = ["ETH-PERP", "1000PEPE-PERP", "BTC-PERP", "XYZ:TSLA-PERP"];
  const found = (filter: string): string[] => names.filter((name) => matches(name, filter));
  assert.deepEqual(found(""), names);
  assert.deepEqual(found("e"), ["ETH-PERP", "1000PEPE-PERP"]);
  assert.deepEqual(found("perp"), []);
  assert.deepEqual(found(" btc-perp "), ["BTC-PERP"]);
  assert.deepEqual(found("xyz tsla"), ["XYZ:TSLA-PERP"]);
  assert.deepEqual(found("-"), names);
});
