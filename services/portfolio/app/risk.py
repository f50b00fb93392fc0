"""Exposure over venues, and where a position would be liquidated if."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.domain.decimals import rounding
from services.domain.errors import DomainError, Reason, field_invalid
from services.portfolio.app.desk import Desk, unknown
from services.portfolio.model.exposure import (
    Death,
    Member,
    Transfer,
    equalize,
    first_death,
    left_after,
    nearest,
    pnl_at,
)
from services.portfolio.model.liquidation import FORMULAS, VERIFIED, Case, Trade, judge
from services.portfolio.model.margin import Holding, MarketRules, Standing
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import Environment, MarginMode, OpenLeg
from services.portfolio.model.view import AccountView, cash_of
from services.portfolio.ports import Clock, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPicture:
    """One market over all venues."""

    market: str
    net_size: Decimal
    net_notional: Decimal
    gross_notional: Decimal
    funding_per_hour: Decimal
    rise: tuple[Death, Decimal, Decimal] | None
    """Who dies first, what the market's positions have gained by then, and what is left of the net size."""
    fall: tuple[Death, Decimal, Decimal] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The exposure."""

    markets: Sequence[MarketPicture]
    accounts: Sequence[tuple[AccountView, Standing, Death | None]]
    transfers: Sequence[Transfer]
    distance_after: Decimal | None
    position_ids: Mapping[tuple[UUID, str], UUID]
    unknown: Sequence[AccountView]
    """Accounts that are not counted, since a mark, a rule or a balance is not known."""
    oldest: datetime | None
    made: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A value that went into an estimate."""

    name: str
    value: Decimal
    source: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Where a position would be liquidated."""

    positions_only: Case
    with_buys: Case
    with_sells: Case
    inputs: Sequence[Input]
    formula: str
    verified: bool
    made: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What EstimateLiquidation is asked. `orders` are (signed size, price or None for the mark)."""

    account_id: UUID
    market: str
    orders: tuple[tuple[Decimal, Decimal | None], ...]
    without_open_orders: bool
    leverage: int
    mode: MarginMode
    collateral_change: Decimal
    mark: Decimal | None


class RiskDesk:
    """Answers GetExposure and EstimateLiquidation."""

    def __init__(self, desk: Desk, ledger: Ledger, clock: Clock) -> None:
        self._desk = desk
        self._ledger = ledger
        self._clock = clock

    async def exposure(
        self, user_id: UUID, *, markets: Collection[str], account_ids: Collection[UUID], environment: Environment
    ) -> Picture:
        """Return the exposure of the caller's accounts of one environment."""
        views = await self._desk.one_environment(user_id, account_ids, environment)
        _, rules = await self._desk.now(())
        counted = [view for view in views if view.standing is not None]
        members = [member_of(view, rules) for view in counted]
        wanted = {held.market for one in members for held in one.holdings if held.size}
        if markets:
            wanted &= set(markets)
        pictures = [_market(members, counted, market) for market in wanted]
        transfers, distance = equalize(members)
        marks = [one.mark.received for view in counted for one in view.positions if one.mark is not None]
        return Picture(
            markets=sorted(pictures, key=lambda one: (-one.gross_notional, one.market)),
            accounts=[(view, member.standing, nearest(member)) for view, member in zip(counted, members, strict=True)],
            transfers=transfers,
            distance_after=distance,
            position_ids={
                (view.account.account_id, one.life.market): one.life.position_id
                for view in counted
                for one in view.positions
            },
            unknown=[view for view in views if view.standing is None],
            oldest=min(marks, default=None),
            made=self._clock.now(),
        )

    async def estimate(self, user_id: UUID, asked: Question) -> Estimate:
        """Return where a position would be liquidated, with open orders and with orders only considered."""
        views = await self._desk.accounts(user_id, [asked.account_id])
        if not views:
            raise unknown("account", str(asked.account_id))
        view = views[0]
        venue = view.account.venue
        marks, rules_of = await self._desk.now({asked.market})
        rule, mark = rules_of.get((venue, asked.market)), marks.of(venue, asked.market)
        price = asked.mark if asked.mark is not None else mark.price if mark is not None else None
        if rule is None or price is None:
            raise _unanswerable(f"the margin rules or the mark price of {asked.market} at {venue} are not known now")
        cash = cash_of(view.account, view.holdings)
        if cash is None or len(view.holdings) != len(view.account.lives):
            raise _unanswerable("a balance or a mark price of the account is not known now")
        member = member_of(view, rules_of)
        held, others = _split(member, asked.market, price, rule)
        held, cash = _assume(held, cash, asked, rule)
        trades = [Trade(size=size, price=at if at is not None else price) for size, at in asked.orders]
        if not asked.without_open_orders:
            trades += _resting(await self._ledger.open_legs(asked.account_id, asked.market), price)
        rules = {**member.rules, asked.market: rule}

        def case(wanted: int) -> Case:
            picked = [trade for trade in trades if trade.size * wanted > 0]
            return judge(held, others, rules, cash, picked)

        now = self._clock.now()
        return Estimate(
            positions_only=judge(held, others, rules, cash, ()),
            with_buys=case(1),
            with_sells=case(-1),
            inputs=_inputs(view, held, cash, rule, asked, mark.received if mark is not None else now, now),
            formula=FORMULAS.get(venue, ""),
            verified=(venue, held.mode) in VERIFIED,
            made=now,
        )


