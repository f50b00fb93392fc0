"""Page tokens: where the next page begins, bound to the other arguments, signed, opaque, holding no permission.

A token is the position and the first bytes of an HMAC-SHA-256 over call, arguments and position (RFC 2104), in
base64url (RFC 4648). One that was changed, or is given with other arguments, is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from services.domain.errors import DomainError, FieldViolation, Reason

_SIGNATURE_BYTES = 12


class Pager:
    """Makes and reads the page tokens of one room."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def token(self, call: str, arguments: str, position: str) -> str:
        """Return the token that continues `call` after `position`."""
        raw = self._sign(call, arguments, position) + position.encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def position(self, call: str, arguments: str, token: str) -> str:
        """Return the position a token names. Raises CURSOR_INVALID for any other text."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            position = raw[_SIGNATURE_BYTES:].decode()
        except (binascii.Error, ValueError):
            raise _invalid() from None
        if not hmac.compare_digest(raw[:_SIGNATURE_BYTES], self._sign(call, arguments, position)):
            raise _invalid()
        return position

    def _sign(self, call: str, arguments: str, position: str) -> bytes:
        text = "\0".join((call, arguments, position)).encode()
        return hmac.digest(self._secret, text, hashlib.sha256)[:_SIGNATURE_BYTES]


def split_position(position: str, parts: int) -> list[str]:
    """Return the parts of a position, the last of which may hold spaces. Raises CURSOR_INVALID for another number."""
    found = position.split(" ", parts - 1)
    if len(found) != parts or not found[0].isdecimal():
        raise _invalid()
    return found


def page_size(asked: int, *, default: int, largest: int) -> int:
    """Return how many to return: zero means the default, too many means the largest."""
    return min(asked or default, largest)


def _invalid() -> DomainError:
    advice = "this is no token of this call with these arguments; send next_page_token as received, or none"
    return DomainError(
        Reason.CURSOR_INVALID,
        f"page_token: {advice}",
        metadata={"field": "page_token"},
        fields=(FieldViolation("page_token", advice),),
    )
