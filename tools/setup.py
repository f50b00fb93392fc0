"""Make the virtual environment from a lock: `python3 tools/setup.py server|dev`. Standard library only.

Every package is installed with its hash and without looking for dependencies, since the lock holds them all; then the
checkout itself, editable. A stamp per lock lets `make` skip all of this. Every failure is one sentence that says what
to do; what pip printed is kept in `.venv/setup.log`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
PLAIN_LINE_EVERY = 12
"""Without a terminal, a line of progress is printed once in so many packages."""

FAILURES = (
    (r"No space left on device", "The disk is full: free some space, then run the same command again."),
    (
        r"DO NOT MATCH THE HASHES",
        "A downloaded package is not the one that the lock names: do not go on; check where packages come from "
        "(`pip config list`).",
    ),
    (
        r"NewConnectionError|ConnectTimeout|ReadTimeout|Temporary failure in name resolution|Name or service not known"
        r"|Network is unreachable|Connection refused|SSLError|ProxyError|from versions: none",
        "The packages cannot be downloaded: no package index answers. Check the network, or name a mirror with "
        "PIP_INDEX_URL, then run the same command again.",
    ),
    (
        r"No matching distribution|is not a supported wheel",
        "Some package has no build for this machine or this Python: Linux on x86-64 with Python 3.11 is tested.",
    ),
)


class SetupError(Exception):
    """Setting up failed; the message is one sentence that says what to do."""


def main(arguments: list[str]) -> int:
    """Make or refresh the environment for one lock; returns the exit code."""
    if arguments not in (["server"], ["dev"]):
        print("Usage: python3 tools/setup.py server|dev", file=sys.stderr)
        return 2
    try:
        set_up(arguments[0])
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        full = "the disk is full: free some space" if error.errno == 28 else f"{error}: correct it"
        print(f"\nSetting up failed because {full}, then run the same command again.", file=sys.stderr)
        return 1
    return 0


def set_up(name: str) -> None:
    """Bring `.venv` to what `requirements/NAME.txt` says, doing nothing that is done already."""
    lock = ROOT / "requirements" / f"{name}.txt"
    wanted = f"{ROOT}\n{hashlib.sha256(lock.read_bytes()).hexdigest()}\n"
    stamp = VENV / f".{name}"
    began = time.monotonic()
    if not (stamp.exists() and stamp.read_text() == wanted and works()):
        make_environment()
        install(lock)
    pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    stamp.write_text(wanted)
    if name == "dev":  # which holds all of the server's packages, in the same versions
        server = ROOT / "requirements" / "server.txt"
        (VENV / ".server").write_text(f"{ROOT}\n{hashlib.sha256(server.read_bytes()).hexdigest()}\n")
    (VENV / ".where").write_text(str(ROOT))
    print(f"Ready after {time.monotonic() - began:.0f} s.", flush=True)


def works() -> bool:
    """Return whether the environment's Python still starts; one whose base was removed does not."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([PYTHON, "-c", "import pip"], capture_output=True, check=False).returncode == 0
    return False


def make_environment() -> None:
    """Make `.venv` unless it is there and works."""
    if works():
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            "This Python cannot make virtual environments: install its venv module (Debian and Ubuntu: "
            f"apt-get install python{version}-venv), then run the same command again."
        )
    print(f"Making .venv with Python {sys.version.split()[0]} ...", flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(sentence(done.stdout + done.stderr, "The virtual environment .venv could not be made"))


def install(lock: Path) -> None:
    """Install a lock, showing how far it is."""
    total = len(re.findall(r"^[A-Za-z0-9._-]+==", lock.read_text(), re.MULTILINE))
    print(f"Installing {total} packages (this takes a minute or two the first time) ...", flush=True)
    pip("install", "--no-deps", "--require-hashes", "--requirement", str(lock), total=total)


def pip(*arguments: str, total: int = 0) -> None:
    """Run pip, counting packages on the screen and keeping its words in the log. Raises `SetupError`."""
    quiet = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
    command = [str(PYTHON), "-m", "pip", *arguments, *quiet]
    environ = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    count, said = 0, []
    with (
        LOG.open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            log.write(line)
            said.append(line)
            if total and line.startswith("Collecting "):
                count += 1
                package = line.split()[1].split("=")[0]
                show(f"  {count} of {total}: {package}", last=False, plain=count % PLAIN_LINE_EVERY == 0)
            elif total and line.startswith("Installing collected"):
                show(f"  {total} of {total} are here; unpacking them ...", last=True, plain=True)
    if run.returncode != 0:
        raise SetupError(sentence("".join(said), "A package could not be installed"))


def show(text: str, *, last: bool, plain: bool) -> None:
    """Show progress on one line of a terminal, or now and then as a line of its own."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="\n" if last else "", flush=True)
    elif plain:
        print(text, flush=True)


def sentence(output: str, otherwise: str) -> str:
    """Return what to do about what a tool printed."""
    for pattern, advice in FAILURES:
        if re.search(pattern, output):
            return advice
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no message"]
    last = next((line for line in reversed(lines) if re.search(r"\b\w*Error\b", line)), lines[-1])
    return f"{otherwise} ({last}): see {LOG}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
