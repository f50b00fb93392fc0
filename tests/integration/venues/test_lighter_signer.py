"""Lighter's library in its child process: what it signs holds, what it may not sign it does not, and it may die."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from services.chassis.clock import SYSTEM
from services.domain.decimals import Price, Size
from services.venues import actions
from services.venues.actions import Grouping, MarginMode, OrderReference, OrderTerms, OrderType, Side, TimeInForce
from services.venues.lighter import library, schnorr, signer_frames
from services.venues.lighter.library import LibraryError
from services.venues.lighter.signer import ChildSigner, SignedTransaction, SignerError, with_wallet_signature
from services.venues.lighter.wire import encode, transactions
from services.venues.lighter.wire.transactions import ApiKey, Scale, Transaction, TxType
from tests.support import lighter_reference as slow

CHAIN = 300
KEY = ApiKey(account_index=1234, api_key_index=5, integrator_account_index=777)
SCALES = {0: Scale(2, 4), 2048: Scale(2, 4)}
SECRET = "457eca755a2636571c54f46007050459a5f7999d3e25ea71748f59ad28eaacaa7c9bc19ef0fcc807"
PUBLIC = schnorr.public_key_of(bytes.fromhex(SECRET))


class Vault:
    """Gives the secret, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, key: ApiKey) -> str:
        self.asked += 1
        if key.api_key_index != KEY.api_key_index:
            raise SignerError("no such key")
        return SECRET


def terms(**changes: Any) -> OrderTerms:
    plain: dict[str, Any] = {
        "market": "ETH-PERP",
        "venue_market_id": 0,
        "side": Side.BUY,
        "size": Size(Decimal("0.1")),
        "limit_price": Price(Decimal(4050)),
        "type": OrderType.LIMIT,
        "time_in_force": TimeInForce.POST_ONLY,
        "client_id": "42",
    }
    return OrderTerms(**(plain | changes))


def every_action() -> list[actions.Action]:
    reference = OrderReference(market="ETH-PERP", venue_market_id=0, client_id="42")
    stop = terms(
        side=Side.SELL,
        type=OrderType.STOP_MARKET,
        trigger_price=Price(Decimal(4000)),
        reduce_only=True,
        client_id="43",
    )
    take = terms(
        side=Side.SELL,
        type=OrderType.TAKE_PROFIT_LIMIT,
        trigger_price=Price(Decimal(4200)),
        time_in_force=TimeInForce.GOOD_TILL_CANCELED,
        reduce_only=True,
        client_id="44",
    )
    later = SYSTEM.time_ns() // 1_000_000 + 3_600_000
    return [
        actions.Place(orders=(terms(),)),
        actions.Place(orders=(terms(type=OrderType.MARKET),)),
        actions.Place(orders=(terms(),), interface_fee_rate=Decimal("0.0001")),  # type: ignore[arg-type]
        actions.Place(orders=(stop,)),
        actions.Place(orders=(terms(), stop), grouping=Grouping.ENTRY_WITH_EXITS),
        actions.Place(orders=(terms(), take, stop), grouping=Grouping.ENTRY_WITH_EXITS),
        actions.Place(orders=(take, stop), grouping=Grouping.EXITS),
        actions.Modify(order=reference, terms=terms(limit_price=Price(Decimal(4051)))),
        actions.Cancel(orders=(reference,)),
        actions.CancelAll(),
        actions.CancelAll(market="X-PERP", venue_market_id=3),
        actions.ScheduleCancel(cancel_time_ms=later),
        actions.ScheduleCancel(),
        actions.SetLeverage(market="ETH-PERP", venue_market_id=0, leverage=7, margin_mode=MarginMode.ISOLATED),
    ]


