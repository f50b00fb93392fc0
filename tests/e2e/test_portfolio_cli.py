"""What is yours, through the whole mesh: the command line and the Python client, signed in with a wallet."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh_client.portfolio import Portfolio, rows

from tests.integration.client.client_process import perpmesh
from tests.support.auth import sign_in
from tests.support.mesh import running_mesh
from tests.support.owned import Owner
from tests.support.owned.portfolio import own
from tests.support.wallet import Wallet


async def test_positions_exposure_performance_and_a_ledger_are_shown_to_their_owner(tmp_path: Path) -> None:
    wallet = Wallet()
    kept = {"PERPMESH_SESSION_FILE": str(tmp_path / "sessions.json"), "PERPMESH_PRIVATE_KEY": wallet.secret.hex()}
    async with running_mesh() as mesh:

        async def cli(*typed: str) -> str:
            done = await perpmesh(*typed, "--address", mesh.edge, **kept)
            assert done.code == 0, done.err
            return done.out

        async with grpc.aio.insecure_channel(mesh.edge) as edge:
            signed = await sign_in(AuthServiceStub(edge), wallet)
            owner = Owner(
                wallet=wallet, channel=edge, token=signed.access_token, session_id=signed.session.session_id, mesh=mesh
            )
            await own(owner)
        await cli("login")
        (position,) = lines(await cli("positions", "--json"))
        assert (position["market"], position["size"], position["entry_price"]) == ("BTC-PERP", "-1", "100")
        assert Decimal(position["mark_price"]) > 0
        assert position["computed_liquidation_price"]
        shown = await cli("positions")
        assert "BTC-PERP" in shown
        assert "UNREALIZED" in shown
        balance, account = lines(await cli("balances", "--json"))
        assert (balance["asset"], account["venue"]) == ("USDC", "hyperliquid")
        assert "the first leg to die is BTC-PERP at hyperliquid" in await cli("exposure")
        assert "win rate" in await cli("performance")
        (performance,) = lines(await cli("performance", "--json", "--by", "market"))
        assert performance["groups"][0]["market"] == "BTC-PERP"
        read = list(csv.DictReader(io.StringIO(await cli("export"))))
        assert sorted(line["kind"] for line in read) == ["deposit", "fill", "funding"]
        assert sum((Decimal(line["amount"]) for line in read), Decimal(0)) == Decimal(4)
        (quote,) = lines(await cli("quote", "btc", "buy", "0.5", "--json"))
        assert (quote["basis"], quote["problems"]) == ("BASIS_ACCOUNT", [])
        assert "with your own fees" in await cli("check-quote", quote["quote_id"]), "who is signed in may read it"
        assert "with the fees that everybody pays" in await cli("quote", "btc", "buy", "0.5", "--public")
        async with Portfolio(mesh.edge, token=signed.access_token) as mine:
            (row,) = rows(await mine.positions())
        assert (row["size"], row["side"], row["environment"]) == (Decimal(-1), "short", "simulated")


def lines(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of lines."""
    return [json.loads(line) for line in text.splitlines()]
