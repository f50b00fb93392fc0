"""What users do: each story plays with one to three orders, and leaves nothing open once the faults have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.market import HYPERLIQUID, LIGHTER
from services.execution.app.closing import Close
from services.execution.app.leverage import LeverageAsked
from services.execution.app.switching import ArmAsked
from services.execution.model.hedge import Action, HedgeAsked, HedgeLegAsked, Rollback
from services.execution.model.leg import Role
from services.execution.model.order import Exit, NewOrder, Order
from services.execution.model.policy import LegPolicy
from services.execution.model.replacing import ReplaceAsked
from services.execution.model.twap import Terms
from services.venues.actions import MarginMode, OrderType, Side, TimeInForce
from tests.simulation.venues import MARKET
from tests.simulation.world import HYPER_ID, LIGHTER_ID, USER, Player, Story, ViolationError

IOC, GTC = TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.GOOD_TILL_CANCELED
VENUES = (HYPERLIQUID, LIGHTER)
CALM_S = 240.0
"""How long after the last fault everything must have ended, beyond the life of Lighter's bytes."""


def wish(player: Player, **changes: Any) -> NewOrder:
    """Return an order as a client asks for it."""
    fields: dict[str, Any] = {
        "request_id": player.uuid(), "market": MARKET, "side": player.rng.choice((Side.BUY, Side.SELL)),
        "size": Decimal(player.rng.choice(("0.02", "0.1", "0.25", "0.7"))), "size_in_usd": False,
        "type": OrderType.LIMIT, "limit_price": None, "time_in_force": GTC, "reduce_only": False, "venue": "",
        "venues": (), "excluded": (), "account_ids": (), "quote_id": None, "max_slippage_bps": 500,
        "client_order_id": "", "allow_while_unknown": True,
    }  # fmt: skip
    return NewOrder(**fields | changes)


