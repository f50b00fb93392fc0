"""Lighter behind the port `Venue`: what a wallet authorized there, set-ups, listings and marks; `signing` signs."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from services.domain.decimals import plain_text
from services.domain.market import LIGHTER, Listing
from services.domain.refusal import Refusal
from services.vault.model.account import Account, forbids
from services.vault.model.key import Key
from services.vault.model.limits import Exposure
from services.vault.model.setup import Authorization, Method, Plan, Step, StepKind
from services.vault.peers.lighter.signing import LighterSigning
from services.vault.peers.markets import Markets, exposure_of, said_no
from services.vault.peers.secret import Opener
from services.vault.peers.wallet import bad_key, checked, personal_digest, unavailable
from services.vault.ports import Clock
from services.venues.lighter import schnorr
from services.venues.lighter.signer import with_wallet_signature
from services.venues.lighter.wire import account as wire
from services.venues.lighter.wire import encode, payloads, transactions
from services.venues.lighter.wire.numbers import WireError
from services.venues.lighter.wire.transactions import Transaction, TxType
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest, RestRefusedError

FEE_UNIT: Final = Decimal("0.000001")
FEE_LIFE_MS: Final = 180 * 86_400_000
SLOTS: Final = range(4, 255)
"""The numbers of API keys that are the users' to give; those below are the venue's own programs'."""
NOT_FOUND: Final = frozenset((21100, 21109))
NO_KEY: Final = "00" * 40
_UNSIGNED: Final = base64.b64encode(bytes(80)).decode()
"""In place of a key's signature where a slot is emptied, which the venue asks of the wallet alone."""
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any])


