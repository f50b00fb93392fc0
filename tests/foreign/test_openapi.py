"""The served OpenAPI is true: schemathesis asks the edge what it promises; no 5xx and no undocumented answer comes.

`make openapi-check` gives it more time than the suite does.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from tests.support.auth import sign_in
from tests.support.mesh import Mesh, running_mesh
from tests.support.wallet import Wallet

SECONDS = int(os.environ.get("OPENAPI_SECONDS", "12"))
SEED = os.environ.get("OPENAPI_SEED", "1")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
KEEPS_SIGNED_IN = "revokeAll|/sessions/|sessions:refresh|wallets:unlink"
"""Calls that would end the session which the others are made with."""


async def fetch(http: aiohttp.ClientSession, mesh: Mesh, path: str) -> Any:
    async with http.get(f"{mesh.url}{path}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


@pytest.mark.timeout(400)
async def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(tmp_path: Path) -> None:
    async with (
        running_mesh(simulator_seed=71, ip_requests_per_s=1_000_000, user_requests_per_s=1_000_000,
                     sign_ins_per_minute=1_000_000) as mesh,
        aiohttp.ClientSession() as http,
    ):  # fmt: skip
        page = (await fetch(http, mesh, "/reference")).decode()
        found = json.loads(await fetch(http, mesh, "/openapi.json"))
        assert found["openapi"] == "3.1.0"
        assert len(found["paths"]) >= 30
        assert all(path in page for path in found["paths"])
        (tmp_path / "openapi.json").write_text(json.dumps(found))
        await streams_begin_with_what_is_documented(http, mesh, found)
        async with mesh.channel("auth") as channel:
            session = await sign_in(AuthServiceStub(channel), Wallet())  # type: ignore[no-untyped-call]
        unserved = await not_served(http, mesh, found, session.access_token)
        print(f"of the contract and not served yet, which 501 says: {unserved}")
        printed = await schemathesis(mesh, tmp_path, session.access_token, unserved)
        cases = re.search(r"(\d+) generated", printed)
        assert cases is not None, printed[-3_000:]
        print(f"{cases[1]} cases in {SECONDS} s, seed {SEED}")
        assert int(cases[1]) > 50


async def not_served(http: aiohttp.ClientSession, mesh: Mesh, found: dict[str, Any], token: str) -> list[str]:
    """Return the paths of calls that a room of this version does not serve: documented as 501, and nothing to ask."""
    paths = []
    for path, verbs in found["paths"].items():
        if path.endswith(":watch"):
            continue
        for verb in verbs:
            url = mesh.url + re.sub("{[a-z_.]+}", "00000000-0000-4000-8000-000000000000", path)
            body = {} if verb in ("post", "patch") else None
            if re.search(KEEPS_SIGNED_IN, path):
                continue
            headers = {"authorization": f"Bearer {token}"}
            async with http.request(verb, url, json=body, headers=headers) as answer:
                if answer.status == 501:
                    assert "CALL_NOT_SERVED" in await answer.text()
                    paths.append(path)
    return paths


async def schemathesis(mesh: Mesh, folder: Path, token: str, unserved: list[str]) -> str:
    """Run it as its users do; return what it printed."""
    left_out = "|".join([":watch$", KEEPS_SIGNED_IN, *(f"^{re.escape(path)}$" for path in unserved)])
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"),
        "--no-color",
        *("run", "openapi.json", "--url", mesh.url, "--checks", CHECKS, "--seed", SEED),
        *("--exclude-path-regex", left_out, "--header", f"authorization: Bearer {token}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--max-time", str(SECONDS)),
        *("--continue-on-failure", "--request-timeout", "20"),
        # What of its own inventions it throws away says nothing of the mesh.
        *("--suppress-health-check", "filter_too_much"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-6_000:]
    return out.decode()


async def streams_begin_with_what_is_documented(http: aiohttp.ClientSession, mesh: Mesh, found: dict[str, Any]) -> None:
    """Streams never end, so that a tool which waits for the end cannot ask them: their first line is looked at here."""
    schemas = found["components"]["schemas"]
    asked = 0
    for path, verbs in found["paths"].items():
        if not path.endswith(":watch") or "get" not in verbs or "security" in verbs["get"]:
            continue
        asked += 1
        call = verbs["get"]
        url = mesh.url + path.replace("{market}", "BTC-PERP")
        content = call["responses"]["200"]["content"]
        known = set(schemas[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]["properties"])
        required = [one["name"] for one in call.get("parameters", ()) if one["required"] and one["in"] == "query"]
        query = {name: {"interval": "CANDLE_INTERVAL_1M", "markets": "BTC-PERP"}[name] for name in required}
        async with http.get(url, params=query) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json"), path
            line = json.loads(await asyncio.wait_for(answer.content.readline(), 20))
            assert set(line) <= known, path
        async with http.get(url, params=query, headers={"accept": "text/event-stream"}) as answer:
            assert answer.content_type == "text/event-stream"
            assert (await asyncio.wait_for(answer.content.readline(), 20)).startswith(b"data:")
        async with http.get(url, params=query | {"cursor": "no cursor"}) as answer:
            assert answer.status == 400
            assert (
                answer.content_type in call["responses"]["200"]["content"] or answer.content_type == "application/json"
            )
    assert asked >= 6
