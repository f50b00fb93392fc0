"""Signing in: a challenge, its signed answer, a session."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.auth.app.issuing import Access, Issuer
from services.auth.model import challenge as challenges
from services.auth.model import session as sessions
from services.auth.model.challenge import Purpose, Site
from services.auth.model.ethereum import checksummed
from services.auth.model.session import Client, Lifetimes, Session, Wallet, WalletKind
from services.auth.ports import Challenges, Chance, Clock, Prover, Users
from services.chassis.principal import Principal
from services.domain.errors import DomainError, Reason, field_invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A challenge that was issued."""

    text: str
    nonce: str
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A wallet that has proved itself with a challenge that is now spent."""

    address: str
    chain_id: int
    kind: WalletKind
    nonce_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What a sign-in or a refresh yields."""

    access: Access
    refresh_token: str
    session: Session


class SignIn:
    """Composes challenges and takes their answers."""

    def __init__(
        self,
        *,
        site: Site,
        pending: Challenges,
        prover: Prover,
        users: Users,
        issuer: Issuer,
        chance: Chance,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> None:
        self._site = site
        self._pending = pending
        self._prover = prover
        self._users = users
        self._issuer = issuer
        self._chance = chance
        self._clock = clock
        self._lifetimes = lifetimes

    async def challenge(
        self, caller: Principal | None, *, address: str, chain_id: int, purpose: Purpose, binding: str, origin: str
    ) -> Issued:
        """Issue a challenge; to link or unlink, for the user who calls."""
        user = _user_for(purpose, caller)
        right = checksummed(address)
        if address != right and address[2:] not in (address[2:].lower(), address[2:].upper()):
            raise field_invalid("address", f"has a wrong checksum (EIP-55); if its digits are right it is {right}")
        nonce, issued = challenges.compose(
            address=right,
            chain_id=chain_id,
            purpose=purpose,
            user=user,
            binding=binding,
            origin=self._site.origin_for(origin),
            nonce=self._chance.secret(challenges.NONCE_BYTES),
            site=self._site,
            now=self._clock.now(),
        )
        await self._pending.keep(nonce, issued, lifetime=challenges.LIFETIME)
        return Issued(text=issued.text, nonce=nonce, expire_time=issued.expire_time)

    async def create_session(self, *, text: str, signature: bytes, verifier: str, client: Client) -> SignedIn:
        """Sign in with a signed challenge."""
        proved = await self.prove(None, Purpose.SIGN_IN, text=text, signature=signature, verifier=verifier)
        now = self._clock.now()
        wallet = Wallet(
            address=proved.address, chain_id=proved.chain_id, kind=proved.kind, link_time=now, last_login_time=now
        )
        session_id, refresh = self._chance.uuid(), self._chance.secret(sessions.TOKEN_BYTES)

        def opened(user_id: UUID) -> Session:
            return sessions.open_session(
                session_id,
                user_id,
                address=wallet.address,
                chain_id=wallet.chain_id,
                kind=wallet.kind,
                client=client,
                lifetimes=self._lifetimes,
                now=now,
            )

        session = await self._users.sign_in(
            opened,
            wallet=wallet,
            new_user=self._chance.uuid(),
            nonce_hash=proved.nonce_hash,
            refresh=sessions.hash_secret(refresh),
        )
        if session is None:
            raise spent()
        access = self._issuer.issue(
            session.user_id,
            session.address,
            session.session_id,
            session.scopes,
            until=session.expire_time,
            from_api_token=False,
        )
        refresh_token = sessions.write_secret(sessions.REFRESH_PREFIX, refresh)
        return SignedIn(access=access, refresh_token=refresh_token, session=session)

    async def prove(
        self, caller: Principal | None, purpose: Purpose, *, text: str, signature: bytes, verifier: str = ""
    ) -> Proved:
        """Take the challenge of a signed text, whatever the outcome, and return the wallet that signed it."""
        message = challenges.read(text)
        issued = await self._pending.take(message.nonce) if challenges.is_nonce(message.nonce) else None
        challenges.check(
            message,
            text,
            issued,
            purpose=purpose,
            user=caller.user if caller is not None else "",
            verifier=verifier,
            site=self._site,
            now=self._clock.now(),
        )
        kind = await self._prover.prove(message.address, message.chain_id, text, signature)
        return Proved(
            address=message.address,
            chain_id=message.chain_id,
            kind=kind,
            nonce_hash=hashlib.sha256(message.nonce.encode()).digest(),
        )


def spent() -> DomainError:
    """Return the refusal of a nonce that the record knows as used, whatever the cache said."""
    return challenges.refused("nonce", "the nonce was used before")


def _user_for(purpose: Purpose, caller: Principal | None) -> str:
    if purpose is Purpose.SIGN_IN:
        return ""
    if caller is None:
        raise DomainError(
            Reason.TOKEN_MISSING,
            f"A challenge to {purpose.value} names the user: send the access token with this call.",
            metadata={"purpose": purpose.value},
        )
    if caller.from_api_token:
        raise sessions.needs_session()
    return caller.user
