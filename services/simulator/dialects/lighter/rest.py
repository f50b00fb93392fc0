"""Lighter's REST interface: the public reads of a market-data client, and the routes of everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.dialects.lighter import nothing, printing
from services.simulator.dialects.lighter.account_rest import AccountRest
from services.simulator.dialects.lighter.printing import Json
from services.simulator.dialects.lighter.query import Query
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.history import HOUR_MS, INTERVALS_MS
from services.simulator.instrument import RATE_SCALE, Instrument
from services.simulator.limits import Window
from services.simulator.market import Market

RESOLUTIONS = ("1m", "5m", "15m", "30m", "1h", "4h", "12h", "1d", "1w")
CANDLES_MAX = 500
ALL_MARKETS = 255
TIME_MAX = 5_000_000_000_000

encode = msgspec.json.Encoder().encode


class Rest:
    """Answers GET requests about one market."""

    def __init__(self, market: Market, accounts: AccountRest, rim: Rim, config: Config) -> None:
        """Take the market to answer for, and who answers for accounts."""
        self._accounts = accounts
        self.replaying = False
        self._market = market
        self._rim = rim
        self._requests = Window(config.lighter_requests_max)

    def routes(self, app: web.Application) -> None:
        """Serve everything built so far; other paths are answered as unknown."""
        paths: dict[str, Callable[[Query], dict[str, Json]]] = {
            "orderBooks": self._order_books,
            "orderBookDetails": self._details,
            "orderBookOrders": self._orders,
            "recentTrades": self._recent_trades,
            "trades": self._trades,
            "candles": self._candles,
            "fundings": self._fundings,
            "funding-rates": self._funding_rates,
            "exchangeStats": self._stats,
            "currentHeight": lambda _query: {"height": self._market.height},
            "assetDetails": self._assets,
            "systemConfig": self._system,
        }
        paths |= self._accounts.reads()
        for path, body in nothing.READS.items():
            paths.setdefault(path, lambda _query, body=body: dict(body))  # type: ignore[misc]
        for path, answer in paths.items():
            app.router.add_get(f"/api/v1/{path}", self._handler(answer))
        for path in nothing.WRITES:
            app.router.add_post(f"/api/v1/{path}", self._handler(_not_simulated))
        for path, answer in self._accounts.writes().items():
            app.router.add_post(f"/api/v1/{path}", self._handler(answer))
        app.router.add_post("/api/v1/sendTx", self._accounts.send)
        app.router.add_post("/api/v1/sendTxBatch", self._accounts.send_batch)
        app.router.add_route("*", "/api/v1/{path:.*}", _not_found)
        app.router.add_get("/", self._status)
        app.router.add_get("/info", self._info)

    def _handler(
        self, answer: Callable[[Query], dict[str, Json]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.Response:
            fits = self._requests.take(request.remote or "", 1, self._rim.clock.monotonic())
            self._rim.ledger.counted("lighter", "requests", 1, refused=not fits)
            if not fits:
                return _json(429, {"code": 23000, "message": "Too Many Requests!"})
            try:
                form = None
                if request.method == "POST":
                    form = {name: str(value) for name, value in (await request.post()).items()}
                return _json(200, {"code": 200} | answer(Query(request, form)))
            except RefusedError as refusal:
                return _json(refusal.status, {"code": refusal.code, "message": refusal.message})

        return handle

    async def _status(self, _request: web.Request) -> web.Response:
        seconds = self._market.now_ns // 1_000_000_000
        return _json(200, {"status": 200, "network_id": 1, "timestamp": seconds})

    async def _info(self, _request: web.Request) -> web.Response:
        return _json(200, {"contract_address": "0x3B4D794a66304F130a4Db8F2551B0070dfCf5ca7"})

    def markets(self) -> list[Instrument]:
        """Return all markets by id."""
        return list(self._market.venues["lighter"].values())

    def traded(self, query: Query) -> Instrument:
        """Return a market whose book and trades may be shown; a replay has none outside its sockets."""
        if self.replaying:
            raise RefusedError(29500, "internal server error", 503)
        return self.market(query)

    def market(self, query: Query) -> Instrument:
        """Return the market that a request names. Raises RefusedError for one that is not listed."""
        number = query.number("market_id", 0, 4094)
        found = self._market.venues["lighter"].get(str(number))
        if found is None:
            raise RefusedError(21602, "invalid market index")
        return found

    def _chosen(self, query: Query) -> list[Instrument]:
        kind = query.text("filter", "all", ("all", "perp", "spot"))
        number = query.number("market_id", 0, 4094, ALL_MARKETS)
        rows = self.markets() if number == ALL_MARKETS else [self.market(query)]
        return [row for row in rows if kind == "all" or printing.listing_of(row).spot == (kind == "spot")]

    def _order_books(self, query: Query) -> dict[str, Json]:
        return {"order_books": [printing.order_book(printing.listing_of(row)) for row in self._chosen(query)]}

    def _details(self, query: Query) -> dict[str, Json]:
        rows = self._chosen(query)
        return {
            "order_book_details": [printing.details(row) for row in rows if not printing.listing_of(row).spot],
            "spot_order_book_details": [printing.details(row) for row in rows if printing.listing_of(row).spot],
        }

    def _orders(self, query: Query) -> dict[str, Json]:
        market, limit = self.traded(query), query.number("limit", 1, 250)
        now = self._market.now_ns // 1_000_000
        asks, bids = market.book.ask_levels(limit), market.book.bid_levels(limit)
        return {
            "total_asks": len(asks),
            "asks": [printing.order(market, price, size, ask=True, now_ms=now) for price, size in asks],
            "total_bids": len(bids),
            "bids": [printing.order(market, price, size, ask=False, now_ms=now) for price, size in bids],
        }

    def _newest(self, market: Instrument, limit: int) -> list[Json]:
        height = self._market.height
        return [printing.trade(market, item, height) for item in list(market.trades)[: -limit - 1 : -1]]

    def _recent_trades(self, query: Query) -> dict[str, Json]:
        return {"trades": self._newest(self.traded(query), query.number("limit", 1, 100))}

    def _trades(self, query: Query) -> dict[str, Json]:
        query.text("sort_by", None, ("block_height", "timestamp", "trade_id"))
        index = query.number("account_index", -1, 1 << 48, -1)
        if index >= 0:
            return {"next_cursor": "", "trades": self._accounts.trades(query, index)}
        return {"next_cursor": "", "trades": self._newest(self.traded(query), query.number("limit", 1, 100))}

    def _span(self, query: Query) -> tuple[int, int, int]:
        start = query.number("start_timestamp", 0, TIME_MAX)
        end = query.number("end_timestamp", 0, TIME_MAX)
        return start, end, query.number("count_back", 0, TIME_MAX)

    def _candles(self, query: Query) -> dict[str, Json]:
        market, resolution = self.market(query), query.text("resolution", None, RESOLUTIONS)
        start, end, count = self._span(query)
        end = min(end, self._market.now_ns // 1_000_000)
        if count:
            start = max(0, min(start, end - count * INTERVALS_MS[resolution]))
        limit = min(CANDLES_MAX, count or CANDLES_MAX)
        bars = market.bars.between(resolution, start, end, limit) if end >= start else []
        return {"r": resolution, "c": [printing.candle(market, bar) for bar in bars]}

    def _fundings(self, query: Query) -> dict[str, Json]:
        market, resolution = self.market(query), query.text("resolution", None, ("1h", "1d"))
        start, end, count = self._span(query)
        end = min(end, self._market.now_ns // 1_000_000)
        start = max(start, end - max(1, min(count or CANDLES_MAX, CANDLES_MAX)) * HOUR_MS)
        rows = market.fundings_between(start, end, CANDLES_MAX, self._market.start_ms)
        if resolution == "1d":
            rows = [row for row in rows if row.time_ms // HOUR_MS % 24 == 0]
        return {"resolution": resolution, "fundings": [printing.funding(market, row) for row in rows]}

    def _funding_rates(self, _query: Query) -> dict[str, Json]:
        rows: list[Json] = []
        for market in self.markets():
            listing = printing.listing_of(market)
            if listing.spot or not listing.active:
                continue
            for exchange, factor in (("binance", 9), ("bybit", 7), ("hyperliquid", 8), ("lighter", 8)):
                rate = market.rate * factor / RATE_SCALE
                rows.append(
                    {
                        "market_id": listing.market_id,
                        "exchange": exchange,
                        "symbol": listing.symbol,
                        "rate": rate,
                    }
                )
        return {"funding_rates": rows}

    def _stats(self, _query: Query) -> dict[str, Json]:
        rows: list[dict[str, Json]] = []
        volume = 0.0
        for market in self.markets():
            row = printing.details(market)
            volume += printing.real(market.day.quote, market.price_decimals + market.size_decimals)
            rows.append(
                {
                    name: row[name]
                    for name in (
                        "symbol", "last_trade_price", "daily_trades_count", "daily_base_token_volume",
                        "daily_quote_token_volume", "daily_price_change",
                    )
                }
            )  # fmt: skip
        trades = sum(market.day.trades for market in self.markets())
        return {
            "total": len(rows),
            "order_book_stats": rows,
            "daily_usd_volume": volume,
            "daily_trades_count": trades,
        }

    def _assets(self, _query: Query) -> dict[str, Json]:
        rows = ((1, "ETH", 18, 8, "2824.60"), (3, "USDC", 6, 6, "1.000000"))
        return {
            "asset_details": [
                {
                    "asset_id": number, "symbol": symbol, "l1_decimals": l1_decimals, "decimals": decimals,
                    "min_transfer_amount": "1.000000", "min_withdrawal_amount": "1.000000",
                    "margin_mode": "enabled" if symbol == "USDC" else "disabled", "index_price": price,
                    "l1_address": "0x0000000000000000000000000000000000000000", "multiplier": "1.000000000000000000",
                }
                for number, symbol, l1_decimals, decimals, price in rows
            ]
        }  # fmt: skip

    def _system(self, _query: Query) -> dict[str, Json]:
        return {
            "liquidity_pool_index": 281474976710654, "staking_pool_index": 281474976624800,
            "funding_fee_rebate_account_index": 281474976710653, "liquidity_pool_cooldown_period": 300_000,
            "staking_pool_lockup_period": 0, "max_integrator_perps_maker_fee": 1000,
            "max_integrator_perps_taker_fee": 1000, "max_integrator_spot_maker_fee": 10000,
            "max_integrator_spot_taker_fee": 10000, "fee_collector_account_index": 281474976710652,
        }  # fmt: skip


def _not_simulated(_query: Query) -> dict[str, Json]:
    raise RefusedError(21515)


async def _not_found(_request: web.Request) -> web.Response:
    return _json(404, {"code": 29404, "message": "not found"})


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type="application/json")
