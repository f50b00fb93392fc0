"""Writing Watch responses by hand, so that a value is serialized once however many streams send it.

Every Watch response of the contract has one shape: `cursor` is field 1, the value 2, `live` 3, `heartbeat` 4, `gap` 5,
`end` 6; WatchPrices has a batch as 7. A protobuf message with a length-delimited field is the field's tag, the length
as a varint, and the bytes (source: protobuf encoding); a tidy test compares with the generated classes.
"""

from __future__ import annotations

from typing import Final

from perpmesh.marketdata.v1 import market_data_service_pb2
from perpmesh.type.v1 import stream_pb2

from services.domain.errors import Reason

_CURSOR: Final = b"\x0a"
_VALUE: Final = b"\x12"
_BATCH: Final = b"\x3a"
_ITEM: Final = b"\x0a"
_RESUMABLE: Final = frozenset({Reason.DRAINING, Reason.SLOW_CONSUMER})


def varint(number: int) -> bytes:
    """Return a non-negative number as a base-128 varint."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class WatchFraming:
    """The framing of every Watch call of the room (`services.chassis.watch.Framing`)."""

    def value(self, cursor: str, payload: bytes) -> bytes:
        """One value."""
        return _cursor(cursor) + _VALUE + varint(len(payload)) + payload

    def values(self, cursor: str, payloads: list[bytes]) -> bytes:
        """Several values in one message."""
        body = b"".join([part for payload in payloads for part in (_ITEM, varint(len(payload)), payload)])
        return _cursor(cursor) + _BATCH + varint(len(body)) + body

    def live(self, cursor: str, now_ns: int) -> bytes:
        """The present has been sent."""
        message = market_data_service_pb2.WatchPricesResponse(cursor=cursor)
        message.live.send_time.FromNanoseconds(now_ns)
        return message.SerializeToString()

    def heartbeat(self, cursor: str, now_ns: int) -> bytes:
        """Nothing else happened."""
        message = market_data_service_pb2.WatchPricesResponse(cursor=cursor)
        message.heartbeat.send_time.FromNanoseconds(now_ns)
        message.heartbeat.watermark_time.FromNanoseconds(now_ns)
        return message.SerializeToString()

    def gap(self, cursor: str, key: str, first: int, last: int) -> bytes:
        """The values of `key` numbered `first` to `last` were lost to this stream."""
        return market_data_service_pb2.WatchPricesResponse(
            cursor=cursor,
            gap=stream_pb2.Gap(
                market=key,
                from_sequence=first,
                to_sequence=last,
                message="this stream was read too slowly, or resumed late; trades are in ListTrades by these numbers",
            ),
        ).SerializeToString()

    def venue_gap(self, cursor: str, market: str, venue: str, reason: str) -> bytes:
        """What `venue` printed for `market` meanwhile may be missing, by no count that is known."""
        return market_data_service_pb2.WatchPricesResponse(
            cursor=cursor,
            gap=stream_pb2.Gap(market=market, venue=venue, message=reason),
        ).SerializeToString()

    def end(self, cursor: str, reason: Reason, message: str) -> bytes:
        """The server ends the stream."""
        return market_data_service_pb2.WatchPricesResponse(
            cursor=cursor,
            end=stream_pb2.End(reason=reason.value, message=message, resumable=reason in _RESUMABLE),
        ).SerializeToString()


def _cursor(cursor: str) -> bytes:
    text = cursor.encode()
    return _CURSOR + varint(len(text)) + text
