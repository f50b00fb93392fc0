"""`perpmesh login`, `logout`, `sessions` and `token`: who you are, to a mesh."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.auth.v1 import api_token_pb2, session_pb2

from perpmesh_client.cli import keep
from perpmesh_client.cli.arguments import KEY_VARIABLE, Arguments
from perpmesh_client.cli.output import Output
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.login import KeyWallet, Login

_SCOPE_WORDS = {session_pb2.SCOPE_READ: "read", session_pb2.SCOPE_TRADE: "trade"}


async def login(arguments: Arguments, output: Output) -> None:
    """Sign in with a key from a file, the environment or a prompt, and keep the session."""
    wallet = KeyWallet(read_key(arguments.key_file))
    async with Login(
        arguments.address,
        wallet,
        chain_id=arguments.chain_id,
        on_refresh_token=lambda token: keep.store(arguments.address, token),
    ) as signed:
        user = await signed.user_id()
    if output.as_json:
        output.json_line({"user_id": user, "address": wallet.address})
    else:
        output.line(f"Signed in to {arguments.address} as {wallet.address}; the session is kept in {keep.path()}.")


async def logout(arguments: Arguments, output: Output) -> None:
    """End the session that is kept, and forget it."""
    async with kept_login(arguments) as signed:
        current = [one.session_id for one in await signed.sessions() if one.current]
        for session_id in current:
            await signed.revoke_session(session_id)
    keep.store(arguments.address, "")
    output.line(f"Signed out of {arguments.address}.")


async def sessions(arguments: Arguments, output: Output) -> None:
    """List the user's sessions, or end one or all of them."""
    async with kept_login(arguments) as signed:
        if arguments.revoke == "all":
            count = await signed.revoke_all_sessions(keep_current=True)
            output.line(f"Ended {count} other sessions.")
            return
        if arguments.revoke:
            await signed.revoke_session(arguments.revoke)
            output.line(f"Ended {arguments.revoke}.")
            return
        for one in await signed.sessions():
            _show_session(one, output)


async def token(arguments: Arguments, output: Output) -> None:
    """Make, list or end tokens for programs."""
    async with kept_login(arguments) as signed:
        if arguments.action == "create":
            made, secret = await signed.create_api_token(
                arguments.name, arguments.scopes, lifetime=timedelta(days=arguments.days)
            )
            if output.as_json:
                output.json_line(
                    {"api_token_id": made.api_token_id, "secret": secret, "expire_time": _time(made.expire_time)}
                )
                return
            output.line(secret)
            sys.stderr.write(
                f"This is shown once. It ends at {_time(made.expire_time)}; its id is {made.api_token_id}.\n"
            )
        elif arguments.action == "revoke":
            await signed.revoke_api_token(arguments.name)
            output.line(f"Ended {arguments.name}.")
        else:
            for one in await signed.api_tokens():
                _show_token(one, output)


def kept_login(arguments: Arguments) -> Login:
    """Return the login of the session that is kept for this mesh."""
    refresh_token = keep.load(arguments.address)
    if not refresh_token:
        raise PerpmeshError(
            f"You are not signed in to {arguments.address}: run `perpmesh login`.",
            code="UNAUTHENTICATED",
            reason="TOKEN_MISSING",
            category="authentication",
        )
    return Login(
        arguments.address,
        refresh_token=refresh_token,
        on_refresh_token=lambda token: keep.store(arguments.address, token),
    )


def read_key(key_file: str) -> str:
    """Return the private key; never from an argument, where other users of the machine could read it."""
    if key_file:
        return Path(key_file).expanduser().read_text().strip()
    if os.environ.get(KEY_VARIABLE):
        return os.environ[KEY_VARIABLE].strip()
    return getpass.getpass("Private key (64 hex digits, not shown): ").strip()


def _show_session(one: session_pb2.Session, output: Output) -> None:
    facts: dict[str, object] = {
        "session_id": one.session_id,
        "current": one.current,
        "address": one.address,
        "device": one.device,
        "network_address": one.network_address,
        "last_use_time": _time(one.last_use_time),
        "expire_time": _time(one.expire_time),
    }
    if output.as_json:
        output.json_line(facts)
        return
    mark = "*" if one.current else " "
    output.line(
        f"{mark} {one.session_id}  {one.address}  last used {_time(one.last_use_time)}  from "
        f"{one.network_address or 'somewhere'}  {one.device}"
    )


def _show_token(one: api_token_pb2.ApiToken, output: Output) -> None:
    scopes = [_SCOPE_WORDS.get(scope, "?") for scope in one.scopes]
    facts: dict[str, object] = {
        "api_token_id": one.api_token_id,
        "name": one.name,
        "scopes": scopes,
        "prefix": one.prefix,
        "expire_time": _time(one.expire_time),
    }
    if output.as_json:
        output.json_line(facts)
    else:
        output.line(
            f"{one.api_token_id}  {one.prefix}...  {'+'.join(scopes)}  ends {_time(one.expire_time)}  {one.name}"
        )


def _time(stamp: Timestamp) -> str:
    return stamp.ToDatetime(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


ACCOUNT_COMMANDS: dict[str, Callable[[Arguments, Output], Awaitable[None]]] = {
    "login": login,
    "logout": logout,
    "sessions": sessions,
    "token": token,
}
"""The commands that need no market."""
