"""What POST /info answers about accounts. Any address may be asked about; one that never deposited gets zeros."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.simulator.dialects.hyperliquid import accounts
from services.simulator.dialects.hyperliquid.members import Members
from services.simulator.dialects.hyperliquid.money import hex_address
from services.simulator.dialects.hyperliquid.printing import Json
from services.simulator.dialects.hyperliquid.trading import is_working
from services.simulator.exchange.account import DAY_US, Account
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import FeeRates
from services.simulator.exchange.values import MICRO, Order, Party, Trade
from services.simulator.market import Market
from services.simulator.records import Records
from services.simulator.rules import plain
from services.simulator.street import now_us

Body = Mapping[str, object]
FILLS_MAX = 2000
ROWS_MAX = 500


class BadBodyError(Exception):
    """A field of the question is missing or of the wrong type."""


class AccountInfo:
    """Answers questions about accounts from the exchange and its records."""

    def __init__(self, exchange: Exchange, members: Members, records: Records, market: Market) -> None:
        """Take everything an answer may need."""
        self._exchange = exchange
        self._members = members
        self._records = records
        self._market = market
        self.answers: dict[str, Callable[[int, Body], Json]] = {
            "clearinghouseState": lambda user, body: self.clearinghouse(user, _dex(body)),
            "spotClearinghouseState": lambda user, _body: accounts.spot_state(self._account(user)),
            "openOrders": lambda user, body: self.open_orders(user, _dex(body)),
            "frontendOpenOrders": lambda user, body: self.frontend_orders(user, _dex(body)),
            "orderStatus": self._order_status,
            "historicalOrders": lambda user, _body: self.order_history(user),
            "userFills": lambda user, body: self.fills(user, aggregate=bool(body.get("aggregateByTime"))),
            "userFillsByTime": self._fills_by_time,
            "userFunding": self._funding,
            "userNonFundingLedgerUpdates": self._ledger,
            "userFees": lambda user, _body: self._fees(user),
            "userRateLimit": lambda user, _body: self._rate_limit(user),
            "activeAssetData": self._active_asset,
            "extraAgents": lambda user, _body: self._agents(user),
            "maxBuilderFee": lambda user, body: self._members.builders.get(user, {}).get(_address(body, "builder"), 0),
            "approvedBuilders": lambda user, _body: [
                hex_address(builder) for builder in self._members.builders.get(user, {})
            ],
            "userRole": lambda user, _body: self._role(user),
            "userAbstraction": lambda user, _body: self.abstraction(user),
            "userDexAbstraction": lambda user, _body: self._dex_abstraction(user),
            "subAccounts": lambda user, _body: self._subs(user),
            "portfolio": lambda user, _body: self._portfolio(user),
            "twapHistory": lambda user, _body: self.twap_history(user),
            "userTwapSliceFills": lambda user, _body: self.slice_fills(user),
            "userTwapSliceFillsByTime": self._slice_fills_by_time,
            "preTransferCheck": lambda user, _body: {
                "isSanctioned": False, "userExists": self._account(user) is not None, "fee": "0.0",
                "userHasSentTx": user in self._members.sent,
            },
            "referral": lambda user, _body: self._referral(user),
            "userVaultEquities": lambda _user, _body: [],
            "delegations": lambda _user, _body: [],
            "delegatorSummary": lambda _user, _body: {
                "delegated": "0.0", "undelegated": "0.0", "totalPendingWithdrawal": "0.0", "nPendingWithdrawals": 0,
            },
            "delegatorHistory": lambda _user, _body: [],
            "delegatorRewards": lambda _user, _body: [],
            "userToMultiSigSigners": lambda _user, _body: None,
            "isVip": lambda _user, _body: False, "subAccounts2": lambda user, _body: self._subs(user),
            "webData2": lambda user, body: {
                "clearinghouseState": self.clearinghouse(user, ""), "openOrders": self.frontend_orders(user, ""),
                "serverTime": self.time_ms(), "isVault": False, "user": hex_address(user), "twapStates": [],
            },
            "spotDeployState": lambda _user, _body: {"states": [], "gasAuction": AUCTION},
            "legalCheck": lambda _user, _body: {"ipAllowed": True, "acceptedTerms": True, "userAllowed": True},
        }  # fmt: skip

    def _account(self, user: int) -> Account | None:
        return self._exchange.account(user)

    def time_ms(self) -> int:
        """Return the market's time."""
        return now_us(self._market) // 1000

    def clearinghouse(self, user: int, dex: str) -> dict[str, Json]:
        """Print the perpetual state in a dex."""
        return accounts.clearinghouse(self._exchange.state, self._account(user), dex, self.time_ms())

    def spot(self, user: int) -> dict[str, Json]:
        """Print the spot wallet."""
        return accounts.spot_state(self._account(user))

    def _working(self, user: int, dex: str) -> list[Order]:
        account = self._account(user)
        found = [] if account is None else list(account.orders.values())
        state = self._exchange.state
        return [item for item in found if is_working(item) and state.terms(item.wanted.market).pool == dex][::-1]

    def open_orders(self, user: int, dex: str) -> list[Json]:
        """Print open orders, newest first; triggers come without their trigger."""
        terms = self._exchange.state.terms
        return [accounts.order(item, terms(item.wanted.market)) for item in self._working(user, dex)]

    def frontend_orders(self, user: int, dex: str) -> list[Json]:
        """Print open orders with everything; the children of one that has not filled are inside it."""
        state, account = self._exchange.state, self._account(user)
        rows: list[Json] = []
        for item in self._working(user, dex):
            terms = state.terms(item.wanted.market)
            held = [] if account is None else [account.orders[oid] for oid in item.children if oid in account.orders]
            children: list[Json] = [accounts.frontend_order(child, terms) for child in held]
            rows.append(accounts.frontend_order(item, terms, children))
        return rows

    def _order_status(self, user: int, body: Body) -> Json:
        key = body.get("oid")
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise BadBodyError
        found = self._records.of(user).order(key.lower() if isinstance(key, str) else key)
        if found is None:
            return {"status": "unknownOid"}
        terms = self._exchange.state.terms(found.wanted.market)
        return {"status": "order", "order": accounts.order_status(found, terms)}

    def order_history(self, user: int) -> list[Json]:
        """Print every change of an order's status, newest first."""
        terms = self._exchange.state.terms
        seen: set[tuple[int, str]] = set()
        rows: list[Json] = []
        for item in reversed(self._records.of(user).changes):
            row = accounts.order_status(item, terms(item.wanted.market))
            if (item.oid, str(row["status"])) not in seen and len(rows) < FILLS_MAX:
                seen.add((item.oid, str(row["status"])))
                rows.append(row)
        return rows

    def fill_rows(self, pairs: Sequence[tuple[Trade, Party]], *, aggregate: bool) -> list[Json]:
        """Print fills in the order given; aggregated, those of one order at one time become one."""
        terms = self._exchange.state.terms
        rows: list[dict[str, Json]] = []
        for trade, party in pairs:
            row = accounts.fill(trade, party, terms(trade.market))
            last = rows[-1] if rows else {}
            if aggregate and all(last.get(key) == row[key] for key in ("oid", "time", "crossed")):
                _merge(last, row)
            else:
                rows.append(row)
        return list(rows)

    def fills(self, user: int, *, aggregate: bool) -> list[Json]:
        """Print the newest fills, newest first."""
        return self.fill_rows(list(self._records.of(user).trades)[::-1], aggregate=aggregate)[:FILLS_MAX]

    def _fills_by_time(self, user: int, body: Body) -> Json:
        start, end = _time(body, "startTime", None), _time(body, "endTime", 1 << 62)
        pairs = [pair for pair in self._records.of(user).trades if start <= pair[0].time_us // 1000 <= end]
        if body.get("reversed"):
            pairs = pairs[::-1]
        return self.fill_rows(pairs, aggregate=bool(body.get("aggregateByTime")))[:FILLS_MAX]

    def fundings(self, user: int) -> list[Json]:
        """Print payments of funding as the socket does, oldest first."""
        terms = self._exchange.state.terms
        rows = list(self._records.of(user).fundings)[-ROWS_MAX:]
        return [accounts.funding(item, terms(item.market)) for item in rows]

    def _funding(self, user: int, body: Body) -> Json:
        start, end = _time(body, "startTime", 0), _time(body, "endTime", 1 << 62)
        terms = self._exchange.state.terms
        rows = [item for item in self._records.of(user).fundings if start <= item.at_us // 1000 <= end]
        return [accounts.funding_row(item, terms(item.market)) for item in rows][:ROWS_MAX]

    def ledger(self, user: int) -> list[Json]:
        """Print money that moved, and liquidations, oldest first."""
        record = self._records.of(user)
        state = self._exchange.state
        rows = [(item.at_us, accounts.ledger_row(item)) for item in record.moves]
        rows += [(item.at_us, accounts.liquidation_row(item, state)) for item in record.liquidations]
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _ledger(self, user: int, body: Body) -> Json:
        start, end = _time(body, "startTime", 0), _time(body, "endTime", 1 << 62)
        rows = [row for row in self.ledger(user) if isinstance(row, dict) and start <= int(row["time"]) <= end]
        return rows[:ROWS_MAX]

    def _rates(self, account: Account | None) -> FeeRates:
        rules, at = self._exchange.state.rules, now_us(self._market)
        return rules.rates("", 0) if account is None else rules.rates(account.tier, account.volume(at))

    def _fees(self, user: int) -> Json:
        account, today = self._account(user), now_us(self._market) // DAY_US
        rates, days = self._rates(account), []
        for day in range(today - 14, today + 1):
            taken = 0 if account is None else account.taken.get(day, 0)
            added = 0 if account is None else account.added.get(day, 0)
            days.append({"date": _date(day), "userCross": plain(taken, 6), "userAdd": plain(added, 6),
                         "exchange": "5968404.96"})  # fmt: skip
        return {
            "dailyUserVlm": days, "feeSchedule": FEE_SCHEDULE, "userCrossRate": plain(rates.taker, 12),
            "userAddRate": plain(rates.maker, 12), "userSpotCrossRate": "0.0007", "userSpotAddRate": "0.0004",
            "activeReferralDiscount": "0.0", "trial": None, "feeTrialEscrow": "0.0",
            "nextTrialAvailableTimestamp": None, "stakingLink": None,
            "activeStakingDiscount": {"bpsOfMaxSupply": "0.0", "discount": "0.0"},
        }  # fmt: skip

    def _rate_limit(self, user: int) -> Json:
        account, budget = self._account(user), self._members.budgets.get(user)
        volume = 0 if account is None else account.lifetime
        return {
            "cumVlm": plain(volume, 6), "nRequestsUsed": 0 if budget is None else budget.used,
            "nRequestsCap": self._members.cap(volume), "nRequestsSurplus": 0 if budget is None else budget.surplus,
        }  # fmt: skip

    def active_asset(self, user: int, coin: str) -> dict[str, Json] | None:
        """Print what could be traded in a perpetual; None for anything else."""
        market = self._exchange.state.markets.get(coin)
        if market is None or market.terms.spot:
            return None
        return accounts.active_asset(self._exchange.state, self._account(user), hex_address(user), market.terms)

    def _active_asset(self, user: int, body: Body) -> Json:
        coin = body.get("coin")
        if not isinstance(coin, str):
            raise BadBodyError
        return self.active_asset(user, coin)

    def _agents(self, user: int) -> Json:
        return [
            {"name": agent.name, "address": hex_address(agent.address), "validUntil": agent.valid_until_ms}
            for agent in self._members.agents_of(user) if agent.name
        ]  # fmt: skip

    def _role(self, user: int) -> Json:
        agent = self._members.agents.get(user)
        if agent is not None:
            return {"role": "agent", "data": {"user": hex_address(agent.master)}}
        if user in self._members.subs:
            return {"role": "subAccount", "data": {"master": hex_address(self._members.subs[user][0])}}
        return {"role": "missing" if self._account(user) is None else "user"}

    def abstraction(self, user: int) -> str:
        """Return the account's mode; "default" until one was chosen."""
        return self._members.abstractions.get(user, "default")

    def _dex_abstraction(self, user: int) -> Json:
        mode = self._members.abstractions.get(user)
        return None if mode is None else mode == "dexAbstraction"

    def _subs(self, user: int) -> Json:
        rows = [
            {"name": name, "subAccountUser": hex_address(number), "master": hex_address(user),
             "clearinghouseState": self.clearinghouse(number, ""), "spotState": self.spot(number)}
            for number, (owner, name) in self._members.subs.items() if owner == user
        ]  # fmt: skip
        return rows or None

    def dex_names(self) -> list[str]:
        """Return the margin pools of perpetuals: the venue's own, as an empty name, then each dex."""
        return ["", *(dex.name for dex in self._market.catalog.dexes)]

    def _portfolio(self, user: int) -> Json:
        account, now = self._account(user), self.time_ms()
        value = 0
        if account is not None:
            for pool in self.dex_names():
                state = accounts.clearinghouse(self._exchange.state, account, pool, now)["marginSummary"]
                value += round(float(state["accountValue"]) * MICRO) if isinstance(state, dict) else 0
        put = sum(item.amount for item in self._records.of(user).moves)
        rows: list[Json] = []
        for span in ("day", "week", "month", "allTime", "perpDay", "perpWeek", "perpMonth", "perpAllTime"):
            rows.append([span, {
                "accountValueHistory": [[now, accounts.usd(value)]], "pnlHistory": [[now, accounts.usd(value - put)]],
                "vlm": accounts.usd(0 if account is None else account.lifetime),
            }])  # fmt: skip
        return rows

    def twap_history(self, user: int) -> list[Json]:
        """Print TWAPs, newest first."""
        terms = self._exchange.state.terms
        rows = list(self._records.of(user).twaps)[::-1]
        found: list[Json] = []
        for item, at_us in rows:
            found.append(accounts.twap_history(item, at_us, terms(item.market)))
        return found

    def twap_states(self, user: int) -> list[Json]:
        """Print the TWAPs that run."""
        state = self._exchange.state
        return [
            [item.id, accounts.twap_state(item, state.terms(item.market))]
            for item in state.twaps.values() if item.account == user
        ]  # fmt: skip

    def _slice_fills_by_time(self, user: int, body: Body) -> Json:
        start, end = _time(body, "startTime", None), _time(body, "endTime", 1 << 62)
        return self.slice_fills(user, start, end)[::-1]

    def slice_fills(self, user: int, start_ms: int = 0, end_ms: int = 1 << 62) -> list[Json]:
        """Print the fills of TWAPs, newest first."""
        trades = self._records.of(user).trades
        pairs = [pair for pair in trades if pair[1].twap is not None and start_ms <= pair[0].time_us // 1000 <= end_ms][
            ::-1
        ][:FILLS_MAX]
        terms = self._exchange.state.terms
        return [
            {"fill": accounts.fill(trade, party, terms(trade.market)), "twapId": party.twap} for trade, party in pairs
        ]

    def _referral(self, user: int) -> Json:
        account = self._account(user)
        return {
            "referredBy": None, "cumVlm": accounts.usd(0 if account is None else account.lifetime),
            "unclaimedRewards": "0.0", "claimedRewards": "0.0",
            "builderRewards": accounts.usd(self._exchange.state.treasury.surcharges.get(user, 0)),
            "referrerState": {"stage": "needToTrade", "data": {"required": "10000.0"}}, "rewardHistory": [],
        }  # fmt: skip


def _merge(last: dict[str, Json], row: dict[str, Json]) -> None:
    """Add a fill to the one before: sizes and fees summed, price weighted and rounded to ten decimals."""
    size, more = float(str(last["sz"])), float(str(row["sz"]))
    price = (float(str(last["px"])) * size + float(str(row["px"])) * more) / (size + more)
    last["px"] = f"{price:.10f}".rstrip("0") + ("0" if price == int(price) else "")
    for name, decimals in (("sz", 8), ("fee", 6), ("closedPnl", 6)):
        scaled = round((float(str(last[name])) + float(str(row[name]))) * 10**decimals)
        last[name] = plain(scaled, decimals)


def _dex(body: Body) -> str:
    dex = body.get("dex", "")
    if dex is not None and not isinstance(dex, str):
        raise BadBodyError
    return dex or ""


def _address(body: Body, name: str) -> int:
    value = body.get(name)
    if not accounts.is_address(value):
        raise BadBodyError
    return int(str(value), 16)


def _time(body: Body, name: str, default: int | None) -> int:
    value = body.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadBodyError
    return value


def _date(day: int) -> str:
    """Print a day since 1970 as a date."""
    era, shifted = divmod(day + 719_468, 146_097)
    year = (shifted - shifted // 1460 + shifted // 36_524 - shifted // 146_096) // 365
    rest = shifted - (365 * year + year // 4 - year // 100)
    month = (5 * rest + 2) // 153
    number = month + 3 if month < 10 else month - 9
    return f"{year + era * 400 + (number <= 2):04d}-{number:02d}-{rest - (153 * month + 2) // 5 + 1:02d}"


AUCTION: dict[str, Json] = {
    "startTimeSeconds": 1_733_929_200, "durationSeconds": 111_600, "startGas": "181305.90046", "currentGas": None,
    "endGas": "181291.247358",
}  # fmt: skip


def _tier(cutoff: str, cross: str, add: str, spot_cross: str, spot_add: str) -> dict[str, Json]:
    return {"ntlCutoff": cutoff, "cross": cross, "add": add, "spotCross": spot_cross, "spotAdd": spot_add}


FEE_SCHEDULE: dict[str, Json] = {
    "cross": "0.00045", "add": "0.00015", "spotCross": "0.0007", "spotAdd": "0.0004",
    "tiers": {
        "vip": [
            _tier("5000000.0", "0.0004", "0.00012", "0.0006", "0.0003"),
            _tier("25000000.0", "0.00035", "0.00008", "0.0005", "0.0002"),
            _tier("100000000.0", "0.0003", "0.00004", "0.0004", "0.0001"),
            _tier("500000000.0", "0.00028", "0.0", "0.00035", "0.0"),
            _tier("2000000000.0", "0.00026", "0.0", "0.0003", "0.0"),
            _tier("7000000000.0", "0.00024", "0.0", "0.00025", "0.0"),
        ],
        "mm": [{"makerFractionCutoff": share, "add": rate} for share, rate in (
            ("0.005", "-0.00001"), ("0.015", "-0.00002"), ("0.03", "-0.00003"))],
    },
    "referralDiscount": "0.04",
    "stakingDiscountTiers": [{"bpsOfMaxSupply": share, "discount": rate} for share, rate in (
        ("0.0", "0.0"), ("0.0001", "0.05"), ("0.001", "0.1"), ("0.01", "0.15"), ("0.1", "0.2"), ("1.0", "0.3"),
        ("5.0", "0.4"))],
}  # fmt: skip
"""What the venue printed on 2026-09-18."""
