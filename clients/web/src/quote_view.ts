/** The quote form: what a trade would cost over all venues, line by line, beside what else could be done, and its proof. */

import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Client, type Transport } from "@connectrpc/connect";
import {
  Quote_Basis,
  Quote_Outcome,
  QuoteAlternative_Kind,
  type Quote,
  type QuoteAlternative,
  type QuoteLeg,
} from "@contract/perpmesh/routing/v1/quote_pb.js";
import {
  QuoteRouteRequestSchema,
  RoutingService,
  type QuoteRouteRequest,
  type WatchQuoteResponse,
} from "@contract/perpmesh/routing/v1/routing_service_pb.js";
import { CostKind, type Cost } from "@contract/perpmesh/type/v1/cost_pb.js";
import type { Refusal } from "@contract/perpmesh/type/v1/refusal_pb.js";
import { Side } from "@contract/perpmesh/type/v1/side_pb.js";
import { SizeUnit } from "@contract/perpmesh/type/v1/size_unit_pb.js";
import { byId, element } from "./cells";
import { check } from "./certificate";
import { grouped } from "./decimal";
import { Deed, Fields, Table, textColumn } from "./forms";
import { gapWords, linkWords } from "./panel";
import { Watch, type Message } from "./watch";

const FOLLOW_MS = 500;

const COSTS: Readonly<Record<number, string>> = {
  [CostKind.BOOK]: "walking the book",
  [CostKind.VENUE_FEE]: "venue fee",
  [CostKind.BUILDER_FEE]: "builder fee",
  [CostKind.INTEGRATOR_FEE]: "integrator fee",
  [CostKind.PLATFORM_FEE]: "our fee",
  [CostKind.PRIORITY_FEE]: "priority fee",
  [CostKind.FUNDING]: "funding",
  [CostKind.CLOSING]: "closing later",
  [CostKind.LATENCY]: "delay",
  [CostKind.STALENESS]: "age of the book",
  [CostKind.FEE_TRUNCATION]: "fee cut by the venue",
  [CostKind.LIQUIDATION_FEE]: "liquidation fee",
};

type QuoteEvent = Exclude<WatchQuoteResponse["event"], { case: "live" | "heartbeat" | "end" | undefined }>;

/** A refusal and what would pass, as sentences. */
export function refusalWords(refusal: Refusal): string {
  const where = refusal.venue === "" ? "" : `${refusal.venue}: `;
  return `${where}${refusal.message} ${refusal.advice}`.trim();
}

/** A cost's line, by the words a reader knows. */
export function costWords(cost: Cost): string {
  return COSTS[cost.kind] ?? `cost ${cost.kind}`;
}

function alternativeWords(one: QuoteAlternative): string {
  if (one.kind === QuoteAlternative_Kind.SINGLE_VENUE) return `all at ${one.venue}`;
  return one.kind === QuoteAlternative_Kind.EVEN_SPLIT ? "the same at every venue" : "another plan";
}

export class QuoteView {
  readonly #client: Client<typeof RoutingService>;
  readonly #form = byId("quote-form", HTMLFormElement);
  readonly #fields = new Fields(this.#form);
  readonly #deed = new Deed(byId("quote-ask", HTMLButtonElement), byId("quote-status", HTMLElement));
  readonly #follow = byId("quote-follow", HTMLButtonElement);
  readonly #result = byId("quote-result", HTMLElement);
  readonly #summary = byId("quote-summary", HTMLElement);
  readonly #proof = byId("quote-proof", HTMLElement);
  readonly #notes = byId("quote-notes", HTMLUListElement);
  readonly #legs: Table<QuoteLeg>;
  readonly #costs: Table<Cost>;
  readonly #others: Table<QuoteAlternative>;
  #watch: Watch<QuoteEvent> | null = null;

