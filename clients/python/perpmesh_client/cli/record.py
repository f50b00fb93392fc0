"""`perpmesh record`: handed to the venue-side recorder, which a checkout has and an installed client has not."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

RECORDER = "services.venues.recorder"
_MISSING = "perpmesh: recording talks to the venues themselves and is part of the server: run it from a checkout.\n"


def record(rest: Sequence[str]) -> int:
    """Become the recorder with the same arguments, or say in one sentence why that is not possible here."""
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec(RECORDER) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        sys.stderr.write(_MISSING)
        return 1
    sys.stdout.flush()
    search_path = os.pathsep.join(entry for entry in sys.path if entry)
    os.environ["PYTHONPATH"] = search_path
    os.execv(sys.executable, [sys.executable, "-m", RECORDER, *rest])  # noqa: S606 - the same interpreter
    return 0