def price(player: Player, side: Side, percent: int) -> Decimal:
    """Return a whole price so many per cent worse (positive) or better for who takes than the middle."""
    mid = player.world.mid
    return Decimal((mid * (100 + side.sign * percent) // 100) // 10)


async def place(player: Player, wanted: NewOrder) -> Order:
    """Place an order, surely."""
    order = await player.world.ask("place", lambda room: room.intake.place(USER, wanted))
    player.orders.append(order.order_id)
    if wanted.digest != order.digest:
        raise ViolationError("I1: another order was answered")
    return order


def now(player: Player, order_id: UUID) -> Order:
    """Return an order as the record has it."""
    order = player.world.record.get(USER, order_id)
    if order is None:
        raise ViolationError(f"I2: the order {order_id} was acknowledged and is not there")
    return order


def thin(player: Player, venue: str) -> None:
    """Leave little of the crowd's book at a venue, until the market moves."""
    player.world.fars[venue].move(player.world.mid, player.rng.choice((500, 2_000, 12_000)), 10)


async def until(player: Player, order_id: UUID, good: Callable[[Order], bool], patience_s: float) -> bool:
    """Wait a while until an order stands as wanted, or has ended; say whether it does."""
    end_s = player.world.loop.time() + patience_s
    while not good(order := now(player, order_id)):
        if order.state.is_final or player.world.loop.time() >= end_s:
            return False
        await asyncio.sleep(0.3)
    return True


async def cancel(player: Player, order_id: UUID) -> None:
    """Ask for a cancel."""
    await player.world.ask("cancel", lambda room: room.intake.cancel(USER, order_id))


async def some_time(player: Player, most_s: float = 3.0) -> None:
    """Let some time pass."""
    await asyncio.sleep(player.rng.random() * most_s)


async def over(player: Player) -> None:
    """Look at what was placed as a client does, and cancel what still stands."""
    for order_id in player.orders:
        await player.world.ask("get", lambda room, one=order_id: room.intake.get(USER, one))  # type: ignore[misc]
        if not now(player, order_id).state.is_final:
            await cancel(player, order_id)


async def market(player: Player) -> None:
    """A market order at one venue."""
    await place(player, wish(player, type=OrderType.MARKET, time_in_force=IOC, venue=player.rng.choice(VENUES)))
    await some_time(player)


async def routed(player: Player) -> None:
    """A market order over both venues."""
    await place(player, wish(player, type=OrderType.MARKET, time_in_force=IOC))
    await some_time(player)


async def limit(player: Player) -> None:
    """A limit order that rests, or trades at once, or may only rest and would trade."""
    wanted = wish(player, venue=player.rng.choice(VENUES))
    tif = player.rng.choice((GTC, GTC, TimeInForce.POST_ONLY))
    at = price(player, wanted.side, player.rng.choice((-5, -1, 2)))
    await place(player, wish(player, side=wanted.side, venue=wanted.venue, limit_price=at, time_in_force=tif))
    await some_time(player, 150 if player.rng.random() < 0.05 else 6)


async def canceled(player: Player) -> None:
    """A limit order whose cancel comes at any moment of its life."""
    wanted = wish(player, venue=player.rng.choice(VENUES))
    at = price(player, wanted.side, player.rng.choice((-5, 2)))
    order = await place(player, wish(player, side=wanted.side, venue=wanted.venue, limit_price=at))
    await some_time(player, player.rng.choice((0.05, 0.5, 3)))
    await cancel(player, order.order_id)


async def replaced(player: Player) -> None:
    """A resting order gets new terms, once or twice."""
    wanted = wish(player, venue=player.rng.choice(VENUES))
    at = price(player, wanted.side, -3)
    order = await place(player, wish(player, side=wanted.side, venue=wanted.venue, limit_price=at))
    for _ in range(player.rng.choice((1, 2))):
        await some_time(player, 2)
        asked = ReplaceAsked(
            order_id=order.order_id, request_id=player.uuid(), expected_version=0,
            size=player.rng.choice((None, order.size * 2, order.size / 2)),
            limit_price=price(player, wanted.side, player.rng.choice((-4, -2, 2))),
        )  # fmt: skip
        try:
            await player.world.ask("replace", lambda room, one=asked: room.replacer.replace(USER, one))  # type: ignore[misc]
        except DomainError as error:
            if error.reason not in (Reason.STATE_FORBIDS, Reason.FIELD_INVALID):
                raise
    await some_time(player, 6)


async def trigger(player: Player) -> None:
    """A position, and a stop that the mark reaches or its owner cancels."""
    venue, side = player.rng.choice(VENUES), player.rng.choice((Side.BUY, Side.SELL))
    entry = await place(player, wish(player, type=OrderType.MARKET, time_in_force=IOC, venue=venue, side=side))
    await until(player, entry.order_id, lambda one: bool(one.filled), 4)
    kind = player.rng.choice((OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT))
    away = -6 if kind.is_stop else 6
    level = price(player, side, away)
    limits = None if kind.is_market else level - side.sign * 3
    order = await place(
        player,
        wish(player, side=side.opposite, type=kind, trigger_price=level, limit_price=limits, reduce_only=True,
             venue=venue, size=entry.size),
    )  # fmt: skip
    await until(player, order.order_id, lambda one: any(leg.venue_order_id for leg in one.legs), 5)
    if player.rng.random() < 0.7:
        player.world.move(int(level * 10) + side.sign * (-50 if kind.is_stop else 50))
        await some_time(player)
        player.world.move(player.world.mid)


async def bracket(player: Player) -> None:
    """An order with exits; the market may reach one of them."""
    venue, side = player.rng.choice(VENUES), player.rng.choice((Side.BUY, Side.SELL))
    rests = player.rng.random() < 0.3
    at = price(player, side, -1 if rests else 2)
    profit, loss = price(player, side, 6), price(player, side, -6)
    order = await place(
        player,
        wish(player, side=side, venue=venue, limit_price=at, take_profit=Exit(trigger_price=profit),
             stop_loss=Exit(trigger_price=loss)),
    )  # fmt: skip
    if rests:
        await some_time(player, 1)
        player.world.move(int(at * 10) - side.sign * 20)

    def covered(one: Order) -> bool:
        waits = {leg.role for leg in one.legs if not leg.role.trades_the_order and leg.venue_order_id}
        return waits == {Role.TAKE_PROFIT, Role.STOP_LOSS}

    await until(player, order.order_id, covered, 8)
    if player.rng.random() < 0.7:
        level = player.rng.choice((profit, loss))
        player.world.move(int(level * 10) + side.sign * (50 if level == profit else -50))
        await some_time(player, 5)


async def sliced(player: Player) -> None:
    """An order in slices over some seconds, paused and resumed now and then."""
    terms = Terms(
        duration=timedelta(seconds=player.rng.choice((4, 8))), interval=timedelta(seconds=2),
        randomize=player.rng.random() < 0.5,
    )  # fmt: skip
    venue = player.rng.choice(("", *VENUES))
    order = await place(
        player, wish(player, type=OrderType.MARKET, time_in_force=IOC, venue=venue, twap=terms, size=Decimal("0.5"))
    )
    if player.rng.random() < 0.4:
        await some_time(player)
        hard = player.rng.random() < 0.5
        await player.world.ask("pause", lambda room: room.pacer.pause(USER, order.order_id, cancel=hard))
        await some_time(player)
        await player.world.ask("resume", lambda room: room.pacer.resume(USER, order.order_id))
    await until(player, order.order_id, lambda one: one.state.is_final, 20)


async def switched(player: Player) -> None:
    """A dead man's switch over orders that rest: it fires, or is disarmed."""
    for venue in VENUES:
        wanted = wish(player, venue=venue)
        await place(player, wish(player, side=wanted.side, venue=venue, limit_price=price(player, wanted.side, -5)))
    asked = ArmAsked(
        account_ids=(), delay=timedelta(seconds=player.rng.choice((6, 10))), allow_mesh_keeper=player.rng.random() < 0.7
    )
    await player.world.ask("arm", lambda room: room.switching.arm(USER, asked))
    await some_time(player, 12)
    off = ArmAsked(account_ids=(), delay=None, allow_mesh_keeper=True)
    await player.world.ask("disarm", lambda room: room.switching.arm(USER, off))


async def closed(player: Player) -> None:
    """A position that is closed, whole or in part."""
    venue = player.rng.choice(VENUES)
    entry = await place(player, wish(player, type=OrderType.MARKET, time_in_force=IOC, venue=venue))
    await until(player, entry.order_id, lambda one: bool(one.filled), 4)
    asked = Close(
        request_id=player.uuid(), market=MARKET, venue=venue, account_ids=(),
        size=player.rng.choice((None, entry.size / 2)), limit_price=None, max_slippage_bps=800,
    )  # fmt: skip
    orders = await player.world.ask("close", lambda room: room.closer.close(USER, asked))
    player.orders += [one.order_id for one in orders]
    await some_time(player)


async def batch(player: Player) -> None:
    """Several orders at once, all canceled together."""
    wishes = []
    for _ in range(3):
        side = player.rng.choice((Side.BUY, Side.SELL))
        at = price(player, side, player.rng.choice((-5, -3, 2)))
        wishes.append(wish(player, side=side, limit_price=at, venue=player.rng.choice(VENUES)))
    await asyncio.gather(*(place(player, one) for one in wishes))
    await some_time(player, 2)
    await asyncio.gather(*(cancel(player, one) for one in player.orders))


async def levered(player: Player) -> None:
    """A leverage is set, and an order placed after it."""
    account_id = player.rng.choice((HYPER_ID, LIGHTER_ID))
    asked = LeverageAsked(
        account_id=account_id, market=MARKET, leverage=player.rng.choice((3, 5, 10)), margin_mode=MarginMode.CROSS,
        request_id=player.uuid(),
    )  # fmt: skip
    await player.world.ask("leverage", lambda room: room.leverages.set(USER, asked))
    await market(player)


async def expiring(player: Player) -> None:
    """A resting order that ends by its time: at Hyperliquid soon and by us, at Lighter after minutes and by itself."""
    venue = player.rng.choice((HYPERLIQUID, HYPERLIQUID, HYPERLIQUID, LIGHTER))
    wanted = wish(player, venue=venue)
    life_s = player.rng.choice((2, 5, 8)) if venue == HYPERLIQUID else 340
    until_time = player.world.clock.now() + timedelta(seconds=life_s)
    at = price(player, wanted.side, -4)
    order = await place(player, wish(player, side=wanted.side, venue=venue, limit_price=at, expire_time=until_time))
    await until(player, order.order_id, lambda one: one.state.is_final, life_s + 15 if player.rng.random() < 0.3 else 5)


async def short(player: Player) -> None:
    """An order over both venues of which one has less than its share, with a policy for what is missing."""
    thin(player, player.rng.choice(VENUES))
    policy = player.rng.choice((LegPolicy.REROUTE, LegPolicy.UNWIND))
    size = Decimal(player.rng.choice(("0.25", "0.7")))
    order = await place(player, wish(player, type=OrderType.MARKET, time_in_force=IOC, size=size, leg_policy=policy))
    if player.rng.random() < 0.2:
        await some_time(player, 1)
        await cancel(player, order.order_id)
    await until(player, order.order_id, lambda one: one.state.is_final, 20)
    player.world.move(player.world.mid)


async def hedged(player: Player) -> None:
    """Two sides that belong together: sent at once, or one follows what the other, which rests, has filled."""
    rng = player.rng
    lead, other = rng.sample(VENUES, 2)
    side, rests, size = rng.choice((Side.BUY, Side.SELL)), rng.random() < 0.4, Decimal(rng.choice(("0.1", "0.25")))

    def leg(venue: str, side: Side, percent: int, tif: TimeInForce) -> HedgeLegAsked:
        return HedgeLegAsked(
            market=MARKET, side=side, size=size, venue=venue, account_id=None, time_in_force=tif, reduce_only=False,
            limit_price=price(player, side, percent),
        )  # fmt: skip

    rule = Rollback(
        action=rng.choice((Action.UNWIND, Action.UNWIND, Action.KEEP)),
        tolerated=Decimal(rng.choice(("0", "0", "0.03"))), patience=timedelta(seconds=rng.choice((1, 4, 10))),
    )  # fmt: skip
    first = leg(lead, side, -1 if rests else 2, GTC if rests else IOC)
    second = leg(other, side.opposite, rng.choice((2, 2, -2)), IOC)
    asked = HedgeAsked(
        request_id=player.uuid(), legs=(first, second), rollback=rule, max_slippage_bps=None, expire_time=None,
        client_order_id="",
    )  # fmt: skip
    if rng.random() < 0.5:
        thin(player, rng.choice(VENUES))
    order = await player.world.ask("hedge", lambda room: room.hedger.place(USER, asked))
    player.orders.append(order.order_id)
    if rests and rng.random() < 0.8:
        await some_time(player, 3)
        assert first.limit_price is not None, "both sides are limited"
        player.world.move(int(first.limit_price * 10) - side.sign * 20)
        if rng.random() < 0.5:
            thin(player, other)
    if rng.random() < 0.2:
        await some_time(player, 4)
        await cancel(player, order.order_id)
    await until(player, order.order_id, lambda one: one.state.is_final, 25)


STORIES: dict[str, tuple[Story, frozenset[str]]] = {
    "market": (market, frozenset()), "routed split": (routed, frozenset()), "limit": (limit, frozenset()),
    "cancel": (canceled, frozenset()), "replace": (replaced, frozenset()), "trigger": (trigger, frozenset()),
    "bracket": (bracket, frozenset()), "TWAP": (sliced, frozenset({"pacer"})),
    "switch": (switched, frozenset({"switches", "deeds"})), "close": (closed, frozenset()),
    "batch": (batch, frozenset()), "leverage": (levered, frozenset({"deeds"})), "expiry": (expiring, frozenset()),
    "policy": (short, frozenset({"remedies"})), "hedge": (hedged, frozenset({"remedies"})),
}  # fmt: skip
"""Each with the parts of the room that it needs."""