def member_of(view: AccountView, rules: Mapping[tuple[str, str], MarketRules]) -> Member:
    """Return an account as exposure sees it."""
    venue = view.account.venue
    cash = cash_of(view.account, view.holdings)
    return Member(
        account_id=view.account.account_id,
        venue=venue,
        holdings=view.holdings,
        rules={held.market: rules[venue, held.market] for held in view.holdings},
        cash=cash if cash is not None else ZERO,
    )


def _market(members: Sequence[Member], views: Sequence[AccountView], market: str) -> MarketPicture:
    held = [one for member in members for one in member.holdings if one.market == market]
    funding = ZERO
    with rounding():
        for view in views:
            for one in view.positions:
                if one.life.market == market and one.funding_hourly is not None and one.notional is not None:
                    funding += one.funding_hourly * one.notional
    rise, fall = (first_death(members, market, rise=up) for up in (True, False))
    return MarketPicture(
        market=market,
        net_size=sum((one.size for one in held), ZERO),
        net_notional=sum((one.size * one.mark for one in held), ZERO),
        gross_notional=sum((one.notional for one in held), ZERO),
        funding_per_hour=funding,
        rise=_told(members, rise),
        fall=_told(members, fall),
    )


def _told(members: Sequence[Member], death: Death | None) -> tuple[Death, Decimal, Decimal] | None:
    if death is None:
        return None
    return death, pnl_at(members, death.held.market, death.move), left_after(members, death)


def _split(member: Member, market: str, price: Decimal, rule: MarketRules) -> tuple[Holding, list[Holding]]:
    others = [one for one in member.holdings if one.market != market]
    mine = [one for one in member.holdings if one.market == market]
    if mine:
        return replace(mine[0], mark=price), others
    return Holding(market=market, size=ZERO, cost=ZERO, mark=price, leverage=Decimal(rule.max_leverage)), others


def _assume(held: Holding, cash: Decimal, asked: Question, rule: MarketRules) -> tuple[Holding, Decimal]:
    """Return the holding and the cash under the leverage, mode and collateral that are assumed."""
    if asked.leverage > rule.max_leverage:
        raise field_invalid("leverage", f"{asked.market} allows at most {rule.max_leverage} at {rule.venue}")
    leverage = Decimal(asked.leverage) if asked.leverage else held.leverage
    mode = asked.mode if asked.mode is not MarginMode.UNSPECIFIED else held.mode
    collateral = held.collateral
    with rounding():
        if mode is MarginMode.ISOLATED and held.mode is not MarginMode.ISOLATED:
            collateral = held.cost / leverage
            cash -= collateral
        elif mode is not MarginMode.ISOLATED and held.mode is MarginMode.ISOLATED:
            cash, collateral = cash + collateral, ZERO
    if mode is MarginMode.ISOLATED:
        collateral += asked.collateral_change
        cash -= asked.collateral_change
    else:
        cash += asked.collateral_change
    return replace(held, leverage=leverage, mode=mode, collateral=collateral), cash


def _resting(legs: Sequence[OpenLeg], mark: Decimal) -> list[Trade]:
    return [Trade(size=leg.size, price=leg.price if leg.price is not None else mark) for leg in legs]


def _inputs(
    view: AccountView,
    held: Holding,
    cash: Decimal,
    rule: MarketRules,
    asked: Question,
    marked: datetime,
    now: datetime,
) -> list[Input]:
    tier = rule.tier(held.notional)
    balances = [one.received for one in view.account.balances.values() if one.received is not None]
    known = max(balances, default=view.account.updated)
    found = [
        Input(name="size", value=held.size, source="log", time=view.account.updated),
        Input(name="entry_cost", value=held.cost, source="log", time=view.account.updated),
        Input(name="cash", value=cash, source="log", time=known),
        Input(
            name="mark_price",
            value=held.mark,
            source="market" if asked.mark is None else "request",
            time=marked if asked.mark is None else now,
        ),
        Input(
            name="leverage",
            value=held.leverage,
            source="request" if asked.leverage else "venue",
            time=now if asked.leverage else known,
        ),
        Input(name="maintenance_rate", value=tier.rate, source="market", time=marked),
        Input(name="maintenance_deduction", value=tier.deduction, source="market", time=marked),
    ]
    if held.mode is MarginMode.ISOLATED:
        found.append(Input(name="isolated_collateral", value=held.collateral, source="venue", time=known))
    return found


def _unanswerable(why: str) -> DomainError:
    return DomainError(
        Reason.PEER_UNAVAILABLE,
        f"Nothing can be estimated: {why}. Try again in a moment.",
        metadata={"peer": "market_data"},
        retry_after_s=1.0,
    )
