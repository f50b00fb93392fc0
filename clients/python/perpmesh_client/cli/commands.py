"""The commands: each asks the mesh for values and hands them to an output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from perpmesh_client.cli import chart, lines, tables
from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.output import Frame, Output
from perpmesh_client.client import Perpmesh
from perpmesh_client.values.book import LocalBook, OrderBook
from perpmesh_client.values.funding import FundingRate
from perpmesh_client.values.history import Candle
from perpmesh_client.values.market import Market
from perpmesh_client.values.price import Price
from perpmesh_client.values.states import Source
from perpmesh_client.values.to_json import to_json
from perpmesh_client.values.trade import Gap
from perpmesh_client.values.venue import Venue

CHART_ROWS = 24
"""How high a chart is that is drawn once."""
CANDLES_SHOWN = 60
"""How many candles it shows unless it is asked for more."""


async def watch(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show prices, live; without markets all of them, those that trade most first."""
    if arguments.once:
        prices = _ordered(await mesh.prices(*arguments.markets), arguments.markets)
        seen = [tables.Seen(price, timedelta(0)) for price in prices]
        output.table(prices, lambda: Frame(tables.price_table(seen), tables.sources_of_prices(prices)))
        return
    stream = mesh.watch_prices(*arguments.markets, min_interval=output.interval_s(arguments.interval_s))
    if not output.screen:
        await output.follow(stream, lines.price_line, _same)
        return
    latest: dict[str, tuple[Price, datetime]] = {}

    def take(price: Price) -> None:
        latest[price.market] = price, datetime.now(UTC)

    def draw(rows: int) -> Frame:
        now = datetime.now(UTC)
        ordered = _ordered((price for price, _ in latest.values()), arguments.markets)
        seen = [tables.Seen(price, now - latest[price.market][1]) for price in ordered]
        return Frame(tables.price_table(seen, rows), tables.sources_of_prices(ordered))

    await output.show(f"perpmesh watch {arguments.address}", stream, take, draw)


