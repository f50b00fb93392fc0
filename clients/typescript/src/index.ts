/**
 * A small client of a mesh, over gRPC-web: in a browser, or wherever there is `fetch` (Node 20, Deno, workers).
 *
 *     const mesh = connect("http://127.0.0.1:8080");
 *     const { price } = await mesh.marketData.getPrice({ market: "BTC-PERP" });
 *     for await (const message of mesh.watch((cursor) => mesh.marketData.watchPrices({ markets: ["BTC-PERP"], cursor })))
 *       if (message.event.case === "price") console.log(message.event.value.bestBid?.price);
 *
 * Decimals are strings, as in the contract: take a decimal library where you calculate.
 */
import { Code, ConnectError, createClient, type Client, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { DescService } from "@bufbuild/protobuf";

import { ErrorInfoSchema, RetryInfoSchema } from "../../../gen/ts/google/rpc/error_details_pb.js";
import { AuthService } from "../../../gen/ts/perpmesh/auth/v1/auth_service_pb.js";
import { ExecutionService } from "../../../gen/ts/perpmesh/execution/v1/execution_service_pb.js";
import { MarketDataService } from "../../../gen/ts/perpmesh/marketdata/v1/market_data_service_pb.js";
import { PortfolioService } from "../../../gen/ts/perpmesh/portfolio/v1/portfolio_service_pb.js";
import { RoutingService } from "../../../gen/ts/perpmesh/routing/v1/routing_service_pb.js";
import { VaultService } from "../../../gen/ts/perpmesh/vault/v1/vault_service_pb.js";

export { AuthService, ExecutionService, MarketDataService, PortfolioService, RoutingService, VaultService };

/** How a mesh is called. */
export interface Options {
  /** Gives the access token that calls carry, asked for at each call; absent where nobody is signed in. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** How long a unary call may take, in milliseconds. */
  timeoutMs?: number;
  /** Replaces gRPC-web, for tests and for other transports of Connect. */
  transport?: Transport;
}

/** What a failed call says, in the words of the contract (`docs/reference/errors.md`). */
export interface Failure {
  /** The machine-readable reason, such as `MARKET_UNKNOWN`; empty where the mesh was not reached. */
  reason: string;
  /** network, authentication, trading or system. */
  category: string;
  message: string;
  code: Code;
  metadata: Record<string, string>;
  /** How long to wait before the same call is sent again, in milliseconds; undefined where waiting does not help. */
  retryAfterMs: number | undefined;
}

/** Read an error of a call. */
export function failureOf(error: unknown): Failure {
  const known = ConnectError.from(error);
  const [info] = known.findDetails(ErrorInfoSchema);
  const [retry] = known.findDetails(RetryInfoSchema);
  const delay = retry?.retryDelay;
  return {
    reason: info?.reason ?? "",
    category: info?.metadata["category"] ?? "network",
    message: known.rawMessage,
    code: known.code,
    metadata: { ...info?.metadata },
    retryAfterMs: delay === undefined ? undefined : Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}

/** What the messages of every Watch call have in common. */
export interface WatchMessage {
  cursor: string;
  event: { case?: string | undefined; value?: unknown };
}

/** A mesh. */
export class Mesh {
  readonly marketData: Client<typeof MarketDataService>;
  readonly auth: Client<typeof AuthService>;
  readonly routing: Client<typeof RoutingService>;
  readonly execution: Client<typeof ExecutionService>;
  readonly portfolio: Client<typeof PortfolioService>;
  readonly vault: Client<typeof VaultService>;

  constructor(readonly transport: Transport) {
    this.marketData = this.client(MarketDataService);
    this.auth = this.client(AuthService);
    this.routing = this.client(RoutingService);
    this.execution = this.client(ExecutionService);
    this.portfolio = this.client(PortfolioService);
    this.vault = this.client(VaultService);
  }

  /** Return the calls of any service of the contract. */
  client<T extends DescService>(service: T): Client<T> {
    return createClient(service, this.transport);
  }

  /**
   * Follow a Watch call over as many streams as it takes: `open` is given the cursor to resume from. A cursor that is too
   * old is dropped, and the stream begins with the present again; a stream that cannot go on throws.
   */
  async *watch<M extends WatchMessage>(
    open: (cursor: string) => AsyncIterable<M>,
    { signal, backoffMaxMs = 5000 }: { signal?: AbortSignal; backoffMaxMs?: number } = {},
  ): AsyncGenerator<M, void, undefined> {
    let cursor = "";
    let failures = 0;
    while (!signal?.aborted) {
      let waitMs = 0;
      try {
        for await (const message of open(cursor)) {
          failures = 0;
          if (message.cursor) cursor = message.cursor;
          yield message;
          if (signal?.aborted) return;
        }
      } catch (error) {
        if (signal?.aborted) return;
        const failure = failureOf(error);
        if (cursor && failure.reason.startsWith("CURSOR_")) cursor = "";
        else if (![Code.Unavailable, Code.ResourceExhausted, Code.Aborted, Code.Unknown].includes(failure.code)) throw error;
        waitMs = failure.retryAfterMs ?? 0;
      }
      failures += 1;
      const backoffMs = Math.min(backoffMaxMs, 100 * 2 ** Math.min(failures - 1, 10)) * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, Math.max(waitMs, backoffMs)));
    }
  }
}

/** Return a client of the mesh whose edge is at `baseUrl`. */
export function connect(baseUrl: string, options: Options = {}): Mesh {
  const authorize: Interceptor = (next) => async (request) => {
    const token = await options.token?.();
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  return new Mesh(
    options.transport ??
      createGrpcWebTransport({
        baseUrl,
        interceptors: [authorize],
        ...(options.timeoutMs === undefined ? {} : { defaultTimeoutMs: options.timeoutMs }),
      }),
  );
}
