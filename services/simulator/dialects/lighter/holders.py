"""Who holds what account on Lighter: indices by wallet, API keys and their nonces, tokens, integrators, tiers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from services.simulator.crypto.schnorr import Verifier
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.dialects.lighter.transactions import token_hash

FIRST_INDEX = 1001
SUBS_BELOW = 281_474_976_710_600
SUBS_MAX = 50
NO_KEY = 255
TOKEN_LIFE_S = 8 * 3600
TOKEN_SLACK_S = 60
READ_TOKENS_MAX = 10
TRANSACTIONS_KEPT = 20_000
TIERS = ("standard", "plus", "premium")
SENDS_A_MINUTE = {"standard": 1, "plus": 8000 / 60, "premium": 4000 / 60}
"""By how much a tier multiplies the standard allowance of transactions."""
QUOTA_START = 1000
QUOTA_MAX = 5_000_000
QUOTA_DOLLARS = 7
QUOTA_FREE_S = 15.0
"""The premium tier's volume quota: transactions at first, at most, dollars traded for one more, seconds for a free one
(venue docs, mid-2026; the figures have changed over time)."""
_PER_TYPE = {13: 2, 9: 2, 8: 12, 12: 1}
"""Transactions of a type an account may send in a minute at the standard tier; 40 of any other."""


@dataclass(slots=True)
class Key:
    """An API key: its public key, the nonce it expects next, when it was registered (microseconds)."""

    public: bytes
    nonce: int = 0
    at_us: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """An integrator's highest fees, in 1e-6, and until when (ms)."""

    taker: int
    maker: int
    spot_taker: int
    spot_maker: int
    expiry_ms: int


@dataclass(slots=True)
class ReadToken:
    """A token that only reads."""

    id: int
    token: str
    name: str
    expiry_s: int
    sub_access: bool
    scopes: str
    revoked: bool = False


@dataclass(slots=True)
class Holder:
    """An account as the venue knows it besides money and orders."""

    index: int
    wallet: int
    master: int
    created_s: int
    keys: dict[int, Key] = field(default_factory=dict)
    nonces: dict[int, int] = field(default_factory=dict)
    approvals: dict[int, Approval] = field(default_factory=dict)
    tokens: list[ReadToken] = field(default_factory=list)
    maker_only: set[int] = field(default_factory=set)
    trading_mode: int = 0
    asset_modes: dict[int, int] = field(default_factory=dict)
    tier_changed_s: int = 0


@dataclass(slots=True)
class Row:
    """A transaction as the venue remembers it. Status: 0 failed, 1 pending, 2 executed."""

    hash: str
    type: int
    info: str
    account: int
    key: int
    nonce: int
    expire_ms: int
    queued_us: int
    sequence: int
    status: int = 1
    event: str = ""
    executed_us: int = 0
    height: int = 0


