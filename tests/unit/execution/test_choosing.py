"""A user's accounts are asked for while something else is done: what is not waited for leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from services.chassis.clock import SYSTEM
from services.domain.errors import DomainError, Reason
from services.execution.app.choosing import Chooser
from services.execution.model.order import NewOrder
from services.execution.ports import Accounts, OwnLimits, TradingAccount
from tests.support.clock import ManualClock
from tests.unit.execution.test_gate import account, wanted

WANTED = cast(NewOrder, None)  # the vault is asked before anything of it is read


class Vault:
    """Answers when it is let, with a fault."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.was_left = False

    async def of_user(self, user_id: UUID) -> Sequence[TradingAccount]:
        self.asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.was_left = True  # and says so with a fault of its own, as a broken call does
        raise DomainError(Reason.PEER_UNAVAILABLE, "The vault is away.", metadata={"peer": "vault"})


async def test_what_the_block_does_not_wait_for_is_given_up_with_its_fault() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    vault = Vault()
    with Chooser(cast(Accounts, vault), SYSTEM).begun(uuid4(), WANTED) as choosing:
        await vault.asked.wait()  # asked while the block goes on
    await asyncio.wait([choosing])
    del choosing
    gc.collect()
    assert vault.was_left
    assert told == []


async def test_who_waits_is_told_the_fault() -> None:
    vault = Vault()
    vault.may_answer.set()
    chooser = Chooser(cast(Accounts, vault), SYSTEM)
    with chooser.begun(uuid4(), WANTED) as choosing, pytest.raises(DomainError) as caught:
        await choosing
    assert caught.value.reason is Reason.PEER_UNAVAILABLE


async def test_who_asked_a_moment_ago_is_answered_from_memory_but_limits_are_asked_for_again() -> None:
    asked: list[TradingAccount] = []
    held = account("hyperliquid")

    class Mended:
        async def of_user(self, user_id: UUID) -> Sequence[TradingAccount]:
            asked.append(held)
            return [held]

    chooser = Chooser(cast(Accounts, Mended()), ManualClock())
    for _ in range(3):
        assert await chooser.chosen(held.user_id, wanted()) == [held]
    assert len(asked) == 1
    other = UUID(int=77)
    held = replace(held, limits=OwnLimits(max_order_notional=Decimal(100)))
    for _ in range(3):
        assert await chooser.chosen(other, wanted()) == [held]
    assert len(asked) == 4, "its owner may have raised it in between"
