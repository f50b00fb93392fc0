/** The calls of the mesh that this page makes, over gRPC-web to where the page came from. */

import { create } from "@bufbuild/protobuf";
import { DurationSchema, type Duration } from "@bufbuild/protobuf/wkt";
import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import {
  MarketDataService,
  type WatchOrderBookResponse,
  type WatchPricesResponse,
  type WatchTradesResponse,
} from "@contract/perpmesh/marketdata/v1/market_data_service_pb.js";
import type { Trade } from "@contract/perpmesh/marketdata/v1/trade_pb.js";
import type { Message, Open } from "./watch";

/** At most this often is a market's price, or the book, sent; a screen shows no more. */
const INTERVAL_MS = 150;
const PRICES_PER_MESSAGE = 50;
export const BOOK_DEPTH = 20;
export const TRADES_SHOWN = 30;

/** The events of a response, without those that every stream has. */
type Own<R extends { event: { case?: string | undefined } }> = Exclude<
  R["event"],
  { case: "live" | "heartbeat" | "end" | undefined }
>;
export type PriceEvent = Own<WatchPricesResponse>;
export type BookEvent = Own<WatchOrderBookResponse>;
export type TradeEvent = Own<WatchTradesResponse>;

/** To where the page came from, with nobody's token. */
export const plain: Transport = createGrpcWebTransport({ baseUrl: window.location.origin });

/** The same, with the token of whoever is signed in. */
export function signedIn(bearer: Interceptor): Transport {
  return createGrpcWebTransport({ baseUrl: window.location.origin, interceptors: [bearer] });
}

const client = createClient(MarketDataService, plain);

function interval(): Duration {
  return create(DurationSchema, { seconds: 0n, nanos: INTERVAL_MS * 1_000_000 });
}

export const watchPrices: Open<PriceEvent> = (cursor, signal): AsyncIterable<Message<PriceEvent>> =>
  client.watchPrices({ cursor, minInterval: interval(), batchSize: PRICES_PER_MESSAGE }, { signal });

export function watchBook(market: string): Open<BookEvent> {
  return (cursor, signal): AsyncIterable<Message<BookEvent>> =>
    client.watchOrderBook({ market, depth: BOOK_DEPTH, minInterval: interval(), cursor }, { signal });
}

export function watchTrades(market: string): Open<TradeEvent> {
  return (cursor, signal): AsyncIterable<Message<TradeEvent>> =>
    client.watchTrades({ markets: [market], replayCount: TRADES_SHOWN, cursor }, { signal });
}

/** Fetches the trades that a gap names, as far as they are kept and would be shown. */
export async function listTrades(market: string, first: bigint, last: bigint, signal: AbortSignal): Promise<Trade[]> {
  const request = { market, firstSequence: first, lastSequence: last, pageSize: TRADES_SHOWN };
  return (await client.listTrades(request, { signal })).trades;
}
