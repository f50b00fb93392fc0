"""Rows to values."""

from __future__ import annotations

from typing import Any

from services.auth.model.api_token import ApiToken
from services.auth.model.session import Session, Wallet, WalletKind

SESSION_COLUMNS = (
    "session_id, user_id, address, chain_id, kind, scopes, device, network_address, create_time, last_use_time, "
    "expire_time, latest_end_time, end_time"
)
TOKEN_COLUMNS = (
    "api_token_id, user_id, request_id, name, scopes, prefix, address, create_time, expire_time, last_use_time, "
    "revoke_time"
)


def session_of(row: Any) -> Session:
    """Return the session of a row with SESSION_COLUMNS."""
    return Session(
        session_id=row["session_id"],
        user_id=row["user_id"],
        address=row["address"],
        chain_id=row["chain_id"],
        kind=WalletKind(row["kind"]),
        scopes=tuple(row["scopes"]),
        device=row["device"],
        network_address=row["network_address"],
        create_time=row["create_time"],
        last_use_time=row["last_use_time"],
        expire_time=row["expire_time"],
        latest_end_time=row["latest_end_time"],
        end_time=row["end_time"],
    )


def wallet_of(row: Any) -> Wallet:
    """Return the wallet of a row."""
    return Wallet(
        address=row["address"],
        chain_id=row["chain_id"],
        kind=WalletKind(row["kind"]),
        link_time=row["link_time"],
        last_login_time=row["last_login_time"],
    )


def token_of(row: Any) -> ApiToken:
    """Return the API token of a row with TOKEN_COLUMNS."""
    return ApiToken(
        api_token_id=row["api_token_id"],
        user_id=row["user_id"],
        request_id=row["request_id"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        prefix=row["prefix"],
        address=row["address"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        last_use_time=row["last_use_time"],
        revoke_time=row["revoke_time"],
    )
