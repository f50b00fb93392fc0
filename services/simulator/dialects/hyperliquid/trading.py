"""Actions that trade: orders, cancels, modifies, leverage and margin, TWAPs, scheduled cancels.

A method returns the `response` of a status `ok`; RefusedError makes a status `err`. Static checks look at a whole
batch before anything is matched, and one failure answers for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.simulator.dialects.hyperliquid import words
from services.simulator.dialects.hyperliquid.members import Members, RefusedError
from services.simulator.exchange.account import DAY_US
from services.simulator.exchange.core import Exchange, leverage
from services.simulator.exchange.risk import isolated_standing
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.timed import SCHEDULED_CANCELS_MAX
from services.simulator.exchange.values import MICRO, Kind, Order, Outcome, Surcharge, Tif, Wanted
from services.simulator.rules import parse, plain

Json = object
Fields = Mapping[str, Json]
WEIGHT_MAX = 200
SCHEDULE_AHEAD_US = 5_000_000
SCHEDULE_VOLUME = 1_000_000
BAND_PERCENT = 95
BUILDER_TENTHS_MAX = 100
TWAP_MINUTES = (5, 7 * 24 * 60)
TWAP_QUOTE_MIN = 100 * MICRO
GONE = "Order was never placed, already canceled, or filled."
_TIFS: dict[str, Tif] = {
    "Gtc": "gtc", "Ioc": "ioc", "Alo": "alo", "FrontendMarket": "ioc", "LiquidationMarket": "ioc",
}  # fmt: skip
DEFAULT: dict[str, Json] = {"type": "default"}


class StaticError(Exception):
    """A batch fails before matching; this text answers for all of it."""


class Trading:
    """Turns canonical actions into commands of the exchange, and outcomes into the venue's words."""

    def __init__(self, exchange: Exchange, members: Members) -> None:
        """Take where orders go, and who approved whom."""
        self._exchange = exchange
        self._members = members
        self._terms = {item.terms.asset: item.terms for item in exchange.state.markets.values()}
        self.post_only = False
        """Whether only post-only orders are taken, as after a network upgrade."""

    def terms(self, asset: Json) -> Terms:
        """Return an asset's rules. Raises RefusedError for one that cannot be traded."""
        found = self._terms.get(int(str(asset)))
        if found is None:
            raise RefusedError(f"Invalid asset: {asset}")
        if found.spot:
            raise RefusedError(f"Spot orders are not simulated. asset={asset}")
        return found

    # -- orders

    def order(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Place a batch of orders."""
        rows = _rows(action["orders"])
        if len(rows) > WEIGHT_MAX:
            raise RefusedError(f"Signed action over weight limit of {WEIGHT_MAX}.")
        surcharge = self._surcharge(account, action.get("builder"))
        grouping = action["grouping"]
        try:
            if not rows:
                raise StaticError("Orders are empty.")
            tied = grouping == "positionTpsl"
            wanted = [self._wanted(row, surcharge, tied=tied) for row in rows]
        except StaticError as failure:
            return _statuses([{"error": str(failure)}])
        if grouping == "normalTpsl" and len(wanted) > 1:
            way = "parent_pair" if len(wanted) > 2 else "parent"
            outcomes = self._exchange.place_group(account, wanted, way, now_us)
        elif grouping == "positionTpsl":
            outcomes = self._exchange.place_group(account, wanted, "tied", now_us)
        else:
            outcomes = [self._exchange.place(account, item, now_us) for item in wanted]
        return _statuses(self._group_words(wanted, outcomes, grouping))

    def _group_words(self, wanted: list[Wanted], outcomes: list[Outcome], grouping: Json) -> list[Json]:
        found: list[Json] = []
        for place, (item, outcome) in enumerate(zip(wanted, outcomes, strict=True)):
            if grouping == "normalTpsl" and place and outcome.reason != "parent":
                done = outcomes[0].order is not None and outcomes[0].order.status == "filled"
                found.append("waitingForTrigger" if done else "waitingForFill")
            elif outcome.reason != "parent":
                found.append(self._word(item, outcome))
        return found

    def _word(self, wanted: Wanted, outcome: Outcome) -> Json:
        terms, order = self._exchange.state.terms(wanted.market), outcome.order
        if outcome.reason or order is None:
            return {"error": words.error(outcome, terms)}
        named: dict[str, Json] = {"oid": order.oid}
        if wanted.client:
            named["cloid"] = wanted.client
        if outcome.filled and (order.left == 0 or not order.live):
            average = plain(outcome.quote // outcome.filled, terms.price_decimals)
            size = plain(outcome.filled, terms.size_decimals)
            return {"filled": {"totalSz": size, "avgPx": average} | named}
        return {"resting": named}

    def _surcharge(self, account: int, builder: Json) -> Surcharge | None:
        if not isinstance(builder, dict):
            return None
        address, tenths = int(str(builder["b"]), 16), int(str(builder["f"]))
        approved = self._members.builders.get(account, {}).get(address, 0)
        if tenths > BUILDER_TENTHS_MAX or tenths > approved:
            raise RefusedError("Builder fee has not been approved.")
        return Surcharge(address, tenths * 10, tenths * 10)

    def _wanted(self, row: Fields, surcharge: Surcharge | None, *, tied: bool = False) -> Wanted:
        """Check an order's own figures. Raises StaticError or RefusedError."""
        terms = self.terms(row["a"])
        kind, tif, trigger = self._kind(row["t"], terms)
        size = _number(row["s"], terms.size_decimals, "Order has invalid size.")
        price = _number(row["p"], 8, "Order has invalid price.")
        if self.post_only and tif != "alo":
            raise RefusedError("Only post-only orders allowed immediately after network upgrade")
        if size == 0 and not (tied or kind != "limit"):
            raise StaticError("Order has zero size.")
        if price == 0 or not terms.live:
            raise StaticError("Order has invalid price.")
        scale = 10 ** (8 - terms.price_decimals)
        mark = self._exchange.state.street.mark(terms.market) * scale
        if abs(price - mark) * 100 > mark * BAND_PERCENT:
            raise StaticError(f"Order price cannot be more than {BAND_PERCENT}% away from the reference price")
        most = terms.max_market_quote * (1 if tif == "ioc" else 10)
        if most and size * price // scale > most:
            raise StaticError(f"Order value too large. Max is ${most // MICRO}.")
        if price % scale:
            raise StaticError("Price must be divisible by tick size.")
        return Wanted(
            market=terms.market, buy=bool(row["b"]), price=price // scale, size=size, kind=kind, tif=tif,
            reduce_only=bool(row["r"]), trigger=trigger, client=str(row.get("c") or ""), surcharge=surcharge,
            tied=tied,
        )  # fmt: skip

    def _kind(self, value: Json, terms: Terms) -> tuple[Kind, Tif, int]:
        if not isinstance(value, dict):
            raise StaticError("Order has invalid price.")
        if "limit" in value:
            return "limit", _TIFS[str(value["limit"]["tif"])], 0
        trigger = value["trigger"]
        level = _number(trigger["triggerPx"], terms.price_decimals, "Price must be divisible by tick size.")
        take, market = trigger["tpsl"] == "tp", trigger["isMarket"]
        if take:
            return ("take" if market else "take_limit"), "gtc", level
        return ("stop" if market else "stop_limit"), "gtc", level

    # -- cancels and modifies

    def cancel(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Cancel by order id or client id; each answers for itself."""
        statuses: list[Json] = []
        for row in _rows(action["cancels"]):
            asset = row.get("a", row.get("asset"))
            terms = self.terms(asset)
            key = row["o"] if "o" in row else row["cloid"]
            order = self._exchange.find(account, _key(key))
            fast = bool(action.get("f")) and order is not None and order.status == "pending"
            gone = None if fast else self._exchange.cancel(account, _key(key), now_us, terms.market)
            statuses.append("success" if gone is not None else {"error": f"{GONE} asset={asset}"})
        return {"type": "cancel", "data": {"statuses": statuses}}

    def modify(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Replace one order; the answer says nothing of the new one."""
        status = self._replace(account, action, bool(action.get("a")), now_us)
        if isinstance(status, dict) and "error" in status:
            raise RefusedError(str(status["error"]))
        return DEFAULT

    def batch_modify(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Replace orders; each answers like a new order."""
        always = bool(action.get("a"))
        rows = _rows(action["modifies"])
        if not rows:
            return _statuses([{"error": "Orders are empty."}])
        return _statuses([self._replace(account, row, always, now_us) for row in rows])

    def _replace(self, account: int, row: Fields, always: bool, now_us: int) -> Json:
        """Cancel and place anew with a new id; without `a` the new order must rest and not be a trigger."""
        order = self._exchange.find(account, _key(row["oid"]))
        wire = row["order"]
        if not isinstance(wire, dict):
            raise RefusedError("Attempted to modify to invalid new order")
        if order is None and not always:
            return {"error": "Cannot modify canceled or filled order"}
        try:
            wanted = self._wanted(wire, None if order is None else order.wanted.surcharge)
        except StaticError as failure:
            return {"error": str(failure)}
        if not always:
            bid, ask = self._exchange.touch(wanted.market)
            against = ask if wanted.buy else bid
            crossing = against is not None and (wanted.price >= against if wanted.buy else wanted.price <= against)
            if wanted.kind != "limit" or wanted.tif == "ioc" or (wanted.tif == "gtc" and crossing):
                return {"error": "Attempted to modify to invalid new order"}
        if order is not None:
            self._exchange.cancel(account, order.oid, now_us)
        return self._word(wanted, self._exchange.place(account, wanted, now_us))

    def schedule_cancel(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Set or clear the time of a scheduled cancel; it needs a million dollars of volume and some time ahead."""
        held, at = self._exchange.state.accounts[account], action.get("time")
        if at is not None:
            if held.lifetime < SCHEDULE_VOLUME * MICRO:
                raise RefusedError(
                    "Cannot set scheduled cancel time until enough volume traded. "
                    f"Required: ${SCHEDULE_VOLUME}. Traded: ${held.lifetime / MICRO:.2f}."
                )
            if int(str(at)) * 1000 < now_us + SCHEDULE_AHEAD_US:
                raise RefusedError("Scheduled cancel time too early, must be at least 5 seconds from now.")
            day, fired = held.cancels_fired
            if day == now_us // DAY_US and fired >= SCHEDULED_CANCELS_MAX:
                raise RefusedError("Too many scheduled cancels today.")
        self._exchange.schedule_cancel(account, 0 if at is None else int(str(at)) * 1000)
        return DEFAULT

    # -- leverage and margin

    def update_leverage(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Choose leverage and mode of a market."""
        terms, times, cross = self.terms(action["asset"]), int(str(action["leverage"])), bool(action["isCross"])
        if not 1 <= times <= terms.max_leverage:
            raise RefusedError("Invalid leverage value")
        if cross and terms.isolated_only:
            raise RefusedError("Cross margin is not allowed for this asset.")
        why = self._exchange.set_leverage(account, terms.market, leverage(times, isolated=not cross), now_us)
        if why == "mode":
            raise RefusedError("Cannot switch leverage type with open position.")
        if why == "margin":
            kind, hint = ("Cross", "deposit more collateral") if cross else ("Isolated", "add margin to the position")
            raise RefusedError(
                f"{kind} position does not have sufficient margin available to decrease leverage. "
                f"To decrease leverage, {hint}."
            )
        return DEFAULT

    def update_margin(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Add to or take from an isolated position's margin, in millionths of a dollar."""
        amount = int(str(action["ntli"]))
        if amount == 0:
            raise RefusedError("Update to isolated margin cannot be zero.")
        return self._move_margin(account, self.terms(action["asset"]), amount, now_us)

    def top_up(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Bring an isolated position's margin to a target leverage."""
        terms = self.terms(action["asset"])
        target = parse(str(action["leverage"]), 6)
        now = isolated_standing(self._exchange.state, self._exchange.state.accounts[account], terms.market)
        if target == 0:
            raise RefusedError("Invalid leverage value")
        amount = now.notional * MICRO // target - now.value
        return self._move_margin(account, terms, amount, now_us) if amount else DEFAULT

    def _move_margin(self, account: int, terms: Terms, amount: int, now_us: int) -> dict[str, Json]:
        texts = {
            "empty": "Cannot update margin for empty position.",
            "cross": "Position does not use isolated margin.",
            "strict": "Cannot remove isolated margin for this asset. To remove margin, reduce the position.",
            "position": "Position does not have sufficient margin for reduction.",
            "account": "Account does not have sufficient margin available for increase.",
        }
        why = self._exchange.move_margin(account, terms.market, amount, now_us)
        if why:
            raise RefusedError(texts[why])
        return DEFAULT

    # -- TWAP

    def twap_order(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Begin a TWAP."""
        row = action["twap"]
        if not isinstance(row, dict):
            raise RefusedError("Invalid TWAP")
        terms, minutes = self.terms(row["a"]), int(str(row["m"]))
        try:
            size = _number(row["s"], terms.size_decimals, "Order has invalid size.")
        except StaticError as failure:
            return _twap({"error": str(failure)})
        if not TWAP_MINUTES[0] <= minutes <= TWAP_MINUTES[1]:
            return _twap({"error": f"Invalid TWAP duration: {minutes} min(s)"})
        if size * self._exchange.state.street.mark(terms.market) < TWAP_QUOTE_MIN:
            return _twap({"error": "TWAP order value too small. Min is $100."})
        wanted = Wanted(market=terms.market, buy=bool(row["b"]), price=0, size=size, reduce_only=bool(row["r"]))
        twap = self._exchange.begin_twap(account, wanted, minutes, bool(row["t"]), now_us)
        return _twap({"running": {"twapId": twap.id}})

    def twap_cancel(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Stop a TWAP."""
        if self._exchange.stop_twap(account, int(str(action["t"])), now_us):
            status: Json = "success"
        else:
            status = {"error": "TWAP was never placed, already canceled, or filled."}
        return {"type": "twapCancel", "data": {"status": status}}


def _key(value: Json) -> int | str:
    return value if isinstance(value, str) else int(str(value))


def _rows(value: Json) -> Sequence[dict[str, Json]]:
    return value if isinstance(value, list) else []


def _number(value: Json, decimals: int, message: str) -> int:
    try:
        return parse(str(value), decimals)
    except ValueError:
        raise StaticError(message) from None


def _statuses(statuses: list[Json]) -> dict[str, Json]:
    return {"type": "order", "data": {"statuses": statuses}}


def _twap(status: Json) -> dict[str, Json]:
    return {"type": "twapOrder", "data": {"status": status}}


def is_working(order: Order) -> bool:
    """Say whether an order is shown among the open ones: resting, or a trigger that waits for its price."""
    return order.status in ("open", "pending", "triggered")