  constructor(
    transport: Transport,
    private readonly notice: (text: string) => void,
  ) {
    this.#client = createClient(RoutingService, transport);
    const table = (id: string): HTMLTableElement => byId(id, HTMLTableElement);
    this.#legs = new Table<QuoteLeg>(
      table("quote-legs"),
      [
        textColumn("Venue", (one) => one.venue),
        textColumn("Size", (one) => grouped(one.size), true),
        textColumn("Average price", (one) => grouped(one.averagePrice), true),
        textColumn("Worst price", (one) => grouped(one.worstPrice), true),
        textColumn("Levels", (one) => (one.resting ? "rests" : String(one.levelCount)), true),
        textColumn("Cost, USD", (one) => grouped(one.totalCost), true),
      ],
      "The plan: one leg a venue",
    );
    this.#costs = new Table<Cost>(
      table("quote-costs"),
      [textColumn("Paid for", costWords), textColumn("USD", (one) => grouped(one.amount), true)],
      "What it costs beyond the arrival mid price",
    );
    this.#others = new Table<QuoteAlternative>(
      table("quote-others"),
      [
        textColumn("Instead", alternativeWords),
        textColumn("Cost, USD", (one) => (one.feasible ? grouped(one.totalCost) : "cannot be done"), true),
        textColumn("More than the plan, USD", (one) => grouped(one.extraCost), true),
        textColumn("bps", (one) => grouped(one.extraCostBps), true),
        textColumn("", (one) => one.refusals.map(refusalWords).join(" ")),
      ],
      "What else could be done",
    );
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.leave();
      void this.#ask();
    });
    this.#follow.addEventListener("click", () => (this.#watch === null ? this.#begin() : this.leave()));
  }

  /** Says whether the mesh serves quotes at all. */
  async served(): Promise<boolean> {
    try {
      await this.#client.getQuote({ quoteId: crypto.randomUUID() });
      return true;
    } catch (error) {
      return ConnectError.from(error).code !== Code.Unimplemented;
    }
  }

  /** Fills in the market that the reader looks at. */
  enter(market: string | null): void {
    if (market !== null && this.#fields.text("market") === "") this.#fields.set("market", market);
  }

  /** Stops following. */
  leave(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#follow.textContent = "Follow";
    this.#follow.setAttribute("aria-pressed", "false");
  }

  #request(): QuoteRouteRequest {
    const given = (name: string): string => this.#fields.text(name);
    const request = create(QuoteRouteRequestSchema, {
      market: given("market").toUpperCase(),
      side: given("side") === "sell" ? Side.SELL : Side.BUY,
      size: given("size"),
      sizeUnit: given("size_unit") === "usd" ? SizeUnit.USD : SizeUnit.BASE,
      includeInputs: true,
    });
    if (given("limit_price") !== "") request.limitPrice = given("limit_price");
    if (given("max_slippage_bps") !== "") request.maxSlippageBps = Number(given("max_slippage_bps"));
    if (given("holding_time") !== "") {
      request.holdingTime = create(DurationSchema, { seconds: BigInt(Math.round(Number(given("holding_time")) * 3600)) });
    }
    return request;
  }

  async #ask(): Promise<void> {
    await this.#deed.run(
      "Asking.",
      async () => {
        const { quote } = await this.#client.quoteRoute(this.#request());
        this.#fields.mark(null);
        if (quote !== undefined) this.#show(quote);
        return "";
      },
      (error) => {
        this.#result.hidden = true;
        this.#fields.mark(error);
      },
    );
  }

  #begin(): void {
    const route = this.#request();
    const minInterval = create(DurationSchema, { nanos: FOLLOW_MS * 1_000_000 });
    const open = (_cursor: string, signal: AbortSignal): AsyncIterable<Message<QuoteEvent>> =>
      this.#client.watchQuote({ route, minInterval }, { signal });
    this.#watch = new Watch<QuoteEvent>(open, {
      opened: () => undefined,
      live: () => undefined,
      ended: (end) => this.notice(`Quotes: ${end.reason}: ${end.message}`),
      link: (link) => {
        this.#deed.say(link.kind === "live" ? "Following the books." : linkWords(link), link.kind === "stopped" ? "failed" : "busy");
        if (link.kind === "stopped") this.leave();
      },
      event: (event) => {
        if (event.case === "gap") this.notice(gapWords("Quotes", event.value));
        else this.#show(event.value);
        return null;
      },
    });
    this.#follow.textContent = "Stop following";
    this.#follow.setAttribute("aria-pressed", "true");
    this.#watch.start();
  }

  #show(quote: Quote): void {
    const feasible = quote.outcome === Quote_Outcome.FEASIBLE;
    this.#result.hidden = false;
    this.#result.dataset["quote"] = quote.quoteId;
    const whose = quote.basis === Quote_Basis.ACCOUNT ? "with your own fees and margin" : "at public fees";
    const cost = `${grouped(quote.totalCost)} USD (${grouped(quote.totalCostBps)} bps) beyond the mid price of ${grouped(quote.arrivalMidPrice)}`;
    this.#summary.textContent = feasible
      ? `${quote.side === Side.SELL ? "Selling" : "Buying"} ${grouped(quote.size)} costs ${cost}, ${whose}. ${quote.explanation}`
      : `It cannot be done. ${quote.refusals.map(refusalWords).join(" ")}`;
    this.#legs.set(quote.legs, (one) => one.venue, (one) => `${one.size} ${one.averagePrice} ${one.totalCost}`);
    this.#costs.set(quote.costs, (one) => String(one.kind), (one) => one.amount);
    this.#others.set(
      quote.alternatives,
      (one) => `${one.kind} ${one.venue}`,
      (one) => `${one.feasible} ${one.totalCost} ${one.extraCost}`,
    );
    this.#prove(quote, feasible);
    this.#notes.replaceChildren();
    const nearest = quote.nearestSizes.map((size) => `${size} would pass.`);
    for (const note of [...quote.leftOut.map(refusalWords), ...nearest, quote.priorityFeeAdvice]) {
      if (note !== "") element(this.#notes, "li").textContent = note;
    }
  }

  #prove(quote: Quote, feasible: boolean): void {
    const { certificate } = quote;
    if (!feasible || certificate === undefined) {
      this.#proof.textContent = "";
      delete this.#proof.dataset["holds"];
      return;
    }
    const verdict = check(quote);
    const holds = verdict.faults.length === 0;
    this.#proof.dataset["holds"] = String(holds);
    const claim = `Certificate: no plan is better by more than ${grouped(certificate.gap)} USD (${grouped(certificate.gapBps)} bps).`;
    const found = holds
      ? `Checked here, exactly: ${verdict.checked.join(", ")}. ${verdict.unchecked}`
      : `It does not hold: ${verdict.faults.join("; ")}.`;
    this.#proof.textContent = `${claim} ${found}`.trim();
  }
}
