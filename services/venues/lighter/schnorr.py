"""Lighter's Schnorr signatures over ecGFp5: check one, and read public keys. About 13 ms a check, nothing precomputed.

A signature is s then e, 40 bytes each, little-endian; it holds when e is the hash of encode(s G + e P) and the message.
Points are kept in Jacobian coordinates of y^2 = x^3 + A x + B; the two multiplications share their doublings.
Signing is not here: the venue's own library does it (`signer.py`). Source: elliottech/poseidon_crypto
`signature/schnorr`; T. Pornin, "EcGFp5".
"""

from __future__ import annotations

from typing import Final

from services.venues.lighter import quintic as f
from services.venues.lighter.poseidon import P, from_bytes, hash_elements, to_bytes
from services.venues.lighter.quintic import Element

GROUP_ORDER: Final = 1067993516717146951041484916571792702745057740581727230159139685185762082554198619328292418486241
"""How many points the group has, a prime."""
SIGNATURE_BYTES: Final = 80
KEY_BYTES: Final = 40
_WINDOW: Final = 4

Affine = tuple[Element, Element]
Jacobian = tuple[Element, Element, Element]

_THIRD: Final = f.invert(f.small(3))
_HALF: Final = f.invert(f.small(2))
_A3: Final = f.mul(f.small(2), _THIRD)
"""A third of the curve's coefficient a = 2: what shifts its x to the short form."""
_B4: Final[Element] = (0, 4 * 263, 0, 0, 0)
_A_SHORT: Final[Element] = (6148914689804861439, 263, 0, 0, 0)
_GENERATOR: Final[Affine] = (
    (11712523173042564207, 14090224426659529053, 13197813503519687414, 16280770174934269299, 15998333998318935536),
    (14639054205878357578, 17426078571020221072, 2548978194165003307, 8663895577921260088, 9793640284382595140),
)


def public_key_of(secret: bytes) -> bytes:
    """Return the 40 bytes of a secret key's public key. Not constant in time: for set-up and tests only."""
    number = int.from_bytes(secret, "little") % GROUP_ORDER
    return to_bytes(_encode(_multiply(((number, _GENERATOR),))))


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (80 bytes) over `message` (40 bytes) is of `public_key` (40 bytes)."""
    if len(public_key) != KEY_BYTES or len(message) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    s = int.from_bytes(signature[:40], "little")
    e = int.from_bytes(signature[40:], "little")
    if s >= GROUP_ORDER or e >= GROUP_ORDER:
        return False
    point = _decode(public_key)
    if point is None:
        return False
    r = _encode(_multiply(((s, _GENERATOR), (e, point))))
    return _scalar(hash_elements(r + from_bytes(message), 5)) == e


def is_public_key(public_key: bytes) -> bool:
    """Whether these 40 bytes are a point of the curve other than the neutral one."""
    return len(public_key) == KEY_BYTES and _decode(public_key) is not None


def _scalar(elements: tuple[int, ...]) -> int:
    return sum(value << (64 * i) for i, value in enumerate(elements)) % GROUP_ORDER


def _encode(point: Jacobian | None) -> Element:
    """Return w = Y / (a/3 - X) of a point, zero for the neutral one."""
    if point is None:
        return f.ZERO
    x, y, z = point
    inverse = f.invert(z)
    squared = f.square(inverse)
    return f.mul(f.mul(y, f.mul(squared, inverse)), f.invert(f.sub(_A3, f.mul(x, squared))))


def _decode(data: bytes) -> Affine | None:
    """Return the point of 40 bytes; None where there is none, or the neutral one."""
    limbs = from_bytes(data)
    if any(limb >= P for limb in limbs):
        return None
    w: Element = (limbs[0], limbs[1], limbs[2], limbs[3], limbs[4])
    e = f.sub(f.square(w), f.small(2))
    r = f.root(f.sub(f.square(e), _B4))
    if r is None or w == f.ZERO:
        return None
    first, second = f.mul(f.add(e, r), _HALF), f.mul(f.sub(e, r), _HALF)
    x = first if f.is_square(first) else second
    return f.add(x, _A3), f.sub(f.ZERO, f.mul(w, x))


def _multiply(terms: tuple[tuple[int, Affine], ...]) -> Jacobian | None:
    """Return the sum of number times point, over `terms`."""
    tables = [(number, _table(point)) for number, point in terms]
    result: Jacobian | None = None
    for shift in range((GROUP_ORDER.bit_length() + _WINDOW - 1) // _WINDOW * _WINDOW - _WINDOW, -1, -_WINDOW):
        for _ in range(_WINDOW):
            result = _double(result)
        for number, table in tables:
            digit = (number >> shift) & 15
            if digit:
                result = _add(result, table[digit])
    return result


def _table(point: Affine) -> list[Jacobian | None]:
    """Return 0 to 15 times a point."""
    one: Jacobian = (point[0], point[1], f.ONE)
    table: list[Jacobian | None] = [None, one, _double(one)]
    while len(table) < 1 << _WINDOW:
        table.append(_add(table[-1], one))
    return table


def _double(p: Jacobian | None) -> Jacobian | None:
    if p is None or p[1] == f.ZERO:
        return None
    x, y, z = p
    yy, zz = f.square(y), f.square(z)
    s = f.scale(f.mul(x, yy), 4)
    m = f.add(f.scale(f.square(x), 3), f.mul(_A_SHORT, f.square(zz)))
    x3 = f.sub(f.square(m), f.add(s, s))
    y3 = f.sub(f.mul(m, f.sub(s, x3)), f.scale(f.square(yy), 8))
    return x3, y3, f.scale(f.mul(y, z), 2)


def _add(p: Jacobian | None, q: Jacobian | None) -> Jacobian | None:
    if p is None:
        return q
    if q is None:
        return p
    x1, y1, z1 = p
    x2, y2, z2 = q
    zz1, zz2 = f.square(z1), f.square(z2)
    u1, u2 = f.mul(x1, zz2), f.mul(x2, zz1)
    s1, s2 = f.mul(y1, f.mul(z2, zz2)), f.mul(y2, f.mul(z1, zz1))
    h, r = f.sub(u2, u1), f.sub(s2, s1)
    if h == f.ZERO:
        return _double(p) if r == f.ZERO else None
    hh = f.square(h)
    hhh, v = f.mul(h, hh), f.mul(u1, hh)
    x3 = f.sub(f.sub(f.square(r), hhh), f.add(v, v))
    return x3, f.sub(f.mul(r, f.sub(v, x3)), f.mul(s1, hhh)), f.mul(h, f.mul(z1, z2))
