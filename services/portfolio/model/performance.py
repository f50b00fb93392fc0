"""What trading came to over a time: figures by group, the equity curve, drawdown, Sharpe and Sortino. Pure.

All parts add up exactly: net profit is realized plus the change of unrealized profit, less fees, less funding paid. The
equity at a moment is what it was at the beginning plus net profit, plus transfers and what came with adoptions since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

from services.domain.decimals import rounding
from services.portfolio.model.rounding import ZERO, ratio_half_even
from services.portfolio.model.values import Costs

DAYS_A_YEAR: Final = Decimal(365)
DAY: Final = timedelta(days=1)
CONVENTION: Final = (
    "Daily returns by UTC day, the net profit of the day over the equity at its beginning plus what was deposited on "
    "it, days without such equity left out; no risk-free rate; Sharpe: the mean over the sample standard deviation; "
    "Sortino: the mean over the root of the mean square of the losses, days of gain counting as zero; both times the "
    "root of 365."
)


class Grouping(IntEnum):
    """What figures are grouped by; the contract's numbers."""

    VENUE = 1
    MARKET = 2
    SIDE = 3
    DAY = 4


class Cell(NamedTuple):
    """The finest group: a venue, market, side of position and UTC day."""

    venue: str
    market: str
    side: int
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What fills and payments of a cell came to."""

    cell: Cell
    realized: Decimal
    funding: Decimal
    volume: Decimal
    fills: int
    costs: tuple[tuple[int, Decimal], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closings:
    """The positions of a cell that were closed: how many, how many won, what winners won and losers lost."""

    cell: Cell
    count: int
    wins: int
    won: Decimal
    lost: Decimal
    """Never positive."""
    losses: int
    held_us: int
    """The sum of the times they were held, in microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrealized:
    """The unrealized profit of the positions of one venue, market and side at a moment."""

    moment: datetime
    venue: str
    market: str
    side: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Trading:
    """All that a performance is computed from."""

    start: datetime
    end: datetime
    flows: Sequence[Flow] = ()
    closings: Sequence[Closings] = ()
    moments: Sequence[datetime] = ()
    """The moments of the curve, `start` first and `end` last, UTC midnights between."""
    unrealized: Sequence[Unrealized] = ()
    """At every moment; what is missing is zero."""
    transfers: Sequence[tuple[datetime, str, Decimal]] = ()
    """Time, venue and amount of money that came (positive) or left."""
    adoptions: Sequence[Unrealized] = ()
    """The unrealized profit that came with positions when they were adopted, oldest first."""
    equity: Decimal = ZERO
    """At `start`."""


