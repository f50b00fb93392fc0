"""Performance beside numpy, and parts that add up."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import numpy as np
import pytest

from services.portfolio.model.performance import (
    Cell,
    Closings,
    Flow,
    Grouping,
    Trading,
    Unrealized,
    daily_returns,
    moments_between,
    perform,
    ratios,
)

D = Decimal
START = datetime(2026, 1, 1, 7, 30, tzinfo=UTC)


def closing(cell: Cell, ended: list[tuple[int, int]]) -> Closings:
    """Return what positions of a cell came to, of each what it earned and how long it was held."""
    return Closings(
        cell=cell, count=len(ended), wins=sum(net > 0 for net, _ in ended), losses=sum(net < 0 for net, _ in ended),
        won=sum((D(net) for net, _ in ended if net > 0), D(0)),
        lost=sum((D(net) for net, _ in ended if net < 0), D(0)), held_us=sum(held for _, held in ended),
    )  # fmt: skip


def trading(seed: int, days: int = 200) -> Trading:
    rng = Random(seed)
    end = START + timedelta(days=days)
    moments = moments_between(START, end, points_max=2_000)
    cells = [
        Cell(venue, market, side, (START + timedelta(days=day)).date())
        for day in range(days)
        for venue in ("hyperliquid", "lighter")
        for market in ("BTC-PERP", "ETH-PERP")
        for side in (1, -1)
        if rng.random() < 0.5
    ]
    flows = [
        Flow(
            cell=cell, realized=D(rng.randint(-10**9, 10**9)).scaleb(-6), funding=D(rng.randint(-999, 999)).scaleb(-3),
            volume=D(rng.randint(1, 10**6)), fills=rng.randint(1, 9), costs=((2, D(rng.randint(0, 10**6)).scaleb(-5)),),
        )
        for cell in cells
    ]  # fmt: skip
    unrealized = [
        Unrealized(
            moment=moment, venue=venue, market="BTC-PERP", side=1, amount=D(rng.randint(-(10**8), 10**8)).scaleb(-5)
        )
        for moment in moments
        for venue in ("hyperliquid", "lighter")
    ]
    closings = [closing(cell, [(rng.randint(-9, 9), rng.randint(1, 10**9)) for _ in range(3)]) for cell in cells]
    transfers = [
        (START + timedelta(hours=rng.randint(0, 24 * days - 1)), "lighter", D(rng.randint(-(10**4), 10**5)))
        for _ in range(20)
    ]
    return Trading(
        start=START, end=end, flows=flows, closings=closings, moments=moments, unrealized=unrealized,
        transfers=transfers, equity=D(50_000),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_ratios_and_the_drawdown_are_numpys(seed: int) -> None:
    given = trading(seed)
    found = perform(given, ())
    returns = np.array([float(one) for one in daily_returns(given, found.curve)])
    sharpe = returns.mean() / returns.std(ddof=1) * math.sqrt(365)
    sortino = returns.mean() / np.sqrt(np.mean(np.minimum(returns, 0) ** 2)) * math.sqrt(365)
    assert found.sharpe is not None
    assert found.sortino is not None
    assert float(found.sharpe) == pytest.approx(sharpe, rel=1e-9)
    assert float(found.sortino) == pytest.approx(sortino, rel=1e-9)
    nets = np.array([float(point.net) for point in found.curve])
    assert found.drawdown is not None
    assert float(found.drawdown.amount) == pytest.approx(float((np.maximum.accumulate(nets) - nets).max()), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_what_numpy_sums(seed: int) -> None:
    given = trading(seed, 30)
    found = perform(given, ())
    for point in found.curve:
        last = (point.moment - timedelta(microseconds=1)).date()
        done = sum(
            (
                flow.realized - flow.funding - sum((amount for _, amount in flow.costs), D(0))
                for flow in given.flows
                if flow.cell.day <= last and point.moment > given.start
            ),
            D(0),
        )
        first = sum((one.amount for one in given.unrealized if one.moment == given.start), D(0))
        now = sum((one.amount for one in given.unrealized if one.moment == point.moment), D(0))
        moved = sum((amount for moment, _, amount in given.transfers if moment < point.moment), D(0))
        assert point.net == done + now - first
        assert point.equity == given.equity + point.net + moved


@pytest.mark.parametrize("groupings", [(1,), (2, 3), (4,), (1, 4), (3,)])
def test_groups_add_up_to_the_whole(groupings: tuple[int, ...]) -> None:
    found = perform(trading(3), [Grouping(one) for one in groupings])
    for name in ("realized", "unrealized_change", "fees", "funding", "volume", "fills", "closed", "wins", "won", "net"):
        total = getattr(found.total, name)
        assert sum((getattr(one, name) for _, one in found.groups), type(total)(0)) == total, name
    assert [key for key, _ in found.groups] == sorted(key for key, _ in found.groups) or Grouping.DAY in groupings
    assert found.total.net == found.curve[-1].net


@pytest.mark.parametrize("seed", range(5))
def test_win_rate_profit_factor_and_averages_of_every_group_are_numpys_over_the_positions(seed: int) -> None:
    rng = Random(seed)
    cells = [
        Cell(venue, market, side, START.date())
        for venue in ("hyperliquid", "lighter") for market in ("BTC-PERP", "ETH-PERP") for side in (1, -1)
    ]  # fmt: skip
    ended = {cell: [(rng.randint(-9, 9), rng.randint(1, 10**9)) for _ in range(rng.randint(1, 40))] for cell in cells}
    closings = [closing(cell, ended[cell][at::7]) for cell in cells for at in range(7)]
    given = Trading(start=START, end=START + timedelta(days=1), closings=closings)
    for groupings in ((), (Grouping.VENUE,), (Grouping.MARKET, Grouping.SIDE)):
        found = perform(given, groupings)
        for key, figures in [(("", "", 0, None), found.total), *found.groups]:
            venue, market, side, _ = key
            positions = np.array([
                one for cell, ones in ended.items() for one in ones
                if venue in ("", cell.venue) and market in ("", cell.market) and side in (0, cell.side)
            ])  # fmt: skip
            nets, held = positions[:, 0], positions[:, 1]
            ratio = {
                "win_rate": np.mean(nets > 0),
                "profit_factor": nets[nets > 0].sum() / -nets[nets < 0].sum() if (nets < 0).any() else None,
                "average_win": nets[nets > 0].mean() if (nets > 0).any() else None,
                "average_loss": nets[nets < 0].mean() if (nets < 0).any() else None,
            }
            for name, wanted in ratio.items():
                seen = getattr(figures, name)
                assert (seen is None) == (wanted is None), (key, name)
                if wanted is not None:
                    assert float(seen) == pytest.approx(float(wanted), rel=1e-12), (key, name)
            assert figures.average_held == timedelta(microseconds=int(held.sum()) // len(held)), key


def test_ratios_of_too_little_do_not_exist() -> None:
    assert ratios([]) == ratios([D(1)]) == (None, None)
    assert ratios([D(1), D(1)]) == (None, None)
    assert ratios([D(1), D(2)])[1] is None


def test_moments_are_midnights_between_the_ends() -> None:
    moments = moments_between(START, START + timedelta(days=2), points_max=2_000)
    assert [one.hour for one in moments] == [7, 0, 0, 7]
    many = moments_between(START, START + timedelta(days=5_000), points_max=2_000)
    assert len(many) <= 2_000
    assert (many[0], many[-1]) == (START, START + timedelta(days=5_000))