class Holders:
    """The register of one venue."""

    def __init__(self, verifier: Verifier) -> None:
        """Take what verifies tokens."""
        self._verifier = verifier
        self._accounts: dict[int, Holder] = {}
        self._wallets: dict[int, list[int]] = {}
        self._next = FIRST_INDEX
        self._subs = 0
        self._tokens: dict[str, tuple[int, int]] = {}
        self._sent: dict[tuple[int, str], deque[float]] = {}
        self._quota_used: dict[int, int] = {}
        self._quota_free: dict[int, float] = {}
        self.rows: dict[str, Row] = {}
        self.order_of_rows: deque[str] = deque()

    def get(self, index: int) -> Holder:
        """Return an account. Raises RefusedError."""
        found = self._accounts.get(index)
        if found is None:
            raise RefusedError(21100)
        return found

    def all_of(self, wallet: int) -> list[Holder]:
        """Return the accounts of a wallet, its master first."""
        return [self._accounts[index] for index in self._wallets.get(wallet, [])]

    def open(self, wallet: int, now_us: int, index: int | None = None) -> Holder:
        """Return a wallet's master account, made if it is new."""
        known = self._wallets.get(wallet)
        if known:
            return self._accounts[known[0]]
        number = self._next if index is None else index
        if number in self._accounts:
            raise ValueError(f"index: {number} belongs to another wallet; one that is free would pass")
        self._next = max(self._next, number + 1)
        return self._add(Holder(number, wallet, number, now_us // 1_000_000))

    def open_sub(self, master: Holder, now_us: int) -> Holder:
        """Make a sub-account; their indices count down from 2^48. Raises RefusedError."""
        if len(self._wallets[master.wallet]) > SUBS_MAX:
            raise RefusedError(21129)
        self._subs += 1
        return self._add(Holder(SUBS_BELOW - self._subs, master.wallet, master.index, now_us // 1_000_000))

    def knows(self, index: int) -> bool:
        """Say whether there is such an account."""
        return index in self._accounts

    def stand_in(self, index: int, now_us: int) -> Holder:
        """Make the account of an integrator that a client names: on the venue it exists, and nobody here owns it."""
        return self._add(Holder(index, (1 << 159) + index, index, now_us // 1_000_000))

    def _add(self, holder: Holder) -> Holder:
        self._accounts[holder.index] = holder
        self._wallets.setdefault(holder.wallet, []).append(holder.index)
        return holder

    def register(self, holder: Holder, slot: int, public: bytes, now_us: int) -> None:
        """Put a key into a slot; the slot's nonce goes on counting. An all-zero key empties it."""
        kept = holder.nonces.get(slot, 0)
        if not any(public):
            holder.keys.pop(slot, None)
            return
        holder.keys[slot] = Key(public, kept, now_us)

    def key(self, index: int, slot: int) -> Key:
        """Return an account's key. Raises RefusedError."""
        found = self.get(index).keys.get(slot)
        if found is None:
            raise RefusedError(21109)
        return found

    def nonce(self, index: int, slot: int) -> int:
        """Return the nonce that a slot expects next."""
        return self.get(index).nonces.get(slot, 0)

    def advance(self, index: int, slot: int, to: int) -> None:
        """Move a slot's nonce."""
        holder = self.get(index)
        holder.nonces[slot] = to
        if slot in holder.keys:
            holder.keys[slot].nonce = to

    def authorize(self, token: str | None, account: int | None, now_s: int) -> int:
        """Return the account a token speaks for. Raises RefusedError when it is none, late, or another's."""
        if not token:
            raise RefusedError(20001, "invalid param : auth query param and Authorization header are empty")
        owner = (self._read_token if token.startswith("ro:") else self._signed_token)(token, now_s)
        if account is not None and account != owner and self.get(owner).wallet != self.get(account).wallet:
            raise RefusedError(20013, "invalid auth: account does not match", 401)
        return owner

    def _read_token(self, token: str, now_s: int) -> int:
        parts = token.split(":")
        if len(parts) != 5 or not parts[1].isdigit():
            raise RefusedError(20013, status=401)
        holder = self.get(int(parts[1]))
        for item in holder.tokens:
            if item.token == token and not item.revoked and item.expiry_s > now_s:
                return holder.index
        raise RefusedError(20013, "invalid auth: invalid deadline", 401)

    def _signed_token(self, token: str, now_s: int) -> int:
        parts = token.split(":")
        if len(parts) != 4 or not all(part.isdigit() for part in parts[:3]) or len(parts[3]) != 160:
            raise RefusedError(20013, status=401)
        deadline, index, slot = int(parts[0]), int(parts[1]), int(parts[2])
        if not now_s <= deadline <= now_s + TOKEN_LIFE_S + TOKEN_SLACK_S:
            raise RefusedError(20013, "invalid auth: invalid deadline", 401)
        public = self.key(index, slot).public
        if self._tokens.get(token) == (index, self.key(index, slot).at_us):
            return index
        try:
            signature = bytes.fromhex(parts[3])
        except ValueError:
            raise RefusedError(20013, status=401) from None
        if not self._verifier.verify(public, token_hash(":".join(parts[:3])), signature):
            raise RefusedError(20013, "invalid auth: invalid signature", 401)
        if len(self._tokens) > 10_000:
            self._tokens.clear()
        self._tokens[token] = (index, self.key(index, slot).at_us)
        return index

    def allow(self, holder: Holder, tier: str, type_number: int, count: int, standard: int, now: float) -> None:
        """Count transactions against the wallet's minute and the type's. Raises RefusedError (429)."""
        if standard == 0:
            return
        allowances = [("", int(standard * SENDS_A_MINUTE.get(tier, 1)))]
        if tier == "standard":
            allowances.append((f":{type_number}", _PER_TYPE.get(type_number, 40)))
        windows: list[deque[float]] = []
        for name, most in allowances:
            window = self._sent.setdefault((holder.wallet, name), deque())
            while window and window[0] <= now - 60:
                window.popleft()
            if len(window) + count > most:
                raise RefusedError(23000, status=429)
            windows.append(window)
        for window in windows:
            window.extend([now] * count)

    def take_quota(self, holder: Holder, volume: int, count: int, now: float) -> int:
        """Take from a wallet's volume quota, `volume` being its accounts' lifetime volume in 1e-6; return what is left.

        Raises RefusedError (429) when nothing is left and no free transaction is due.
        """
        earned = min(QUOTA_MAX, QUOTA_START + volume // (QUOTA_DOLLARS * 1_000_000))
        left = earned - self._quota_used.get(holder.wallet, 0)
        if left >= count:
            self._quota_used[holder.wallet] = self._quota_used.get(holder.wallet, 0) + count
            return left - count
        if count == 1 and now - self._quota_free.get(holder.wallet, -QUOTA_FREE_S) >= QUOTA_FREE_S:
            self._quota_free[holder.wallet] = now
            return 0
        raise RefusedError(23000, status=429)

    def remember(self, row: Row) -> None:
        """Keep a transaction; of more than `TRANSACTIONS_KEPT` the oldest goes."""
        self.rows[row.hash] = row
        self.order_of_rows.append(row.hash)
        if len(self.order_of_rows) > TRANSACTIONS_KEPT:
            self.rows.pop(self.order_of_rows.popleft(), None)

    def rows_of(self, account: int, limit: int) -> list[Row]:
        """Return an account's newest transactions."""
        found: list[Row] = []
        for name in reversed(self.order_of_rows):
            row = self.rows.get(name)
            if row is not None and row.account == account:
                found.append(row)
                if len(found) >= limit:
                    break
        return found
