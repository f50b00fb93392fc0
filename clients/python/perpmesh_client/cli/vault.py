"""`perpmesh accounts`, `keys`, `freeze` and `unfreeze`."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from perpmesh.vault.v1 import account_pb2, authorization_pb2, key_pb2, key_setup_pb2

from perpmesh_client.cli.account import kept_login, read_key
from perpmesh_client.cli.arguments import Arguments
from perpmesh_client.cli.output import Output
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.login import KeyWallet
from perpmesh_client.vault import Vault

Item = TypeVar("Item")
_Step = key_setup_pb2.KeySetupStep


async def accounts(vault: Vault, arguments: Arguments, output: Output) -> None:
    """List, add, fund or remove accounts."""
    asked = arguments.typed
    action = asked.action or "list"
    if action == "add":
        made = await vault.create_account(
            asked.venue, asked.environment, label=asked.label, caller_signs=asked.caller_signs
        )
        _show_account(made, output)
    elif action == "fund":
        account = await _find(vault, asked.account)
        balance = await vault.test_funds(account.account_id, _amount(asked.amount))
        _say(output, {"account_id": account.account_id, "balance": str(balance)}, f"The balance is {balance} USDC.")
    elif action == "remove":
        account = await _find(vault, asked.account)
        await vault.delete_account(account.account_id)
        _say(output, {"removed": account.account_id}, f"Removed {account.account_id}; nothing changed at the venue.")
    else:
        found = await vault.accounts()
        if not found and not output.as_json:
            output.line("You have no accounts: add one with `perpmesh accounts add hyperliquid`.")
        for one in found:
            _show_account(one, output)


async def keys(vault: Vault, arguments: Arguments, output: Output) -> None:
    """List, set up or revoke keys."""
    asked = arguments.typed
    account = await _find(vault, asked.account)
    if asked.action == "list":
        await _list_keys(vault, account, output)
    elif asked.action == "setup":
        setup = await vault.begin_key_setup(
            account.account_id, key_name=asked.name, max_fee_rate=asked.max_fee, api_key_index=asked.index
        )
        await _sign(vault, setup, arguments, output)
    elif asked.action == "finish":
        pairs = [pair.partition("=") for pair in asked.signatures]
        if not all(mark and step and signature for step, mark, signature in pairs):
            raise ValueError("each signature is written STEP=0x..., as `keys setup --print` says")
        signatures = {step: signature for step, _, signature in pairs}
        done = await vault.complete_key_setup(account.account_id, asked.setup, signatures)
        _show_setup(done.key_setup, output)
    else:
        ours = await vault.keys(account.account_id, ended=True)
        (key_id,) = _one([one.key_id for one in ours if one.key_id.startswith(asked.key)], "key", asked.key)
        key, again = await vault.revoke_key(account.account_id, key_id)
        if not output.as_json:
            output.line(f"{key.key_id} signs nothing any more.")
        if again is None:
            _say(output, {"key_id": key.key_id, "at_venue": "gone"}, "The venue does not know it any more either.")
            return
        await _sign(vault, again, arguments, output)


async def freeze(vault: Vault, arguments: Arguments, output: Output) -> None:
    """Stop all signing for an account."""
    account = await _find(vault, arguments.typed.account)
    _show_account(await vault.freeze(account.account_id, arguments.typed.reason), output)


async def unfreeze(vault: Vault, arguments: Arguments, output: Output) -> None:
    """Let an account sign again."""
    account = await _find(vault, arguments.typed.account)
    _show_account(await vault.unfreeze(account.account_id), output)


async def run_vault(arguments: Arguments, output: Output) -> None:
    """Run one of the commands, signed in."""
    async with kept_login(arguments) as login, Vault(arguments.address, login) as vault:
        await _COMMANDS[arguments.command](vault, arguments, output)


async def _find(vault: Vault, typed: str) -> account_pb2.Account:
    """Return the account that was typed: by its id, the beginning of it, or a venue's default."""
    found = await vault.accounts()
    named = [one for one in found if one.account_id.startswith(typed)]
    named = named or [one for one in found if one.venue == typed and one.default]
    return _one(named, "account", typed)[0]


