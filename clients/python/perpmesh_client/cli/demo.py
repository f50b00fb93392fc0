"""`perpmesh demo`: a throwaway wallet trades at both simulated venues, from its first signature to its last balance."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal, localcontext

from perpmesh.execution.v1 import fill_pb2, order_pb2
from perpmesh.routing.v1 import quote_pb2
from perpmesh.type.v1 import refusal_pb2, side_pb2

from perpmesh_client.certificate import check_quote
from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.demo_page import Page, plain, price, rows, usd
from perpmesh_client.cli.orders import causes, fees, state_name
from perpmesh_client.cli.own_mesh import checkout, own_mesh
from perpmesh_client.client import Perpmesh
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.login import KeyWallet, Login
from perpmesh_client.quotes import route
from perpmesh_client.tuning import Tuning
from perpmesh_client.values.states import Source

VENUES = ("hyperliquid", "lighter")
MARKETS = ("XRP-PERP", "DOGE-PERP", "HYPE-PERP", "SOL-PERP")
"""Their simulated books are thin, so that an order of little money is cheapest in two parts."""
WORTHS_USD = (20_000, 30_000, 45_000, 70_000)
PART_MIN = Decimal("0.1")
"""An order is taken whose smaller part is this share of it: it splits, even if the books move meanwhile."""
PATIENCE_S = 6.0
"""After this, any order that splits is taken."""
QUOTES_MAX = 10
"""How many quotes may end before their order comes."""
FILLS_SHOWN = 4
"""How many fills of a venue have a line each."""
WAIT_S = 60.0
"""How long what is awaited may take: far longer than it does."""
REPORT_WAIT_S = 20.0
POLL_S = 0.1
Balances = dict[str, Decimal]
"""USDC by venue."""
_TUNING = Tuning(connect_timeout_s=1.5, call_attempts_max=2)


async def run_demo(arguments: Arguments, page: Page) -> None:
    """Run it, on the mesh at the address, or on one of its own where none answers."""
    page.title("Perpmesh demo: one order over two venues. Both are simulated: prices and money are invented.")
    async with _mesh(arguments, page) as address:
        wallet = KeyWallet.new()
        async with Login(address, wallet) as login, Perpmesh(address, token=login) as mesh:
            await _sign_in(login, wallet, page)
            before = await _open_accounts(mesh, wallet, page)
            quote, order = await _order(mesh, page)
            bought = await _follow(mesh, quote, order, page)
            await _positions(mesh, bought, page)
            sold = await _close(mesh, quote.market, page)
            await _settle(mesh, before, [*bought, *sold], page)
    page.end()


@asynccontextmanager
async def _mesh(arguments: Arguments, page: Page) -> AsyncGenerator[str, None]:
    """Yield the address of a mesh that trades with invented money alone."""
    async with AsyncExitStack() as held:
        address = arguments.address
        async with Perpmesh(address, tuning=_TUNING) as mesh:
            try:
                venues = await mesh.venues()
            except PerpmeshError as error:
                if not error.from_transport:
                    raise
                venues = None
        if venues is None:
            root = checkout()
            if root is None:
                raise PerpmeshError(
                    f"Nothing answers at {address}, and a mesh can be started only from a checkout: run `make demo` "
                    f"there, or name a running mesh with --address.",
                    code="FAILED_PRECONDITION",
                )
            began = time.monotonic()
            with page.waiting(f"Nothing answers at {address}: starting a mesh for this demo"):
                address = await held.enter_async_context(own_mesh(root))
            page.part("mesh", f"started at {address} in {time.monotonic() - began:.1f} s; it ends with the demo")
        elif any(one.source is not Source.SIMULATED for one in venues):
            raise PerpmeshError(
                f"The mesh at {address} is not simulated, and the demo trades with invented money alone: stop that "
                f"mesh, or name a simulated one with --address.",
                code="FAILED_PRECONDITION",
            )
        else:
            page.part("mesh", f"{address} answers; it goes on after the demo")
        yield address
        with page.waiting("Ending the mesh"):
            await held.aclose()


async def _sign_in(login: Login, wallet: KeyWallet, page: Page) -> None:
    await login.user_id()
    page.part("wallet", f"{wallet.address}, made for this run, and signed in")


async def _open_accounts(mesh: Perpmesh, wallet: KeyWallet, page: Page) -> dict[str, Decimal]:
    """Open an account at each venue, and return the balance of each."""
    balances = {}
    for venue in VENUES:
        with page.waiting(f"Opening an account at {venue}"):
            account = await mesh.vault.create_account(venue)
            balances[venue] = await mesh.vault.test_funds(account.account_id)
            await mesh.vault.set_up_key(account.account_id, wallet)
        page.part(venue, f"an account, {usd(balances[venue])} USDC of test funds, a key that the venue lets trade")
    return balances


async def _order(mesh: Perpmesh, page: Page) -> tuple[quote_pb2.Quote, order_pb2.Order]:
    """Place an order by its quote, so that it goes where the quote says; by another where that ended before it came."""
    for _ in range(QUOTES_MAX):
        quote = await _quote(mesh, page)
        order = await mesh.orders.place(quote.market, "buy", quote.size, quote_id=quote.quote_id)
        if order.refusal.reason != refusal_pb2.REFUSAL_REASON_QUOTE_EXPIRED:
            return quote, order
        page.more("it ended before its order came: another")
    raise PerpmeshError(f"{order.explanation} {order.refusal.advice}", code="FAILED_PRECONDITION")


async def _quote(mesh: Perpmesh, page: Page) -> quote_pb2.Quote:
    """Return a quote that splits: a small order is cheapest at one venue, a larger one at both."""
    with page.waiting("Looking for an order that is cheapest in two parts"):
        quote, began = None, time.monotonic()
        while quote is None:
            waited_s = time.monotonic() - began
            if waited_s > WAIT_S:
                raise PerpmeshError(
                    f"No order of {WORTHS_USD[-1]:,} USD or less is cheapest at both venues now: run the demo again.",
                    code="FAILED_PRECONDITION",
                )
            quote = await _splitting(mesh, PART_MIN if waited_s < PATIENCE_S else Decimal(0))
            await asyncio.sleep(POLL_S)
    worth = Decimal(quote.size) * Decimal(quote.arrival_mid_price)
    page.part("quote", f"buy {plain(quote.size)} {quote.market}, worth {usd(worth, 0)} USD", apart=True)
    page.more(
        rows(
            ("venue", "size", "price", "cost USD"),
            [(leg.venue, plain(leg.size), price(leg.average_price), usd(leg.total_cost)) for leg in quote.legs],
        )
    )
    alone = [one for one in quote.alternatives if one.venue and one.feasible]
    dearer = ", ".join(f"{usd(one.extra_cost)} more at {one.venue} alone" for one in alone)
    page.more(f"costs {usd(quote.total_cost)} USD in all{f'; {dearer}' if dearer else ''}")
    problems = check_quote(quote)
    if problems:
        raise PerpmeshError(f"The quote's proof does not hold: {'; '.join(problems)}.", code="INTERNAL")
    page.proven("its proof was checked here: no plan on these books costs less")
    return quote


async def _splitting(mesh: Perpmesh, part_min: Decimal) -> quote_pb2.Quote | None:
    """Return the smallest of the orders tried that splits, with at least this share of it as the smaller part."""
    for worth, market in itertools.product(WORTHS_USD, MARKETS):
        try:
            quote = await mesh.quotes.ask(route(market, "buy", str(worth), in_usd=True))
        except PerpmeshError as error:
            if error.code not in {"FAILED_PRECONDITION", "UNAVAILABLE"} and not error.from_transport:
                raise
            continue  # its books are not there yet
        sizes = [Decimal(leg.size) for leg in quote.legs]
        if len(sizes) == len(VENUES) and min(sizes) >= sum(sizes) * part_min:
            return quote
    return None


async def _follow(mesh: Perpmesh, quote: quote_pb2.Quote, order: order_pb2.Order, page: Page) -> list[fill_pb2.Fill]:
    """Show each fill of an order as it comes, and what they come to beside the quote."""
    began = time.monotonic()
    page.part("order", f"{order.order_id}, sent to {' and '.join(order.routed_to) or 'no venue'}", apart=True)
    fills: list[fill_pb2.Fill] = []
    async for fill in mesh.orders.follow(order.order_id):
        fills.append(fill)
        if sum(one.venue == fill.venue for one in fills) <= FILLS_SHOWN:
            page.event(time.monotonic() - began, f"{_part(fill.venue, fill.size, fill.price)}  {fees(fill.costs)}")
    for venue in VENUES:
        if more := [one for one in fills if one.venue == venue][FILLS_SHOWN:]:
            page.event(time.monotonic() - began, _summed(venue, more))
    done = await mesh.orders.get(order.order_id)
    if not fills:
        raise PerpmeshError(f"The order was {state_name(done.state)}. {done.explanation}", code="FAILED_PRECONDITION")
    page.event(
        time.monotonic() - began,
        f"{state_name(done.state)}: {plain(done.filled_size)} at {price(done.average_price)} on average; "
        f"quoted was {price(quote.average_price)}",
    )
    await _report(mesh, order.order_id, page)
    return fills


async def _report(mesh: Perpmesh, order_id: str, page: Page) -> None:
    """Show what the order came to beside its quote, on a mesh that says so."""
    try:
        found = await mesh.orders.report(order_id)
    except PerpmeshError as error:
        if error.reason != "CALL_NOT_SERVED":
            raise
        return
    better = "less" if Decimal(found.difference) < 0 else "more"
    difference = f"{usd(abs(Decimal(found.difference)))} {better} than quoted when it was routed"
    page.part("report", f"cost {usd(found.achieved_cost)} USD, {difference}", apart=True)
    page.more(", ".join(f"{name} {usd(amount)}" for name, amount in causes(found).items()))


def _part(venue: str, size: Decimal | str, at: Decimal | str) -> str:
    return f"{venue:<12} {plain(size):>9} at {price(at):<9}"


def _summed(venue: str, fills: Sequence[fill_pb2.Fill]) -> str:
    """Return fills in one line, at their average price."""
    size = sum((Decimal(one.size) for one in fills), Decimal(0))
    worth = sum((Decimal(one.size) * Decimal(one.price) for one in fills), Decimal(0))
    with localcontext(prec=40):
        return f"{_part(venue, size, worth / size)}  in {len(fills)} more fills"


async def _positions(mesh: Perpmesh, fills: Sequence[fill_pb2.Fill], page: Page) -> None:
    sizes: dict[str, Decimal] = {}
    for fill in fills:
        sizes[fill.venue] = sizes.get(fill.venue, Decimal(0)) + Decimal(fill.size)
    began = time.monotonic()
    while True:
        found = await mesh.portfolio.positions(market=fills[0].market)
        waited_s, counted = time.monotonic() - began, {one.venue: Decimal(one.size) for one in found} == sizes
        if counted and (waited_s > PATIENCE_S or all(one.mark_price for one in found)):
            break
        if waited_s > WAIT_S:
            raise PerpmeshError("The portfolio does not show what was filled.", code="INTERNAL")
        await asyncio.sleep(POLL_S)
    table = rows(
        ("venue", "size", "entry", "mark", "profit USD", "liquidation"),
        [
            (one.venue, plain(one.size), price(one.entry_price), price(one.mark_price),
             usd(one.unrealized_pnl), price(one.computed_liquidation_price))
            for one in found
        ],
    )  # fmt: skip
    page.part("positions", table, apart=True)


async def _close(mesh: Perpmesh, market: str, page: Page) -> list[fill_pb2.Fill]:
    began = time.monotonic()
    page.part("close", "all of it, at market; such an order can only reduce", apart=True)
    fills: list[fill_pb2.Fill] = []
    for order in await mesh.orders.close_position(market):
        done = await mesh.orders.ended(order.order_id)
        for leg in done.legs:
            page.event(time.monotonic() - began, _part(leg.venue, leg.filled_size, leg.average_price))
        fills += await mesh.orders.fills(order.order_id)
        if done.state != order_pb2.Order.STATE_DONE:
            raise PerpmeshError(f"Closing was {state_name(done.state)}. {done.explanation}", code="FAILED_PRECONDITION")
    return fills


async def _settle(mesh: Perpmesh, before: dict[str, Decimal], fills: Sequence[fill_pb2.Fill], page: Page) -> None:
    """Show what it came to, once the venues report the balances that the fills make."""
    traded, charged = dict.fromkeys(VENUES, Decimal(0)), dict.fromkeys(VENUES, Decimal(0))
    for fill in fills:
        traded[fill.venue] += Decimal(fill.size) * Decimal(fill.price) * (-1 if fill.side == side_pb2.SIDE_BUY else 1)
        charged[fill.venue] -= Decimal(fill.total_cost)
    expected = {venue: before[venue] + traded[venue] + charged[venue] for venue in VENUES}
    computed, reported = await _balances(mesh, lambda computed, _: computed == expected)
    table = rows(
        ("venue", "before", "traded", "fees", "after, USDC"),
        [(one, *(plain(column[one]) for column in (before, traded, charged, computed))) for one in VENUES],
    )
    page.part("balances", table, apart=True)
    with page.waiting("Waiting for what the venues report"):
        computed, reported = await _balances(mesh, lambda computed, reported: computed == reported)
    late = [one for one in VENUES if reported[one] != computed[one]]
    for venue in late:
        page.more(f"{venue} has not reported since; it said {plain(reported[venue])}")
    if computed == expected and not late:
        page.proven("each venue reports the same, to the last digit")


async def _balances(mesh: Perpmesh, enough: Callable[[Balances, Balances], bool]) -> tuple[Balances, Balances]:
    """Return the balances as counted from the log and as the venues report them; wait a while until it is enough."""
    deadline = time.monotonic() + REPORT_WAIT_S
    while True:
        found = [one for one in (await mesh.portfolio.balances())[0] if one.asset == "USDC"]
        computed = {one.venue: Decimal(one.computed_total) for one in found}
        reported = {one.venue: Decimal(one.total) for one in found}
        if len(found) == len(VENUES) and (enough(computed, reported) or time.monotonic() > deadline):
            return computed, reported
        await asyncio.sleep(POLL_S)
