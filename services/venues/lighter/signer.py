"""Signing for Lighter, behind a port: the venue's own library in a child process.

What comes back is checked before it is given on: it says what was asked, for the nonce asked, and its hash is the one
this house computes. So the library is trusted with keys and curve, not with what is signed. A child that dies or does
not answer is replaced, and asks for the keys it needs again; a signature it did not deliver was never seen by anybody,
so the same transaction may be signed again with the same nonce.

The library chooses `ExpiredAt` itself: 599 s after signing. `SignedTransaction.expired_at_ms` says what it chose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Final, Protocol

import msgspec

from services.venues.lighter.signer_frames import (
    ANSWERS,
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    Answer,
    Generate,
    Load,
    Request,
    Sign,
    Token,
    frame,
)
from services.venues.lighter.wire.transactions import ApiKey, Transaction, read_tx_info, tx_hash

ANSWER_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 15.0
PENDING_MAX: Final = 1_024
"""Requests under way at once; one more is refused."""
TOKEN_LIFE_MAX_S: Final = 8 * 3600
"""The venue takes no token that lives longer."""

Secrets = Callable[[ApiKey], Awaitable[str]]
"""Gives the secret of a key, 80 hex digits, each time a child needs it. Raises where there is none."""


class SignerError(Exception):
    """Nothing was signed. The message is a sentence and holds no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A transaction as it goes to the venue."""

    kind: int
    tx_info: bytes
    tx_hash: str
    """By which the venue can be asked for it, 80 hex digits."""
    nonce: int
    expired_at_ms: int
    """After this the venue refuses it."""
    wallet_text: str = ""
    """What the account's wallet must sign as well, for set-up transactions."""


class Signer(Protocol):
    """Signs Lighter's transactions and makes auth tokens, for one chain."""

    async def sign(self, key: ApiKey, transaction: Transaction, nonce: int) -> SignedTransaction:
        """Return the signed transaction. Raises `SignerError`."""

    async def token(self, key: ApiKey, deadline_s: int) -> str:
        """Return an auth token that ends at `deadline_s`, since the Unix epoch. Raises `SignerError`."""

    async def generate(self) -> tuple[str, str]:
        """Return a new (secret, public) key, 80 hex digits each. Raises `SignerError`."""


