"""A local book that is right or is being made again: every delta is checked, and one that does not fit ends the stream
it came on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from perpmesh_client.stream import Follow, Live, Restarted
from perpmesh_client.values.book import BookDivergence, LocalBook
from perpmesh_client.values.trade import Gap

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import market_data_service_pb2 as pb


async def follow_book(
    follow: Follow[pb.WatchOrderBookRequest, pb.WatchOrderBookResponse], market: str
) -> AsyncGenerator[LocalBook | Gap, None]:
    """Yield the book of one market after each change, the same object each time, and a gap whenever it began anew.

    A delta before any snapshot, one that applies to another state, or a wrong number of levels afterwards: the stream
    is opened again without its cursor, and the book is not yielded before its next snapshot.
    """
    book: LocalBook | None = None
    async with aclosing(follow.messages()) as messages:
        async for message in messages:
            if isinstance(message, Restarted):
                book = None
                yield message.gap
            elif isinstance(message, Gap):
                yield message
            elif isinstance(message, Live):
                pass
            elif message.WhichOneof("event") == "snapshot":
                book = book or LocalBook(market)
                book.reset(message.snapshot)
                yield book
            else:
                try:
                    if book is None:
                        raise BookDivergence(f"a delta of {market} came before any snapshot")
                    book.apply(message.delta)
                except BookDivergence as divergence:
                    follow.restart(f"{divergence}; the book is fetched again.", market)
                    continue
                yield book
