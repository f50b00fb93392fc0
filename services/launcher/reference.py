"""The reference that the edge serves: what `tools/reference.py` wrote of the contract, less what is not served."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

OPENAPI = "openapi.json"
PAGE = "reference.html"
_SECTION = re.compile(r"<section data-service='([^']*)'>.*?</section>\n", re.DOTALL)


def is_there(source: Path) -> bool:
    """Say whether there is a reference to serve."""
    return (source / OPENAPI).is_file() and (source / PAGE).is_file()


def write(source: Path, folder: Path, services: Collection[str]) -> None:
    """Write both files into `folder`, for these services alone."""
    found = json.loads((source / OPENAPI).read_text())
    found["tags"] = [tag for tag in found["tags"] if tag["name"] in services]
    found["paths"] = {
        path: verbs
        for path, verbs in found["paths"].items()
        if any(set(call["tags"]) <= set(services) for call in verbs.values())
    }
    (folder / OPENAPI).write_text(json.dumps(found, separators=(",", ":")))
    page = (source / PAGE).read_text()
    (folder / PAGE).write_text(_SECTION.sub(lambda part: part[0] if part[1] in services else "", page))
