/** The recent trades of one market, each once, newest first, at most `limit` of them. */

import type { Trade } from "@contract/perpmesh/marketdata/v1/trade_pb.js";

export class TradeTape {
  #trades: Trade[] = [];

  constructor(readonly limit: number) {}

  /** Adds trades in any order; one that is there already is not added again. Returns whether anything changed. */
  add(trades: readonly Trade[]): boolean {
    const known = new Set(this.#trades.map((trade) => trade.sequence));
    const fresh = trades.filter((trade) => !known.has(trade.sequence));
    if (fresh.length === 0) return false;
    this.#trades.push(...fresh);
    this.#trades.sort((a, b) => (a.sequence < b.sequence ? 1 : a.sequence > b.sequence ? -1 : 0));
    this.#trades.length = Math.min(this.#trades.length, this.limit);
    return true;
  }

  clear(): void {
    this.#trades = [];
  }

  newestFirst(): readonly Trade[] {
    return this.#trades;
  }
}
