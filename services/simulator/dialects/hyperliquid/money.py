"""Actions that move money or decide who may act: transfers, sub-accounts, agents, builders, account modes.

Perpetual dexes are margin pools by name (the venue's own is empty), the spot wallet is the pool `spot`. Only dollars
move; other tokens are unknown here.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.simulator.crypto.poseidon import hash_elements
from services.simulator.dialects.hyperliquid.members import Budget, Members, RefusedError
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.risk import withdrawable
from services.simulator.rules import parse

Json = object
Fields = Mapping[str, Json]
DEFAULT: dict[str, Json] = {"type": "default"}
SPOT = "spot"
WITHDRAWAL_FEE = 1_000_000
WEIGHT_PRICE = 500
"""A reserved request costs 0.0005 USDC."""
_MODES = {"i": "disabled", "u": "unifiedAccount", "p": "portfolioMargin"}
_TOKENS = ("USDC",)


def hex_address(number: int) -> str:
    """Print an account's number as its address."""
    return f"0x{number:040x}"


class Money:
    """Turns canonical actions into movements of the exchange and entries of the register."""

    def __init__(self, exchange: Exchange, members: Members) -> None:
        """Take where money is, and the register."""
        self._exchange = exchange
        self._members = members
        self._pools = {"", SPOT, *(place.terms.pool for place in exchange.state.markets.values())}

    def _amount(self, value: Json) -> int:
        try:
            amount = parse(str(value), 6)
        except ValueError:
            raise RefusedError("Invalid decimal number") from None
        if amount <= 0:
            raise RefusedError("Send amount cannot be zero")
        return amount

    def _pool(self, name: Json) -> str:
        if name in self._pools:
            return str(name)
        raise RefusedError("Invalid perp DEX")

    def _target(self, value: Json) -> int:
        return self._exchange.open_account(int(str(value), 16)).number

    def _token(self, value: Json) -> None:
        if str(value).partition(":")[0] not in _TOKENS:
            raise RefusedError(f"Unknown token {value}")

    def _transfer(self, source: int, target: int, amount: int, pools: tuple[str, str], kind: str, now_us: int) -> None:
        if not self._exchange.transfer(source, target, amount, now_us, pools=pools, kind=kind):
            raise RefusedError("Insufficient balance for token transfer")

    # -- signed by the wallet itself

    def usd_send(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Send perpetual dollars to another address."""
        target = self._target(action["destination"])
        self._transfer(account, target, self._amount(action["amount"]), ("", ""), "internalTransfer", now_us)
        return DEFAULT

    def spot_send(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Send spot dollars to another address."""
        self._token(action["token"])
        target = self._target(action["destination"])
        self._transfer(account, target, self._amount(action["amount"]), (SPOT, SPOT), "spotTransfer", now_us)
        return DEFAULT

    def withdraw(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Withdraw for a fee of one dollar."""
        if not self._exchange.withdraw(account, self._amount(action["amount"]), WITHDRAWAL_FEE, now_us):
            raise RefusedError("Insufficient balance for withdrawal")
        return DEFAULT

    def class_transfer(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Move between the perpetual and the spot wallet; the amount may name a sub-account to move for."""
        if self._members.abstractions.get(account) in ("unifiedAccount", "portfolioMargin"):
            raise RefusedError("Action disabled when unified account is active")
        text, marker, sub = str(action["amount"]).partition(" subaccount:")
        owner = self._own(account, int(sub, 16)) if marker else account
        pools = (SPOT, "") if action["toPerp"] else ("", SPOT)
        self._transfer(owner, owner, self._amount(text), pools, "accountClassTransfer", now_us)
        return DEFAULT

    def send_asset(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Move dollars between dexes, wallets and addresses."""
        self._token(action["token"])
        source = self._own(account, int(str(action["fromSubAccount"]), 16)) if action["fromSubAccount"] else account
        pools = self._pool(action["sourceDex"]), self._pool(action["destinationDex"])
        target = self._target(action["destination"])
        if (source, pools[0]) == (target, pools[1]):
            raise RefusedError("Invalid send")
        self._transfer(source, target, self._amount(action["amount"]), pools, "send", now_us)
        return DEFAULT

    def agent_send_asset(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Do the same as an agent, to the account itself only."""
        if int(str(action["destination"]), 16) != account:
            raise RefusedError("Invalid send")
        return self.send_asset(account, action, now_us)

    def approve_agent(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Let a wallet sign for the account."""
        name = str(action.get("agentName") or "")
        self._members.approve_agent(account, int(str(action["agentAddress"]), 16), name, now_us // 1000)
        return DEFAULT

    def approve_builder(self, account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """Approve a builder's highest fee."""
        self._members.approve_builder(account, int(str(action["builder"]), 16), str(action["maxFeeRate"]))
        return DEFAULT

    def set_abstraction(self, account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """Choose the account's mode."""
        if action["abstraction"] not in ("disabled", "unifiedAccount", "portfolioMargin"):
            raise RefusedError("Invalid abstraction")
        self._members.abstractions[self._own(account, int(str(action["user"]), 16))] = str(action["abstraction"])
        return DEFAULT

    def set_dex_abstraction(self, account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """Choose whether dexes share collateral."""
        mode = "dexAbstraction" if action["enabled"] else "disabled"
        self._members.abstractions[self._own(account, int(str(action["user"]), 16))] = mode
        return DEFAULT

    # -- signed through the phantom agent

    def agent_abstraction(self, account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """Choose the account's mode as an agent."""
        self._members.abstractions[account] = _MODES[str(action["abstraction"])]
        return DEFAULT

    def agent_dex_abstraction(self, account: int, _action: Fields, _now_us: int) -> dict[str, Json]:
        """Let dexes share collateral, as an agent."""
        self._members.abstractions[account] = "dexAbstraction"
        return DEFAULT

    def create_sub(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Make a sub-account; its address is made up from the master's."""
        name = str(action["name"])
        owned = [title for owner, title in self._members.subs.values() if owner == account]
        if not 1 <= len(name) <= 16 or name in owned:
            raise RefusedError("Invalid sub-account name")
        words = hash_elements([account & (1 << 60) - 1, account >> 60 & (1 << 60) - 1, account >> 120, len(owned)], 3)
        number = (words[0] | words[1] << 64 | words[2] << 128) & (1 << 160) - 1
        self._members.subs[number] = (account, name)
        self._exchange.open_account(number, master=account)
        _ = now_us
        return {"type": "createSubAccount", "data": hex_address(number)}

    def _own(self, account: int, other: int) -> int:
        """Return an account or one of its sub-accounts. Raises RefusedError."""
        if other == account or self._members.subs.get(other, (None, ""))[0] == account:
            return other
        raise RefusedError("Sub-account does not belong to user")

    def sub_transfer(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Move perpetual dollars to or from a sub-account, in millionths."""
        sub, amount = self._own(account, int(str(action["subAccountUser"]), 16)), int(str(action["usd"]))
        source, target = (account, sub) if action["isDeposit"] else (sub, account)
        self._transfer(source, target, amount, ("", ""), "subAccountTransfer", now_us)
        return DEFAULT

    def sub_spot_transfer(self, account: int, action: Fields, now_us: int) -> dict[str, Json]:
        """Move spot dollars to or from a sub-account."""
        self._token(action["token"])
        sub, amount = self._own(account, int(str(action["subAccountUser"]), 16)), self._amount(action["amount"])
        source, target = (account, sub) if action["isDeposit"] else (sub, account)
        self._transfer(source, target, amount, (SPOT, SPOT), "subAccountTransfer", now_us)
        return DEFAULT

    def reserve_weight(self, account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """Buy requests at 0.0005 USDC each out of the perpetual balance."""
        weight = int(str(action["weight"]))
        if not self._exchange.charge(account, weight * WEIGHT_PRICE):
            raise RefusedError("Insufficient balance for withdrawal")
        self._members.budgets.setdefault(account, Budget()).surplus += weight
        return DEFAULT

    def set_referrer(self, account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """Remember a referral code; it changes nothing else here."""
        self._members.referrers[account] = str(action["code"])
        return DEFAULT

    def nothing(self, _account: int, _action: Fields, _now_us: int) -> dict[str, Json]:
        """Burn a nonce."""
        return DEFAULT

    def vault_transfer(self, _account: int, action: Fields, _now_us: int) -> dict[str, Json]:
        """There are no vaults here."""
        raise RefusedError(f"Vault not registered: {action['vaultAddress']}")

    def claim_rewards(self, account: int, _action: Fields, now_us: int) -> dict[str, Json]:
        """Pay an address what it earned as a builder."""
        purse = self._exchange.state.treasury.surcharges
        amount = purse.pop(account, 0)
        if amount == 0:
            raise RefusedError("No rewards to claim")
        self._exchange.credit(account, amount, now_us, "rewardsClaim")
        return DEFAULT

    def spare(self, account: int, pool: str) -> int:
        """Return what an account could move out of a pool."""
        return withdrawable(self._exchange.state, self._exchange.state.accounts[account], pool)
