"""The live source: asks both venues what they list, keeps the lines, and empties books that may no longer be true."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import aiohttp
import msgspec

from services.chassis.clock import Clock
from services.simulator.catalog import Catalog
from services.simulator.chance import seeded
from services.simulator.instrument import VenueName
from services.simulator.market import Market
from services.simulator.paper import listing
from services.simulator.paper.line import Line
from services.simulator.paper.tape import HyperliquidTape, LighterTape

Json = object
NETWORKS = {
    "mainnet": ("https://api.hyperliquid.xyz", "https://mainnet.zklighter.elliot.ai"),
    "testnet": ("https://api.hyperliquid-testnet.xyz", "https://testnet.zklighter.elliot.ai"),
}
ASK_TIMEOUT_S = 20.0
STALE_S = 5.0
"""A venue that has said nothing for this long has no prices to trade on: its books are emptied."""
CHECK_EVERY_S = 0.25
ANSWER_BYTES_MAX = 32 * 1024 * 1024
BOOKS_MAX = 60
"""Contracts a venue whose books are followed, so that subscriptions stay within both venues' limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the live venues are, as http(s) addresses without a slash at the end."""

    hyperliquid: str
    lighter: str


def addresses_of(text: str) -> Addresses:
    """Read the setting: `mainnet`, `testnet` or `<hyperliquid address>,<lighter address>`. Raises ValueError."""
    if text in NETWORKS:
        return Addresses(hyperliquid=NETWORKS[text][0], lighter=NETWORKS[text][1])
    parts = [part.strip().rstrip("/") for part in text.split(",")]
    if len(parts) != 2 or not all(part.startswith(("http://", "https://")) for part in parts):
        raise ValueError(
            f"PERPMESH_SIMULATOR_PAPER: {text!r}; mainnet, testnet or two addresses such as "
            "http://127.0.0.1:4001,http://127.0.0.1:4002 would pass"
        )
    return Addresses(hyperliquid=parts[0], lighter=parts[1])


