import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Order_State, OrderSchema } from "@contract/perpmesh/execution/v1/order_pb.js";
import { ErrorInfoSchema } from "@contract/google/rpc/error_details_pb.js";
import { judge } from "../src/failure";
import { OrderBook } from "../src/order_book";
import { lifetimeMs } from "../src/session";
import { programWords } from "../src/words";

function token(claims: unknown): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;
}

test("an access token lives as long as it says, whatever the clock here", () => {
  assert.equal(lifetimeMs(token({ iat: 1_000, exp: 1_900, sub: "ÿþ" })), 900_000);
  for (const odd of ["", "a.b", token({ exp: "soon" }), token(null), "e30.%%%.x"]) assert.equal(lifetimeMs(odd), 60_000);
});

test("a stream whose token ended is opened again, with another", () => {
  const ended = new ConnectError("ended", Code.Unauthenticated, undefined, [
    { desc: ErrorInfoSchema, value: { reason: "TOKEN_INVALID", domain: "perpmesh" } },
  ]);
  assert.equal(judge(ended).then, "resume");
  assert.equal(judge(new ConnectError("nobody", Code.Unauthenticated)).then, "stop");
});

test("an order shows its newest state, the newest order comes first, and few that ended are kept", () => {
  const book = new OrderBook();
  const order = (id: number, version: number, state: Order_State) =>
    create(OrderSchema, { orderId: `${id}`, version: BigInt(version), state, createTime: { seconds: BigInt(id) } });
  book.put(order(1, 3, Order_State.CANCELED));
  book.put(order(1, 2, Order_State.RUNNING));
  book.put(order(2, 1, Order_State.RUNNING));
  assert.deepEqual(
    book.newestFirst().map((one) => [one.orderId, one.state]),
    [
      ["2", Order_State.RUNNING],
      ["1", Order_State.CANCELED],
    ],
  );
  for (let id = 10; id < 100; id += 1) book.put(order(id, 1, Order_State.DONE));
  const kept = book.newestFirst();
  assert.equal(kept.length, 51);
  assert.equal(kept.at(-1)?.orderId, "2");
});

test("programs are named by the words a reader knows", () => {
  const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
  assert.equal(programWords(chrome), "Chrome 131 on Linux");
  assert.equal(programWords(`${chrome} Edg/131.0.0.0`), "Edge 131 on Linux");
  const safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1";
  assert.equal(programWords(safari), "Safari 18 on iPhone");
  assert.equal(programWords("perpmesh-client/0.1"), "perpmesh-client/0.1");
  assert.equal(programWords(""), "unknown");
});
