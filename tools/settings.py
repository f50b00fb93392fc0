"""Writes what is derived from the rooms' configuration classes: the house's names, `.env.example`, the reference page.

`python -m tools.settings` writes; `--check` prints the drift and fails.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from services.chassis.config import FILE_SUFFIX, Setting, describe, render_env_example, settings_of, show

ROOT = Path(__file__).resolve().parents[1]
ROOMS = tuple(
    sorted(file.parent.name for file in (ROOT / "services").glob("*/config.py") if file.parent.name != "chassis")
)
"""The rooms that are built; each has a `Config` in its `config.py`."""
OTHERS = (
    "PERPMESH_FIXTURES",
    "PERPMESH_ADDRESS",
    "PERPMESH_PRIVATE_KEY",
    "PERPMESH_SESSION_FILE",
    "PERPMESH_TEST_SEED",
)
"""Variables of tests and tools, which a room finds in its environment and leaves alone."""


def classes() -> dict[str, type[Any]]:
    """Return the configuration class of every built room."""
    return {room: importlib.import_module(f"services.{room}.config").Config for room in ROOMS}


def names_text() -> str:
    """Return `services/settings.txt`: every variable that some room understands, one a line."""
    names = set(OTHERS)
    for cls in classes().values():
        for about in settings_of(cls):
            names.add(about.name)
            if about.secret:
                names.add(about.name + FILE_SUFFIX)
    return "".join(f"{name}\n" for name in sorted(names))


def page_text() -> str:
    """Return `docs/settings.md`."""
    readers: dict[str, list[str]] = {}
    settings: dict[str, Setting] = {}
    for room, cls in classes().items():
        for about in settings_of(cls):
            settings.setdefault(about.name, about)
            readers.setdefault(about.name, []).append(room)
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable. A misspelled name or a value that does not pass is one sentence and",
        "exit code 2. A secret may come from the file that `NAME_FILE` names. Written by `python -m tools.settings`.",
        "",
        "| variable | what it does | passes | default | read by |",
        "|---|---|---|---|---|",
    ]
    for name in sorted(settings):
        about = settings[name]
        default = "required" if about.required else ("(secret)" if about.secret else f"`{show(about.default)}`")
        default = "none" if default == "``" else default
        rooms = ", ".join(sorted(set(readers[name])))
        lines.append(f"| `{name}` | {about.help} | {describe(about)} | {default} | {rooms} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare, write nothing")
    check = options.parse_args().check
    wanted = {
        ROOT / "services" / "settings.txt": names_text(),
        ROOT / ".env.example": render_env_example(tuple(classes().values())),
        ROOT / "docs" / "settings.md": page_text(),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the configuration classes say: run python -m tools.settings")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
