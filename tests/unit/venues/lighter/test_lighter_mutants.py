"""A hundred thousand damaged updates of a small seeded market: never a wrong top of book shown as current.

`PERPMESH_MUTANTS` says how many (a million takes a minute). Every class of fault that can be detected is drawn; what
cannot be seen in one message (a dropped one, a changed digit) is not judged here: the first is found with the next
update (`test_lighter_recording.py`), the second by the audit.
"""

from __future__ import annotations

import os
import random

from services.domain.book import Book
from services.venues.port import FeedLevel
from tests.unit.venues.lighter.rig import Rig
from tests.unit.venues.lighter.samples import BTC, Levels, book_frame

MARKET = BTC.market
MUTANTS = int(os.environ.get("PERPMESH_MUTANTS", "100000"))
CLASSES = ("dropped", "doubled", "swapped", "truncated", "out_of_range", "crossed", "wrong_type", "wrong_chain")
BAD_TEXTS = ("-1.0", "0.0", "1e9", "99999999999.9", "1.23", "NaN", "Infinity", "", " 1.0", "1_0.0", "0x10")


def price(units: int) -> str:
    return f"{units // 10}.{units % 10}"


def size(units: int) -> str:
    return f"{units // 100_000}.{units % 100_000:05d}"


class Market:
    """A random book that moves; says each change in the venue's words."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.bids = {1_000_000 - n: rng.randrange(1, 10**6) for n in range(1, 20)}
        self.asks = {1_000_000 + n: rng.randrange(1, 10**6) for n in range(1, 20)}
        self.nonce = 1_000

    def change(self) -> tuple[Levels, Levels, int]:
        """Change one to three levels; return them and the nonce before."""
        rng, before = self._rng, self.nonce
        self.nonce += rng.randrange(1, 300)
        told: tuple[Levels, Levels] = ([], [])
        for _ in range(rng.randrange(1, 4)):
            number = rng.randrange(2)
            side = (self.bids, self.asks)[number]
            if len(side) > 12 and rng.random() < 0.5:
                at = rng.choice(list(side))
                del side[at]
                told[number].append((price(at), "0.00000"))
            else:
                best_other = min(self.asks) if number == 0 else max(self.bids)
                at = best_other - rng.randrange(1, 30) if number == 0 else best_other + rng.randrange(1, 30)
                side[at] = rng.randrange(1, 10**6)
                told[number].append((price(at), size(side[at])))
        return (*told, before)

    def update(self) -> bytes:
        bids, asks, before = self.change()
        return book_frame("update", bids, asks, nonce=self.nonce, begin=before)

    def snapshot(self) -> bytes:
        bids = [(price(p), size(s)) for p, s in sorted(self.bids.items(), reverse=True)]
        asks = [(price(p), size(s)) for p, s in sorted(self.asks.items())]
        return book_frame("subscribed", bids, asks, nonce=self.nonce, begin=0)

    def is_top_of(self, book: Book) -> bool:
        bid, ask = max(self.bids), min(self.asks)
        return book.bids.best() == (bid, self.bids[bid]) and book.asks.best() == (ask, self.asks[ask])

    def damaged(self, fault: str) -> list[bytes]:
        """Change, and return what arrives instead of the update."""
        rng = self._rng
        if fault == "dropped":
            self.change()
            return [self.update()]
        if fault == "doubled":
            return [self.update()] * 2
        if fault == "swapped":
            return [self.update(), self.update()][::-1]
        bids, asks, before = self.change()
        if fault == "truncated":
            data = book_frame("update", bids, asks, nonce=self.nonce, begin=before)
            return [data[: rng.randrange(30, len(data))]]
        if fault == "out_of_range":
            bids = [*bids, (rng.choice(BAD_TEXTS), "1.00000")]
        elif fault == "crossed":
            bids = [*bids, (price(min(self.asks) + rng.randrange(50)), "1.00000")]
        elif fault == "wrong_type":
            data = book_frame("update", bids, asks, nonce=self.nonce, begin=before)
            return [
                data.replace(b'"asks":[', rng.choice((b'"asks":[7,', b'"asks":[null,', b'"asks":{"x":', b'"asked":[')))
            ]
        elif fault == "wrong_chain":
            before += rng.choice((-1, 1, -1_000, 10**9))
        return [book_frame("update", bids, asks, nonce=self.nonce, begin=before)]


def test_no_damaged_update_ever_shows_a_wrong_top_as_current() -> None:
    seed = 26_112_2
    print(f"seed {seed}, {MUTANTS} mutants")
    rng = random.Random(seed)
    market = Market(rng)
    rig = Rig({MARKET: FeedLevel.BOOK})
    rig.give(market.snapshot())
    room = rig.room
    done = downs = 0
    faults = dict.fromkeys(CLASSES, 0)
    while done < MUTANTS:
        fault = rng.choice(CLASSES)
        faults[fault] += 1
        done += 1
        if rng.random() < 0.5:
            rig.give(market.update())
        rig.give(*market.damaged(fault))
        if room.wrong:
            room.wrong.clear()
            rig.feed.resync(MARKET, "the room found the book crossed", rig.clock.time_ns())
        if MARKET in room.live:
            assert market.is_top_of(room.books[MARKET]), f"mutant {done}: {fault}"
        else:
            downs += 1
            rig.clock._move_to(rig.now + 60 * 10**9)
            rig.link._perform(rig.session.frame(rig.now))
            rig.link._perform(rig.session.tick(rig.now))
            assert any("subscribe" in text for text in rig.said)
            rig.give(market.snapshot())
            assert MARKET in room.live
        room.events.clear()
        room.downs.clear()
        room.alive.clear()
    assert min(faults.values()) > MUTANTS / len(CLASSES) * 0.8
    assert downs == done - faults["doubled"]
