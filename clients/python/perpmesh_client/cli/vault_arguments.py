"""What may be typed of accounts and keys. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

VAULT_COMMANDS = ("accounts", "keys", "freeze", "unfreeze")
VENUES = ("hyperliquid", "lighter")
ENVIRONMENTS = ("simulated", "paper", "testnet", "mainnet")
_ACCOUNT = "its id, the beginning of it, or a venue, whose default account is meant"

Add = Callable[[Any, str, str], argparse.ArgumentParser]


def add_vault(commands: Any, add: Add) -> None:
    """Add the commands."""
    accounts = add(commands, "accounts", "your accounts at the venues: list, add, fund with test money, remove")
    actions = accounts.add_subparsers(dest="action", metavar="ACTION")
    _action(actions, "list", "all of them, with what to do next (the default)")
    create = _action(actions, "add", "add the account of the wallet that signed in")
    create.add_argument("venue", choices=VENUES)
    create.add_argument("--environment", choices=ENVIRONMENTS, default="simulated", help="where (default simulated)")
    create.add_argument("--label", default="", help="a name for it")
    create.add_argument("--caller-signs", action="store_true", help="you sign every order; no key is kept here")
    fund = _action(actions, "fund", "test money for a simulated account")
    fund.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    fund.add_argument("amount", metavar="USDC", nargs="?", default="", help="at most 1000000 (default 10000)")
    remove = _action(actions, "remove", "remove one here and destroy its keys")
    remove.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    _add_keys(commands, add)
    freeze = add(commands, "freeze", "stop all signing for an account within a second, cancellations included")
    freeze.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    freeze.add_argument("--reason", default="", help="why, for the record")
    unfreeze = add(commands, "unfreeze", "let an account sign again")
    unfreeze.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)


def _add_keys(commands: Any, add: Add) -> None:
    keys = add(commands, "keys", "the keys that trade for an account: list, set up, revoke")
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = _action(actions, "list", "ours, and everything the wallet authorized at the venue")
    listed.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    setup = _action(actions, "setup", "make a key; the wallet signs that the venue accepts it")
    setup.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    setup.add_argument("--name", default="", help="its name at the venue, up to 16 letters, digits and dashes")
    setup.add_argument("--max-fee", default="", metavar="RATE", help="approve an interface fee too, such as 0.0005")
    setup.add_argument("--index", type=int, default=None, help="the number of the API key at Lighter, from 4 on")
    _add_signing(setup)
    finish = _action(actions, "finish", "bring signatures that were made elsewhere")
    finish.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    finish.add_argument("setup", metavar="SETUP", help="the id that `keys setup --print` printed")
    finish.add_argument("signatures", metavar="STEP=SIGNATURE", nargs="*", help="none: only look how far it has come")
    revoke = _action(actions, "revoke", "revoke a key here at once, and at the venue once the wallet signs")
    revoke.add_argument("account", metavar="ACCOUNT", help=_ACCOUNT)
    revoke.add_argument("key", metavar="KEY", help="its id, or the beginning of it")
    _add_signing(revoke)


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    """Add an action; --json may stand behind it too."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object per line")
    return parser


def _add_signing(parser: argparse.ArgumentParser) -> None:
    text = "a file that holds the wallet's private key alone; else $PERPMESH_PRIVATE_KEY or a prompt"
    parser.add_argument("--key-file", default="", metavar="FILE", help=text)
    parser.add_argument(
        "--print", dest="only_print", action="store_true", help="print what to sign, and sign it elsewhere"
    )