def transaction(action: actions.Action) -> Transaction:
    return encode.encode(action, key=KEY, scales=SCALES, now_ms=SYSTEM.time_ns() // 1_000_000)


def holds(signed: SignedTransaction, public: bytes = PUBLIC) -> bool:
    info = json.loads(signed.tx_info)
    assert slow.tx_hash(CHAIN, signed.kind, info).hex() == signed.tx_hash
    return slow.verify(public, bytes.fromhex(signed.tx_hash), base64.b64decode(info["Sig"]))


async def test_every_action_is_signed_and_the_slow_reference_agrees() -> None:
    vault = Vault()
    async with ChildSigner(chain_id=CHAIN, secrets=vault) as signer:
        kinds = set()
        for nonce, action in enumerate(every_action()):
            signed = await signer.sign(KEY, transaction(action), nonce)
            assert holds(signed), action
            assert (signed.nonce, json.loads(signed.tx_info)["Nonce"]) == (nonce, nonce)
            left_ms = signed.expired_at_ms - SYSTEM.time_ns() // 1_000_000
            assert 590_000 < left_ms <= 599_000
            kinds.add(signed.kind)
        assert kinds == set(transactions.TRADING)
        assert (vault.asked, signer.starts) == (1, 1)


async def test_setting_up_a_key_and_an_integrator_gives_the_text_for_the_wallet() -> None:
    wallet = Account.from_key(b"\x07" * 32)
    async with ChildSigner(chain_id=CHAIN, secrets=Vault()) as signer:
        approve = encode.approve_integrator(KEY, integrator=777, taker_units=500, maker_units=200, expiry_ms=2**41)
        for tx, nonce in ((encode.change_public_key(KEY, PUBLIC.hex()), 3), (approve, 4)):
            signed = await signer.sign(KEY, tx, nonce)
            assert signed.wallet_text == encode.wallet_text(tx, nonce=nonce, chain_id=CHAIN)
            assert holds(signed)
            made = wallet.sign_message(encode_defunct(text=signed.wallet_text)).signature.to_0x_hex()
            sent = with_wallet_signature(signed, made)
            assert json.loads(sent)["L1Sig"] == made
            again, _, _, _ = transactions.read_tx_info(signed.kind, sent)
            assert again.body == tx.body


async def test_a_token_and_a_new_key_are_made() -> None:
    async with ChildSigner(chain_id=CHAIN, secrets=Vault()) as signer:
        token = await signer.token(KEY, 1_999_999_999)
        text, _, signature = token.rpartition(":")
        assert text == "1999999999:1234:5"
        assert schnorr.verify(PUBLIC, transactions.auth_hash(text), bytes.fromhex(signature))
        secret, public = await signer.generate()
        assert schnorr.public_key_of(bytes.fromhex(secret)).hex() == public


async def test_what_moves_money_cannot_be_signed_at_all() -> None:
    async with ChildSigner(chain_id=CHAIN, secrets=Vault()) as signer:
        for kind in set(TxType) - transactions.TRADING - transactions.SETUP:
            tx = Transaction(kind, KEY.head | {"AssetIndex": 3, "RouteType": 0, "Amount": 1_000_000})
            with pytest.raises(SignerError, match="not signed here"):
                await signer.sign(KEY, tx, 1)
        with pytest.raises(SignerError, match="negative"):
            await signer.sign(KEY, transaction(actions.CancelAll()), -1)
        assert signer.starts == 1


async def test_a_library_that_refuses_says_so_and_goes_on() -> None:
    async with ChildSigner(chain_id=CHAIN, secrets=Vault()) as signer:
        bad = transaction(actions.Place(orders=(terms(),)))
        broken = Transaction(bad.type, dict(bad.body) | {"TimeInForce": 0})
        with pytest.raises(SignerError, match="OrderExpiry is invalid"):
            await signer.sign(KEY, broken, 1)
        with pytest.raises(SignerError, match="cannot be handed"):
            await signer.sign(KEY, Transaction(bad.type, dict(bad.body) | {"Price": "x"}), 1)
        with pytest.raises(SignerError, match="no such key"):
            await signer.sign(ApiKey(account_index=1, api_key_index=9), bad, 1)
        assert holds(await signer.sign(KEY, bad, 1))
        assert signer.starts == 1


async def test_a_killed_or_stopped_child_is_replaced_and_gets_its_key_again(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault()
    async with ChildSigner(chain_id=CHAIN, secrets=vault) as signer:
        tx = transaction(actions.CancelAll())
        await signer.sign(KEY, tx, 1)
        assert signer._child is not None
        os.kill(signer._child.pid, signal.SIGKILL)
        await signer._child.wait()
        assert holds(await signer.sign(KEY, tx, 1))
        monkeypatch.setattr("services.venues.lighter.signer.ANSWER_TIMEOUT_S", 0.3)
        os.kill(signer._child.pid, signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, signer._child.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(SignerError, match="did not answer"):
            await signer.sign(KEY, tx, 2)
        monkeypatch.undo()
        assert holds(await signer.sign(KEY, tx, 2))
        assert (signer.starts, vault.asked) == (3, 3)


async def test_many_at_once_each_get_their_own_answer() -> None:
    async with ChildSigner(chain_id=CHAIN, secrets=Vault()) as signer:
        tx = transaction(actions.CancelAll())
        signed = await asyncio.gather(*(signer.sign(KEY, tx, nonce) for nonce in range(100)))
        assert [each.nonce for each in signed] == list(range(100))
        canceled = [asyncio.create_task(signer.sign(KEY, tx, nonce)) for nonce in range(20)]
        await asyncio.sleep(0)
        for task in canceled[::2]:
            task.cancel()
        rest = await asyncio.gather(*canceled, return_exceptions=True)
        assert [each.nonce for each in rest if isinstance(each, SignedTransaction)] == list(range(1, 20, 2))
        assert signer.starts == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_child_holds_no_socket_dumps_no_core_and_ends_with_its_input() -> None:
    async with ChildSigner(chain_id=CHAIN, secrets=Vault()) as signer:
        await signer.sign(KEY, transaction(actions.CancelAll()), 1)
        child = signer._child
        assert child is not None
        limits, sockets = _of_process(child.pid)
        assert "Max core file size        0                    0" in limits
        assert sockets <= 2  # asyncio's pipes to a child: those of input and output are all there may be
        assert child.stdin is not None
        child.stdin.close()
        async with asyncio.timeout(5):
            await child.wait()


def _of_process(pid: int) -> tuple[str, int]:
    """Return the process's limits, and how many of its open files are sockets (0 where we may not look)."""
    folder = Path(f"/proc/{pid}")
    links = [os.readlink(link) for link in (folder / "fd").iterdir()] if os.geteuid() == 0 else []
    return (folder / "limits").read_text(), sum(link.startswith("socket:") for link in links)


def test_no_message_shows_a_secret() -> None:
    assert SECRET[:8] not in repr(signer_frames.Load(1, SECRET, 2, 3))


def test_another_library_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    found = library.find()
    assert hashlib.sha256(found.read_bytes()).hexdigest() == library.PINNED[found.name]
    other = tmp_path / found.name
    other.write_bytes(found.read_bytes()[:-1] + b"x")
    with pytest.raises(LibraryError, match=r"lighter-sdk 1\.1\.8"):
        library.check(other)
    with pytest.raises(LibraryError):
        library.check(tmp_path / "absent.so")