class ChildSigner:
    """A `Signer` whose library runs in a child process. Use as an async context manager, or call `close`."""

    def __init__(self, *, chain_id: int, secrets: Secrets) -> None:
        self._chain_id = chain_id
        self._secrets = secrets
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._loaded: set[tuple[int, int]] = set()
        self._ids = count(1)
        self.starts = 0

    async def __aenter__(self) -> ChildSigner:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def sign(self, key: ApiKey, transaction: Transaction, nonce: int) -> SignedTransaction:
        """Return the signed transaction, checked. Raises `SignerError`."""
        await self._ready(key)
        request = Sign(
            next(self._ids), int(transaction.type), dict(transaction.body), dict(transaction.attributes), nonce
        )
        info, hashed, wallet_text = await self._ask(request)
        made, made_nonce, expired_at_ms, _ = read_tx_info(int(transaction.type), info)
        expected = tx_hash(transaction, chain_id=self._chain_id, nonce=nonce, expired_at_ms=expired_at_ms).hex()
        if made.body != transaction.body or made_nonce != nonce or hashed != expected:
            raise SignerError("the signer signed another transaction than the one it was asked for")
        return SignedTransaction(
            kind=int(transaction.type),
            tx_info=info.encode(),
            tx_hash=hashed,
            nonce=nonce,
            expired_at_ms=expired_at_ms,
            wallet_text=wallet_text,
        )

    async def token(self, key: ApiKey, deadline_s: int) -> str:
        """Return an auth token. Raises `SignerError`."""
        await self._ready(key)
        texts = await self._ask(Token(next(self._ids), deadline_s, key.account_index, key.api_key_index))
        return texts[0]

    async def generate(self) -> tuple[str, str]:
        """Return a new key pair from the library's own randomness. Raises `SignerError`."""
        secret, public = await self._ask(Generate(next(self._ids)))
        return secret, public

    async def forget(self) -> None:
        """End the child and with it every key it holds; the next request starts another."""
        await self.close()

    async def close(self) -> None:
        """End the child."""
        async with self._starting:
            child, reader = self._child, self._reader
            self._child = self._reader = None
            self._loaded.clear()
            if reader is not None:
                reader.cancel()
            if child is not None:
                if child.returncode is None:
                    child.kill()
                await child.wait()
                _close_pipes(child)
            self._fail("the signer was closed")

    async def _ready(self, key: ApiKey) -> None:
        """Have a child that holds `key`."""
        await self._start()
        name = (key.account_index, key.api_key_index)
        if name not in self._loaded:
            secret = await self._secrets(key)
            await self._ask(Load(next(self._ids), secret, *name))
            self._loaded.add(name)

    async def _ask(self, request: Request) -> tuple[str, ...]:
        child = await self._start()
        if len(self._waiting) >= PENDING_MAX:
            raise SignerError(f"{PENDING_MAX} requests are under way already")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        try:
            assert child.stdin is not None
            child.stdin.write(frame(request))
            await child.stdin.drain()
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await future
        except TimeoutError:
            self._drop(child, "the signer did not answer")
            raise SignerError(f"the signer did not answer within {ANSWER_TIMEOUT_S:g} s") from None
        except (OSError, RuntimeError) as error:
            self._drop(child, "the signer is gone")
            raise SignerError(f"the signer cannot be reached: {type(error).__name__}") from None
        finally:
            self._waiting.pop(request.id, None)
        if answer.problem:
            raise SignerError(answer.problem)
        return answer.texts

    async def _start(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._child is not None and self._child.returncode is None:
                return self._child
            self._loaded.clear()
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.venues.lighter.signer_child",
                str(self._chain_id),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={
                    "PATH": os.defpath,
                    "PYTHONPATH": os.pathsep.join(part for part in sys.path if part) or ".",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "GOMAXPROCS": "1",
                    "GOTRACEBACK": "none",
                },
                start_new_session=True,
            )
            answer: Answer | None = None
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    answer = await _next_answer(child)
            except TimeoutError:
                pass
            finally:
                if answer is None or answer.problem:
                    if child.returncode is None:
                        child.kill()
                    await child.wait()
                    _close_pipes(child)
            if answer is None or answer.problem:
                raise SignerError(answer.problem if answer is not None else "the signer did not start")
            self._child = child
            self._reader = asyncio.create_task(self._read(child), name="lighter-signer")
            self.starts += 1
            return child

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        try:
            while (answer := await _next_answer(child)) is not None:
                future = self._waiting.get(answer.id)
                if future is not None and not future.done():
                    future.set_result(answer)
        finally:
            self._drop(child, "the signer ended")

    def _drop(self, child: asyncio.subprocess.Process, reason: str) -> None:
        """Give up a child that ended or does not answer. Once: a second signal would take its end from asyncio."""
        if self._child is not child:
            return
        self._child = None
        self._loaded.clear()
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SignerError(reason))


async def _next_answer(child: asyncio.subprocess.Process) -> Answer | None:
    """Return the child's next answer; None at the end, or where it says what is no answer."""
    assert child.stdout is not None
    try:
        length = int.from_bytes(await child.stdout.readexactly(LENGTH_BYTES), "big")
        if length > FRAME_BYTES_MAX:
            return None
        return ANSWERS.decode(await child.stdout.readexactly(length))
    except (asyncio.IncompleteReadError, msgspec.MsgspecError, OSError):
        return None


def _close_pipes(child: asyncio.subprocess.Process) -> None:
    transport = getattr(child, "_transport", None)
    if transport is not None:
        transport.close()


def with_wallet_signature(signed: SignedTransaction, wallet_signature: str) -> bytes:
    """Return the `tx_info` of a set-up transaction with the wallet's signature, 65 bytes in hex with 0x, in it."""
    fields = msgspec.json.decode(signed.tx_info, type=dict[str, object])
    return msgspec.json.encode(fields | {"L1Sig": wallet_signature})
