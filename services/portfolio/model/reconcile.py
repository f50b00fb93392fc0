"""Ours beside the venue's: where they differ, since when, and what a difference may come from.

Neither value ever overwrites the other. A report that speaks of a moment before our last fill proves nothing and is not
compared. A difference in size is an event of the position's life when a complete report shows it, and so is its end.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding
from services.portfolio.model.account import Account, Changes, Report
from services.portfolio.model.adoption import Doubt, adopt, can_adopt, is_settled
from services.portfolio.model.life import Life, LifeEvent, open_life
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import EventKind, MarginMode, Observation, ReportedPosition

_RELATIVE_MAX: Final = Decimal("0.0001")
"""A venue's last printed digit excuses no more than this share of the value."""
_RELATIVE_MIN: Final = Decimal("0.000000001")

EXPLANATIONS: Final = {
    "size": "A fill that has not reached the log, a trade, a liquidation or a deleveraging that the venue has not told "
    "us of, or a position of before the log began, would explain it. It is adopted once all trades were asked for.",
    "entry_price": "A fill that the log lacks, or a position that was there before the log began, would explain it.",
    "funding_paid": "A payment that has not reached the log, or one of before the log began, would explain it.",
}


def agrees(computed: Decimal, reported: Decimal) -> bool:
    """Say whether two values are one up to the reported one's last printed digit."""
    exponent = reported.as_tuple().exponent
    assert isinstance(exponent, int)
    with rounding():
        size = abs(reported)
        digit = min(Decimal(1).scaleb(exponent), size * _RELATIVE_MAX) if exponent < 0 else ZERO
        return abs(computed - reported) <= max(digit, size * _RELATIVE_MIN)


