"""The oracle: what execution says against what the venues did. Invariants are numbered as in the fault catalogue.

I1 no wish is two orders at a venue. I2 what was acknowledged ends, as it ended there. I3 nothing is told that the
venue does not have. I4 fills are the venue's, each once, to the last unit. I5 so are positions, which are sums of
fills: the exchange's own audit and the two lists of trades are equal. I6 every end has evidence, and the vault was
told the truth of every nonce. I7 versions and filled sizes never go back. I10 no nonce carries two payloads. H8
nothing new is sent a second after a halt. I12 what an order, or each side of a hedge, may still trade and has traded
is never more than was wished. I13 what is traded back, by policy or rule, is never more than was traded; no side of a
hedge stands alone at the end and nothing of an order is left that its policy trades back or routes again, but where a
reason was told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

from services.domain.market import HYPERLIQUID, LIGHTER
from services.execution.model.hedge import Action
from services.execution.model.leg import TABLE, Evidence, Leg, LegState, Role
from services.execution.model.order import Order
from services.execution.model.policy import LegPolicy, short_legs
from services.simulator.exchange.values import Event, OrderChanged, Traded
from services.simulator.exchange.values import Order as VenueOrder
from services.vault.model.lane import Outcome
from services.venues.actions import Place
from tests.simulation.venues import Far
from tests.simulation.virtual import EPOCH, START_NS
from tests.simulation.world import HYPER_ID, LIGHTER_ID, ViolationError, World

SIZE = Decimal("0.00001")
MONEY = Decimal("0.000001")
HALT_S = 1.0
"""How soon after its answer a halt is felt everywhere."""
_LANDED = (Outcome.ACCEPTED,)
_NEVER = (Outcome.NOT_SENT, Outcome.NEVER_LANDED, Outcome.REFUSED_NONCE_FREE)
_ENDS = {
    "filled": {LegState.FILLED, LegState.CANCELED},
    "canceled": {LegState.CANCELED, LegState.EXPIRED, LegState.REJECTED, LegState.FILLED},
    "rejected": {LegState.REJECTED, LegState.CANCELED, LegState.EXPIRED},
}
"""The venue's end of an order, and what may be said of its leg. Hyperliquid calls an immediate order filled that got
less than its size; of one that it threw out when it was matched, a cancel may have been first in our words."""


class Witness:
    """What a venue did, as it does it; holds I1 and I12 at every step."""

    def __init__(self, world: World, far: Far, account_id: UUID) -> None:
        self._world, self._far = world, far
        self.account_id = account_id
        self.orders: defaultdict[str, dict[int, VenueOrder]] = defaultdict(dict)
        """By our id, then by the venue's."""
        self.filled: defaultdict[str, int] = defaultdict(int)
        self.fees: defaultdict[str, int] = defaultdict(int)
        """Lighter says rates, and cuts each fee to its unit."""
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.trades: dict[str, tuple[str, int, int]] = {}
        """By the venue's id of a fill: our id of the order, price and size."""
        far.watchers.append(self.note)

    def note(self, event: Event) -> None:
        """Take in what happened."""
        if isinstance(event, OrderChanged):
            order = event.order
            client = order.wanted.client
            if not client:
                return
            self.orders[client][order.oid] = order
            if len(self.orders[client]) > 1:
                raise ViolationError(f"I1: {client} is {len(self.orders[client])} orders at {self._far.name}")
            self._exposure(client)
        elif isinstance(event, Traded):
            trade = event.trade
            for party in trade.parties():
                self.filled[party.client] += trade.size
                self.counts[party.client] += 1
                self.fees[party.client] += party.fee + party.surcharge
                name = (
                    f"{trade.time_us // 1_000}-{party.oid}-{trade.id}"
                    if self._far.name == HYPERLIQUID
                    else str(trade.id)
                )
                self.trades[name] = (party.client, trade.price, trade.size)

    def at_venue(self, client: str) -> VenueOrder | None:
        """Return the venue's order of a leg."""
        return next(iter(self.orders[client].values())) if client in self.orders else None

    def _exposure(self, client: str) -> None:
        """Hold that an order's legs together never trade more than was wished, nor trade back more than was traded."""
        record = self._world.record
        leg_id = record.clients.get((self.account_id, client))
        if leg_id is None:
            raise ViolationError(f"I3: {client} is at {self._far.name}, and no leg of ours")
        order = record.orders[record.legs[leg_id].order_id]
        leg = record.leg(leg_id)
        if leg.role is Role.UNWIND:
            back, traded = (self._world_has(order, one) for one in _trades_back(order, leg))
            if back > traded:
                raise ViolationError(f"I13: {back * SIZE} may be traded back of {traded * SIZE}, {order.order_id}")
            return
        most = max(order.size, order.replacement.size if order.replacement is not None else order.size)
        if order.hedge is not None and leg.part:
            most = order.hedge.side(leg.part).size
        total = self._world_has(
            order, [one for one in order.legs if one.role.trades_the_order and one.part == leg.part]
        )
        if total * SIZE > most:
            raise ViolationError(f"I12: {total * SIZE} may trade of an order of {most}")

    def _world_has(self, order: Order, legs: Iterable[Leg]) -> int:
        """Return what legs traded at their venues, and what of them still may."""
        total = 0
        for leg in legs:
            witness = self._world.witnesses[leg.account_id]  # type: ignore[attr-defined]
            there = witness.at_venue(leg.client_id)
            if there is not None:
                total += there.filled + (there.left if there.live else 0)
        return total


