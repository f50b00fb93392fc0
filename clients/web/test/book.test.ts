import assert from "node:assert/strict";
import test from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { BookDeltaSchema, OrderBookSchema } from "@contract/perpmesh/marketdata/v1/book_pb.js";
import { Book } from "../src/book";

const level = (price: string, size: string): { price: string; size: string; venues: { venue: string; size: string }[] } => ({
  price,
  size,
  venues: [{ venue: "lighter", size }],
});

function started(): Book {
  const book = new Book();
  const snapshot = create(OrderBookSchema, {
    market: "BTC-PERP",
    bids: [level("100", "1"), level("99.5", "2")],
    asks: [level("101", "3"), level("101.5", "4")],
    sequence: 7n,
  });
  assert.equal(book.replace(snapshot), null);
  return book;
}

const shown = (book: Book): string =>
  [book.bids(), book.asks()].map((side) => side.map((one) => `${one.sizeText}@${one.priceText}`).join(" ")).join(" | ");

const delta = (fields: MessageInitShape<typeof BookDeltaSchema>) => create(BookDeltaSchema, fields);

test("a change replaces, adds and removes levels, and the sides stay in order", () => {
  const book = started();
  const wrong = book.apply(
    delta({
      bids: [level("99.5", "0"), level("100.5", "5"), level("100", "1.5")],
      asks: [level("100.9", "9")],
      previousSequence: 7n,
      sequence: 9n,
      bidLevelCount: 2,
      askLevelCount: 3,
      crossed: true,
    }),
  );
  assert.equal(wrong, null);
  assert.equal(shown(book), "5@100.5 1.5@100 | 9@100.9 3@101 4@101.5");
  assert.equal(book.sequence, 9n);
  assert.equal(book.crossed, true);
});

test("a change to another state is refused and leaves the book as it was", () => {
  for (const previousSequence of [6n, 8n, 0n]) {
    const book = started();
    const before = shown(book);
    const wrong = book.apply(
      delta({ bids: [level("98", "1")], previousSequence, sequence: 9n, bidLevelCount: 3, askLevelCount: 2 }),
    );
    assert.match(wrong ?? "", /came while this is 7/);
    assert.equal(shown(book), before);
    assert.equal(book.sequence, 7n);
  }
});

test("a change after which the levels do not count up is refused and leaves the book as it was", () => {
  for (const [bidLevelCount, askLevelCount] of [
    [2, 2],
    [3, 3],
    [4, 2],
  ] as const) {
    const book = started();
    const before = shown(book);
    const wrong = book.apply(
      delta({ bids: [level("98", "1")], previousSequence: 7n, sequence: 8n, bidLevelCount, askLevelCount }),
    );
    assert.match(wrong ?? "", /there should be/);
    assert.equal(shown(book), before);
  }
});

test("one price is one level, however many zeros it is written with", () => {
  const book = started();
  const change = { bids: [level("100.00", "0"), level("99.50", "7")], previousSequence: 7n, sequence: 8n };
  assert.equal(book.apply(delta({ ...change, bidLevelCount: 1, askLevelCount: 2 })), null);
  assert.equal(shown(book), "7@99.50 | 3@101 4@101.5");
});

test("a level that is no decimal is refused and leaves the book as it was", () => {
  for (const bad of [level("NaN", "1"), level("98", "-1"), level("98", ""), level("", "1")]) {
    const book = started();
    const before = shown(book);
    const wrong = book.apply(
      delta({ bids: [bad], previousSequence: 7n, sequence: 8n, bidLevelCount: 3, askLevelCount: 2 }),
    );
    assert.match(wrong ?? "", /a level reads/);
    assert.equal(shown(book), before);
  }
});

test("a change before any book is refused; a book starts over whatever came before", () => {
  assert.match(new Book().apply(delta({ sequence: 1n })) ?? "", /before any book/);
  const book = started();
  assert.equal(book.replace(create(OrderBookSchema, { bids: [level("5", "1")], sequence: 2n })), null);
  assert.equal(shown(book), "1@5 | ");
  assert.equal(book.sequence, 2n);
});

test("any run of seeded changes ends where the same changes to a plain table end", () => {
  let state = 20261122;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
  const book = started();
  const table = { bids: new Map([[1000, 1], [995, 2]]), asks: new Map([[1010, 3], [1015, 4]]) };
  const price = (tenths: number): string => `${Math.floor(tenths / 10)}.${tenths % 10}`;
  for (let sequence = 8n; sequence < 2_000n; sequence += 1n) {
    const changes = { bids: [] as ReturnType<typeof level>[], asks: [] as ReturnType<typeof level>[] };
    for (const side of ["bids", "asks"] as const) {
      for (let count = random(4); count > 0; count -= 1) {
        const tenths = (side === "bids" ? 900 : 1001) + random(100);
        const size = random(3);
        changes[side].push(level(price(tenths), String(size)));
        if (size === 0) table[side].delete(tenths);
        else table[side].set(tenths, size);
      }
    }
    const counts = { bidLevelCount: table.bids.size, askLevelCount: table.asks.size };
    assert.equal(book.apply(delta({ ...changes, ...counts, previousSequence: sequence - 1n, sequence })), null);
  }
  const plain = (side: Map<number, number>, sign: number): string =>
    [...side].sort(([a], [b]) => sign * (a - b)).map(([tenths, size]) => `${size}@${price(tenths)}`).join(" ");
  const canonical = shown(book).replaceAll(/@(\d+)(?= |$)/g, "@$1.0");
  assert.equal(canonical, `${plain(table.bids, -1)} | ${plain(table.asks, 1)}`);
});
