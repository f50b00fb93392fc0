"""The process that holds Lighter's library: reads requests from its input, answers on its output, ends at end of input.

Started by `signer.ChildSigner` with the chain id as argument. It opens no socket, writes nothing else, dumps no core,
and dies with its parent. What it refuses it answers with a sentence; it never prints a key.

The library is called from a second thread: Go asks for the bounds of the calling thread's stack at every call, and
for a process's first thread the C library reads them out of /proc/self/maps. That is half a millisecond a call, and a
signature takes five (`docs/decisions/0005`).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from typing import Final

from services.venues.lighter.library import Library, LibraryError, check, find
from services.venues.lighter.signer_frames import (
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    REQUESTS,
    Answer,
    Generate,
    Load,
    Request,
    Sign,
    frame,
)
from services.venues.lighter.wire.transactions import Transaction, TxType

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4


def main(chain_id: int) -> None:
    """Serve until the input ends, or until serving fails."""
    _shield()
    failed: list[BaseException] = []

    def serve() -> None:
        try:
            _serve(chain_id)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=serve, name="signer")
    thread.start()
    thread.join()
    if failed:
        raise SystemExit(1)  # without a traceback, which could hold a request


def _serve(chain_id: int) -> None:
    try:
        library = Library(check(find()))
    except LibraryError as error:
        os.write(1, frame(Answer(0, problem=str(error))))
        return
    os.write(1, frame(Answer(0, ("ready",))))
    with os.fdopen(0, "rb", buffering=0) as source:
        while True:
            head = _read(source.fileno(), LENGTH_BYTES)
            length = int.from_bytes(head, "big")
            if len(head) < LENGTH_BYTES or length > FRAME_BYTES_MAX:
                return
            request: Request = REQUESTS.decode(_read(source.fileno(), length))
            _write(frame(_answer(library, request, chain_id)))


def _answer(library: Library, request: Request, chain_id: int) -> Answer:
    try:
        if isinstance(request, Sign):
            transaction = Transaction(TxType(request.kind), request.body, request.attributes)
            return Answer(request.id, library.sign(transaction, request.nonce))
        if isinstance(request, Load):
            library.load(
                secret=request.secret,
                chain_id=chain_id,
                account_index=request.account_index,
                api_key_index=request.api_key_index,
            )
            return Answer(request.id)
        if isinstance(request, Generate):
            return Answer(request.id, library.generate())
        token = library.token(
            deadline_s=request.deadline_s, account_index=request.account_index, api_key_index=request.api_key_index
        )
        return Answer(request.id, (token,))
    except LibraryError as error:
        return Answer(request.id, problem=str(error)[:500])
    except (ctypes.ArgumentError, TypeError, ValueError, KeyError) as error:
        return Answer(request.id, problem=f"the transaction cannot be handed to the signer ({type(error).__name__})")


def _shield() -> None:
    """Leave no core, no foreign reader of memory, and no orphan."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _read(source: int, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = os.read(source, count - len(parts))
        if not part:
            break
        parts += part
    return parts


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
