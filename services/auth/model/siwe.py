"""The text of EIP-4361, written and read by its grammar and by nothing looser.

A text is one whole match of the grammar: line feeds only, fields in their order, no trailing bytes, every URI after RFC
3986, every time after RFC 3339. What is read prints back to the same bytes. The library `signinwithethereum` is the
judge in the tests (docs/decisions/0007); a bound on every length is ours, since EIP-4361 leaves it to the application.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from services.auth.model.ethereum import checksummed

MESSAGE_BYTES_MAX = 4_096
RESOURCES_MAX = 10
CHAIN_DIGITS_MAX = 16
NONCE_CHARS_MAX = 128


class SiweError(ValueError):
    """The text is no EIP-4361 message; the message says where it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiweMessage:
    """The fields of a message; times are the texts that were signed."""

    domain: str
    address: str
    statement: str | None
    uri: str
    chain_id: int
    nonce: str
    issued_at: str
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None
    scheme: str | None = None

    def text(self) -> str:
        """Return the text that a wallet signs."""
        scheme = f"{self.scheme}://" if self.scheme is not None else ""
        lines = [f"{scheme}{self.domain} wants you to sign in with your Ethereum account:", self.address, ""]
        lines += [self.statement, ""] if self.statement is not None else [""]
        lines += [f"URI: {self.uri}", "Version: 1", f"Chain ID: {self.chain_id}", f"Nonce: {self.nonce}"]
        lines.append(f"Issued At: {self.issued_at}")
        if self.expiration_time is not None:
            lines.append(f"Expiration Time: {self.expiration_time}")
        if self.not_before is not None:
            lines.append(f"Not Before: {self.not_before}")
        if self.request_id is not None:
            lines.append(f"Request ID: {self.request_id}")
        if self.resources is not None:
            lines += ["Resources:", *(f"- {resource}" for resource in self.resources)]
        return "\n".join(lines)


# RFC 3986, appendix A. Percent-encoding counts as one character; nothing outside ASCII passes anywhere.
_HEX = r"%[0-9A-Fa-f]{2}"
_UNRESERVED = r"A-Za-z0-9\-._~"
_SUB = r"!$&'()*+,;="
_PCHAR = rf"(?:[{_UNRESERVED}{_SUB}:@]|{_HEX})"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_H16 = r"[0-9A-Fa-f]{1,4}"
_LS32 = rf"(?:{_H16}:{_H16}|{_OCTET}(?:\.{_OCTET}){{3}})"
_IPV6 = "|".join(
    (
        rf"(?:{_H16}:){{6}}{_LS32}",
        rf"::(?:{_H16}:){{5}}{_LS32}",
        rf"(?:{_H16})?::(?:{_H16}:){{4}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,1}}{_H16})?::(?:{_H16}:){{3}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,2}}{_H16})?::(?:{_H16}:){{2}}{_LS32}",
        rf"(?:(?:{_H16}:){{0,3}}{_H16})?::{_H16}:{_LS32}",
        rf"(?:(?:{_H16}:){{0,4}}{_H16})?::{_LS32}",
        rf"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}",
        rf"(?:(?:{_H16}:){{0,6}}{_H16})?::",
    )
)
_FUTURE = rf"v[0-9A-Fa-f]+\.[{_UNRESERVED}{_SUB}:]+"
_HOST = rf"(?:\[(?:{_IPV6}|{_FUTURE})\]|(?:[{_UNRESERVED}{_SUB}]|{_HEX})*)"
_HOST_SOME = rf"(?:\[(?:{_IPV6}|{_FUTURE})\]|(?:[{_UNRESERVED}{_SUB}]|{_HEX})+)"
_USER = rf"(?:(?:[{_UNRESERVED}{_SUB}:]|{_HEX})*@)?"
_AUTHORITY = rf"{_USER}{_HOST}(?::[0-9]*)?"
_AUTHORITY_SOME = rf"{_USER}{_HOST_SOME}(?::[0-9]*)?"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"
_PATH = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?|{_PCHAR}+(?:/{_PCHAR}*)*)?"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_URI = rf"{_SCHEME}:{_PATH}{_TAIL}"
_TIME = (
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)"
    r"(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_STATEMENT = rf"[{_UNRESERVED}{_SUB}:/?#\[\]@ ]+"

_MESSAGE = re.compile(
    rf"(?:(?P<scheme>{_SCHEME})://)?(?P<domain>{_AUTHORITY_SOME}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n\n"
    rf"(?:(?P<statement>{_STATEMENT})\n)?\n"
    rf"URI: (?P<uri>{_URI})\n"
    r"Version: (?P<version>1)\n"
    rf"Chain ID: (?P<chain_id>[0-9]{{1,{CHAIN_DIGITS_MAX}}})\n"
    rf"Nonce: (?P<nonce>[a-zA-Z0-9]{{8,{NONCE_CHARS_MAX}}})\n"
    rf"Issued At: (?P<issued_at>{_TIME})"
    rf"(?:\nExpiration Time: (?P<expiration_time>{_TIME}))?"
    rf"(?:\nNot Before: (?P<not_before>{_TIME}))?"
    rf"(?:\nRequest ID: (?P<request_id>{_PCHAR}*))?"
    rf"(?P<resources>\nResources:(?:\n- {_URI}){{0,{RESOURCES_MAX}}})?"
)
_START = re.compile(rf"(?:{_SCHEME}://)?{_AUTHORITY_SOME} wants you to sign in with your Ethereum account:\n")


def parse(text: str) -> SiweMessage:
    """Read a message, or raise SiweError. The checksum of the address (EIP-55) must be right."""
    if len(text.encode(errors="surrogatepass")) > MESSAGE_BYTES_MAX:
        raise SiweError(f"the message must have at most {MESSAGE_BYTES_MAX} bytes")
    if not text.isascii():
        raise SiweError("the message must be ASCII: EIP-4361 knows no other letters")
    found = _MESSAGE.fullmatch(text)
    if found is None:
        where = "its first line" if _START.match(text) is None else "its fields, their order or the end"
        raise SiweError(f"the message is not one of EIP-4361: look at {where}; sign the challenge exactly as received")
    address = found["address"]
    if checksummed(address) != address:
        raise SiweError("the checksum of the address is wrong (EIP-55)")
    for name in ("issued_at", "expiration_time", "not_before"):
        if found[name] is not None:
            read_time(found[name])
    listed = found["resources"]
    return SiweMessage(
        scheme=found["scheme"],
        domain=found["domain"],
        address=address,
        statement=found["statement"],
        uri=found["uri"],
        chain_id=int(found["chain_id"]),
        nonce=found["nonce"],
        issued_at=found["issued_at"],
        expiration_time=found["expiration_time"],
        not_before=found["not_before"],
        request_id=found["request_id"],
        resources=None if listed is None else tuple(line[2:] for line in listed.split("\n")[2:]),
    )


def read_time(text: str) -> datetime:
    """Return the time of an RFC 3339 text in UTC, or raise SiweError for a day that does not exist."""
    if re.fullmatch(_TIME, text) is None:
        raise SiweError(f"{text[:40]!r} is no RFC 3339 time")
    head, _, tail = text.upper().partition(".")
    if tail:
        digits = re.match(r"[0-9]+", tail)
        assert digits is not None
        text = f"{head}.{digits[0][:6]}{tail[digits.end() :]}"
    try:
        return datetime.fromisoformat(text.upper().replace(":60", ":59")).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SiweError(f"{text[:40]!r} is no time of the calendar") from None


def print_time(moment: datetime) -> str:
    """Return a time as it stands in a message: UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
