"""Calls to other rooms: a channel with manners, to which generated stubs are bound as to any other.

    peer = Peer("127.0.0.1:50051")
    stub = MarketDataServiceStub(peer)
    answer = await stub.GetPrice(GetPriceRequest(market="BTC-PERP"))

What it adds: the request id of the call being served goes along; the deadline too, less 20 ms, so that the caller here
can still answer when the callee is late (boulder's rule); a call without either has a default deadline; UNAVAILABLE is
retried for calls that the contract declares repeatable (AIP-194), with jitter and within the deadline; a failure comes
as the `DomainError` that the callee raised. A stream gets no deadline of its own and is not retried here: its owner
resumes it by cursor.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from services.chassis import call, errors, ids
from services.chassis.clock import SYSTEM, Clock
from services.chassis.methods import find_method
from services.chassis.tasks import Backoff
from services.chassis.telemetry import log
from services.chassis.tls import TlsConfig, channel_credentials, server_name
from services.chassis.tracing import TRACING
from services.domain.errors import DomainError, Reason

DEADLINE_MARGIN_S = 0.020
"""What is taken off a deadline that is passed on."""

KEEPALIVE_S = 20
"""How often an idle connection is proved; servers allow every 10 s (`server.PING_INTERVAL_MIN_S`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPolicy:
    """How a peer is called."""

    deadline_s: float = 5.0
    """The deadline of a unary call that has none."""
    attempts: int = 3
    """How often a repeatable call is tried at most."""
    base_s: float = 0.05
    """The first pause between attempts."""
    max_s: float = 1.0
    """The longest pause between attempts."""
    patience_s: float = 0.0
    """How long a call waits in all for a peer that is not connected, as one that is restarted; it is not sent before.
    Where the call's own time is little, four fifths of that."""
    receive_bytes_max: int = 16_777_216
    """The largest answer taken."""


class Peer:
    """A channel to one room. It has the methods of `grpc.aio.Channel` that generated stubs use."""

    def __init__(
        self,
        address: str,
        policy: PeerPolicy | None = None,
        *,
        clock: Clock = SYSTEM,
        rng: random.Random | None = None,
        tls: TlsConfig | None = None,
        part: str = "",
    ) -> None:
        """Connect lazily to `address`, such as `127.0.0.1:50051`; with certificates, to `part` of the mesh alone.

        Of several IPv4 addresses, split by commas, one is called until its connection ends, then the next that answers.
        A target of gRPC's own, such as `dns:///market-data:7001`, passes through.
        """
        self.address = address
        self.name = part or address
        """What callers are told of it."""
        target = f"ipv4:{address}" if "," in address else address
        self.policy = policy or PeerPolicy()
        self._clock = clock
        self._rng = rng or ids.seeded_random()
        self._new_request_id = ids.request_ids()
        options = _options(self.policy)
        if tls is not None and tls.is_on:
            if not part:
                raise ValueError("a peer with certificates needs the name of the part that is called")
            options.append(("grpc.ssl_target_name_override", server_name(part)))
            self._channel = grpc.aio.secure_channel(target, channel_credentials(tls), options=options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options=options)

    async def close(self) -> None:
        """Close the connection; calls under way fail."""
        await self._channel.close()

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = None,
    ) -> UnaryCall:
        """Return the call behind a stub's unary method."""
        inner = self._channel.unary_unary(method, request_serializer, response_deserializer)
        return UnaryCall(self, method, inner)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = None,
    ) -> StreamCall:
        """Return the call behind a stub's streaming method."""
        inner = self._channel.unary_stream(method, request_serializer, response_deserializer)
        return StreamCall(self, method, inner)

    def metadata(self, extra: tuple[tuple[str, str], ...] = ()) -> tuple[tuple[str, str], ...]:
        """Return what goes along with a call: the request id of the call being served, or a new one."""
        request_id = call.request_id() or self._new_request_id()
        return ((errors.REQUEST_ID_KEY, request_id), *TRACING.headers(), *extra)

    def budget_s(self, timeout: float | None) -> float:
        """Return how long a unary call may take, or raise DEADLINE_EXCEEDED when nothing is left of the caller's."""
        wanted = self.policy.deadline_s if timeout is None else timeout
        serving = call.CURRENT.get()
        if serving is None or serving.deadline is None:
            return wanted
        left = serving.deadline - self._clock.monotonic() - DEADLINE_MARGIN_S
        if left <= 0:
            raise DomainError(
                Reason.DEADLINE_EXCEEDED,
                f"The caller's time was over before {self.name} could be asked.",
                metadata={"peer": self.name},
            )
        return min(wanted, left)

    async def present(self, until: float) -> None:
        """Wait for the peer to be connected, or raise PEER_UNAVAILABLE at `until`; without patience do neither."""
        if not self.policy.patience_s:
            return
        state = self._channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return
        try:
            async with asyncio.timeout(max(0.0, until - self.monotonic())):
                while state is not grpc.ChannelConnectivity.READY:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
        except TimeoutError:
            log.warning("peer.away", peer=self.name, address=self.address, state=state.name)
            raise _silent(self, Reason.PEER_UNAVAILABLE) from None

    def backoff(self) -> Backoff:
        """Return the pauses between the attempts of one call."""
        return Backoff(base_s=self.policy.base_s, max_s=self.policy.max_s, rng=self._rng)

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts."""
        await self._clock.sleep(seconds)

    def monotonic(self) -> float:
        """Return the time on the peer's clock."""
        return self._clock.monotonic()


