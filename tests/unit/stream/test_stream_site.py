"""The web page's files: right types, no way out, cheap to ask for again."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from services.stream.ws import site
from services.stream.ws.site import Site, SiteError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    page = tmp_path / "dist"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>x</title>")
    (page / "assets" / "app-1a2b3c4d.js").write_text("export {}")
    (page / "assets" / "app-1a2b3c4d.css").write_text("a{}")
    (page / "favicon.svg").write_text("<svg/>")
    (page / "blob.bin").write_bytes(b"\x00")
    (page / ".hidden").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    (page / "link.txt").symlink_to(tmp_path / "outside.txt")
    return page


def get(served: Site, path: str, method: str = "GET", **headers: str) -> Response | None:
    named = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    return served.find(Request(path, named, method=method))


def found(served: Site, path: str, method: str = "GET", **headers: str) -> Response:
    response = get(served, path, method, **headers)
    assert response is not None
    return response


@pytest.mark.parametrize(
    ("path", "kind", "caching"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/?x=1", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/assets/app-1a2b3c4d.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/app-1a2b3c4d.css?v=2", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
        ("/blob.bin", "application/octet-stream", "no-cache"),
    ],
)
def test_files_have_their_type_their_caching_and_a_policy(root: Path, path: str, kind: str, caching: str) -> None:
    response = found(Site(root), path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == kind
    assert response.headers["Cache-Control"] == caching
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert int(response.headers["Content-Length"]) == len(response.body) > 0


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/assets/../../outside.txt",
        "/assets/..%2f..%2foutside.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/.hidden",
        "/link.txt",
        "/assets",
        "/assets/",
        "/index.html%00",
        "/%ff",
        "",
    ],
)
def test_nothing_but_the_files_of_the_page_is_found(root: Path, path: str) -> None:
    assert get(Site(root), path) is None


def test_head_has_the_length_and_no_body(root: Path) -> None:
    response = found(Site(root), "/", "HEAD")
    assert response.body == b""
    assert int(response.headers["Content-Length"]) == len((root / "index.html").read_bytes())


@pytest.mark.parametrize("form", ["{0}", "W/{0}", '"other", {0}', "*"])
def test_a_file_that_is_known_is_not_sent_again(root: Path, form: str) -> None:
    served = Site(root)
    etag = found(served, "/").headers["ETag"]
    response = found(served, "/", If_None_Match=form.format(etag))
    assert response.status_code == 304
    assert response.body == b""
    assert found(served, "/", If_None_Match='"other"').status_code == 200


def test_a_folder_that_is_not_there_serves_no_page(tmp_path: Path) -> None:
    assert len(Site(tmp_path / "nothing")) == 0


def test_a_folder_that_is_no_page_is_refused_with_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "FILES_MAX", 2)
    with pytest.raises(SiteError, match="PERPMESH_STREAM_WEB_ROOT"):
        Site(root)