@dataclass(slots=True)
class Figures:
    """The figures of one group."""

    realized: Decimal = ZERO
    unrealized_change: Decimal = ZERO
    costs: Costs = field(default_factory=dict)
    funding: Decimal = ZERO
    volume: Decimal = ZERO
    fills: int = 0
    closed: int = 0
    wins: int = 0
    losses: int = 0
    won: Decimal = ZERO
    lost: Decimal = ZERO
    held_us: int = 0
    transfers: Decimal = ZERO
    came: Decimal = ZERO
    """The unrealized profit that came with adopted positions; the change of unrealized leaves it out."""

    @property
    def fees(self) -> Decimal:
        """Return the sum of the costs."""
        return sum(self.costs.values(), ZERO)

    @property
    def net(self) -> Decimal:
        """Return what is left."""
        return self.realized + self.unrealized_change - self.fees - self.funding

    @property
    def win_rate(self) -> Decimal | None:
        """Return the part of closed positions that won, None when none was closed."""
        return ratio_half_even(Decimal(self.wins), Decimal(self.closed)) if self.closed else None

    @property
    def profit_factor(self) -> Decimal | None:
        """Return what the winners won over what the losers lost, None when none lost."""
        return ratio_half_even(self.won, -self.lost) if self.lost else None

    @property
    def average_win(self) -> Decimal | None:
        """Return the average of the winners."""
        return ratio_half_even(self.won, Decimal(self.wins)) if self.wins else None

    @property
    def average_loss(self) -> Decimal | None:
        """Return the average of the losers, negative."""
        return ratio_half_even(self.lost, Decimal(self.losses)) if self.losses else None

    @property
    def average_held(self) -> timedelta | None:
        """Return how long a position was held on average."""
        return timedelta(microseconds=self.held_us // self.closed) if self.closed else None

    def add_flow(self, flow: Flow) -> None:
        """Count a cell's fills and payments."""
        self.realized += flow.realized
        self.funding += flow.funding
        self.volume += flow.volume
        self.fills += flow.fills
        for kind, amount in flow.costs:
            self.costs[kind] = self.costs.get(kind, ZERO) + amount

    def add_closings(self, one: Closings) -> None:
        """Count a cell's closed positions."""
        self.closed += one.count
        self.wins += one.wins
        self.losses += one.losses
        self.won += one.won
        self.lost += one.lost
        self.held_us += one.held_us


@dataclass(frozen=True, slots=True)
class Point:
    """The equity at a moment, and the net profit since the beginning."""

    moment: datetime
    equity: Decimal
    net: Decimal


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The largest fall from a peak, transfers left out."""

    amount: Decimal
    rate: Decimal
    start: datetime
    end: datetime


GroupKey = tuple[str, str, int, date | None]
"""Venue, market, side and day; empty where not grouped by."""


@dataclass(frozen=True, slots=True)
class Performance:
    """What trading came to."""

    start: datetime
    end: datetime
    total: Figures
    groups: Sequence[tuple[GroupKey, Figures]]
    curve: Sequence[Point]
    drawdown: Drawdown | None
    sharpe: Decimal | None
    sortino: Decimal | None


def perform(trading: Trading, groupings: Iterable[Grouping]) -> Performance:
    """Return the performance of some trading."""
    wanted = frozenset(groupings)
    total = Figures()
    groups: dict[GroupKey, Figures] = {}

    def figures(venue: str, market: str, side: int, day: date) -> Iterable[Figures]:
        yield total
        if wanted:
            key: GroupKey = (
                venue if Grouping.VENUE in wanted else "",
                market if Grouping.MARKET in wanted else "",
                side if Grouping.SIDE in wanted else 0,
                day if Grouping.DAY in wanted else None,
            )
            yield groups.setdefault(key, Figures())

    for flow in trading.flows:
        for one in figures(*flow.cell):
            one.add_flow(flow)
    for closings in trading.closings:
        for one in figures(*closings.cell):
            one.add_closings(closings)
    _add_unrealized(trading, figures)
    for adopted in trading.adoptions:
        for one in figures(adopted.venue, adopted.market, adopted.side, adopted.moment.date()):
            one.came += adopted.amount
            one.unrealized_change -= adopted.amount
    for moment, venue, amount in trading.transfers:
        total.transfers += amount
        if wanted <= {Grouping.VENUE, Grouping.DAY}:
            for one in list(figures(venue, "", 0, moment.date()))[1:]:
                one.transfers += amount
    curve = _curve(trading)
    sharpe, sortino = ratios(daily_returns(trading, curve))
    ordered = sorted(groups.items(), key=lambda item: (*item[0][:3], item[0][3] or date.min))
    return Performance(trading.start, trading.end, total, ordered, curve, _drawdown(curve), sharpe, sortino)


def _add_unrealized(trading: Trading, figures: object) -> None:
    """Count the change of unrealized profit from each moment to the next for the day it falls on."""
    assert callable(figures)
    before: dict[tuple[str, str, int], Decimal] = {}
    by_moment: dict[datetime, dict[tuple[str, str, int], Decimal]] = {moment: {} for moment in trading.moments}
    for one in trading.unrealized:
        key = (one.venue, one.market, one.side)
        found = by_moment[one.moment]
        found[key] = found.get(key, ZERO) + one.amount
    for index, moment in enumerate(trading.moments):
        now = by_moment[moment]
        if index:
            day = (moment - timedelta(microseconds=1)).date()
            for key in {*before, *now}:
                change = now.get(key, ZERO) - before.get(key, ZERO)
                if change:
                    for figure in figures(*key, day):
                        figure.unrealized_change += change
        before = now


def _curve(trading: Trading) -> list[Point]:
    nets: dict[date, Decimal] = {}
    for flow in trading.flows:
        fees = sum((amount for _, amount in flow.costs), ZERO)
        nets[flow.cell.day] = nets.get(flow.cell.day, ZERO) + flow.realized - fees - flow.funding
    open_profit: dict[datetime, Decimal] = {}
    for one in trading.unrealized:
        open_profit[one.moment] = open_profit.get(one.moment, ZERO) + one.amount
    first = open_profit.get(trading.moments[0], ZERO) if trading.moments else ZERO
    transfers = sorted([(moment, amount) for moment, _, amount in trading.transfers])
    adoptions = [(one.moment, one.amount) for one in trading.adoptions]
    points: list[Point] = []
    done, moved, at = ZERO, ZERO, 0
    came, taken = ZERO, 0
    days = sorted(nets)
    place = 0
    for index, moment in enumerate(trading.moments):
        if index:
            day = (moment - timedelta(microseconds=1)).date()
            while place < len(days) and days[place] <= day:
                done += nets[days[place]]
                place += 1
        while at < len(transfers) and transfers[at][0] < moment:
            moved += transfers[at][1]
            at += 1
        while taken < len(adoptions) and adoptions[taken][0] < moment:
            came += adoptions[taken][1]
            taken += 1
        net = done + open_profit.get(moment, ZERO) - first - came
        points.append(Point(moment, trading.equity + net + moved + came, net))
    return points


def daily_returns(trading: Trading, curve: Sequence[Point]) -> list[Decimal]:
    """Return the return of each UTC day of the curve, by the convention; what was adopted counts as deposited."""
    returns = []
    brought = [(moment, amount) for moment, _, amount in trading.transfers]
    brought += [(one.moment, one.amount) for one in trading.adoptions]
    for before, after in pairwise(curve):
        came = sum((amount for moment, amount in brought if before.moment <= moment < after.moment), ZERO)
        base = before.equity + max(ZERO, came)
        if base > 0:
            with rounding():
                returns.append((after.net - before.net) / base)
    return returns


def ratios(returns: Sequence[Decimal]) -> tuple[Decimal | None, Decimal | None]:
    """Return Sharpe and Sortino ratio of daily returns, None where they do not exist."""
    if len(returns) < 2:
        return None, None
    count = Decimal(len(returns))
    with rounding():
        mean = sum(returns, ZERO) / count
        variance = sum(((one - mean) ** 2 for one in returns), ZERO) / (count - 1)
        downside = sum((min(ZERO, one) ** 2 for one in returns), ZERO) / count
        year = DAYS_A_YEAR.sqrt()
        sharpe = ratio_half_even(mean * year, variance.sqrt()) if variance else None
        sortino = ratio_half_even(mean * year, downside.sqrt()) if downside else None
    return sharpe, sortino


def _drawdown(curve: Sequence[Point]) -> Drawdown | None:
    if not curve:
        return None
    start = curve[0].equity
    peak = curve[0]
    worst = Drawdown(ZERO, ZERO, curve[0].moment, curve[0].moment)
    for point in curve:
        if point.net > peak.net:
            peak = point
        fall = peak.net - point.net
        if fall > worst.amount:
            base = start + peak.net
            rate = ratio_half_even(fall, base) if base > 0 else ZERO
            worst = Drawdown(fall, rate, peak.moment, point.moment)
    return worst


def moments_between(start: datetime, end: datetime, *, points_max: int) -> list[datetime]:
    """Return the moments of the curve: start, the UTC midnights between, end.

    Of more midnights than `points_max` allows only the latest are taken; the first step then spans the days before.
    """
    midnight = datetime.combine(start.astimezone(UTC).date(), time(), UTC) + DAY
    count = max(0, -(-(end - midnight) // DAY))
    skipped = max(0, count - (points_max - 2))
    inner = [midnight + DAY * number for number in range(skipped, count)]
    return [start, *(moment for moment in inner if start < moment < end), end]