class Paper:
    """The live source of one simulator process."""

    def __init__(self, addresses: Addresses, *, books: Iterable[str], books_max: int, seed: int, clock: Clock) -> None:
        """`books` names the contracts whose books are followed; none means the `books_max` most traded a venue."""
        self.addresses = addresses
        self._wanted = frozenset(books)
        self._books_max = min(books_max, BOOKS_MAX)
        self._clock = clock
        self._rng: Random = seeded(f"{seed}:paper")
        self._session: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._lines: dict[VenueName, list[Line]] = {}
        self._tapes: dict[VenueName, HyperliquidTape | LighterTape] = {}
        self._followed: dict[VenueName, list[str]] = {}
        self._stale: set[VenueName] = set()

    async def listed(self) -> Catalog:
        """Ask both venues what they list. Raises OSError with a sentence when one cannot be asked or read."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S), trust_env=True)
        try:
            dexes = await self._ask("POST", f"{self.addresses.hyperliquid}/info", {"type": "perpDexs"})
            names = ["", *(str(row["name"]) for row in dexes if row)] if isinstance(dexes, list) else [""]
            metas = [
                (name, await self._ask("POST", f"{self.addresses.hyperliquid}/info",
                                       {"type": "metaAndAssetCtxs", "dex": name}))
                for name in names
            ]  # fmt: skip
            details = await self._ask("GET", f"{self.addresses.lighter}/api/v1/orderBookDetails?filter=perp", None)
            return listing.catalog(dexes, metas, details)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError) as error:
            await self.close()
            raise OSError(
                f"paper trading needs the live venues' listings, and {type(error).__name__}: {str(error)[:300]}. "
                "Check the network and PERPMESH_SIMULATOR_PAPER, or leave it empty for the synthetic market."
            ) from None

    async def _ask(self, method: str, url: str, body: Json) -> Json:
        assert self._session is not None
        async with self._session.request(method, url, json=body) as response:
            if response.status != 200:
                raise ValueError(f"{url} answers {response.status}")
            data = bytearray()
            async for part in response.content.iter_any():
                data += part
                if len(data) > ANSWER_BYTES_MAX:
                    raise ValueError(f"{url} answers with more than {ANSWER_BYTES_MAX} bytes")
            return msgspec.json.decode(data)

    def follow(self, market: Market) -> None:
        """Begin to move the market with what the venues publish."""
        universe: dict[str, list[str]] = {}
        for item in market.catalog.hyperliquid:
            universe.setdefault(item.dex, []).append(item.coin)
        venues = market.venues
        self._tapes["hyperliquid"] = HyperliquidTape(venues["hyperliquid"], universe)
        self._tapes["lighter"] = lighter = LighterTape(venues["lighter"])
        market.tapes.update(self._tapes)
        self._followed = {
            "hyperliquid": self._chosen(market.catalog, "hyperliquid", {name: name for name in venues["hyperliquid"]}),
            "lighter": self._chosen(
                market.catalog, "lighter", {item.name: key for key, item in venues["lighter"].items()}
            ),
        }
        self._lines = {"hyperliquid": self._hyperliquid_lines(), "lighter": self._lighter_lines()}
        assert self._session is not None
        for line in (line for lines in self._lines.values() for line in lines):
            self._tasks.append(asyncio.create_task(line.run(self._session)))
        self._tasks.append(asyncio.create_task(self._watch(lighter)))

    def _chosen(self, listed: Catalog, venue: VenueName, keys: dict[str, str]) -> list[str]:
        if self._wanted:
            return [key for name, key in keys.items() if name in self._wanted][:BOOKS_MAX]
        return listing.most_traded(listed, venue, self._books_max)

    def _hyperliquid_lines(self) -> list[Line]:
        """Two sockets, since the fast and the whole book of one coin share a channel."""
        url = f"{self.addresses.hyperliquid.replace('http', 'ws', 1)}/ws"
        coins = self._followed["hyperliquid"]
        quick: list[Json] = [{"type": "allDexsAssetCtxs"}]
        for coin in coins:
            quick += [{"type": kind, "coin": coin} for kind in ("bbo", "trades", "activeAssetCtx")]
            quick.append({"type": "l2Book", "coin": coin, "fast": True})
        whole: list[Json] = [{"type": "l2Book", "coin": coin} for coin in coins]
        return [
            Line(
                url,
                first=[{"method": "subscribe", "subscription": subscription} for subscription in wanted],
                ping={"method": "ping"},
                hear=self._tapes["hyperliquid"].heard,
                clock=self._clock,
                rng=self._rng,
            )
            for wanted in (quick, whole)
        ]

    def _lighter_lines(self) -> list[Line]:
        url = f"{self.addresses.lighter.replace('http', 'ws', 1)}/stream"
        channels = ["market_stats/all"]
        for market in self._followed["lighter"]:
            channels += [f"trade/{market}", f"order_book/{market}"]
        return [
            Line(
                url,
                first=[{"type": "subscribe", "channel": channel} for channel in channels],
                ping={"type": "pong"},
                hear=self._hear_lighter,
                clock=self._clock,
                rng=self._rng,
                greeted=True,
            )
        ]

    def _hear_lighter(self, frame: Json) -> None:
        if isinstance(frame, dict) and frame.get("type") == "ping":
            self._spawn_say({"type": "pong"})
            return
        self._tapes["lighter"].heard(frame)

    def _spawn_say(self, message: Json) -> None:
        task = asyncio.create_task(self._lines["lighter"][0].say(message))
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _watch(self, lighter: LighterTape) -> None:
        """Empty the books of a venue that is silent; ask anew for books whose chain is broken."""
        while True:
            await self._clock.sleep(CHECK_EVERY_S)
            now = self._clock.monotonic()
            for venue, lines in self._lines.items():
                silent = lines[0].heard_s is None or now - (lines[0].heard_s or 0.0) > STALE_S or lines[0].reason
                if silent and venue not in self._stale:
                    self._stale.add(venue)
                    self._tapes[venue].clear()
                elif not silent:
                    self._stale.discard(venue)
            for market in lighter.take_broken():
                await self._lines["lighter"][0].say({"type": "unsubscribe", "channel": f"order_book/{market}"})
                await self._lines["lighter"][0].say({"type": "subscribe", "channel": f"order_book/{market}"})

    def status(self, venue: VenueName) -> dict[str, Json]:
        """Return what the control state says of one venue's source."""
        lines, tape = self._lines.get(venue, []), self._tapes.get(venue)
        return {
            "kind": "paper", "address": getattr(self.addresses, venue), "live": venue not in self._stale,
            "reasons": [line.reason for line in lines if line.reason], "connects": sum(line.connects for line in lines),
            "books": self._followed.get(venue, []), "frames": 0 if tape is None else tape.heard_frames,
            "odd": 0 if tape is None else tape.odd,
        }  # fmt: skip

    async def close(self) -> None:
        """Hang up."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