def _trades_back(order: Order, back: Leg) -> tuple[list[Leg], list[Leg]]:
    """Return the legs that trade the same back as one does, and those that traded it."""
    if order.hedge is not None:
        mine = [leg for leg in order.legs if leg.part == back.part]
        return [leg for leg in mine if leg.role is Role.UNWIND], [leg for leg in mine if leg.role is Role.HEDGE]
    backs = [leg for leg in order.legs if leg.role is Role.UNWIND and leg.entry == back.entry]
    return backs, [order.legs[back.entry - 1]]


def attend(world: World) -> None:
    """Have both venues witnessed from the beginning."""
    pairs = ((HYPER_ID, world.hyper), (LIGHTER_ID, world.lighter))
    world.witnesses = {name: Witness(world, far, name) for name, far in pairs}  # type: ignore[attr-defined]


def unsettled(world: World) -> list[str]:
    """Say what is not at its end yet."""
    record = world.record
    open_ = [f"order {one.order_id} {one.state}" for one in record.orders.values() if not one.state.is_final]
    due = [
        f"leg {record.leg(leg_id).number} of {row.order_id} {record.leg(leg_id).state}"
        for leg_id, row in record.legs.items()
        if row.due is not None
    ]
    deeds = [f"deed {row.deed.kind} {row.deed.state}" for row in record.deeds.values() if row.due is not None]
    failing = [f"{one.kind} that met {one.trouble}: {one.last_error[:80]}" for one in record.failing()]
    fills = [
        f"trade {name} of {witness.account_id} is not counted"
        for witness in world.witnesses.values()  # type: ignore[attr-defined]
        for name in _missing(world, witness)
    ]
    return open_ + due + deeds + fills + failing


def _missing(world: World, witness: Witness) -> Iterable[str]:
    counted = {row.trade.trade_id for row in world.record.fills.values() if row.trade.account_id == witness.account_id}
    return witness.trades.keys() - counted


def judge(world: World) -> None:
    """Hold all invariants at the end. Raises `ViolationError`."""
    for order in world.record.orders.values():
        for leg in order.legs:
            _leg(world, order, leg)
        if order.legs and order.refusal is None and (order.remedy is None or order.remedy.refusal is None):
            _remedied(world, order)
    _log(world)
    _halts(world)
    for witness in world.witnesses.values():  # type: ignore[attr-defined]
        _fills(world, witness)
    _nonces(world)
    for far in world.fars.values():
        audit = far.exchange.audit()
        if audit["money"] or audit["sizes"]:
            raise ViolationError(f"the exchange itself does not add up: {audit}")


def _leg(world: World, order: Order, leg: Leg) -> None:
    witness: Witness = world.witnesses[leg.account_id]  # type: ignore[attr-defined]
    there = witness.at_venue(leg.client_id)
    named = f"leg {leg.number} ({leg.client_id}, {leg.state} by {leg.evidence}) of {order.order_id} at {leg.venue}"
    if not leg.is_final:
        raise ViolationError(f"I2: {named} has not ended")
    if leg.evidence is Evidence.UNSPECIFIED:
        raise ViolationError(f"I6: {named} ended without evidence")
    if leg.state is LegState.FAILED and leg.evidence is not Evidence.EXPIRY:
        raise ViolationError(f"I6: {named}")
    if leg.filled != witness.filled[leg.client_id] * SIZE:
        raise ViolationError(f"I4: {named}: {leg.filled} by us, {witness.filled[leg.client_id] * SIZE} by the venue")
    cut = witness.counts[leg.client_id] * MONEY if leg.venue == LIGHTER else Decimal(0)
    if not 0 <= leg.fees + leg.interface_fees - witness.fees[leg.client_id] * MONEY <= cut:
        raise ViolationError(f"I4: {named}: fees {leg.fees}, by the venue {witness.fees[leg.client_id] * MONEY}")
    if there is None:
        gone = (LegState.CANCELED, LegState.EXPIRED)
        never = leg.state in (LegState.DENIED, LegState.FAILED, LegState.REJECTED)
        if not never and not (leg.state in gone and leg.evidence is Evidence.NOT_SENT):
            raise ViolationError(f"I3: {named}, and the venue never had it")
        return
    if there.live:
        raise ViolationError(f"I2: {named}, and it is {there.status} at the venue")
    if leg.state not in _ENDS[there.status] or (leg.state is LegState.FILLED) != (leg.filled >= leg.size):
        raise ViolationError(f"I2: {named}, and at the venue it ended {there.status} ({there.reason})")


