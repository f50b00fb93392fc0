"""What the tests of the session share: making one, subscriptions, and reading actions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from services.venues.budget import Allowance, Budget
from services.venues.lifecycle import Action, Send, SessionConfig
from services.venues.session import Session
from services.venues.subscriptions import Subscription

SECOND = 1_000_000_000
PING = "ping"


def make(
    *, messages: int = 200, reserve: int = 10, connects: int = 100, seed: int = 1, **settings_: object
) -> tuple[Session, SessionConfig]:
    values: dict[str, object] = {"ping": PING, "subscriptions_max": 100, **settings_}
    config = SessionConfig(**values)  # type: ignore[arg-type]
    session = Session(
        config,
        messages=Budget(Allowance(units=messages, seconds=60, reserve=reserve)),
        connects=Budget(Allowance(units=connects, seconds=60)),
        rng=random.Random(seed),
    )
    return session, config


def subs(*keys: str) -> list[Subscription]:
    return [Subscription(key=key, subscribe=f"+{key}", unsubscribe=f"-{key}") for key in keys]


def sent(actions: Sequence[Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Send)]


def of(kind: type, actions: Sequence[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]
