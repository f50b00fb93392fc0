"""The Python client and the command line sign in, renew by themselves, and keep what they must."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from perpmesh.auth.v1 import session_pb2
from perpmesh_client import CallbackWallet, KeyWallet, Login, PerpmeshError

from tests.support.auth import AuthRoom, running_auth
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.wallet import Wallet

ROOT = Path(__file__).resolve().parents[3]


def key_wallet() -> KeyWallet:
    return KeyWallet("0x" + Wallet().secret.hex())


async def test_a_private_key_and_a_signer_elsewhere_both_sign_in(auth: AuthRoom) -> None:
    wallet = key_wallet()
    asked: list[str] = []

    async def signer(text: str) -> str:
        asked.append(text)
        return await wallet.sign(text)

    async with (
        Login(auth.address, wallet) as here,
        Login(auth.address, CallbackWallet(wallet.address, signer)) as there,
    ):
        assert await here.user_id() == await there.user_id()
        assert len(asked) == 1
        assert len(await here.sessions()) == 2
    assert wallet.private_key[2:] not in repr(wallet)


async def test_many_calls_at_once_share_one_sign_in_and_one_token(auth: AuthRoom) -> None:
    async with Login(auth.address, key_wallet()) as login:
        tokens = await asyncio.gather(*(login() for _ in range(20)))
        assert len(set(tokens)) == 1
        assert len(await login.sessions()) == 1


async def test_a_token_near_its_end_is_renewed_and_the_refresh_token_kept(
    tmp_path: Path, auth_postgres: Postgres, auth_valkey: Valkey
) -> None:
    async with running_auth(
        tmp_path, postgres_url=auth_postgres.url(), valkey_url=auth_valkey.url, auth_access_s=20
    ) as auth:
        kept: list[str] = []
        async with Login(auth.address, key_wallet(), on_refresh_token=kept.append) as login:
            tokens = [await login() for _ in range(3)]  # 20 s are less than the half minute it wants
            assert len(set(tokens)) == 3
            assert len(set(kept)) == 3
            assert len(await login.sessions()) == 1
        async with Login(auth.address, refresh_token=kept[-1], on_refresh_token=kept.append) as again:
            assert len(await again.sessions()) == 1


async def test_a_session_that_was_ended_is_signed_in_anew_with_a_wallet_and_not_without(auth: AuthRoom) -> None:
    wallet, kept = key_wallet(), [""]
    async with Login(auth.address, wallet, on_refresh_token=lambda token: kept.__setitem__(0, token)) as login:
        await login()
        without = Login(auth.address, refresh_token=kept[0])
        await login.revoke_all_sessions()
        with pytest.raises(PerpmeshError) as caught:
            await without.sessions()
        assert caught.value.reason == "SIGN_IN_REFUSED"
        await without.aclose()
        assert len(await login.sessions()) == 1


async def test_a_program_goes_by_an_api_token_and_manages_nothing(auth: AuthRoom) -> None:
    async with Login(auth.address, key_wallet()) as login:
        made, secret = await login.create_api_token("bot", ("read", "trade"), lifetime=timedelta(days=2))
        assert list(made.scopes) == [session_pb2.SCOPE_READ, session_pb2.SCOPE_TRADE]
        async with Login(auth.address, api_token=secret) as bot:
            assert await bot.user_id() == await login.user_id()
            with pytest.raises(PerpmeshError) as caught:
                await bot.sessions()
            assert caught.value.code == "PERMISSION_DENIED"
            await login.revoke_api_token(made.api_token_id)
            bot.refused()
            with pytest.raises(PerpmeshError):
                await bot.user_id()


async def run(auth: AuthRoom, home: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}/gen:{ROOT}/clients/python",
        "PERPMESH_ADDRESS": auth.address,
        "PERPMESH_SESSION_FILE": str(home / "sessions.json"),
        **environ,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perpmesh_client.cli",
        *arguments,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command_line_signs_in_lists_makes_tokens_and_signs_out(auth: AuthRoom, tmp_path: Path) -> None:
    secret = Wallet().secret.hex()
    key_file = tmp_path / "key"
    key_file.write_text(f"0x{secret}\n")
    code, _, err = await run(auth, tmp_path, "sessions")
    assert (code, "perpmesh login" in err) == (1, True), err
    code, out, err = await run(auth, tmp_path, "login", "--key-file", str(key_file))
    assert (code, "Signed in" in out) == (0, True), err
    kept = tmp_path / "sessions.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert secret not in kept.read_text() + out + err
    code, out, err = await run(auth, tmp_path, "login", "--json", PERPMESH_PRIVATE_KEY=secret)
    assert (code, json.loads(out)["address"][:2]) == (0, "0x"), err
    code, out, err = await run(auth, tmp_path, "sessions", "--json")
    listed: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert [one["current"] for one in listed].count(True) == 1
    assert len(listed) == 2
    code, out, err = await run(auth, tmp_path, "token", "create", "bot", "--scope", "read", "--days", "3")
    assert code == 0, err
    assert out.startswith("pma_")
    code, out, err = await run(auth, tmp_path, "token", "list")
    assert (code, "bot" in out) == (0, True), err
    code, out, err = await run(auth, tmp_path, "logout")
    assert code == 0, err
    assert (await run(auth, tmp_path, "sessions"))[0] == 1
    code, _, err = await run(auth, tmp_path, "login", "--key-file", str(tmp_path / "absent"))
    assert (code, "cannot be used" in err) == (2, True)
    code, _, err = await run(auth, tmp_path, "login", PERPMESH_PRIVATE_KEY="nonsense")
    assert (code, "64 hex digits" in err) == (2, True)
