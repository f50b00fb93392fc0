"""Values as tables for a screen. Each function is given everything it shows and touches nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from perpmesh_client.cli import formats
from perpmesh_client.values.book import BookLevel, OrderBook
from perpmesh_client.values.funding import FundingRate, VenueFunding
from perpmesh_client.values.history import FundingPoint
from perpmesh_client.values.market import Market
from perpmesh_client.values.price import BestLevel, Price, VenuePrice
from perpmesh_client.values.states import Source, State
from perpmesh_client.values.trade import Trade
from perpmesh_client.values.venue import Venue

BAR_CELLS = 12
"""The width of the bar that shows a level's size beside the largest shown."""

BOX = None
"""No frames: they cost width and say nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A price, and how long ago it came."""

    price: Price
    since: timedelta


def price_table(seen: Sequence[Seen], rows_max: int | None = None) -> Table:
    """Return the prices, a row a market and a column a venue; those beyond `rows_max` are counted, not shown."""
    venues = sorted({venue.venue for item in seen for venue in item.price.venues})
    sources = {venue.venue: venue.source for item in seen for venue in item.price.venues}
    table = _table("MARKET")
    for title in ("BID", "SIZE", "", "ASK", "SIZE", "", "SPREAD", "MARK", "24H"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for name in venues:
        table.add_column(formats.venue(name, sources[name]), no_wrap=True)
    for item in seen[:rows_max]:
        price = item.price
        table.add_row(
            Text(price.market, style="bold"),
            *_best(price.best_bid, "green"),
            *_best(price.best_ask, "red"),
            _spread(price),
            formats.number(_first(venue.mark_price for venue in price.venues)),
            formats.large(_sum(venue.volume_24h for venue in price.venues)),
            *(_venue_state(price.venue(name), item.since) for name in venues),
        )
    _count_rest(table, len(seen), rows_max)
    return table


def book_table(book: OrderBook, rows_max: int | None = None) -> Table:
    """Return a book as a ladder: asks above, bids below, best in the middle, every level with who has how much."""
    names = sorted({item.venue for item in book.versions} | {x.venue for y in book.bids + book.asks for x in y.venues})
    table = _table("", "PRICE", "SIZE", *names, right=2 + len(names))
    half = None if rows_max is None else max(1, rows_max // 2)
    asks, bids = book.asks[:half], book.bids[:half]
    largest = max((level.size for level in (*asks, *bids)), default=Decimal(1)) or Decimal(1)
    for level in reversed(asks):
        table.add_row(*_level(level, "red", names, largest))
    table.add_row("", Text(_middle(book), style="bold yellow" if book.crossed else "dim"), "", *("" for _ in names))
    for level in bids:
        table.add_row(*_level(level, "green", names, largest))
    return table


def book_states(book: OrderBook) -> Text:
    """Return the state of each venue's book on one line."""
    text = Text()
    for version in book.versions:
        depth = f" top {version.depth}" if version.depth else ""
        tail = f", tail {formats.age(version.tail_age)}" if version.tail_age is not None else ""
        style = formats.STATE_STYLES.get(version.state, "dim")
        text.append(f"{version.venue} {formats.state(version.state)} {formats.age(version.age)}{depth}{tail}   ", style)
    return text


def trade_table(trades: Iterable[Trade]) -> Table:
    """Return trades in the order given."""
    table = _table("TIME", "MARKET", "SIDE", "SIZE", "PRICE", "VENUE", "NUMBER")
    for item in trades:
        style = "green" if item.side.name == "BUY" else "red"
        side = item.side.name.lower() + (" liquidation" if item.liquidation else "")
        numbers = (formats.number(item.size), formats.number(item.price))
        table.add_row(
            formats.clock(item.trade_time), item.market, Text(side, style), *numbers, item.venue, str(item.sequence)
        )
    return table


def funding_table(rates: Sequence[FundingRate], rows_max: int | None = None) -> Table:
    """Return what funding pays, a row a market; of each venue the hourly and the yearly rate and the next payment."""
    names = sorted({venue.venue for rate in rates for venue in rate.venues})
    sources = {venue.venue: venue.source for rate in rates for venue in rate.venues}
    table = _table("MARKET")
    for name in names:
        shown = formats.venue(name, sources[name])
        for title in (f"{shown} 1H", "YEAR", "NEXT"):
            table.add_column(title, justify="right", no_wrap=True)
    table.add_column("SPREAD 1H", justify="right", no_wrap=True)
    table.add_column("SHORT/LONG", no_wrap=True)
    for rate in rates[:rows_max]:
        cells = [cell for name in names for cell in _funding(rate.venue(name))]
        pair = f"{rate.highest_venue}/{rate.lowest_venue}" if rate.highest_venue else formats.DASH
        table.add_row(Text(rate.market, style="bold"), *cells, formats.percent(rate.hourly_spread, 5), pair)
    _count_rest(table, len(rates), rows_max)
    return table


def funding_history_table(points: Sequence[FundingPoint]) -> Table:
    """Return settled funding, a row a market and hour, a column pair a venue, and the spread between venues."""
    names = sorted({point.venue for point in points})
    table = _table("MARKET", "SETTLED")
    for name in names:
        for title in (f"{name} 1H", "YEAR"):
            table.add_column(title, justify="right", no_wrap=True)
    table.add_column("SPREAD 1H", justify="right", no_wrap=True)
    rows: dict[tuple[str, str], dict[str, FundingPoint]] = {}
    for point in points:
        rows.setdefault((point.market, f"{point.settle_time:%Y-%m-%d %H:%M}"), {})[point.venue] = point
    for (market, settled), found in rows.items():
        cells: list[str] = []
        for name in names:
            known = found.get(name)
            cells += (
                [formats.percent(known.hourly_rate, 5), formats.percent(known.yearly_rate, 2)] if known else ["", ""]
            )
        rates = [point.hourly_rate for point in found.values()]
        spread = formats.percent(max(rates) - min(rates), 5) if len(rates) > 1 else formats.DASH
        table.add_row(Text(market, style="bold"), settled, *cells, spread)
    return table


def venue_table(venues: Sequence[Venue], since: timedelta = timedelta(0)) -> Table:
    """Return the venues, a row each, then a row for each connection, breaker and limit."""
    table = _table("VENUE", "WHAT", "STATE", "AGE", "DETAIL")
    for venue in venues:
        name = Text(formats.venue(venue.venue, venue.source), style="bold")
        counts = venue.counts
        detail = f"{venue.market_count} markets at {venue.address}. {venue.state_reason}".strip()
        table.add_row(name, "feed", _state(venue.state), "", detail)
        if counts is not None:
            told = (
                f"{counts.frames:,} frames, {counts.bad_frames:,} bad, {counts.gaps:,} gaps, {counts.resyncs:,} resyncs"
            )
            table.add_row("", "counts", "", "", told)
        for line in venue.connections:
            frame_age = None if line.frame_age is None else line.frame_age + since
            detail = f"{line.subscription_count} subscriptions, {line.reconnect_count} reconnects. {line.state_reason}"
            table.add_row("", line.name, _state(line.state), formats.age(frame_age), detail.strip())
        for breaker in venue.breakers:
            state = Text(formats.state(breaker.state), style=formats.BREAKER_STYLES.get(breaker.state, "dim"))
            retry = f"probe at {formats.clock(breaker.retry_time)}. " if breaker.retry_time is not None else ""
            detail = f"{breaker.failure_count} failures. {retry}{breaker.last_failure}"
            table.add_row("", f"breaker {breaker.endpoint}", state, "", detail)
        for limit in venue.limits:
            full = "red" if limit.allowed and limit.used * 10 >= limit.allowed * 9 else ""
            table.add_row("", limit.name, "", "", Text(f"{limit.used:,} of {limit.allowed:,}", style=full))
    return table


def market_table(markets: Sequence[Market]) -> Table:
    """Return the rules of every market at every venue, a row a listing."""
    table = _table("MARKET", "VENUE", "SYMBOL", "STATUS", "FEED")
    for title in ("TICK", "LOT", "MIN SIZE", "MIN USD", "MAX LEV", "MAKER", "TAKER", "FUNDING"):
        table.add_column(title, justify="right", no_wrap=True)
    for market in markets:
        for position, item in enumerate(market.listings):
            table.add_row(
                Text(market.market if position == 0 else "", style="bold"),
                formats.venue(item.venue, item.source),
                item.symbol,
                item.status.name.lower(),
                item.feed.name.lower(),
                formats.number(item.tick),
                formats.number(item.lot),
                formats.number(item.min_size),
                formats.number(item.min_notional),
                f"{item.max_leverage}x",
                formats.percent(item.maker_fee, 4),
                formats.percent(item.taker_fee, 4),
                formats.age(item.funding_interval),
            )
    return table


def sources_of_prices(prices: Iterable[Price]) -> set[Source]:
    """Return where the values of these prices come from."""
    return {venue.source for price in prices for venue in price.venues}


def _table(*titles: str, right: int = 0) -> Table:
    table = Table(box=BOX, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    for title in titles:
        table.add_column(title, no_wrap=title != "DETAIL", justify="right" if right else "left")
    return table


def _count_rest(table: Table, count: int, rows_max: int | None) -> None:
    if rows_max is not None and count > rows_max:
        table.add_row(Text(f"and {count - rows_max} more", style="dim"))


def _best(level: BestLevel | None, style: str) -> tuple[Text | str, str, Text | str]:
    if level is None:
        return formats.DASH, "", ""
    return Text(formats.number(level.price), style=style), formats.number(level.size), Text(level.venue, style="dim")


def _spread(price: Price) -> Text | str:
    if price.best_bid is None or price.best_ask is None:
        return formats.DASH
    text = formats.spread(price.best_bid.price, price.best_ask.price)
    return Text(f"CROSSED {text}", style="bold yellow") if price.crossed else text


def _venue_state(venue: VenuePrice | None, since: timedelta) -> Text | str:
    if venue is None:
        return formats.DASH
    shown_age = None if venue.age is None else venue.age + since
    return Text(
        f"{formats.state(venue.state)} {formats.age(shown_age)}", style=formats.STATE_STYLES.get(venue.state, "dim")
    )


def _state(value: State) -> Text:
    return Text(formats.state(value), style=formats.STATE_STYLES.get(value, "dim"))


def _level(level: BookLevel, style: str, names: Sequence[str], largest: Decimal) -> list[Text | str]:
    sizes = {item.venue: item.size for item in level.venues}
    bar = "█" * max(1, int(level.size * BAR_CELLS / largest))
    shown = [formats.number(sizes[name]) if name in sizes else "" for name in names]
    return [Text(bar, style=style), Text(formats.number(level.price), style=style), formats.number(level.size), *shown]


def _middle(book: OrderBook) -> str:
    if not book.bids or not book.asks:
        return formats.DASH
    text = formats.spread(book.bids[0].price, book.asks[0].price)
    return f"CROSSED {text}" if book.crossed else text


def _funding(venue: VenueFunding | None) -> tuple[Text | str, str, str]:
    if venue is None:
        return formats.DASH, "", ""
    style = "" if venue.state is State.LIVE else formats.STATE_STYLES.get(venue.state, "dim")
    hourly = Text(formats.percent(venue.hourly_rate, 5), style=style)
    return hourly, formats.percent(venue.yearly_rate, 2), formats.minute(venue.next_time)


def _first(values: Iterable[Decimal | None]) -> Decimal | None:
    return next((value for value in values if value is not None), None)


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    known = [value for value in values if value is not None]
    return sum(known, Decimal(0)) if known else None
