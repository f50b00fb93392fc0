"""Writes the reference: `gen/openapi.json`, the page that shows it, and what a caller must know of errors and bounds.

    python -m tools.reference            write gen/openapi.json, gen/reference.html, docs/reference/*.md
    python -m tools.reference --check    print what differs; exit code 1 if anything does

All of it is read from the contract and from the settings, so that it cannot say anything else than the mesh does.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from perpmesh.errors.v1 import reason_pb2

from services.chassis.config import settings_of, show
from tools.gen import descriptor_set
from tools.openapi import HTTP, Contract, document
from tools.settings import classes

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
WRITTEN = "Written by `python -m tools.reference` from the contract; do not edit."
_BOUND = re.compile(r"_(MAX|BYTES|ROWS|DEPTH|CANDLES|DAYS|PER_S|PER_MINUTE|PER_CONNECTION|PER_ADDRESS_MAX|BURST)(_|$)")
_SPAN = re.compile(r"_(S|TIMEOUT|DEADLINE)$")


def errors_page() -> str:
    """Return the page of every reason."""
    lines = [
        "# Errors",
        "",
        WRITTEN,
        "",
        "Every failed call carries a `google.rpc.ErrorInfo` with the domain `perpmesh` and one of these reasons: over",
        "gRPC in `grpc-status-details-bin`, over REST in `details`, over the WebSocket as `error`. `metadata.category`",
        "is the category. *Repeat* says whether the same call may be sent again as it is.",
        "",
        "| reason | category | gRPC code | HTTP | repeat | what to do |",
        "|---|---|---|---|---|---|",
    ]
    for value in sorted(reason_pb2.Reason.DESCRIPTOR.values, key=lambda one: one.name):
        info = value.GetOptions().Extensions[reason_pb2.info]
        if value.number == 0:
            continue
        category = reason_pb2.Category.Name(info.category).removeprefix("CATEGORY_").lower()
        repeat = "yes" if info.retry_safe else "no"
        name = value.name.removeprefix("REASON_")
        lines.append(f"| `{name}` | {category} | {info.code} | {HTTP[info.code]} | {repeat} | {info.advice} |")
    lines += [
        "",
        "An unknown reason is treated by its code: reasons are added over time. `DEADLINE_EXCEEDED` on a call that",
    ]
    lines += ["changes something means that the outcome is not known: look before calling again.", ""]
    return "\n".join(lines)


def bounds_page(title: str, about: list[str], wanted: re.Pattern[str]) -> str:
    """Return the page of the settings whose names match."""
    lines = [f"# {title}", "", WRITTEN.replace("the contract", "the settings"), "", *about, ""]
    lines += ["| setting | what it bounds | default | read by |", "|---|---|---|---|"]
    rows: dict[str, tuple[str, str, list[str]]] = {}
    for room, cls in classes().items():
        for one in settings_of(cls) if room != "simulator" else ():
            if wanted.search(one.name) and not one.secret:
                rows.setdefault(one.name, (one.help, show(one.default) or "none", []))[2].append(room)
    lines += [
        f"| `{name}` | {text} | {value} | {', '.join(rooms)} |" for name, (text, value, rooms) in sorted(rows.items())
    ]
    return "\n".join(lines) + "\n"


def limits_page() -> str:
    """Return the page of limits."""
    return bounds_page(
        "Limits",
        [
            "Beyond a limit a call fails with `LIMIT_REACHED` (`RESOURCE_EXHAUSTED`, 429) and a `RetryInfo`, unless",
            "its line says otherwise. Fixed at the edge: a request body of 64 KiB, headers of 16 KiB, 64 headers, an",
            "answer of 8 MiB over REST, 10,000 connections; two times each rate at once.",
        ],
        _BOUND,
    )


def deadlines_page() -> str:
    """Return the page of deadlines and intervals."""
    return bounds_page(
        "Deadlines",
        [
            "A unary call has 15 s at the edge, or what `grpc-timeout` asks for, 30 s at most; a room passes what is",
            "left on, less 20 ms. A stream has no end by the clock, and says something every 15 s; 60 s of silence",
            "end it. A request's headers must arrive within 5 s. Beyond its time a call fails: `DEADLINE_EXCEEDED`.",
        ],
        _SPAN,
    )


def page(found: dict[str, Any]) -> str:
    """Return the readable page: every call with what it takes and answers, without scripts."""
    parts = []
    for tag in found["tags"]:
        name = tag["name"]
        rows = []
        for path, verbs in found["paths"].items():
            for verb, call in verbs.items():
                if name in call["tags"]:
                    rows.append(_call(verb, path, call))
        head = f"<section data-service='{name}'><h2 id='{name}'>{name}</h2>{_text(tag['description'])}"
        parts.append(f"{head}{''.join(rows)}</section>\n")
    schemas = "".join(
        f"<details id='{name}'><summary><code>{name}</code></summary>{_text(schema.get('description', ''))}"
        f"<pre>{html.escape(json.dumps(schema.get('properties', {}), indent=1))}</pre></details>"
        for name, schema in found["components"]["schemas"].items()
    )
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
        "code,pre{font-family:ui-monospace,monospace;font-size:13px}pre{background:#f5f6f8;padding:.6rem;overflow:auto}"
        "details{border-bottom:1px solid #dde1e6;padding:.4rem 0}summary{cursor:pointer}table{border-collapse:collapse}"
        "td{padding:.15rem .8rem .15rem 0;vertical-align:top}.verb{display:inline-block;width:4rem;font-weight:600}"
        "@media (prefers-color-scheme:dark){body{background:#14171a;color:#dde1e6}"
        "pre{background:#1e2226}a{color:#7db7ff}}"
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Perpmesh reference</title><style>{style}</style><h1>Perpmesh reference</h1>"
        f"<p>{html.escape(found['info']['description'])} As <a href='/openapi.json'>OpenAPI 3.1</a>.</p>"
        f"{''.join(parts)}<h2>Schemas</h2>{schemas}</html>\n"
    )


def _call(verb: str, path: str, call: dict[str, Any]) -> str:
    rows = "".join(
        _row(one["name"], one["in"], one["description"], required=one["required"]) for one in call.get("parameters", ())
    )
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    rows += "".join(
        _row(name, "body", schema.get("description", ""), required=name in body.get("required", ()))
        for name, schema in body.get("properties", {}).items()
    )
    answer = call["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    token = " · needs a token" if "security" in call else ""
    return (
        f"<details><summary><span class='verb'>{verb.upper()}</span><code>{html.escape(path)}</code> "
        f"{html.escape(call['summary'])}</summary>{_text(call.get('description', ''))}<table>{rows}</table>"
        f"<p>Answers <a href='#{answer}'><code>{answer}</code></a>{token}.</p></details>"
    )


def _row(name: str, place: str, about: str, *, required: bool) -> str:
    where = f"{place}, required" if required else place
    return f"<tr><td><code>{html.escape(name)}</code></td><td>{where}</td><td>{html.escape(about)}</td></tr>"


def _text(markdown: str) -> str:
    return "".join(f"<p>{html.escape(one)}</p>" for one in markdown.split("\n\n") if one)


def outputs() -> dict[Path, str]:
    """Return every file with its text."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    found = document(Contract(descriptor_set(with_comments=True).file), version)
    return {
        ROOT / "gen" / "openapi.json": json.dumps(found, indent=1) + "\n",
        ROOT / "gen" / "reference.html": page(found),
        PAGES / "errors.md": errors_page(),
        PAGES / "limits.md": limits_page(),
        PAGES / "deadlines.md": deadlines_page(),
    }


def main() -> int:
    """Write or check."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare, write nothing")
    check = options.parse_args().check
    wanted = outputs()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not what the contract says: run python -m tools.reference")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