class UnaryCall:
    """One unary method of a peer; call it with a request."""

    __slots__ = ("_attempts", "_inner", "_peer")

    def __init__(self, peer: Peer, method: str, inner: Any) -> None:
        self._peer = peer
        self._inner = inner
        self._attempts = peer.policy.attempts if _repeatable(method) else 1

    async def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: tuple[tuple[str, str], ...] = ()
    ) -> Any:
        """Return the answer, or raise the DomainError that the call failed with; `timeout` is in seconds."""
        peer = self._peer
        budget_s = peer.budget_s(timeout)
        begun = peer.monotonic()
        end, patient = begun + budget_s, begun + min(peer.policy.patience_s, budget_s * 0.8)
        sent = peer.metadata(metadata)
        backoff: Backoff | None = None
        attempt = 0
        while True:
            await peer.present(patient)
            left = end - peer.monotonic()
            try:
                return await self._inner(request, timeout=max(0.001, left), metadata=sent)
            except grpc.aio.AioRpcError as error:
                if _never_left(error) and peer.monotonic() < patient:
                    continue  # its connection had ended, which was not known yet
                refusal = _told(peer, error)
                if attempt + 1 >= self._attempts or not _may_retry(error, refusal):
                    raise refusal from None
                backoff = backoff or peer.backoff()
                delay = max(backoff.next(), refusal.retry_after_s or 0.0)
                if peer.monotonic() + delay >= end:
                    raise refusal from None
            attempt += 1
            await peer.pause(delay)


class StreamCall:
    """One streaming method of a peer; call it with a request and iterate."""

    __slots__ = ("_inner", "_peer")

    def __init__(self, peer: Peer, method: str, inner: Any) -> None:
        self._peer = peer
        self._inner = inner

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: tuple[tuple[str, str], ...] = ()
    ) -> AsyncIterator[Any]:
        """Return the messages; leaving the iteration by `aclose` or cancellation ends the call."""
        return self._messages(request, timeout, self._peer.metadata(metadata))

    async def _messages(
        self, request: Any, timeout: float | None, metadata: tuple[tuple[str, str], ...]
    ) -> AsyncIterator[Any]:
        under_way = self._inner(request, timeout=timeout, metadata=metadata)
        try:
            async for message in under_way:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _told(self._peer, error) from None
        except asyncio.CancelledError:
            if under_way.cancelled() and not _being_canceled():
                raise DomainError(Reason.PEER_UNAVAILABLE, f"{self._peer.name} ended the stream.") from None
            raise
        finally:
            under_way.cancel()


def _told(peer: Peer, error: grpc.aio.AioRpcError) -> DomainError:
    """Return what a call failed with. The transport's own words name our addresses: they go to the log alone."""
    refusal = errors.from_rpc_error(error)
    if errors.has_reason(refusal) or refusal.reason not in (Reason.PEER_UNAVAILABLE, Reason.DEADLINE_EXCEEDED):
        return refusal
    log.warning("peer.silent", peer=peer.name, address=peer.address, error=refusal.message[:300])
    return _silent(peer, refusal.reason)


def _silent(peer: Peer, reason: Reason) -> DomainError:
    what = "does not answer" if reason is Reason.PEER_UNAVAILABLE else "did not answer in time"
    return DomainError(reason, f"The room {peer.name} {what}: call again in a moment.", metadata={"peer": peer.name})


def _being_canceled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _repeatable(path: str) -> bool:
    """Say whether the contract declares a method repeatable; one that is not known here is not."""
    try:
        return find_method(path).repeatable
    except KeyError:
        return False


def _may_retry(error: grpc.aio.AioRpcError, refusal: DomainError) -> bool:
    """Say whether another attempt may go otherwise: the transport failed, or that replica is going away.

    An UNAVAILABLE that a room stated for another reason (no live venue, a peer of its own) is its answer: asking again
    at once would multiply calls along a chain of rooms.
    """
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    return not errors.has_reason(refusal) or refusal.reason is Reason.DRAINING


def _never_left(error: grpc.aio.AioRpcError) -> bool:
    """Say whether a call surely was not sent: it found no connection. gRPC says that in words alone."""
    unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
    return unavailable and (error.details() or "").startswith("failed to connect to all addresses")


def _options(policy: PeerPolicy) -> list[tuple[str, Any]]:
    return [
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", policy.receive_bytes_max),
        ("grpc.enable_retries", 0),  # ours knows the contract
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
