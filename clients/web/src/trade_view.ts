/**
 * Orders, positions and fills of whoever is signed in.
 *
 * An order is reviewed before it can be placed: what is placed is exactly what was reviewed, under one request_id, so
 * that a call whose answer was lost can be made again and never doubles the order.
 */

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Client, type Transport } from "@connectrpc/connect";
import {
  ExecutionService,
  PlaceOrderRequestSchema,
  PreviewOrderResponseSchema,
  type PlaceOrderRequest,
  type PreviewOrderResponse,
  type PreviewOrderResponse_PreviewLeg,
} from "@contract/perpmesh/execution/v1/execution_service_pb.js";
import type { Fill } from "@contract/perpmesh/execution/v1/fill_pb.js";
import type { Order } from "@contract/perpmesh/execution/v1/order_pb.js";
import { PortfolioService } from "@contract/perpmesh/portfolio/v1/portfolio_service_pb.js";
import type { Position } from "@contract/perpmesh/portfolio/v1/position_pb.js";
import { OrderType } from "@contract/perpmesh/type/v1/order_type_pb.js";
import { PositionSide } from "@contract/perpmesh/type/v1/position_side_pb.js";
import { Side } from "@contract/perpmesh/type/v1/side_pb.js";
import { SizeUnit } from "@contract/perpmesh/type/v1/size_unit_pb.js";
import { TimeInForce } from "@contract/perpmesh/type/v1/time_in_force_pb.js";
import type { Account } from "@contract/perpmesh/vault/v1/account_pb.js";
import { accountWords, ENVIRONMENTS } from "./accounts";
import { byId } from "./cells";
import { grouped } from "./decimal";
import { Deed, Fields, Table, textColumn } from "./forms";
import { Orders } from "./orders";
import { refusalWords } from "./quote_view";
import { timeOfDay } from "./words";

const FILLS = 50;
const POSITIONS = 200;
const LOOK_MS = 5_000;
const SOON_MS = 300;
const UNSEEN = "Margin and limits are checked when it is placed.";

const LIVES: Readonly<Record<string, TimeInForce>> = {
  gtc: TimeInForce.GOOD_TILL_CANCELED,
  ioc: TimeInForce.IMMEDIATE_OR_CANCEL,
  post: TimeInForce.POST_ONLY,
};

async function isServed(call: () => Promise<unknown>): Promise<boolean> {
  try {
    await call();
    return true;
  } catch (error) {
    return ConnectError.from(error).code !== Code.Unimplemented;
  }
}

export class TradeView {
  readonly #execution: Client<typeof ExecutionService>;
  readonly #portfolio: Client<typeof PortfolioService>;
  readonly #form = byId("order-form", HTMLFormElement);
  readonly #fields = new Fields(this.#form);
  readonly #place = byId("order-place", HTMLButtonElement);
  readonly #deed = new Deed(byId("order-review", HTMLButtonElement), byId("order-status", HTMLElement));
  readonly #looks = new Deed(this.#place, byId("positions-status", HTMLElement));
  readonly #review = byId("order-reviewed", HTMLElement);
  readonly #legs: Table<PreviewOrderResponse_PreviewLeg>;
  readonly #positions: Table<Position>;
  readonly #fills: Table<Fill>;
  readonly #orders: Orders;
  #reviewed: PlaceOrderRequest | null = null;
  #looking: number | undefined;
  #soon: number | undefined;
  #orderable = false;

