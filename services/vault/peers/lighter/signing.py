"""Signing for Lighter: the port `Venue`, the part that trading needs, over the venue's library in a child process.

The child holds the keys it signed with until `forget` ends it: after a minute without work, when a key ends, and when a
slot gets another key. Its own checks are in `services/venues/lighter/signer.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from services.domain.errors import DomainError, Reason
from services.domain.market import LIGHTER, Listing
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.model.account import Account
from services.vault.model.key import Key
from services.vault.model.signing import CallerKey, Made
from services.vault.peers.markets import Markets, unsupported
from services.vault.peers.secret import Opener
from services.vault.peers.typed import action_of, action_text
from services.vault.ports import Clock
from services.venues.actions import Action, ActionError, CancelAll
from services.venues.lighter import prepare as lighter
from services.venues.lighter.signer import ChildSigner, SignedTransaction, SignerError
from services.venues.lighter.wire.encode import encode
from services.venues.lighter.wire.transactions import ApiKey, Scale, Transaction

IDLE_S: Final = 60.0
"""How long the child may hold keys without work."""
SIGN_TRIES: Final = 3
PREPARED_LIFE_MS: Final = 599_000
"""How long a caller's transaction lives, as the library's do."""


class LighterSigning:
    """Signs, prepares and seals."""

    def __init__(self, markets: Markets, *, chain_id: int, integrator: int, clock: Clock) -> None:
        self._markets = markets
        self._clock = clock
        self._chain_id = chain_id
        self._integrator = integrator
        self._scales: dict[int, Scale] = {}
        self._openers: dict[tuple[int, int], tuple[str, Opener]] = {}
        self._child = ChildSigner(chain_id=chain_id, secrets=self._secret)
        self._used = clock.monotonic()

    def scale_all(self, listings: tuple[Listing, ...]) -> None:
        """Take how many decimals each market has."""
        self._scales = {one.venue_market_id: Scale(one.price_decimals, one.size_decimals) for one in listings}

    async def sign(
        self, account: Account, key: Key, secret: Opener, action: Action, *, nonce: int, expire_ms: int
    ) -> Made | Refusal:
        """Sign an action with a key of ours. The library chooses when the bytes expire."""
        slot = self.slot(account, key.api_key_index or 0)
        try:
            transaction = encode(self._whole(action), key=slot, scales=self._scales, now_ms=self.now_ms())
        except ActionError as error:
            return unsupported(LIGHTER, error.field, error.problem)
        signed = await self.sign_transaction(slot, key.public_key, secret, transaction, nonce)
        return _made(signed)

    async def sign_transaction(
        self, slot: ApiKey, public_key: str, secret: Opener, transaction: Transaction, nonce: int
    ) -> SignedTransaction:
        """Sign a transaction with the key of a slot. Raises PEER_UNAVAILABLE where the library does not.

        A child that ended meanwhile, since another key did, is started again: what it did not deliver nobody has seen.
        """
        last = SignerError("the signer was not asked")
        for _ in range(SIGN_TRIES):
            await self._hold(slot, public_key, secret)
            try:
                return await self._child.sign(slot, transaction, nonce)
            except SignerError as error:
                last = error
        raise _signer_away(last)

    async def token(self, account: Account, key: Key, secret: Opener, end_s: int) -> str:
        """Return what opens the account's private streams."""
        slot = self.slot(account, key.api_key_index or 0)
        await self._hold(slot, key.public_key, secret)
        try:
            return await self._child.token(slot, end_s)
        except SignerError as error:
            raise _signer_away(error) from None

    async def make_pair(self) -> tuple[str, str]:
        """Return a new (secret, public) pair in hex."""
        self._used = self._clock.monotonic()
        try:
            return await self._child.generate()
        except SignerError as error:
            raise _signer_away(error) from None

    def prepare(
        self, account: Account, key: CallerKey, action: Action, *, nonce: int, expire_ms: int
    ) -> Made | Refusal:
        """Return what a caller has to sign."""
        now_ms = self.now_ms()
        slot = self.slot(account, key.api_key_index or 0)
        end_ms = min(expire_ms, now_ms + PREPARED_LIFE_MS)
        try:
            made = lighter.prepare(
                self._whole(action), slot, self._scales, chain_id=self._chain_id, nonce=nonce, expired_at_ms=end_ms,
                now_ms=now_ms,
            )  # fmt: skip
        except ActionError as error:
            return unsupported(LIGHTER, error.field, error.problem)
        body = made.unsigned_body.decode()
        held = {
            "payload": body, "digest": made.digest.hex(), "unsigned_body": body, "nonce": nonce, "expire_ms": end_ms,
            "public_key": key.public_key, "action": action_text(action), "now_ms": now_ms,
            "account_index": slot.account_index, "api_key_index": slot.api_key_index,
        }  # fmt: skip
        kind, hashed = int(made.transaction.type), made.digest.hex()
        return Made(body=msgspec.json.encode(held), expire_ms=end_ms, transaction_type=kind, transaction_hash=hashed)

    def seal(self, prepared: bytes, signature: str) -> Made | Refusal:
        """Return the bytes to post once a caller has signed."""
        held = msgspec.json.decode(prepared, type=dict[str, object])
        number = {
            name: int(str(held[name])) for name in ("account_index", "api_key_index", "nonce", "expire_ms", "now_ms")
        }
        slot = ApiKey(
            account_index=number["account_index"],
            api_key_index=number["api_key_index"],
            integrator_account_index=self._integrator,
        )
        made = lighter.prepare(
            self._whole(action_of(str(held["action"]))), slot, self._scales, chain_id=self._chain_id,
            nonce=number["nonce"], expired_at_ms=number["expire_ms"], now_ms=number["now_ms"],
        )  # fmt: skip
        assert made.digest.hex() == held["digest"], "what was prepared is prepared the same again"
        try:
            sealed = lighter.seal(made, signature, public_key=bytes.fromhex(str(held["public_key"])))
        except lighter.SignatureError as error:
            return Refusal(
                reason=RefusalReason.SIGNATURE,
                origin=Origin.MESH,
                message=f"The signature is not taken: {error}.",
                advice="Sign the digest as it was prepared, with the key that was named.",
                field="signature",
                venue=LIGHTER,
            )
        return Made(
            body=sealed.body,
            expire_ms=sealed.expire_time_ms,
            transaction_type=sealed.transaction_type,
            transaction_hash=sealed.transaction_hash,
        )

    async def forget(self) -> None:
        """End the child, and with it every key it holds."""
        self._openers.clear()
        await self._child.forget()

    async def forget_if_idle(self) -> None:
        """End the child after a minute without work."""
        if self._openers and self._clock.monotonic() - self._used > IDLE_S:
            await self.forget()

    def slot(self, account: Account, api_key_index: int) -> ApiKey:
        """Return an account's slot, as the library names it."""
        return ApiKey(
            account_index=int(account.venue_account),
            api_key_index=api_key_index,
            integrator_account_index=self._integrator,
        )

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        return self._clock.time_ns() // 1_000_000

    async def _hold(self, slot: ApiKey, public_key: str, secret: Opener) -> None:
        self._used = self._clock.monotonic()
        async with secret():
            pass  # what is kept of the key must still open, though the child may hold it: it may have been destroyed
        name = (slot.account_index, slot.api_key_index)
        before = self._openers.get(name)
        if before is not None and before[0] != public_key:
            await self.forget()  # the child would go on signing with the key that was there before
        self._openers[name] = (public_key, secret)

    async def _secret(self, key: ApiKey) -> str:
        found = self._openers.get((key.account_index, key.api_key_index))
        if found is None:
            raise SignerError("the key was forgotten meanwhile")
        async with found[1]() as raw:
            return raw.hex()

    def _whole(self, action: Action) -> Action:
        """Return a cancellation of everything with the venue's number of its market."""
        if isinstance(action, CancelAll) and action.market:
            return replace(action, venue_market_id=self._markets.id_of(action.market))
        return action


def _made(signed: SignedTransaction) -> Made:
    return Made(
        body=signed.tx_info,
        expire_ms=signed.expired_at_ms,
        transaction_type=signed.kind,
        transaction_hash=signed.tx_hash,
    )


def _signer_away(error: SignerError) -> DomainError:
    return DomainError(
        Reason.PEER_UNAVAILABLE,
        f"Lighter's signer did not sign: {error}. Nothing was signed.",
        metadata={"peer": "lighter-signer"},
        retry_after_s=0.2,
    )