class LighterVenue(LighterSigning):
    """The port `Venue`."""

    def __init__(self, rest: Rest, *, clock: Clock, chain_id: int, integrator: int) -> None:
        self._listed = Markets(LIGHTER, clock)
        super().__init__(self._listed, chain_id=chain_id, integrator=integrator, clock=clock)
        self._rest = rest
        self._by_id: dict[int, Listing] = {}
        self.marks, self.check = self._listed.marks, self._listed.check

    @property
    def name(self) -> str:
        """The venue's name."""
        return LIGHTER

    @property
    def nonces(self) -> LighterVenue:
        """It tells them itself."""
        return self

    @property
    def tokens(self) -> LighterVenue:
        """It issues them itself."""
        return self

    async def load(self) -> None:
        """Read what is listed, and the marks with it. Raises `VenueError`."""
        data = await self._rest.get("/api/v1/orderBookDetails")
        listings = payloads.listings(data).listings
        self._listed.list_all(listings)
        self.scale_all(listings)
        self._by_id = {one.venue_market_id: one for one in listings}
        by_id = {one.venue_market_id: one.market for one in listings}
        self._listed.mark_all({by_id[n]: mark for n, mark in payloads.mark_prices(data).items() if n in by_id})

    async def look(self) -> None:
        """Read the mark prices. Raises `VenueError`."""
        await self.load()

    async def exposure(self, account: Account) -> Exposure:
        """Return the account's positions and what it is worth."""
        row = await self._account(account)
        try:
            return exposure_of(wire.account_state(wire.convert(row, wire.RawAccount), self._by_id))
        except WireError as error:
            raise unavailable(LIGHTER, error) from None

    async def next_nonce(self, account: Account, api_key_index: int) -> int:
        """Return the nonce the venue expects next."""
        answer = await self._ask("nextNonce", account_index=account.venue_account, api_key_index=api_key_index)
        return int(answer["nonce"])

    # --- accounts ---

    async def find(self, wallet: str) -> str:
        """Return the index of a wallet's main account: the lowest it has."""
        found = [int(row["index"]) for row in await self._accounts(wallet)]
        return str(min(found)) if found else ""

    async def owns(self, wallet: str, venue_account: str) -> bool:
        """Say whether an account is the wallet's."""
        return any(str(row["index"]) == venue_account for row in await self._accounts(wallet))

    async def _accounts(self, wallet: str) -> list[dict[str, Any]]:
        try:
            answer = await self._ask("accountsByL1Address", l1_address=wallet)
        except _NotFoundError:
            return []
        return list(answer.get("sub_accounts") or [])

    async def open_orders(self, account: Account) -> int:
        """Return how many orders are open, or wait for a trigger."""
        row = await self._account(account)
        return int(row.get("total_order_count") or 0) + int(row.get("pending_order_count") or 0)

    async def _account(self, account: Account) -> dict[str, Any]:
        answer = await self._ask("account", by="index", value=account.venue_account)
        rows = answer.get("accounts") or [{}]
        return dict(rows[0])

    async def authorizations(self, account: Account) -> Sequence[Authorization]:
        """Return API keys and integrators."""
        found = [
            Authorization(kind="API_KEY", grantee=str(row["public_key"]).removeprefix("0x"),
                          name=str(row["api_key_index"]), api_key_index=int(row["api_key_index"]))
            for row in await self._keys(account)
        ]  # fmt: skip
        for row in (await self._account(account)).get("approved_integrators") or []:
            until = int(row.get("approval_expiry") or 0)
            rate = max(int(row.get("max_perps_taker_fee") or 0), int(row.get("max_perps_maker_fee") or 0)) * FEE_UNIT
            found.append(
                Authorization(
                    kind="INTEGRATOR",
                    grantee=str(row.get("account_index")),
                    name=str(row.get("name") or "")[:100],
                    max_fee_rate=rate,
                    expire_time=datetime.fromtimestamp(until / 1000, UTC) if until else None,
                )
            )
        return found

    async def _keys(self, account: Account) -> list[dict[str, Any]]:
        try:
            answer = await self._ask("apikeys", account_index=account.venue_account, api_key_index=255)
        except _NotFoundError:
            return []
        return list(answer.get("api_keys") or [])

    # --- keys ---

    async def generate(self) -> tuple[bytearray, str]:
        """Return a new API key."""
        secret, public = await self.make_pair()
        return bytearray(bytes.fromhex(secret)), public

    def public_key_of(self, secret: bytes) -> str:
        """Return the public key of a secret."""
        if len(secret) != schnorr.KEY_BYTES:
            raise bad_key("40 bytes in hex, as an API key of Lighter has, would pass")
        return schnorr.public_key_of(secret).hex()

    async def accepts(self, account: Account, public_key: str, api_key_index: int | None) -> bool:
        """Say whether a key is in its slot."""
        return any(
            row["api_key_index"] == api_key_index and str(row["public_key"]).removeprefix("0x") == public_key
            for row in await self._keys(account)
        )

    async def free_slot(self, account: Account, taken: Collection[int]) -> int | None:
        """Return the first number that no key has."""
        used = {int(row["api_key_index"]) for row in await self._keys(account)} | set(taken)
        free = next((slot for slot in SLOTS if slot not in used), None)
        if free is None:
            raise forbids(
                "Every API key of the account is in use: name one to replace.", account_id=str(account.account_id)
            )
        return free

    async def plan_key(
        self, account: Account, public_key: str, *, name: str, api_key_index: int | None, expire_time: datetime | None,
        fee_rate: Decimal, chain_id: int,
    ) -> tuple[Plan, ...]:  # fmt: skip
        """Return the registration of an API key, and the approval of a fee where one is wanted."""
        assert api_key_index is not None
        nonce = await self.next_nonce(account, api_key_index)
        words = (
            f"Registers the API key {public_key} as number {api_key_index} of the Lighter account "
            f"{account.venue_account}. The venue lets any such key trade and withdraw to this "
            "wallet; ours is never used to withdraw."
        )
        action = {"kind": "change", "public_key": public_key, "api_key_index": api_key_index}
        plan = self._plan(account, StepKind.CHANGE_PUBLIC_KEY, action, nonce, words, required=True)
        if not fee_rate:
            return (plan,)
        return (plan, *self._fee(account, api_key_index, fee_rate, nonce + 1, required=False))

    async def plan_fee(
        self, account: Account, key: Key | None, *, fee_rate: Decimal, chain_id: int
    ) -> tuple[Plan, ...]:
        """Return the approval of a fee, or of none. It uses the key's next nonce: trading makes it void."""
        if key is None or key.api_key_index is None:
            raise forbids(
                "A fee at Lighter is approved through an API key: set one up first.", account_id=str(account.account_id)
            )
        nonce = await self.next_nonce(account, key.api_key_index)
        return self._fee(account, key.api_key_index, fee_rate, nonce, required=True)

    def _fee(self, account: Account, slot: int, rate: Decimal, nonce: int, *, required: bool) -> tuple[Plan, ...]:
        if not self._integrator:
            return ()
        units = int(rate / FEE_UNIT)
        until = self.now_ms() + FEE_LIFE_MS if units else 0
        words = (
            f"Lets the integrator {self._integrator} take a fee of at most {plain_text(rate * 100)} % of what "
            f"the Lighter account {account.venue_account} trades through it."
            if units
            else f"Takes back that the integrator {self._integrator} may take a fee."
        )
        kind = StepKind.APPROVE_INTEGRATOR if units else StepKind.REVOKE_FEE
        action = {"kind": "integrator", "units": units, "until_ms": until, "api_key_index": slot}
        return (self._plan(account, kind, action, nonce, words, required=required, rate=rate),)

    async def plan_revoke(
        self, account: Account, key: Key, secret: Opener | None, *, chain_id: int
    ) -> tuple[Plan, ...]:
        """Return what empties a key's slot; signed by the key too while its secret is there."""
        assert key.api_key_index is not None
        nonce = await self.next_nonce(account, key.api_key_index)
        action: dict[str, object] = {"kind": "change", "public_key": NO_KEY, "api_key_index": key.api_key_index}
        if secret is not None:
            slot = self.slot(account, key.api_key_index)
            transaction = encode.change_public_key(slot, NO_KEY)
            signed = await self.sign_transaction(slot, key.public_key, secret, transaction, nonce)
            action |= {"signed": signed.tx_info.decode(), "signed_until_ms": signed.expired_at_ms}
        words = f"Empties the API key number {key.api_key_index} of the Lighter account {account.venue_account}."
        return (self._plan(account, StepKind.REVOKE_KEY, action, nonce, words, required=True),)

    def _plan(
        self, account: Account, kind: StepKind, action: dict[str, object], nonce: int, words: str, *, required: bool,
        rate: Decimal | None = None,
    ) -> Plan:  # fmt: skip
        transaction = self._transaction(account, action)
        return Plan(
            kind=kind,
            required=required,
            explanation=words,
            method=Method.PERSONAL_SIGN,
            payload=encode.wallet_text(transaction, nonce=nonce, chain_id=self._chain_id),
            venue_action=action,
            nonce=nonce,
            max_fee_rate=rate,
        )

    def _transaction(self, account: Account, action: dict[str, object]) -> Transaction:
        slot = self.slot(account, int(str(action["api_key_index"])))
        if action["kind"] == "change":
            return encode.change_public_key(slot, str(action["public_key"]))
        units = int(str(action["units"]))
        return encode.approve_integrator(
            slot, integrator=self._integrator, taker_units=units, maker_units=units,
            expiry_ms=int(str(action["until_ms"])),
        )  # fmt: skip

    async def body(
        self, account: Account, key: Key | None, step: Step, signature: str, secret: Opener | None
    ) -> bytes | Refusal:
        """Return what is posted once the wallet has signed: the key signs here, where it is needed."""
        found = checked(step, personal_digest(step.plan.payload), signature)
        if isinstance(found, Refusal):
            return found
        action = dict(step.plan.venue_action)
        transaction = self._transaction(account, action)
        if step.plan.kind is StepKind.REVOKE_KEY:
            info = str(action.get("signed", "")).encode()
            if not info or int(str(action["signed_until_ms"])) - 30_000 < self.now_ms():
                end_ms = self.now_ms() + 599_000
                info = transactions.tx_info(
                    transaction, nonce=step.plan.nonce, expired_at_ms=end_ms, signature=_UNSIGNED
                )
            fields = msgspec.json.decode(info, type=dict[str, object])
            return msgspec.json.encode(fields | {"L1Sig": found.as_hex()})
        assert key is not None
        assert secret is not None
        slot = self.slot(account, int(str(action["api_key_index"])))
        signed = await self.sign_transaction(slot, key.public_key, secret, transaction, step.plan.nonce)
        return with_wallet_signature(signed, found.as_hex())

    async def post(self, step: Step, body: bytes) -> Refusal | None:
        """Post it; None where the venue took it."""
        is_change = step.plan.venue_action["kind"] == "change"
        kind = TxType.CHANGE_PUB_KEY if is_change else TxType.APPROVE_INTEGRATOR
        form = urlencode({"tx_type": int(kind), "tx_info": body.decode()}).encode()
        try:
            await self._rest.post(
                "/api/v1/sendTx", form, content_type="application/x-www-form-urlencoded", importance=Importance.URGENT
            )
        except RestRefusedError as error:
            code, words = _code(error.body)
            advice = "Begin the set-up anew: the key's nonce has moved." if code == 21104 else "Begin again."
            return said_no(LIGHTER, str(code or ""), words, advice)
        except VenueError as error:
            raise unavailable(LIGHTER, error) from None
        return None

    async def confirmed(self, account: Account, key: Key | None, step: Step) -> bool:
        """Say whether the venue shows what a step was for."""
        action = step.plan.venue_action
        if step.plan.kind is StepKind.CHANGE_PUBLIC_KEY:
            return await self.accepts(account, str(action["public_key"]), int(str(action["api_key_index"])))
        if step.plan.kind is StepKind.REVOKE_KEY:
            assert key is not None
            return not await self.accepts(account, key.public_key, key.api_key_index)
        rows = (await self._account(account)).get("approved_integrators") or []
        fees = [int(r.get("max_perps_taker_fee") or 0) for r in rows if r.get("account_index") == self._integrator]
        units = int(str(action["units"]))
        return not any(fees) if units == 0 else any(fee >= units for fee in fees)

    async def _ask(self, path: str, **fields: str | int) -> dict[str, Any]:
        try:
            body = await self._rest.get(f"/api/v1/{path}", fields, importance=Importance.URGENT)
        except RestRefusedError as error:
            if _code(error.body)[0] in NOT_FOUND:
                raise _NotFoundError from None
            raise unavailable(LIGHTER, error) from None
        except VenueError as error:
            raise unavailable(LIGHTER, error) from None
        return _ANSWER.decode(body)


class _NotFoundError(Exception):
    """The venue knows no such account or key."""


def _code(body: bytes) -> tuple[int, str]:
    try:
        answer = _ANSWER.decode(body)
    except msgspec.MsgspecError:
        return 0, body[:300].decode("utf-8", "replace")
    code = answer.get("code")
    return code if isinstance(code, int) else 0, str(answer.get("message"))
