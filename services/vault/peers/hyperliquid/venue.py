"""Hyperliquid behind the port `Venue`: what a wallet authorized there, set-ups, listings and marks; `signing` signs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from services.domain.decimals import parse_decimal, plain_text
from services.domain.market import HYPERLIQUID
from services.domain.refusal import Refusal
from services.vault.model.account import Account, Environment
from services.vault.model.key import Key
from services.vault.model.limits import Exposure
from services.vault.model.setup import FEE_RATE_MAX, Authorization, Method, Plan, Step, StepKind
from services.vault.peers.hyperliquid.signing import HyperliquidSigning
from services.vault.peers.markets import Markets, exposure_of, said_no
from services.vault.peers.secret import Opener, erase
from services.vault.peers.wallet import bad_key, checked, unavailable
from services.vault.ports import Chance, Clock
from services.venues.hyperliquid import setup, sign
from services.venues.hyperliquid.asking import AccountInfo
from services.venues.hyperliquid.budgets import HyperliquidBudgets, info_weight
from services.venues.hyperliquid.http import PATH, Info
from services.venues.hyperliquid.wire import answers, info, refusals
from services.venues.hyperliquid.wire.universe import EMPTY, Universe
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest

NOBODY: Final = "0x" + "00" * 20
"""Approving this address under an agent's name ends that agent."""
_BUILDER_UNIT: Final = Decimal("0.00001")
"""The venue counts builder fees in tenths of a basis point."""
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any])