  constructor(transport: Transport, notice: (text: string) => void) {
    this.#execution = createClient(ExecutionService, transport);
    this.#portfolio = createClient(PortfolioService, transport);
    this.#orders = new Orders(this.#execution, (order) => void this.#cancel(order), () => this.#lookSoon(), notice);
    this.#legs = new Table<PreviewOrderResponse_PreviewLeg>(
      byId("order-legs", HTMLTableElement),
      [
        textColumn("Venue", (one) => one.venue),
        textColumn("Size", (one) => grouped(one.size), true),
        textColumn("Limit price", (one) => grouped(one.limitPrice), true),
        textColumn("Margin, USD", (one) => grouped(one.initialMargin), true),
        textColumn("Free margin, USD", (one) => grouped(one.freeMargin), true),
        textColumn("", (one) => one.refusals.map(refusalWords).join(" ")),
      ],
      "What would be sent",
    );
    this.#positions = new Table<Position>(
      byId("positions", HTMLTableElement),
      [
        textColumn("Market", (one) => one.market),
        textColumn("At", (one) => `${one.venue}, ${ENVIRONMENTS[one.environment] ?? ""}`),
        textColumn("Side", (one) => (one.side === PositionSide.SHORT ? "short" : "long")),
        textColumn("Size", (one) => grouped(one.size), true),
        textColumn("Entry", (one) => grouped(one.entryPrice), true),
        textColumn("Mark", (one) => grouped(one.markPrice), true),
        textColumn("Profit, USD", (one) => grouped(one.unrealizedPnl), true),
        textColumn("Liquidation", (one) => grouped(one.reportedLiquidationPrice || one.computedLiquidationPrice), true),
        textColumn("", (one) => one.differences.map((difference) => difference.explanation).join(" ")),
      ],
      "Positions",
    );
    this.#fills = new Table<Fill>(
      byId("fills", HTMLTableElement),
      [
        textColumn("Time", (one) => timeOfDay(one.fillTime)),
        textColumn("Market", (one) => one.market),
        textColumn("At", (one) => one.venue),
        textColumn("Side", (one) => (one.side === Side.SELL ? "sell" : "buy")),
        textColumn("Price", (one) => grouped(one.price), true),
        textColumn("Size", (one) => grouped(one.size), true),
        textColumn("Fees, USD", (one) => grouped(one.totalCost), true),
      ],
      "Fills, the newest first",
    );
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask();
    });
    this.#form.addEventListener("input", () => this.#forget());
    this.#place.addEventListener("click", () => void this.#send());
  }

  /** Says what of this view the mesh serves to whoever is signed in. */
  async served(): Promise<boolean> {
    const [orders, positions] = await Promise.all([
      isServed(() => this.#execution.listOrders({ pageSize: 1 })),
      isServed(() => this.#portfolio.listPositions({ pageSize: 1 })),
    ]);
    this.#orderable = orders;
    byId("order-part", HTMLElement).hidden = !orders;
    return orders || positions;
  }

  setAccounts(accounts: readonly Account[]): void {
    const select = byId("order-account", HTMLSelectElement);
    const chosen = select.value;
    select.replaceChildren(new Option("default of each venue", ""), ...accounts.map((one) => new Option(accountWords(one), one.accountId)));
    select.value = accounts.some((one) => one.accountId === chosen) ? chosen : "";
  }

  enter(market: string | null): void {
    if (market !== null && this.#fields.text("market") === "") this.#fields.set("market", market);
    if (this.#orderable) this.#orders.start();
    window.clearInterval(this.#looking);
    this.#looking = window.setInterval(() => void this.#look(), LOOK_MS);
    void this.#look();
  }

  leave(): void {
    window.clearInterval(this.#looking);
    this.#looking = undefined;
    this.#orders.stop();
  }

  clear(): void {
    this.leave();
    this.#forget();
    this.#positions.set([], (one) => one.positionId, () => "");
    this.#fills.set([], (one) => one.fillId, () => "");
  }

  #lookSoon(): void {
    window.clearTimeout(this.#soon);
    this.#soon = window.setTimeout(() => void this.#look(), SOON_MS);
  }

  async #look(): Promise<void> {
    const status = this.#looks;
    await status.quietly(async () => {
      const { positions } = await this.#portfolio.listPositions({ pageSize: POSITIONS });
      this.#positions.set(
        positions,
        (one) => one.positionId,
        (one) => `${one.size} ${one.entryPrice} ${one.markPrice} ${one.unrealizedPnl} ${one.differences.length}`,
      );
      status.say(positions.length === 0 ? "No open position." : "");
    });
    if (!this.#orderable) return;
    await status.quietly(async () => {
      const { fills } = await this.#execution.listFills({ pageSize: FILLS });
      this.#fills.set(fills, (one) => one.fillId, (one) => one.fillId);
    });
  }

  #request(): PlaceOrderRequest {
    const given = (name: string): string => this.#fields.text(name);
    const limit = given("type") === "limit";
    const request = create(PlaceOrderRequestSchema, {
      requestId: crypto.randomUUID(),
      market: given("market").toUpperCase(),
      side: given("side") === "sell" ? Side.SELL : Side.BUY,
      size: given("size"),
      sizeUnit: given("size_unit") === "usd" ? SizeUnit.USD : SizeUnit.BASE,
      type: limit ? OrderType.LIMIT : OrderType.MARKET,
      reduceOnly: this.#fields.checked("reduce_only"),
      accountIds: given("account_ids") === "" ? [] : [given("account_ids")],
    });
    if (limit) {
      request.limitPrice = given("limit_price");
      request.timeInForce = LIVES[given("time_in_force")] ?? TimeInForce.UNSPECIFIED;
    }
    return request;
  }

  async #ask(): Promise<void> {
    this.#forget();
    await this.#deed.run(
      "Looking whether it would pass.",
      async () => {
        const order = this.#request();
        const preview = await this.#preview(order);
        this.#fields.mark(null);
        this.#show(order, preview);
        return "";
      },
      (error) => this.#fields.mark(error),
    );
  }

  /** Asks whether an order would pass; a mesh that cannot say so beforehand says it once the order is placed. */
  async #preview(order: PlaceOrderRequest): Promise<PreviewOrderResponse> {
    try {
      return await this.#execution.previewOrder({ order });
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unimplemented) throw error;
      return create(PreviewOrderResponseSchema, { passes: true, explanation: UNSEEN });
    }
  }

  #show(order: PlaceOrderRequest, preview: PreviewOrderResponse): void {
    this.#reviewed = preview.passes ? order : null;
    const refusals = [...new Set(preview.refusals.map(refusalWords))].join(" ");
    const said = preview.passes ? preview.explanation : `It would not pass. ${refusals}`;
    const side = order.side === Side.SELL ? "Sell" : "Buy";
    const wish = `${side} ${grouped(order.size)} ${order.sizeUnit === SizeUnit.USD ? "USD of " : ""}${order.market}`;
    const how = order.type === OrderType.MARKET ? "at the market" : `at ${grouped(order.limitPrice ?? "")} or better`;
    byId("order-summary", HTMLElement).textContent = `${wish} ${how}. ${said}`.trim();
    this.#legs.set(preview.legs, (one) => `${one.venue} ${one.accountId}`, (one) => `${one.size} ${one.limitPrice} ${one.freeMargin}`);
    this.#place.hidden = !preview.passes;
    this.#review.hidden = false;
    if (preview.passes) this.#place.focus();
  }

  #forget(): void {
    this.#reviewed = null;
    this.#review.hidden = true;
    this.#deed.say("");
  }

  async #send(): Promise<void> {
    const order = this.#reviewed;
    if (order === null) return;
    await this.#deed.run("Placing the order.", async () => {
      const placed = await this.#execution.placeOrder(order);
      this.#forget();
      if (placed.order !== undefined) this.#orders.put(placed.order);
      return placed.order === undefined ? "Placed." : placed.order.explanation;
    });
  }

  async #cancel(order: Order): Promise<void> {
    await this.#deed.run("Canceling.", async () => {
      const answer = await this.#execution.cancelOrder({ orderId: order.orderId });
      if (answer.order !== undefined) this.#orders.put(answer.order);
      return "Cancellation asked for; the order is canceled when its state says so.";
    });
  }
}
