/** The states of the reader's orders, each kept as the newest that is known. */

import { Order_State, type Order } from "@contract/perpmesh/execution/v1/order_pb.js";

const ENDED_MAX = 50;

const OPEN: ReadonlySet<Order_State> = new Set([
  Order_State.PLANNED,
  Order_State.RUNNING,
  Order_State.PAUSED,
  Order_State.SUBMIT_UNKNOWN,
]);

export function isOpen(order: Order): boolean {
  return OPEN.has(order.state);
}

/** Keeps the newest state of each order, and of those that have ended the newest few. */
export class OrderBook {
  readonly #orders = new Map<string, Order>();

  /** Takes a state; one that is older than what is known changes nothing. */
  put(order: Order): void {
    const known = this.#orders.get(order.orderId);
    if (known !== undefined && known.version >= order.version) return;
    this.#orders.set(order.orderId, order);
    const ended = this.newestFirst().filter((one) => !isOpen(one));
    for (const one of ended.slice(ENDED_MAX)) this.#orders.delete(one.orderId);
  }

  clear(): void {
    this.#orders.clear();
  }

  newestFirst(): Order[] {
    const since = (one: Order): bigint => (one.createTime?.seconds ?? 0n) * 1_000_000_000n + BigInt(one.createTime?.nanos ?? 0);
    return [...this.#orders.values()].sort((a, b) => (since(a) < since(b) ? 1 : since(a) > since(b) ? -1 : 0));
  }
}
