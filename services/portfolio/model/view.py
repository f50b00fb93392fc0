"""An account as it is shown: positions and margin at the mark prices of now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.domain.decimals import rounding
from services.portfolio.model.account import Account, Report
from services.portfolio.model.life import Life
from services.portfolio.model.liquidation import distance, solve
from services.portfolio.model.margin import Holding, MarketRules, Standing, available, stand, withdrawable
from services.portfolio.model.reconcile import differences
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import SETTLEMENT_ASSET, MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What market_data says of one market at one venue."""

    price: Decimal
    funding_hourly: Decimal | None
    """What longs pay in an hour as a fraction of the notional."""
    received: datetime
    """When the price was received from the venue."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks by (venue, market)."""

    by_key: Mapping[tuple[str, str], Mark] = field(default_factory=dict)

    def of(self, venue: str, market: str) -> Mark | None:
        """Return the mark, None while it is not known."""
        return self.by_key.get((venue, market))


RulesOf = Mapping[tuple[str, str], MarketRules]
"""Margin rules by (venue, market); what is not known is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """A position at the mark price. None where something it needs is not known."""

    account: Account
    life: Life
    report: Report | None
    mark: Mark | None
    notional: Decimal | None
    unrealized: Decimal | None
    initial: Decimal | None
    maintenance: Decimal | None
    liquidation: Decimal | None
    distance: Decimal | None
    mode: MarginMode
    leverage: int
    funding_hourly: Decimal | None
    """What the position pays in an hour as a fraction of its notional; positive is paid."""
    differences: Mapping[str, tuple[Decimal, Decimal, datetime]]
    """Computed and reported value, and since when, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """An account at the mark prices of now. `standing` is None where a mark, a rule or the balance is not known."""

    account: Account
    positions: tuple[PositionView, ...]
    holdings: tuple[Holding, ...]
    standing: Standing | None
    available: Decimal | None
    withdrawable: Decimal | None
    unrealized: Decimal | None
    notional: Decimal | None


def holding_of(account: Account, life: Life, mark: Decimal, rules: MarketRules) -> Holding:
    """Return a life as margin sees it; where the venue has not reported its setting, the greatest leverage, cross."""
    report = account.reports.get(life.market)
    said = report.position if report is not None else None
    return Holding(
        market=life.market,
        size=life.signed_size,
        cost=life.cost,
        mark=mark,
        leverage=Decimal(said.leverage if said is not None and said.leverage else rules.max_leverage),
        mode=MarginMode.ISOLATED if said is not None and said.margin_mode is MarginMode.ISOLATED else MarginMode.CROSS,
        collateral=(said.isolated_collateral or ZERO) if said is not None else ZERO,
    )


def cash_of(account: Account, holdings: tuple[Holding, ...]) -> Decimal | None:
    """Return the cross cash: the settlement balance less what is set aside, None while no balance is known."""
    balance = account.balances.get(SETTLEMENT_ASSET)
    if balance is None:
        return None
    cash = balance.computed if balance.computed is not None else balance.total
    if cash is None:
        return None
    return cash - sum((held.collateral for held in holdings if held.mode is MarginMode.ISOLATED), ZERO)


def account_view(account: Account, marks: Marks, rules_of: RulesOf) -> AccountView:
    """Return an account with all its open lives at the marks."""
    venue = account.venue
    known: dict[str, Holding] = {}
    rules: dict[str, MarketRules] = {}
    for market, life in account.lives.items():
        mark, rule = marks.of(venue, market), rules_of.get((venue, market))
        if mark is not None and rule is not None:
            rules[market] = rule
            known[market] = holding_of(account, life, mark.price, rule)
    holdings = tuple(known.values())
    whole = len(known) == len(account.lives)
    cash = cash_of(account, holdings) if whole else None
    standing = stand(holdings, rules, cash) if cash is not None else None
    positions = tuple(
        _position(account, life, marks.of(venue, market), known.get(market), rules, standing)
        for market, life in sorted(account.lives.items())
    )
    profits = [one.unrealized for one in positions]
    notionals = [one.notional for one in positions]
    return AccountView(
        account=account,
        positions=positions,
        holdings=holdings,
        standing=standing,
        available=available(standing) if standing is not None else None,
        withdrawable=withdrawable(venue, standing) if standing is not None else None,
        unrealized=None if None in profits else sum((one or ZERO for one in profits), ZERO),
        notional=None if None in notionals else sum((one or ZERO for one in notionals), ZERO),
    )


def _position(
    account: Account,
    life: Life,
    mark: Mark | None,
    held: Holding | None,
    rules: Mapping[str, MarketRules],
    standing: Standing | None,
) -> PositionView:
    report = account.reports.get(life.market)
    said = report.position if report is not None else None
    liquidation = None
    if held is not None and held.mode is MarginMode.ISOLATED:
        liquidation = solve(rules[held.market], held.size, held.mark, held.value, ZERO)
    elif held is not None and standing is not None:
        own = rules[held.market].maintenance(held.notional)
        liquidation = solve(rules[held.market], held.size, held.mark, standing.value, standing.maintenance - own)
    hourly = mark.funding_hourly if mark is not None else None
    return PositionView(
        account=account,
        life=life,
        report=report,
        mark=mark,
        notional=life.size * mark.price if mark is not None else None,
        unrealized=life.unrealized(mark.price) if mark is not None else None,
        initial=held.initial if held is not None else None,
        maintenance=rules[life.market].maintenance(held.notional) if held is not None else None,
        liquidation=liquidation,
        distance=distance(held.mark, liquidation) if held is not None else None,
        mode=said.margin_mode if said is not None else MarginMode.UNSPECIFIED,
        leverage=said.leverage if said is not None else 0,
        funding_hourly=None if hourly is None else hourly * life.side,
        differences=_differences(life, report),
    )


def _differences(life: Life, report: Report | None) -> dict[str, tuple[Decimal, Decimal, datetime]]:
    if report is None or not report.since:
        return {}
    with rounding():
        found = differences(life, report.position)
    return {name: (ours, theirs, report.since[name]) for name, (ours, theirs) in found.items() if name in report.since}
