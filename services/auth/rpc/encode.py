"""Values to messages, and the caller's words about itself to values."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.auth.v1 import api_token_pb2, session_pb2, user_pb2

from services.auth.model.api_token import ApiToken
from services.auth.model.session import DEVICE_CHARS_MAX, Client, Session, User, WalletKind

_SCOPES = {"read": session_pb2.SCOPE_READ, "trade": session_pb2.SCOPE_TRADE}
_SCOPE_WORDS: dict[int, str] = {value: word for word, value in _SCOPES.items()}
_KINDS = {WalletKind.KEY: user_pb2.Wallet.KIND_KEY, WalletKind.CONTRACT: user_pb2.Wallet.KIND_CONTRACT}


def scope_words(scopes: Iterable[int]) -> list[str]:
    """Return scopes as words."""
    return [_SCOPE_WORDS[scope] for scope in scopes]


def scope_values(words: Iterable[str]) -> list[Any]:
    """Return scopes as the contract's values."""
    return [_SCOPES[word] for word in words]


def timestamp(moment: datetime) -> Timestamp:
    """Return a time as the contract has it."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def session_message(session: Session, *, current: str) -> session_pb2.Session:
    """Return a session; `current` is the id of the caller's own."""
    return session_pb2.Session(
        session_id=str(session.session_id),
        address=session.address,
        chain_id=session.chain_id,
        scopes=scope_values(session.scopes),
        device=session.device,
        network_address=session.network_address,
        current=str(session.session_id) == current,
        create_time=timestamp(session.create_time),
        last_use_time=timestamp(session.last_use_time.replace(second=0, microsecond=0)),
        expire_time=timestamp(session.expire_time),
    )


def token_message(token: ApiToken) -> api_token_pb2.ApiToken:
    """Return an API token without its secret."""
    return api_token_pb2.ApiToken(
        api_token_id=str(token.api_token_id),
        name=token.name,
        scopes=scope_values(token.scopes),
        prefix=token.prefix,
        create_time=timestamp(token.create_time),
        last_use_time=timestamp(token.last_use_time) if token.last_use_time else None,
        expire_time=timestamp(token.expire_time),
        revoke_time=timestamp(token.revoke_time) if token.revoke_time else None,
    )


def user_message(user: User) -> user_pb2.User:
    """Return a user."""
    wallets = [
        user_pb2.Wallet(
            address=wallet.address,
            chain_id=wallet.chain_id,
            kind=_KINDS[wallet.kind],
            link_time=timestamp(wallet.link_time),
            last_login_time=timestamp(wallet.last_login_time) if wallet.last_login_time else None,
        )
        for wallet in user.wallets
    ]
    return user_pb2.User(
        user_id=str(user.user_id),
        wallets=wallets,
        preferences=preferences_message(user.preferences),
        create_time=timestamp(user.create_time),
        last_login_time=timestamp(user.last_login_time),
    )


def preferences_message(fields: dict[str, object]) -> user_pb2.Preferences:
    """Return preferences; a field that this version does not know is left out."""
    return json_format.ParseDict(fields, user_pb2.Preferences(), ignore_unknown_fields=True)


def preferences_fields(message: user_pb2.Preferences) -> dict[str, object]:
    """Return the fields that are present, by the contract's names, as JSON has them."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def preference_names() -> frozenset[str]:
    """Return the names of all fields of Preferences."""
    return frozenset(field.name for field in user_pb2.Preferences.DESCRIPTOR.fields)


def client_of(context: Any) -> Client:
    """Return what the caller says of its program, and the address it comes from.

    Behind the edge that is the last entry of `x-forwarded-for`, which the edge writes. Both are shown to the user and
    decide nothing but the grace of a refresh token, which asks for the same program.
    """
    said = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    device = said.get("user-agent", "")
    if not device.startswith("Mozilla/"):  # in a browser the library's own name says less than the browser's
        device = said.get("x-user-agent") or device
    device = "".join(letter if letter.isprintable() else "?" for letter in device[:DEVICE_CHARS_MAX])
    return Client(device=device, network_address=_address(said.get("x-forwarded-for", ""), context.peer()))


def _address(forwarded: str, peer: str) -> str:
    last = forwarded.rpartition(",")[2].strip()
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]") if kind in ("ipv4", "ipv6") else ""
    for text in (last, host):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return ""