def _one(found: Sequence[Item], what: str, typed: str) -> Sequence[Item]:
    if len(found) == 1:
        return found
    how = "none" if not found else f"{len(found)}"
    raise PerpmeshError(
        f"{typed} names {how} of your {what}s; its id names one, as `perpmesh {what}s list` shows.",
        code="NOT_FOUND",
        reason="RESOURCE_UNKNOWN",
        category="trading",
    )


def _amount(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        raise ValueError(f"{text} is no amount; a number such as 10000 would pass") from None


async def _sign(vault: Vault, setup: key_setup_pb2.KeySetup, arguments: Arguments, output: Output) -> None:
    """Sign a set-up with the wallet at hand, or print what to sign."""
    if arguments.typed.only_print:
        if output.as_json:
            output.json_line(_plain(setup))
            return
        for step in setup.steps:
            method = "eth_signTypedData_v4" if step.method == _Step.METHOD_EIP712 else "personal_sign"
            output.line(f"{step.explanation}\nSign with {step.signer_address} by {method}:\n\n{step.payload}\n")
        marks = " ".join(f"{step.step_id}=0x..." for step in setup.steps)
        output.line(f"Then: perpmesh keys finish {setup.account_id} {setup.key_setup_id} {marks}")
        return
    if not output.as_json:
        for step in setup.steps:
            sys.stderr.write(f"{step.explanation}\n")
    wallet = KeyWallet(read_key(arguments.typed.key_file))
    done = await vault.signed(setup, wallet)
    _show_setup(done.key_setup, output, done.key if done.HasField("key") else None)


async def _list_keys(vault: Vault, account: account_pb2.Account, output: Output) -> None:
    for key in await vault.keys(account.account_id, ended=True):
        _show_key(key, output)
    about = await vault.account(account.account_id)
    for one in about.authorizations:
        if output.as_json:
            output.json_line({"authorization": _plain(one)})
            continue
        kind = authorization_pb2.Authorization.Kind.Name(one.kind).removeprefix("KIND_").lower().replace("_", " ")
        whose = "ours" if one.key_id else "authorized elsewhere"
        fee = f"  at most {one.max_fee_rate}" if one.max_fee_rate else ""
        output.line(f"at {one.venue}: {kind} {one.grantee}  {one.name}{fee}  {whose}")


def _show_account(account: account_pb2.Account, output: Output) -> None:
    if output.as_json:
        output.json_line(_plain(account))
        return
    mark = "*" if account.default else " "
    state = account_pb2.Account.State.Name(account.state).removeprefix("STATE_").lower().replace("_", " ")
    output.line(f"{mark} {account.account_id}  {account.label}  {state}: {account.explanation}")


def _show_key(key: key_pb2.Key, output: Output) -> None:
    if output.as_json:
        output.json_line(_plain(key))
        return
    state = key_pb2.Key.State.Name(key.state).removeprefix("STATE_").lower()
    number = f" number {key.api_key_index}" if key.HasField("api_key_index") else ""
    output.line(f"{key.key_id}  {key.public_key}{number} {key.venue_name}  {state}: {key.explanation}")


def _show_setup(setup: key_setup_pb2.KeySetup, output: Output, key: key_pb2.Key | None = None) -> None:
    if output.as_json:
        output.json_line(_plain(setup))
        return
    state = key_setup_pb2.KeySetup.State.Name(setup.state).removeprefix("STATE_").lower().replace("_", " ")
    output.line(f"The set-up {setup.key_setup_id} is {state}.")
    for step in setup.steps:
        if step.HasField("refusal"):
            output.line(f"{step.refusal.message} {step.refusal.advice}")
    if key is not None:
        _show_key(key, output)


def _say(output: Output, facts: dict[str, object], sentence: str) -> None:
    if output.as_json:
        output.json_line(facts)
    else:
        output.line(sentence)


def _plain(message: Message) -> dict[str, object]:
    found: dict[str, object] = json.loads(json.dumps(MessageToDict(message, preserving_proto_field_name=True)))
    return found


_COMMANDS: dict[str, Callable[[Vault, Arguments, Output], Awaitable[None]]] = {
    "accounts": accounts,
    "keys": keys,
    "freeze": freeze,
    "unfreeze": unfreeze,
}
