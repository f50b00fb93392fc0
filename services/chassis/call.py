"""What is known of the call being served, carried along its task in one context variable.

The server sets it when a call begins; the log adds its request id to every line, and the client passes request id and
deadline on to other rooms. A task started while serving inherits it; a background task that outlives the call should
be started by the room's supervisor, which starts with none.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from services.chassis.principal import Principal


@dataclass(slots=True, kw_only=True)
class Call:
    """One call while it is served."""

    request_id: str
    """The id that finds the call in every room's log."""
    method: str
    """The full name, such as `perpmesh.marketdata.v1.MarketDataService/GetPrice`."""
    deadline: float | None = None
    """When the caller stops waiting, on the monotonic clock, in seconds; None for a stream without a deadline."""
    principal: Principal | None = None
    """Who calls; None when nobody had to sign in."""
    order_id: str = ""
    """The order that the call is about, where it is about one."""

    def facts(self) -> dict[str, str]:
        """Return what else finds the call in a log: its user and its order, where there are any."""
        principal = self.principal
        known = {"order_id": self.order_id}
        if principal is not None:
            known |= {"user": principal.user, "service": principal.service}
        return {name: value for name, value in known.items() if value}


CURRENT: ContextVar[Call | None] = ContextVar("perpmesh_call", default=None)
"""The call being served in this task, if any."""


def request_id() -> str:
    """Return the request id of the call being served, or the empty text outside of one."""
    call = CURRENT.get()
    return call.request_id if call is not None else ""