async def book(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show the book of one market, live."""
    (market,) = arguments.markets
    if arguments.once:
        value = await mesh.book(market, depth=arguments.depth)
        sources = await _sources(mesh, market)
        output.table([value], lambda: _book_frame(value, sources, None))
        return
    stream = mesh.watch_book(market, depth=arguments.depth, min_interval=output.interval_s(arguments.interval_s))
    sources = await _sources(mesh, market)
    if not output.screen:
        output.warn(sources)
        await output.follow(stream, lambda local: lines.book_line(local.snapshot()), LocalBook.snapshot)
        return
    latest = LocalBook(market)

    def take(local: LocalBook) -> None:
        nonlocal latest
        latest = local

    await output.show(
        f"perpmesh book {market} {arguments.address}",
        stream,
        take,
        lambda rows: _book_frame(latest.snapshot(), sources, rows),
    )


async def trades(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show trades as they are printed: the recent ones first, oldest first; with --once these alone, newest first."""
    sources = {source for market in arguments.markets for source in await _sources(mesh, market)}
    if arguments.once:
        if not arguments.count:
            return
        found = [item for market in arguments.markets for item in await mesh.trades(market, limit=arguments.count)]
        output.table(found, lambda: Frame(tables.trade_table(found), sources))
        return
    stream = mesh.watch_trades(*arguments.markets, replay=arguments.count, unfilled="yield")
    output.warn(sources)
    async with stream:
        async for item in stream:
            if output.as_json:
                output.json_line({"gap": to_json(item)} if isinstance(item, Gap) else to_json(item))
            else:
                output.line(lines.gap_line(item) if isinstance(item, Gap) else lines.trade_line(item))


async def funding(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show what funding pays, live; without markets all of them, the widest spread first. Or what was settled."""
    if arguments.history:
        points = [
            point for market in arguments.markets for point in await mesh.funding_history(market, limit=arguments.count)
        ]
        sources = {source for market in arguments.markets for source in await _sources(mesh, market)}
        output.table(points, lambda: Frame(tables.funding_history_table(points), sources))
        return
    if arguments.once:
        rates = _widest(await mesh.funding_rates(*arguments.markets), arguments.markets)
        output.table(rates, lambda: Frame(tables.funding_table(rates), _funding_sources(rates)))
        return
    stream = mesh.watch_funding_rates(*arguments.markets, min_interval=output.interval_s(arguments.interval_s))
    if not output.screen:
        await output.follow(stream, lines.funding_line, _same)
        return
    latest: dict[str, FundingRate] = {}

    def draw(rows: int) -> Frame:
        rates = _widest(latest.values(), arguments.markets)
        return Frame(tables.funding_table(rates, rows), _funding_sources(rates))

    await output.show(
        f"perpmesh funding {arguments.address}", stream, lambda rate: latest.update({rate.market: rate}), draw
    )


async def candles(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show a chart of candles, live."""
    (market,) = arguments.markets
    width = output.columns
    count = arguments.count or (chart.columns_for(width) if output.screen else CANDLES_SHOWN)
    sources = await _sources(mesh, market)
    found = await mesh.candles(market, arguments.interval, venue=arguments.venue, limit=count)
    known = {candle.open_time: candle for candle in found}
    if arguments.once:
        output.table(found, lambda: Frame(chart.chart(found[::-1], CHART_ROWS, width), sources))
        return
    stream = mesh.watch_candles(market, interval=arguments.interval, venue=arguments.venue)
    if not output.screen:
        output.warn(sources)
        await output.follow(stream, lines.candle_line, _same)
        return

    def take(candle: Candle) -> None:
        known[candle.open_time] = candle
        while len(known) > count:
            del known[min(known)]

    def draw(rows: int) -> Frame:
        return Frame(chart.chart([known[at] for at in sorted(known)], rows, output.columns), sources)

    await output.show(f"perpmesh candles {market} {arguments.address}", stream, take, draw)


async def venues(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show the venues, live."""
    if arguments.once:
        found = await mesh.venues()
        output.table(found, lambda: _venue_frame(found, timedelta(0)))
        return
    stream = mesh.watch_venues()
    if not output.screen:
        await output.follow(stream, lines.venue_line, _same)
        return
    latest: dict[str, Venue] = {}
    came = datetime.now(UTC)

    def take(venue: Venue) -> None:
        nonlocal came
        latest[venue.venue], came = venue, datetime.now(UTC)

    await output.show(
        f"perpmesh venues {arguments.address}",
        stream,
        take,
        lambda _: _venue_frame([latest[name] for name in sorted(latest)], datetime.now(UTC) - came),
    )


async def markets(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """List the markets with the rules of every venue that lists them."""
    found = await mesh.markets(venues=[arguments.venue] if arguments.venue else [])
    output.table(found, lambda: _market_frame(found))


async def market(mesh: Perpmesh, arguments: Arguments, output: Output) -> None:
    """Show one market with the rules of every venue that lists it."""
    found = [await mesh.market(arguments.markets[0])]
    output.table(found, lambda: _market_frame(found))


COMMANDS: dict[str, Callable[[Perpmesh, Arguments, Output], Awaitable[None]]] = {
    "watch": watch,
    "book": book,
    "trades": trades,
    "funding": funding,
    "candles": candles,
    "venues": venues,
    "markets": markets,
    "market": market,
}
"""Every command but `record`, which needs no mesh."""


def _same(value: object) -> object:
    return value


def _ordered(prices: Iterable[Price], asked: tuple[str, ...]) -> list[Price]:
    """Return prices in the order asked for; where all were asked for, by what was traded in 24 hours."""
    if asked:
        return sorted(prices, key=lambda price: _rank(price.market, asked))
    return sorted(prices, key=lambda price: (-_volume(price), price.market))


def _rank(market: str, asked: tuple[str, ...]) -> int:
    return asked.index(market) if market in asked else len(asked)


def _volume(price: Price) -> Decimal:
    return sum((venue.volume_24h for venue in price.venues if venue.volume_24h is not None), Decimal(0))


def _widest(rates: Iterable[FundingRate], asked: tuple[str, ...]) -> list[FundingRate]:
    if asked:
        return sorted(rates, key=lambda rate: _rank(rate.market, asked))
    return sorted(rates, key=lambda rate: (-(rate.hourly_spread or Decimal(0)), rate.market))


async def _sources(mesh: Perpmesh, market: str) -> set[Source]:
    """Return where a market's values come from, for what does not carry it itself."""
    return {listing.source for listing in (await mesh.market(market)).listings}


def _book_frame(value: OrderBook, sources: set[Source], rows: int | None) -> Frame:
    from rich.console import Group

    room = None if rows is None else rows - 2
    return Frame(Group(tables.book_states(value), tables.book_table(value, room)), sources)


def _venue_frame(found: list[Venue], since: timedelta) -> Frame:
    return Frame(tables.venue_table(found, since), {venue.source for venue in found})


def _market_frame(found: list[Market]) -> Frame:
    return Frame(tables.market_table(found), {item.source for market in found for item in market.listings})


def _funding_sources(rates: Iterable[FundingRate]) -> set[Source]:
    return {venue.source for rate in rates for venue in rate.venues}
