"""The web page's files: read once at the start, served from memory.

Only what was found under the root when the door started is served, by its exact path, so a path that climbs out finds
nothing. A name that carries a hash (`app-1a2b3c4d.js`) is kept by browsers for a year; all else is asked for again
each time, which an ETag makes cheap.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from websockets.http11 import Request, Response

from services.stream.ws.answer import answer

FILE_BYTES_MAX = 8 * 1024 * 1024
FILES_MAX = 500
TOTAL_BYTES_MAX = 32 * 1024 * 1024

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; "
    "img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'"
)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/vnd.microsoft.icon",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
_HASHED = re.compile(r"[-.][A-Za-z0-9_]{8,}\.[a-z0-9]+$")


class SiteError(Exception):
    """The page's folder cannot be served; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    kind: str
    etag: str
    caching: str


class Site:
    """The files of the page."""

    def __init__(self, root: Path) -> None:
        """Read the files under `root`; a folder that is not there has none."""
        self._files: dict[str, _File] = {}
        base = root.resolve()
        total = 0
        for path in sorted(base.rglob("*")) if base.is_dir() else ():
            name = path.relative_to(base).as_posix()
            if any(part.startswith(".") for part in name.split("/")) or not path.is_file():
                continue
            if not path.resolve().is_relative_to(base):  # a link that leads out
                continue
            total += path.stat().st_size
            if path.stat().st_size > FILE_BYTES_MAX or total > TOTAL_BYTES_MAX or len(self._files) >= FILES_MAX:
                raise SiteError(
                    f"{root} is no page: at most {FILES_MAX} files of {FILE_BYTES_MAX} bytes, {TOTAL_BYTES_MAX} bytes "
                    "in all, are served. Set PERPMESH_STREAM_WEB_ROOT to the folder that the page was built into."
                )
            self._files["/" + name] = _read(path)

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._files)

    def find(self, request: Request) -> Response | None:
        """Return the answer to GET or HEAD of a file, or None where there is no such file."""
        path = unquote(request.path.partition("?")[0], errors="replace")
        file = self._files.get("/index.html" if path == "/" else path)
        if file is None:
            return None
        headers = {
            "Content-Type": file.kind,
            "Cache-Control": file.caching,
            "ETag": file.etag,
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Referrer-Policy": "no-referrer",
        }
        if _matches(request.headers.get("If-None-Match", ""), file.etag):
            return answer(request, 304, b"", headers)
        return answer(request, 200, file.body, headers)


def _read(path: Path) -> _File:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    hashed = path.suffix != ".html" and _HASHED.search(path.name)
    caching = "public, max-age=31536000, immutable" if hashed else "no-cache"
    return _File(body, _TYPES.get(path.suffix.lower(), "application/octet-stream"), etag, caching)


def _matches(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or tags == ["*"]
