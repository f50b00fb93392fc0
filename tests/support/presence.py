"""A presence that nobody reads, for doors whose users do not matter."""

from __future__ import annotations


class NobodyHere:
    """The port `Presence` of the stream room."""

    def here(self, user: str, connection_id: str) -> None:
        """A socket is a user's."""

    def gone(self, user: str, connection_id: str) -> None:
        """It is not any more."""
