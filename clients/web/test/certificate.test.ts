import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { QuoteSchema, type Quote } from "@contract/perpmesh/routing/v1/quote_pb.js";
import { CostKind } from "@contract/perpmesh/type/v1/cost_pb.js";
import { Side } from "@contract/perpmesh/type/v1/side_pb.js";
import { check } from "../src/certificate";

/**
 * A buys 3 at two venues without fees: 2 at a (100, then 102) and 1 at b (101). By hand: m = 101 gives
 * L = 303 + min over a of (C - 101x) + min over b = 303 - 1 + 0: a takes 1 or 2 units... at 100: -2 with two units.
 */
function quote(): Quote {
  const venue = (name: string, levels: [string, string][]) => ({
    venue: name,
    levels: levels.map(([price, size]) => ({ price, size })),
    lot: "1",
    minSize: "1",
    maxSize: "3",
    takerFeeRate: "0",
    interfaceFeeRate: "0",
    platformFeeRate: "0",
    priorityFeeRate: "0",
  });
  const leg = (name: string, size: string, cost: string) => ({
    venue: name,
    size,
    totalCost: cost,
    costs: [{ kind: CostKind.BOOK, amount: cost }],
  });
  return create(QuoteSchema, {
    side: Side.BUY,
    size: "3",
    arrivalMidPrice: "99",
    totalCost: "4",
    costs: [{ kind: CostKind.BOOK, amount: "4" }],
    legs: [leg("a", "2", "2"), leg("b", "1", "2")],
    alternatives: [{ feasible: true, totalCost: "6" }],
    certificate: {
      cost: "301",
      lowerBound: "301",
      gap: "0",
      setBounds: [
        { venues: ["a"], feasible: true, multiplier: "102", bound: "302" },
        { venues: ["a", "b"], feasible: true, multiplier: "101", bound: "301" },
        { venues: ["b"], feasible: true, multiplier: "101", bound: "303" },
      ],
    },
    inputs: {
      side: Side.BUY,
      volatility: "0",
      venues: [venue("a", [["100", "2"], ["102", "1"]]), venue("b", [["101", "3"]])],
    },
  });
}

test("a quote that holds is found to hold, its books and bounds included", () => {
  const verdict = check(quote());
  assert.deepEqual(verdict.faults, []);
  assert.equal(verdict.checked.length, 3);
  assert.equal(verdict.unchecked, "");
});

const TAMPERED: Record<string, (one: Quote) => void> = {
  "a total that is too small": (one) => void (one.totalCost = "3.9"),
  "a leg that is larger": (one) => void (one.legs[0]!.size = "2.5"),
  "an alternative that is cheaper": (one) => void (one.alternatives[0]!.totalCost = "3"),
  "a book that was not walked so": (one) => void (one.inputs!.venues[0]!.levels[0]!.price = "99.5"),
  "a bound that is too high": (one) => void (one.certificate!.setBounds[1]!.bound = "301.5"),
  "a lower bound that is too high": (one) => void (one.certificate!.lowerBound = "301.000001"),
  "a set of venues without a bound": (one) => void one.certificate!.setBounds.pop(),
  "a gap that is hidden": (one) => void (one.certificate!.gap = "-0.5"),
  "a fee that nobody counted": (one) => void (one.inputs!.venues[1]!.takerFeeRate = "0.001"),
};

for (const [name, tamper] of Object.entries(TAMPERED)) {
  test(`${name} is found`, () => {
    const one = quote();
    tamper(one);
    assert.notDeepEqual(check(one).faults, []);
  });
}

test("what is not recomputed is said", () => {
  const one = quote();
  one.inputs!.volatility = "0.5";
  assert.match(check(one).unchecked, /not recomputed/);
  delete one.inputs;
  assert.match(check(one).unchecked, /without its inputs/);
});
