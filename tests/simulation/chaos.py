"""The faults of a seed: which kinds it has, how often they strike, and how often they really did.

Each seed draws a few kinds of the catalogue (`KINDS`, with the names of design's fault catalogue) and how hard they
strike, so that some seeds have one fault alone and others many at once. After `heal` nothing strikes any more.
"""

from __future__ import annotations

from collections import Counter
from random import Random

KINDS: dict[str, str] = {
    "crash": "the room dies, at any step (A1 to A6)",
    "crash_at_commit": "it dies between a commit and its answer (A2)",
    "crash_in_flight": "it dies while bytes are on their way to a venue (A4, A5)",
    "freeze": "it stops past its leases and goes on without knowing (A9, A10)",
    "replica": "a second room works beside the first (A9)",
    "database_away": "the database does not answer, nothing was done (E1, E3)",
    "database_cut": "the connection breaks within a transaction, which is rolled back (E3)",
    "commit_unknown": "the connection breaks after the commit (E2)",
    "database_slow": "a statement takes seconds (E6)",
    "vault_away": "the vault does not answer (D9)",
    "vault_answer_lost": "the vault signed or settled, and its answer is lost (A3)",
    "vault_refuses": "the vault refuses by an account's limits (Z6)",
    "routing_away": "routing does not answer",
    "not_sent": "the venue takes no connection: nothing left (B6)",
    "request_lost": "bytes leave and never arrive (B5)",
    "request_late": "bytes arrive long after we gave up on them (A5)",
    "request_twice": "bytes arrive twice (A5)",
    "answer_lost": "the venue acted, and its answer is lost (A6)",
    "error_but_done": "the venue acted and answers an error (A7, B2)",
    "garbage": "the answer cannot be read (B3)",
    "too_many": "the venue answers 429 and did nothing (B1)",
    "maintenance": "a venue is down for seconds (B2)",
    "venue_budget": "the venue's true request limits are in force and hold work up (B1)",
    "dropped": "Lighter takes a transaction in and then drops it without a word (A8)",
    "foreign_nonce": "somebody else uses Lighter's key (D2, D4)",
    "token_refused": "Lighter refuses the token of a private question (D10)",
    "look_ups_lag": "look-ups and histories are up to a second behind",
    "stream_cut": "a private stream breaks, and what it would have said is lost (C3, C4)",
    "stream_silent": "a private stream says nothing and does not end (C1)",
    "stream_twice": "what a stream says comes twice (C7)",
    "stream_disorder": "what a stream says comes in another order (C7)",
    "stream_late": "what a stream says comes late",
    "wake_lost": "wake-ups are lost (F1, F5)",
    "clock_jump": "the wall clock jumps by seconds, both ways (D5)",
    "client_repeats": "a client makes its call again, or twice at once (A11, E10)",
    "client_leaves": "a client leaves before the answer (A21)",
    "foreign_hand": "the account's owner cancels or trades at the venue itself (C4, A15)",
    "market_moves": "prices run through what rests (A15, A16)",
    "little_money": "the account cannot carry what is ordered (A8)",
    "halt": "the operator halts trading and resumes it (H8)",
}


class Chaos:
    """Decides whether a fault strikes."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"{seed} chaos")
        count = self.rng.choice((1, 2, 3, 4, 6, 8, 12))
        kinds = sorted(KINDS)
        self.kinds = set(self.rng.sample(kinds, count))
        self.hardness = self.rng.choice((0.03, 0.08, 0.15, 0.3, 0.5))
        self.met: Counter[str] = Counter()
        self.is_on = True

    def strikes(self, kind: str, weight: float = 1.0) -> bool:
        """Say whether a fault strikes here and now, and count it."""
        assert kind in KINDS
        if not self.is_on or kind not in self.kinds or self.rng.random() >= self.hardness * weight:
            return False
        self.met[kind] += 1
        return True

    def has(self, kind: str) -> bool:
        """Say whether a kind is among the seed's, for what lasts or is set up once; it counts where it is used."""
        return self.is_on and kind in self.kinds

    def heal(self) -> None:
        """End all faults."""
        self.is_on = False