def _remedied(world: World, order: Order) -> None:
    """Hold that what an order's policy or rule is for was done."""

    def traded(legs: Iterable[Leg]) -> Decimal:
        witnesses: dict[UUID, Witness] = world.witnesses  # type: ignore[attr-defined]
        return sum((witnesses[leg.account_id].filled[leg.client_id] * SIZE for leg in legs), Decimal(0))

    if order.hedge is not None:
        one, two = order.hedge.sides
        nets = [
            traded(leg for leg in order.legs if (leg.role, leg.part) == (Role.HEDGE, part))
            - traded(leg for leg in order.legs if (leg.role, leg.part) == (Role.UNWIND, part))
            for part in (1, 2)
        ]
        gap = nets[0] * two.size - nets[1] * one.size
        mine, other = (one, two) if gap > 0 else (two, one)
        alone = abs(gap) / other.size // mine.lot * mine.lot
        if alone > order.hedge.rollback.tolerated and order.hedge.rollback.action is Action.UNWIND:
            raise ViolationError(f"I13: {alone} of the hedge {order.order_id} stand alone: {nets} filled")
        return
    if order.cancel_time is not None or not short_legs(order.legs, order.leg_policy):
        return
    entered = traded(leg for leg in order.legs if leg.role.trades_the_order)
    if order.leg_policy is LegPolicy.REROUTE and entered < order.size and not any(_rests(leg) for leg in order.legs):
        raise ViolationError(f"I13: {entered} of {order.size} were routed in {order.order_id}, and no reason is told")
    back = traded(leg for leg in order.legs if leg.role is Role.UNWIND)
    if order.leg_policy is LegPolicy.UNWIND and entered != back:
        raise ViolationError(f"I13: {back} of {entered} were traded back in {order.order_id}, and no reason is told")


def _rests(leg: Leg) -> bool:
    return leg.may_rest or leg.cancel_wanted


def _log(world: World) -> None:
    """Hold that what was said of each order only went forward."""
    last: dict[UUID, Order] = {}
    for kind, said in world.record.said:
        if kind != "order":
            continue
        assert isinstance(said, Order)
        before = last.get(said.order_id)
        last[said.order_id] = said
        if before is None:
            continue
        if said.version <= before.version:
            raise ViolationError(f"I7: {said.order_id} went from version {before.version} to {said.version}")
        for old, new in zip(before.legs, said.legs, strict=False):
            if new is old:
                continue
            if new.filled < old.filled:
                raise ViolationError(f"I7: {said.order_id} went from {old.filled} filled to {new.filled}")
            if old.is_final and new.state is not old.state and new.state not in TABLE[old.state].values():
                raise ViolationError(f"I6: {said.order_id} went from {old.state} to {new.state}")
        if len(said.legs) < len(before.legs):
            raise ViolationError(f"I7: {said.order_id} lost a leg")


def _halts(world: World) -> None:
    """Hold that a second after a halt was answered nothing new is sent, where clocks and the database are well."""
    if world.chaos.kinds & {"clock_jump", "freeze", "database_away", "database_cut", "commit_unknown", "database_slow"}:
        return
    for order in world.record.orders.values():
        for leg in order.legs:
            if leg.submit_time is None or leg.reduce_only:
                continue
            sent_s = (leg.submit_time - EPOCH).total_seconds() - START_NS / 1e9
            for scope, began_s, ended_s in world.halted:
                if scope.takes_in(order.user_id, leg.venue) and began_s + HALT_S < sent_s < ended_s:
                    raise ViolationError(
                        f"H8: leg {leg.number} of {order.order_id} was sent {sent_s - began_s} s after a halt"
                    )


def _fills(world: World, witness: Witness) -> None:
    counted = {}
    for row in world.record.fills.values():
        if row.trade.account_id == witness.account_id:
            trade = row.trade
            counted[trade.trade_id] = (int(trade.price * 10), int(trade.size / SIZE))
    there = {name: (price, size) for name, (_, price, size) in witness.trades.items()}
    if counted != there:
        only_us, only_them = counted.keys() - there.keys(), there.keys() - counted.keys()
        raise ViolationError(f"I4: trades that the venue does not have {only_us}, that we do not have {only_them}")


def _nonces(world: World) -> None:
    """Hold that what the vault was told of each action is what became of it."""
    fars = {HYPER_ID: world.hyper, LIGHTER_ID: world.lighter}
    bodies = set(world.lighter.received.values())
    for (leg_id, number), kept in world.vault.kept.items():
        far = fars[kept.account_id]
        nonce = kept.signed.nonce
        if kept.signed.body.decode() in world.lighter.dropped:
            continue  # its nonce is used and nothing came of it
        landed = nonce in far.received if far is world.hyper else kept.signed.body.decode() in bodies
        # Hyperliquid's nonces have no order: a cancel or a setting counts as landed when what it was for is so.
        is_vague = far is world.hyper and not isinstance(kept.signed.action, Place)
        if (kept.outcome in _LANDED and not landed and not is_vague) or (kept.outcome in _NEVER and landed):
            word = "landed" if landed else "never landed"
            raise ViolationError(f"I6: the vault was told {kept.outcome} of action {number} of {leg_id}, which {word}")
