"""POST /info: every public question of a market-data client, and the empty answers an unknown user gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.simulator.dialects.hyperliquid import printing
from services.simulator.dialects.hyperliquid.account_info import AUCTION, AccountInfo, BadBodyError
from services.simulator.dialects.hyperliquid.accounts import is_address
from services.simulator.dialects.hyperliquid.printing import Json
from services.simulator.history import HOUR_MS, INTERVALS_MS
from services.simulator.instrument import Instrument
from services.simulator.market import Market
from services.simulator.rules import plain

CANDLES_MAX = 5000
FUNDINGS_MAX = 500
Body = Mapping[str, object]


class UnprocessableError(Exception):
    """The body is JSON but no request: HTTP 422."""


class ServerNullError(Exception):
    """The venue answers this with HTTP 500 and `null`."""


class Info:
    """Answers questions about one market."""

    def __init__(self, market: Market, accounts: AccountInfo) -> None:
        """Take the market to answer for, and who answers for accounts."""
        self.replaying = False
        self._accounts = accounts
        self._market = market
        every = list(market.venues["hyperliquid"].values())
        self._spots = [item for item in every if printing.listing_of(item).spot_index is not None]
        self._perps = {
            dex: [item for item in every if printing.listing_of(item).dex == dex and item not in self._spots]
            for dex in self.dex_names()
        }
        self._answers: dict[str, Callable[[Body], Json]] = {
            "meta": lambda body: self.meta(_dex(body)),
            "metaAndAssetCtxs": self._meta_and_contexts,
            "allPerpMetas": lambda _body: [self.meta(name) for name in self.dex_names()],
            "perpDexs": lambda _body: self._dexes(),
            "perpDexLimits": self._dex_limits,
            "perpDexStatus": lambda _body: {"totalNetDeposit": "4103492112.4478230476"},
            "perpsAtOpenInterestCap": lambda body: self._known_dex(body, []),
            "marginTable": self._margin_table,
            "maxMarketOrderNtls": lambda _body: [
                [25, "30000000.0"],
                [20, "5000000.0"],
                [10, "2000000.0"],
                [1, "500000.0"],
            ],
            "allMids": lambda body: self.mids(_dex(body)),
            "l2Book": self._book,
            "recentTrades": self._recent_trades,
            "candleSnapshot": self._candles,
            "fundingHistory": self._funding_history,
            "predictedFundings": lambda _body: self._predicted(),
            "liquidatable": lambda _body: [],
            "vaultDetails": lambda _body: None,
            "perpDeployAuctionStatus": lambda _body: AUCTION,
            "spotMeta": lambda _body: self.spot_meta(),
            "spotMetaAndAssetCtxs": lambda _body: [self.spot_meta(), self.spot_contexts()],
            "exchangeStatus": lambda _body: {
                "specialStatuses": None,
                "time": market.now_ns // 1_000_000 - 180,
            },
        }

    def answer(self, body: object) -> Json:
        """Answer a request. Raises UnprocessableError or ServerNullError, as the venue would."""
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise UnprocessableError
        kind = str(body["type"])
        answer = self._answers.get(kind)
        if answer is not None:
            return answer(body)
        if kind in self._accounts.answers:
            user = _text(body, "user")
            if not is_address(user):
                raise UnprocessableError
            try:
                return self._accounts.answers[kind](int(user, 16), body)
            except BadBodyError:
                raise UnprocessableError from None
        raise UnprocessableError

    def weight(self, body: object) -> int:
        """Return what a request costs of the address's 1,200 a minute; `extra_weight` is what its answer adds."""
        kind = body.get("type") if isinstance(body, dict) else None
        if kind in {
            "l2Book",
            "allMids",
            "clearinghouseState",
            "orderStatus",
            "spotClearinghouseState",
            "exchangeStatus",
        }:
            return 2
        return 60 if kind == "userRole" else 20

    def instrument(self, coin: object) -> Instrument | None:
        """Return the contract of a coin, or None; names are case-sensitive."""
        return self._market.venues["hyperliquid"].get(coin) if isinstance(coin, str) else None

    def dex_names(self) -> list[str]:
        """Return all dexes, the venue's own first as an empty name."""
        return ["", *(dex.name for dex in self._market.catalog.dexes)]

    def perps(self, dex: str) -> list[Instrument]:
        """Return a dex's perpetuals in the order of its universe."""
        return self._perps.get(dex, [])

    def spots(self) -> list[Instrument]:
        """Return the spot pairs."""
        return self._spots

    def meta(self, dex: str) -> dict[str, Json]:
        """Print a dex's universe. Raises ServerNullError for an unknown dex."""
        if dex not in self.dex_names():
            raise ServerNullError
        perps = [printing.listing_of(item) for item in self.perps(dex)]
        used = sorted({row.margin_table for row in perps} & self._market.catalog.margin_tables.keys())
        return {
            "universe": [printing.asset(row) for row in perps],
            "marginTables": [[number, self._table(number)] for number in used],
            "collateralToken": next((one.collateral_token for one in self._market.catalog.dexes if one.name == dex), 0),
        }

    def contexts(self, dex: str) -> list[dict[str, Json]]:
        """Print a dex's contexts by position."""
        return [printing.context(item) for item in self.perps(dex)]

    def mids(self, dex: str) -> dict[str, Json]:
        """Print all mids of a dex; spot pairs belong to the first; the last trade stands in for an empty book."""
        if dex not in self.dex_names():
            raise ServerNullError
        items = self.perps(dex) + (self.spots() if dex == "" else [])
        found: dict[str, Json] = {}
        for item in items:
            mid = printing.half(item.mid(), item.price_decimals)
            found[item.key] = mid if mid is not None else plain(item.last, item.price_decimals)
        return found

    def spot_meta(self) -> dict[str, Json]:
        """Print the spot pairs and every token that is used anywhere."""
        tokens = (("USDC", 8, 0), ("PURR", 0, 1), ("HYPE", 2, 150), ("USDH", 2, 360))
        listed = {item.key for item in self.spots()}
        pairs: list[dict[str, Json]] = [
            {"tokens": [1, 0], "name": "PURR/USDC", "index": 0, "isCanonical": True},
            {"tokens": [150, 0], "name": "@107", "index": 107, "isCanonical": False},
        ]
        return {
            "universe": [pair for pair in pairs if pair["name"] in listed],
            "tokens": [
                {
                    "name": name, "szDecimals": decimals, "weiDecimals": 8 if name != "PURR" else 5, "index": index,
                    "tokenId": f"0x{index + 0x6D1E7CDE53BA9467B783CB7C530CE054:032x}", "isCanonical": index <= 1,
                    "evmContract": None, "fullName": None, "deployerTradingFeeShare": "0.0",
                }
                for name, decimals, index in tokens
            ],
        }  # fmt: skip

    def spot_contexts(self) -> list[dict[str, Json]]:
        """Print the contexts of the spot pairs."""
        return [printing.spot_context(item) for item in self.spots()]

    def _meta_and_contexts(self, body: Body) -> Json:
        dex = _dex(body)
        return [self.meta(dex), self.contexts(dex)]

    def _known_dex(self, body: Body, answer: Json) -> Json:
        if _dex(body) not in self.dex_names():
            raise ServerNullError
        return answer

    def _dexes(self) -> Json:
        rows: list[Json] = [None]
        for number, dex in enumerate(self._market.catalog.dexes):
            owner = printing.address_of(5000 + number)
            caps = [[item.key, "50000000.0"] for item in self.perps(dex.name)]
            rows.append(
                {
                    "name": dex.name, "fullName": dex.full_name, "deployer": owner, "oracleUpdater": None,
                    "feeRecipient": owner, "assetToStreamingOiCap": caps, "subDeployers": [], "deployerFeeScale": "1.0",
                    "lastDeployerFeeScaleChangeTime": "1970-01-01T00:00:00",
                    "assetToFundingMultiplier": [[row[0], "0.5"] for row in caps], "assetToFundingInterestRate": [],
                }
            )  # fmt: skip
        return rows

    def _dex_limits(self, body: Body) -> Json:
        dex = _text(body, "dex")
        if dex == "" or dex not in self.dex_names():
            return None
        caps = [[item.key, "50000000.0"] for item in self.perps(dex)]
        return {"totalOiCap": "1000000000.0", "oiSzCapPerPerp": "10000000000.0", "maxTransferNtl": "1000000000.0",
                "coinToOiCap": caps}  # fmt: skip

    def _margin_table(self, body: Body) -> Json:
        number = body.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise UnprocessableError
        if number not in self._market.catalog.margin_tables and not 1 <= number <= 50:
            raise ServerNullError
        return self._table(number)

    def _table(self, number: int) -> dict[str, Json]:
        description, tiers = self._market.catalog.margin_tables.get(number, ("", (("0.0", number),)))
        return {
            "description": description,
            "marginTiers": [{"lowerBound": low, "maxLeverage": most} for low, most in tiers],
        }

    def _book(self, body: Body) -> Json:
        coin, figures, mantissa = _text(body, "coin"), body.get("nSigFigs"), body.get("mantissa")
        if not _int_or_none(figures) or not _int_or_none(mantissa):
            raise UnprocessableError
        if not valid_aggregation(figures, mantissa) or self.replaying:
            raise ServerNullError
        instrument = self.instrument(coin)
        if instrument is None:
            return None
        time_ms = self._market.now_ns // 1_000_000
        return printing.book(instrument, time_ms, figures=_as_int(figures), mantissa=_as_int(mantissa))

    def _recent_trades(self, body: Body) -> Json:
        instrument = self.instrument(_text(body, "coin"))
        if instrument is None or self.replaying:
            raise ServerNullError
        return [printing.trade(instrument, item) for item in list(instrument.trades)[:-31:-1]]

    def _candles(self, body: Body) -> Json:
        wanted = body.get("req")
        if not isinstance(wanted, dict):
            raise UnprocessableError
        coin, interval = _text(wanted, "coin"), _text(wanted, "interval")
        start, end = _time(wanted, "startTime"), _time(wanted, "endTime", self._market.now_ns // 1_000_000)
        if interval not in INTERVALS_MS:
            raise UnprocessableError
        instrument = self.instrument(coin)
        if instrument is None:
            raise ServerNullError
        end = min(end, self._market.now_ns // 1_000_000)
        if end < start:
            return []
        return [
            printing.candle(instrument, interval, bar)
            for bar in instrument.bars.between(interval, start, end, CANDLES_MAX)
        ]

    def _funding_history(self, body: Body) -> Json:
        now = self._market.now_ns // 1_000_000
        start, end = _time(body, "startTime"), _time(body, "endTime", now)
        instrument = self.instrument(_text(body, "coin"))
        if instrument is None:
            raise ServerNullError
        rows = instrument.fundings_between(start, min(end, now), FUNDINGS_MAX, self._market.start_ms)
        return [printing.funding(instrument, row) for row in rows]

    def _predicted(self) -> Json:
        hour = self._market.now_ns // 1_000_000 // HOUR_MS * HOUR_MS
        rows: list[Json] = []
        for item in self.perps(""):
            if not item.live:
                continue
            own = {"fundingRate": plain(item.rate, 10), "nextFundingTime": hour, "fundingIntervalHours": 1}
            other = {"fundingRate": plain(item.rate * 8, 10), "nextFundingTime": hour + 8 * HOUR_MS,
                     "fundingIntervalHours": 8}  # fmt: skip
            rows.append([item.key, [["BinPerp", other], ["HlPerp", own], ["BybitPerp", None]]])
        return rows


_BY_ITEMS = frozenset({
    "recentTrades", "historicalOrders", "userFills", "userFillsByTime", "fundingHistory", "userFunding",
    "userNonFundingLedgerUpdates", "twapHistory", "userTwapSliceFills", "delegatorHistory", "delegatorRewards",
})  # fmt: skip


def extra_weight(body: object, answer: Json) -> int:
    """Return what the length of an answer costs: one for twenty items, one for sixty candles."""
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(answer, list):
        return 0
    return len(answer) // 60 if kind == "candleSnapshot" else len(answer) // 20 if kind in _BY_ITEMS else 0


def valid_aggregation(figures: object, mantissa: object) -> bool:
    """Say whether nSigFigs (2 to 5) and mantissa (2 or 5, with five figures only) go together."""
    return figures in (None, 2, 3, 4, 5) and (mantissa is None or (mantissa in (2, 5) and figures == 5))


def _dex(body: Body) -> str:
    dex = body.get("dex", "")
    if dex is None:
        return ""
    if not isinstance(dex, str):
        raise UnprocessableError
    return dex


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise UnprocessableError
    return value


def _time(body: Body, name: str, default: int | None = None) -> int:
    value = body.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UnprocessableError
    return value


def _int_or_none(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _as_int(value: object) -> int | None:
    return value if isinstance(value, int) else None
