"""The bytes that are shared over sockets are the bytes the library would have written."""

from __future__ import annotations

import pytest
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode

from services.stream.model.frame import Frame
from services.stream.ws.socket import wire


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000])
def test_a_frame_of_any_size_is_written_as_rfc_6455_has_it(size: int) -> None:
    frame = Frame(b"x" * size)
    assert wire(frame) == LibraryFrame(Opcode.TEXT, frame.payload).serialize(mask=False)


def test_a_frame_is_made_once_for_all_sockets() -> None:
    frame = Frame(b"{}")
    assert wire(frame) is wire(frame)
