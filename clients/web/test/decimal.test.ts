import assert from "node:assert/strict";
import test from "node:test";
import { add, columned, compare, grouped, parse, percent, spreadBps, text, thousandths, type Decimal } from "../src/decimal";

function decimal(written: string): Decimal {
  const value = parse(written);
  assert.ok(value !== null, written);
  return value;
}

test("what is no plain decimal is not read", () => {
  for (const written of ["", "1e5", "NaN", ".5", "5.", "+1", "1,000", " 1", "0x10", "Infinity"]) {
    assert.equal(parse(written), null, written);
  }
});

test("a decimal of 36 digits is written as it was read", () => {
  for (const written of ["0", "-0.000000000000000001", "123456789012345678.123456789012345678", "10.50"]) {
    assert.equal(text(decimal(written)), written);
  }
});

test("decimals compare and add by value, whatever their zeros", () => {
  assert.equal(compare(decimal("100"), decimal("100.000")), 0);
  assert.equal(compare(decimal("0.1"), decimal("0.0999999999999999999")), 1);
  assert.equal(compare(decimal("-1"), decimal("0.1")), -1);
  assert.equal(text(add(decimal("0.1"), decimal("0.02"))), "0.12");
});

test("a spread is in basis points of the middle, rounded half away from zero, negative when crossed", () => {
  const spread = (bid: string, ask: string): string | null => {
    const value = spreadBps(parse(bid), parse(ask));
    return value === null ? null : text(value);
  };
  assert.equal(spread("99.5", "100.5"), "100.00");
  assert.equal(spread("84030.2", "84025"), "-0.62");
  assert.equal(spread("100", "100"), "0.00");
  assert.equal(spread("99999", "100001"), "0.20");
  // 2 * 10000 * (a - b) / (a + b) = 0.005 exactly, and its mirror image
  assert.equal(spread("1999999.5", "2000000.5"), "0.01");
  assert.equal(spread("2000000.5", "1999999.5"), "-0.01");
  assert.equal(spread("", "100"), null);
  assert.equal(spread("0", "0"), null);
});

test("a fraction is written as a percentage without losing a digit", () => {
  assert.equal(percent("0.0000125"), "0.00125%");
  assert.equal(percent("-0.0000053392"), "-0.00053392%");
  assert.equal(percent("0.5"), "50%");
  assert.equal(percent("1"), "100%");
  assert.equal(percent("0.00"), "0%");
  assert.equal(percent(""), "");
});

test("digits before the point are grouped by threes, those behind it never", () => {
  assert.equal(grouped("1234567.1234567"), "1,234,567.1234567");
  assert.equal(grouped("-123456"), "-123,456");
  assert.equal(grouped("999"), "999");
  assert.equal(grouped(""), "");
});

test("figures of one column are as long behind the point, and claim no digits", () => {
  assert.equal(columned("84025", 2), "84,025\u00a0\u00a0\u00a0");
  assert.equal(columned("84030.2", 2), "84,030.2\u00a0");
  assert.equal(columned("84030.25", 2), "84,030.25");
  assert.equal(columned("84025", 0), "84,025");
  assert.equal(columned("", 4), "");
});

test("a share stays between nothing and all", () => {
  assert.equal(thousandths(decimal("0.5"), decimal("2")), 250);
  assert.equal(thousandths(decimal("3"), decimal("2")), 1000);
  assert.equal(thousandths(decimal("3"), decimal("0")), 0);
});
