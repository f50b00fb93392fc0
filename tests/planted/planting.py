"""Planting one mistake at a time in a copy of the tree, and running the standing tests that must find it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.planted.mistakes import Mistake

ROOT = Path(__file__).resolve().parents[2]
FINDER_MAX_S = 400.0
"""A finder that has not ended by then found nothing."""
PATIENCE_S = 45
"""How long stories wait for what never comes with a mistake in place."""
PYTEST_FAILED = 1


class Verdict(Enum):
    """What came of a mistake."""

    FOUND = "found"
    MISSED = "MISSED"
    """The tests passed: nobody would have noticed."""
    UNCLEAR = "UNCLEAR"
    """The tests could not be run, or did not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one mistake, by which test, and how long it took."""

    mistake: Mistake
    verdict: Verdict
    by: str
    """The first test that failed, or what the run said last."""
    took_s: float


class MisplacedError(ValueError):
    """A mistake does not fit the source any more."""


def edited(mistake: Mistake, text: str) -> str:
    """Return a source with a mistake in it. Raises `MisplacedError` where what it takes the place of is not there."""
    count = text.count(mistake.right)
    if count != 1:
        raise MisplacedError(
            f"{mistake.name}: what it takes the place of is {count} times in {mistake.path}; name it anew."
        )
    return text.replace(mistake.right, mistake.wrong)


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """Have a copy of what is tracked, or would be, in a folder that others may enter, as the database must."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="perpmesh-planted-"))
    folder.chmod(0o755)
    try:
        for name in filter(None, listed.split("\0")):
            if (source := ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def planted(mistake: Mistake, tree: Path) -> Iterator[None]:
    """Have a mistake in a copy for the time of a block."""
    path = tree / mistake.path
    right = path.read_text()
    path.write_text(edited(mistake, right))
    try:
        yield
    finally:
        path.write_text(right)


def run(tests: Sequence[str], tree: Path, *, sample: int = 2) -> tuple[int | None, str, float]:
    """Run tests of a copy until the first that fails; return the exit code, None for no end, what it said, seconds."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environ = {
        **os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PERPMESH_TEST_PATIENCE_S": str(PATIENCE_S),
        "PERPMESH_CRASH_SAMPLE": str(sample),
    }  # fmt: skip
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=tree, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=FINDER_MAX_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # pytest ends what it started
            said, _ = process.communicate()
            return None, said, time.monotonic() - began
    return process.returncode, said, time.monotonic() - began


def judge(mistake: Mistake, tree: Path) -> Result:
    """Plant a mistake and say whether its finders find it."""
    with planted(mistake, tree):
        code, said, took_s = run(mistake.finders, tree, sample=mistake.sample)
    failed = [line for line in said.splitlines() if line.startswith("FAILED ")]
    if code == PYTEST_FAILED and failed:
        by = failed[0].removeprefix("FAILED ").partition(" - ")[0]
        return Result(mistake=mistake, verdict=Verdict.FOUND, by=by, took_s=took_s)
    verdict = Verdict.MISSED if code == 0 else Verdict.UNCLEAR
    last = said.strip().splitlines()[-1] if said.strip() else ""
    return Result(mistake=mistake, verdict=verdict, by=last, took_s=took_s)