def differences(life: Life | None, report: ReportedPosition) -> dict[str, tuple[Decimal, Decimal]]:
    """Return (computed, reported) of the values that differ, by name."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    size = life.signed_size if life is not None else ZERO
    if size != report.size:
        found["size"] = (size, report.size)
    if life is None or not life.size or not report.size:
        return found
    entry = life.entry_price
    if report.entry_price is not None and entry is not None and not agrees(entry, report.entry_price):
        found["entry_price"] = (entry, report.entry_price)
    funding = life.funding_paid + life.adopted_funding
    if report.funding_paid is not None and not agrees(funding, report.funding_paid):
        found["funding_paid"] = (funding, report.funding_paid)
    return found


def take_positions(account: Account, seen: Observation, sequence: int, changes: Changes) -> None:
    """Take in what a venue says of its positions."""
    positions = {position.market: position for position in seen.positions if position.market}
    if seen.complete:
        for market in {*account.lives, *account.reports} - positions.keys():
            old = account.reports.get(market)
            if market in account.lives or (old is not None and old.position.size):
                positions[market] = ReportedPosition(
                    market=market, size=ZERO, venue_time=seen.venue_time, received=seen.received
                )
    for position in positions.values():
        _take(account, position, sequence, changes, seen)


def _take(account: Account, position: ReportedPosition, sequence: int, changes: Changes, seen: Observation) -> None:
    life, before = account.lives.get(position.market), account.reports.get(position.market)
    if before is not None and position.as_of < before.position.as_of:
        return  # an older word that came later
    report = Report(position=position)
    if before is not None:
        report.since, report.adopted = dict(before.since), before.adopted
    events: list[LifeEvent] = []
    if life is not None and before is not None:
        events += _settings_changed(life, before.position, position)
    if life is None or position.as_of >= life.updated:
        life = _compare(account, life, report, events, complete=seen.complete)
    account.reports[position.market] = report
    changes.reports[account.account_id, position.market] = (account, report)
    if life is not None and _is_due(life, before, report, seen):
        changes.touch(account, life, events, sequence)
        _adopt(account, life, report, sequence, changes)
    elif life is not None:
        if not life.size and not position.size and position.as_of >= life.updated:
            life.closed = position.as_of
            del account.lives[position.market]
        changes.touch(account, life, events, sequence)


def _compare(
    account: Account, life: Life | None, report: Report, events: list[LifeEvent], *, complete: bool
) -> Life | None:
    position, now = report.position, report.position.as_of
    found = differences(life, position)
    had = report.since.get("size")
    kept = {name: report.since.get(name, now) for name in found}
    if "size" in found and had is None and not complete:
        kept.pop("size")  # a stream's word may be ahead of the fill that explains it; a complete report settles it
    report.since = kept
    if "size" in kept and had is None:
        if life is None:
            life = open_life(
                account.account_id, position.market, 1 if position.size > 0 else -1, now, f"report {now.isoformat()}"
            )
            account.lives[position.market] = life
        events.append(life.note(EventKind.RECONCILIATION, now, _sentence(*found["size"])))
    elif "size" not in found and had is not None and life is not None:
        seconds = (now - had).total_seconds()
        text = f"The venue and our log agree again on {plain_text(position.size)}, after {seconds:.0f} s."
        events.append(life.note(EventKind.RECONCILIATION, now, text))
    return life


def _is_due(life: Life, before: Report | None, report: Report, seen: Observation) -> bool:
    """Say whether what the venue alone knows is to be adopted now; else remember what a reconciled report doubts."""
    position, size = report.position, life.signed_size
    if "size" not in report.since or position.as_of < life.updated or not can_adopt(life, position):
        return False
    kept = before.doubt if before is not None and before.position.size == position.size else None
    if kept is not None and kept.size != size:
        kept = None
    if kept is not None and seen.complete and is_settled(kept, position):
        return True
    report.doubt = kept
    if kept is None and seen.reconciled:
        report.doubt = Doubt(size, position.as_of)
    return False


def _adopt(account: Account, life: Life, report: Report, sequence: int, changes: Changes) -> None:
    position = report.position
    side, cause = (1 if position.size > 0 else -1), f"adopted {position.as_of.isoformat()}"
    other = open_life(account.account_id, position.market, side, position.as_of, cause)
    lives, events, report.adopted = adopt(life, position, other)
    report.since.pop("size")
    for one in lives:
        changes.touch(account, one, events, sequence)
    last = lives[-1]
    if last.size:
        account.lives[position.market] = last
        for name in report.since.keys() - differences(last, position).keys():
            del report.since[name]
    else:
        account.lives.pop(position.market, None)
        report.since.clear()


def _sentence(computed: Decimal, reported: Decimal) -> str:
    return (
        f"The venue reports {plain_text(reported)}, and the fills of our log come to {plain_text(computed)}. "
        + EXPLANATIONS["size"]
    )


def _settings_changed(life: Life, before: ReportedPosition, now: ReportedPosition) -> list[LifeEvent]:
    """Return events for leverage, margin mode and isolated collateral that were changed while it was open."""
    events: list[LifeEvent] = []
    if not (before.size and now.size):
        return events
    if before.leverage and now.leverage and before.leverage != now.leverage:
        text = f"The leverage went from {before.leverage} to {now.leverage}."
        events.append(life.note(EventKind.LEVERAGE, now.as_of, text))
    known = MarginMode.UNSPECIFIED not in (before.margin_mode, now.margin_mode)
    if known and before.margin_mode != now.margin_mode:
        text = f"The margin mode went from {before.margin_mode.name.lower()} to {now.margin_mode.name.lower()}."
        events.append(life.note(EventKind.LEVERAGE, now.as_of, text))
    old, new = before.isolated_collateral, now.isolated_collateral
    if old is not None and new is not None and before.size == now.size:
        paid = (now.funding_paid or ZERO) - (before.funding_paid or ZERO)
        moved = new - old + paid
        if not agrees(old + moved, old):
            text = f"Isolated collateral of {plain_text(moved)} USD was {'added' if moved > 0 else 'removed'}."
            events.append(life.note(EventKind.COLLATERAL, now.as_of, text))
    return events


def differing_since(report: Report, name: str, default: datetime) -> datetime:
    """Return since when a value differs."""
    return report.since.get(name, default)
