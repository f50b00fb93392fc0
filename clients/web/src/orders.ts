/** The reader's orders as they stand: followed by one stream, sent whole, never collapsed. */

import type { Client } from "@connectrpc/connect";
import type { ExecutionService, WatchOrdersResponse } from "@contract/perpmesh/execution/v1/execution_service_pb.js";
import { Order_State, type Order } from "@contract/perpmesh/execution/v1/order_pb.js";
import { OrderType } from "@contract/perpmesh/type/v1/order_type_pb.js";
import { Side } from "@contract/perpmesh/type/v1/side_pb.js";
import { byId, element } from "./cells";
import { grouped } from "./decimal";
import { sentenceOf } from "./failure";
import { button, Table, textColumn } from "./forms";
import { isOpen, OrderBook } from "./order_book";
import { gapWords, linkWords } from "./panel";
import { Watch, type Message } from "./watch";
import { timeOfDay } from "./words";

const RECENT = 50;

type OrderEvent = Exclude<WatchOrdersResponse["event"], { case: "live" | "heartbeat" | "end" | undefined }>;

const STATES: Readonly<Record<number, string>> = {
  [Order_State.PLANNED]: "planned",
  [Order_State.RUNNING]: "open",
  [Order_State.PAUSED]: "paused",
  [Order_State.SUBMIT_UNKNOWN]: "outcome not known yet",
  [Order_State.DONE]: "filled",
  [Order_State.PARTIALLY_DONE]: "partly filled, ended",
  [Order_State.CANCELED]: "canceled",
  [Order_State.EXPIRED]: "expired",
  [Order_State.DENIED]: "denied",
  [Order_State.REJECTED]: "rejected",
  [Order_State.FAILED]: "failed",
  [Order_State.ABORTED]: "aborted",
};

export class Orders {
  readonly #status = byId("orders-status", HTMLElement);
  readonly #book = new OrderBook();
  readonly #table: Table<Order>;
  #watch: Watch<OrderEvent> | null = null;

  constructor(
    private readonly client: Client<typeof ExecutionService>,
    private readonly cancel: (order: Order) => void,
    private readonly moved: () => void,
    private readonly notice: (text: string) => void,
  ) {
    this.#table = new Table<Order>(
      byId("orders", HTMLTableElement),
      [
        textColumn("Placed", (one) => timeOfDay(one.createTime)),
        textColumn("Market", (one) => one.market),
        textColumn("Side", (one) => (one.side === Side.SELL ? "sell" : "buy")),
        textColumn("Size", (one) => grouped(one.size), true),
        textColumn("Filled", (one) => grouped(one.filledSize), true),
        textColumn("Limit", (one) => (one.type === OrderType.MARKET ? "market" : grouped(one.limitPrice ?? "")), true),
        textColumn("Average price", (one) => grouped(one.averagePrice), true),
        {
          title: "State",
          cell: (one, cell) => {
            cell.className = "wraps";
            element(cell, "strong").textContent = STATES[one.state] ?? `state ${one.state}`;
            element(cell, "span", "quiet").textContent = ` ${one.explanation}`;
          },
        },
        {
          title: "",
          cell: (one, cell) => {
            if (!isOpen(one) || one.foreign) return;
            const words = one.cancelTime === undefined ? "Cancel" : "Canceling";
            const made = button(cell, words, () => this.cancel(one));
            made.setAttribute("aria-label", `${words} ${one.market} ${one.size}`);
          },
        },
      ],
      "Orders, the newest first",
    );
  }

  start(): void {
    if (this.#watch !== null) return;
    const open = (cursor: string, signal: AbortSignal): AsyncIterable<Message<OrderEvent>> =>
      this.client.watchOrders({ cursor }, { signal });
    this.#watch = new Watch<OrderEvent>(open, {
      opened: (fresh) => {
        if (fresh) this.#book.clear();
      },
      live: (fresh) => {
        this.#paint();
        if (fresh) void this.#recent();
      },
      ended: (end) => this.notice(`Orders: ${end.reason}: ${end.message}`),
      link: (link) => {
        this.#status.textContent = linkWords(link);
      },
      event: (event) => {
        if (event.case === "gap") {
          this.notice(gapWords("Orders", event.value));
          return "orders were lost";
        }
        this.put(event.value);
        return null;
      },
    });
    this.#watch.start();
  }

  /** The stream begins with what is open; what has ended lately is asked for once. */
  async #recent(): Promise<void> {
    const watch = this.#watch;
    try {
      const { orders } = await this.client.listOrders({ pageSize: RECENT });
      if (this.#watch !== watch) return;
      for (const order of orders) this.#book.put(order);
      this.#paint();
    } catch (error) {
      this.notice(`Orders that have ended: ${sentenceOf(error)}`);
    }
  }

  stop(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#book.clear();
    this.#paint();
  }

  /** Takes an order as a call answered it. */
  put(order: Order): void {
    this.#book.put(order);
    this.#paint();
    this.moved();
  }

  #paint(): void {
    this.#table.set(this.#book.newestFirst(), (one) => one.orderId, (one) => `${one.version}`);
  }
}
