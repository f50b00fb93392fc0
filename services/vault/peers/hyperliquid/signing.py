"""Signing for Hyperliquid: the port `Venue`, the part that trading needs. Each secret is open for one signature."""

from __future__ import annotations

import msgspec

from services.domain.market import HYPERLIQUID
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.model.account import Account, AccountKind, Environment
from services.vault.model.key import Key
from services.vault.model.signing import CallerKey, Made
from services.vault.peers.markets import Markets, unsupported
from services.vault.peers.secret import Opener, erase
from services.vault.peers.typed import action_of, action_text
from services.venues.actions import Action, ActionError
from services.venues.hyperliquid import prepare as hl
from services.venues.hyperliquid import sign


class HyperliquidSigning:
    """Signs, prepares and seals."""

    def __init__(self, environment: Environment, markets: Markets, *, builder: str) -> None:
        self._is_mainnet = environment is Environment.MAINNET
        self._markets = markets
        self._builder = builder or None

    def terms(self, account: Account) -> hl.Terms:
        """Return the network, whom it is for, and who gets a fee."""
        acted_for = account.venue_account.lower() if account.kind is not AccountKind.MAIN else None
        return hl.Terms(mainnet=self._is_mainnet, vault=acted_for, builder=self._builder)

    async def sign(
        self, account: Account, key: Key, secret: Opener, action: Action, *, nonce: int, expire_ms: int
    ) -> Made | Refusal:
        """Sign an action with a key of ours."""
        async with secret() as raw:
            copy = bytes(raw)
            signer = sign.Key(copy)
            try:
                if signer.address != key.public_key:
                    return _not_ours(key)
                made = hl.signed(action, self.terms(account), signer, nonce=nonce, expires_after_ms=expire_ms)
            except ActionError as error:
                return unsupported(HYPERLIQUID, error.field, error.problem)
            finally:
                erase(signer)
                erase(copy)
        return Made(body=made.body, expire_ms=expire_ms)

    def prepare(
        self, account: Account, key: CallerKey, action: Action, *, nonce: int, expire_ms: int
    ) -> Made | Refusal:
        """Return what a caller has to sign."""
        try:
            made = hl.prepare(action, self.terms(account), nonce=nonce, expires_after_ms=expire_ms)
        except ActionError as error:
            return unsupported(HYPERLIQUID, error.field, error.problem)
        held = {
            "payload": made.payload, "digest": made.digest.hex(), "unsigned_body": made.unsigned_body.decode(),
            "nonce": nonce, "expire_ms": expire_ms, "signer": key.public_key.lower(), "action": action_text(action),
            "vault": made.vault,
        }  # fmt: skip
        return Made(body=msgspec.json.encode(held), expire_ms=expire_ms)

    def seal(self, prepared: bytes, signature: str) -> Made | Refusal:
        """Return the bytes to post once a caller has signed."""
        held = msgspec.json.decode(prepared, type=dict[str, object])
        terms = hl.Terms(mainnet=self._is_mainnet, vault=_text(held["vault"]), builder=self._builder)
        nonce, expire_ms = int(str(held["nonce"])), int(str(held["expire_ms"]))
        made = hl.prepare(action_of(str(held["action"])), terms, nonce=nonce, expires_after_ms=expire_ms)
        assert made.digest.hex() == held["digest"], "what was prepared is prepared the same again"
        try:
            sealed = hl.seal(made, sign.Signature.from_hex(signature), signer=str(held["signer"]))
        except sign.SignError as error:
            return Refusal(
                reason=RefusalReason.SIGNATURE,
                origin=Origin.MESH,
                message=f"The signature is not taken: {error}.",
                advice="Sign the payload as it was prepared, with the key that was named.",
                field="signature",
                venue=HYPERLIQUID,
            )
        return Made(body=sealed.body, expire_ms=expire_ms)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _not_ours(key: Key) -> Refusal:
    return Refusal(
        reason=RefusalReason.KEY_UNUSABLE,
        origin=Origin.MESH,
        message=f"What is sealed for the key {key.public_key} is another key: nothing was signed.",
        venue=HYPERLIQUID,
    )