class HyperliquidVenue(HyperliquidSigning):
    """The port `Venue`."""

    def __init__(
        self, environment: Environment, rest: Rest, *, clock: Clock, chance: Chance, builder: str
    ) -> None:  # fmt: skip
        self._listed = Markets(HYPERLIQUID, clock)
        super().__init__(environment, self._listed, builder=builder)
        self._environment = environment
        self._rest = rest
        self._clock = clock
        self._chance = chance
        self._builder_address = builder
        self._info = Info(rest, clock)  # type: ignore[arg-type]
        self._universe: Universe = EMPTY
        self._accounts = AccountInfo(rest, HyperliquidBudgets(), clock, ("",))  # type: ignore[arg-type]
        self.marks, self.check = self._listed.marks, self._listed.check

    @property
    def name(self) -> str:
        """The venue's name."""
        return HYPERLIQUID

    @property
    def nonces(self) -> None:
        """The venue has no order of nonces."""

    @property
    def tokens(self) -> None:
        """The venue needs none."""

    async def load(self) -> None:
        """Read what is listed. Raises `VenueError`."""
        self._universe = await self._info.universe()
        self._listed.list_all(self._universe.listings)

    async def look(self) -> None:
        """Read the prices that stand for the marks: the middles of the books. Raises `VenueError`."""
        if not self._listed.is_known:
            await self.load()
        body = await self._rest.post(PATH, info.ask("allMids"), weight=info_weight("allMids"))
        mids = info.decode_mids(body)
        coins = self._universe.coins
        self._listed.mark_all({coins[coin].market: parse_decimal(mid) for coin, mid in mids.items() if coin in coins})

    async def forget(self) -> None:
        """Hold no secret; nothing here does between two signatures."""

    async def exposure(self, account: Account) -> Exposure:
        """Return the account's positions and what it is worth."""
        user = account.venue_account.lower()
        try:
            state = await self._accounts.state(user, self._universe, await self._accounts.mode(user))
        except VenueError as error:
            raise unavailable(HYPERLIQUID, error) from None
        return exposure_of(state)

    # --- accounts ---

    async def find(self, wallet: str) -> str:
        """Return the wallet's address where the venue knows it."""
        role = await self._ask("userRole", user=wallet.lower())
        return "" if role.get("role") == "missing" else wallet.lower()

    async def owns(self, wallet: str, venue_account: str) -> bool:
        """Say whether a sub-account or vault is the wallet's."""
        role = await self._ask("userRole", user=venue_account.lower())
        if role.get("role") == "subAccount":
            return str((role.get("data") or {}).get("master", "")).lower() == wallet.lower()
        if role.get("role") == "vault":
            details = await self._ask("vaultDetails", vaultAddress=venue_account.lower())
            return str(details.get("leader", "")).lower() == wallet.lower()
        return False

    async def open_orders(self, account: Account) -> int:
        """Return how many orders are open."""
        return len(await self._ask_list("frontendOpenOrders", user=account.venue_account))

    async def authorizations(self, account: Account) -> Sequence[Authorization]:
        """Return agents and builders; the venue lists no unnamed agent here."""
        master = account.wallet_address.lower()
        found = [_agent(row) for row in await self._ask_list("extraAgents", user=master)]
        for builder in await self._ask_list("approvedBuilders", user=master):
            rate = await self._builder_rate(master, str(builder))
            found.append(Authorization(kind="BUILDER_FEE", grantee=str(builder), max_fee_rate=rate))
        return found

    async def _builder_rate(self, master: str, builder: str) -> Decimal:
        body = await self._post(PATH, info.ask("maxBuilderFee", user=master, builder=builder.lower()), 20)
        return Decimal(int(body)) * _BUILDER_UNIT

    # --- keys ---

    async def generate(self) -> tuple[bytearray, str]:
        """Return a new agent: its secret, and its address."""
        raw = self._chance.secret(32)
        try:
            return bytearray(raw), self.public_key_of(raw)
        finally:
            erase(raw)

    def public_key_of(self, secret: bytes) -> str:
        """Return the address of a secret."""
        try:
            key = sign.Key(secret)
            address = key.address
            erase(key)
            return address
        except sign.SignError:
            raise bad_key("32 bytes in hex, as an agent wallet of Hyperliquid has, would pass") from None

    async def accepts(self, account: Account, public_key: str, api_key_index: int | None) -> bool:
        """Say whether an agent, named or not, is the account's."""
        role = await self._ask("userRole", user=public_key)
        master = str((role.get("data") or {}).get("user", "")).lower()
        return role.get("role") == "agent" and master == account.wallet_address.lower()

    async def plan_key(
        self, account: Account, public_key: str, *, name: str, api_key_index: int | None, expire_time: datetime | None,
        fee_rate: Decimal, chain_id: int,
    ) -> tuple[Plan, ...]:  # fmt: skip
        """Return the approval of an agent, and of a fee where one is wanted."""
        until_ms = None if expire_time is None else round(expire_time.timestamp() * 1000)
        nonce = self._now_ms()
        made = setup.approve_agent(
            public_key,
            nonce=nonce,
            mainnet=self._is_mainnet,
            name=name,
            valid_until_ms=until_ms,
            chain_id=_chain(chain_id),
        )
        day = "" if expire_time is None else f" until {expire_time:%Y-%m-%d}"
        words = (
            f"Lets the agent {public_key} trade for {account.wallet_address} at Hyperliquid{day}, under the name "
            f"{name}. It can never withdraw or transfer."
        )
        plan = _plan(StepKind.APPROVE_AGENT, made, words, required=True)
        return (plan, *(await self._fee(account, fee_rate, chain_id, nonce + 1) if fee_rate else ()))

    async def plan_fee(
        self, account: Account, key: Key | None, *, fee_rate: Decimal, chain_id: int
    ) -> tuple[Plan, ...]:
        """Return the approval of a fee, or of none."""
        return await self._fee(account, fee_rate, chain_id, self._now_ms(), required=True)

    async def _fee(
        self, account: Account, rate: Decimal, chain_id: int, nonce: int, *, required: bool = False
    ) -> tuple[Plan, ...]:
        if not self._builder_address:
            return ()
        made = setup.approve_builder_fee(
            self._builder_address,
            max_rate=min(rate, FEE_RATE_MAX),
            nonce=nonce,
            mainnet=self._is_mainnet,
            chain_id=_chain(chain_id),
        )
        kind = StepKind.APPROVE_BUILDER_FEE if rate else StepKind.REVOKE_FEE
        words = (
            f"Lets {self._builder_address} take a builder fee of at most {plain_text(rate * 100)} % of what "
            f"{account.wallet_address} trades through it."
            if rate
            else f"Takes back that {self._builder_address} may take a builder fee."
        )
        return (_plan(kind, made, words, required=required, rate=rate),)

    async def plan_revoke(
        self, account: Account, key: Key, secret: Opener | None, *, chain_id: int
    ) -> tuple[Plan, ...]:
        """Return what ends an agent: nobody approved under its name. An agent without a name cannot be named."""
        made = setup.approve_agent(
            NOBODY, nonce=self._now_ms(), mainnet=self._is_mainnet, name=key.venue_name, chain_id=_chain(chain_id)
        )
        words = f"Ends the agent {key.public_key} of {account.wallet_address} at Hyperliquid."
        return (_plan(StepKind.REVOKE_KEY, made, words, required=True),)

    async def body(
        self, account: Account, key: Key | None, step: Step, signature: str, secret: Opener | None
    ) -> bytes | Refusal:
        """Return what is posted once the wallet has signed."""
        action = step.plan.venue_action
        found = checked(step, sign.digest_of({"agentName": ""} | dict(action)), signature)
        return found if isinstance(found, Refusal) else answers.body(action, step.plan.nonce, found)

    async def post(self, step: Step, body: bytes) -> Refusal | None:
        """Post it; None where the venue took it, or has taken it before."""
        answer = _ANSWER.decode(await self._post("/exchange", body, 1))
        if answer.get("status") == "ok":
            return None
        words = str(answer.get("response"))
        if refusals.DUPLICATE_NONCE.match(words):
            return None
        advice = "Deposit at Hyperliquid first." if words.startswith("Must deposit") else "Begin again."
        return said_no(HYPERLIQUID, "", words, advice)

    async def confirmed(self, account: Account, key: Key | None, step: Step) -> bool:
        """Say whether the venue shows what a step was for."""
        kind, master = step.plan.kind, account.wallet_address.lower()
        if kind is StepKind.APPROVE_AGENT:
            wanted = str(step.plan.venue_action["agentAddress"]).lower()
            rows = await self._ask_list("extraAgents", user=master)
            return any(str(row.get("address", "")).lower() == wanted for row in rows)
        if kind is StepKind.REVOKE_KEY:
            assert key is not None
            return not await self.accepts(account, key.public_key, None)
        rate = await self._builder_rate(master, self._builder_address)
        return rate == 0 if kind is StepKind.REVOKE_FEE else rate >= (step.plan.max_fee_rate or Decimal(0))

    async def free_slot(self, account: Account, taken: Collection[int]) -> int | None:
        """Agents have no number."""
        return None

    # --- asking ---

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000

    async def _ask(self, kind: str, **fields: object) -> Mapping[str, Any]:
        return _ANSWER.decode(await self._post(PATH, info.ask(kind, **fields), info_weight(kind)))

    async def _ask_list(self, kind: str, **fields: object) -> list[Any]:
        found = msgspec.json.decode(await self._post(PATH, info.ask(kind, **fields), info_weight(kind)))
        return found if isinstance(found, list) else []

    async def _post(self, path: str, body: bytes, weight: int) -> bytes:
        try:
            return await self._rest.post(path, body, weight=weight, importance=Importance.URGENT)
        except VenueError as error:
            raise unavailable(HYPERLIQUID, error) from None


def _plan(kind: StepKind, made: setup.Step, words: str, *, required: bool, rate: Decimal | None = None) -> Plan:
    return Plan(
        kind=kind,
        required=required,
        explanation=words,
        method=Method.EIP712,
        payload=msgspec.json.encode(made.typed_data).decode(),
        venue_action=dict(made.action),
        nonce=made.nonce,
        max_fee_rate=rate,
    )


def _agent(row: Mapping[str, Any]) -> Authorization:
    until = row.get("validUntil")
    return Authorization(
        kind="AGENT",
        grantee=str(row.get("address", "")).lower(),
        name=str(row.get("name", ""))[:100],
        expire_time=None if not isinstance(until, int) else datetime.fromtimestamp(until / 1000, UTC),
    )


def _chain(chain_id: int) -> str:
    return hex(chain_id) if chain_id else sign.SIGNATURE_CHAIN_ID
