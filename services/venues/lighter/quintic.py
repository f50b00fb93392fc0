"""GF(p^5) over Goldilocks, modulo z^5 - 3: the field of Lighter's signature curve.

An element is five integers, the lowest power first. Inverses and square-root tests go through the norm, which
Frobenius maps make cheap. Source: elliottech/poseidon_crypto; T. Pornin, "EcGFp5".
"""

from __future__ import annotations

from typing import Final

from services.venues.lighter.poseidon import P

Element = tuple[int, int, int, int, int]

ZERO: Final[Element] = (0, 0, 0, 0, 0)
ONE: Final[Element] = (1, 0, 0, 0, 0)
_ORDER: Final = P**5
_ODD_PART: Final = (_ORDER - 1) >> 32
"""p^5 - 1 is 2^32 times this odd number."""


def small(value: int) -> Element:
    """Return an integer as an element."""
    return (value % P, 0, 0, 0, 0)


def add(a: Element, b: Element) -> Element:
    """Return a + b."""
    return ((a[0] + b[0]) % P, (a[1] + b[1]) % P, (a[2] + b[2]) % P, (a[3] + b[3]) % P, (a[4] + b[4]) % P)


def sub(a: Element, b: Element) -> Element:
    """Return a - b."""
    return ((a[0] - b[0]) % P, (a[1] - b[1]) % P, (a[2] - b[2]) % P, (a[3] - b[3]) % P, (a[4] - b[4]) % P)


def scale(a: Element, factor: int) -> Element:
    """Return a times an integer."""
    return (a[0] * factor % P, a[1] * factor % P, a[2] * factor % P, a[3] * factor % P, a[4] * factor % P)


def mul(a: Element, b: Element) -> Element:
    """Return a * b."""
    a0, a1, a2, a3, a4 = a
    b0, b1, b2, b3, b4 = b
    return (
        (a0 * b0 + 3 * (a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1)) % P,
        (a0 * b1 + a1 * b0 + 3 * (a2 * b4 + a3 * b3 + a4 * b2)) % P,
        (a0 * b2 + a1 * b1 + a2 * b0 + 3 * (a3 * b4 + a4 * b3)) % P,
        (a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0 + 3 * a4 * b4) % P,
        (a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0) % P,
    )


def square(a: Element) -> Element:
    """Return a * a."""
    a0, a1, a2, a3, a4 = a
    return (
        (a0 * a0 + 6 * (a1 * a4 + a2 * a3)) % P,
        (2 * a0 * a1 + 3 * (2 * a2 * a4 + a3 * a3)) % P,
        (2 * a0 * a2 + a1 * a1 + 6 * a3 * a4) % P,
        (2 * (a0 * a3 + a1 * a2) + 3 * a4 * a4) % P,
        (2 * (a0 * a4 + a1 * a3) + a2 * a2) % P,
    )


def power(a: Element, exponent: int) -> Element:
    """Return a to a non-negative power."""
    result = ONE
    while exponent:
        if exponent & 1:
            result = mul(result, a)
        a = square(a)
        exponent >>= 1
    return result


def invert(a: Element) -> Element:
    """Return 1 / a, and zero for zero."""
    if a == ZERO:
        return ZERO
    conjugates = _conjugates(a)
    norm = mul(a, conjugates)[0]
    return scale(conjugates, pow(norm, P - 2, P))


def is_square(a: Element) -> bool:
    """Whether a is the square of a non-zero element."""
    return pow(mul(a, _conjugates(a))[0], (P - 1) // 2, P) == 1


def root(a: Element) -> Element | None:
    """Return a square root of a, or None (Tonelli and Shanks)."""
    if a == ZERO:
        return ZERO
    if not is_square(a):
        return None
    c = power(small(7), _ODD_PART)
    half = power(a, (_ODD_PART - 1) // 2)
    r = mul(half, a)
    u = mul(r, half)
    m = 32
    while u != ONE:
        i, v = 0, u
        while v != ONE:
            v = square(v)
            i += 1
        b = c
        for _ in range(m - i - 1):
            b = square(b)
        r, c = mul(r, b), square(b)
        u, m = mul(u, c), i
    return r


def _conjugates(a: Element) -> Element:
    """Return the product of a's four other conjugates."""
    first = _frobenius(a, 1)
    pair = mul(first, _frobenius(first, 1))
    return mul(pair, _frobenius(pair, 2))


def _frobenius(a: Element, times: int) -> Element:
    k0, k1, k2, k3, k4 = _FROBENIUS[times]
    return (a[0] * k0 % P, a[1] * k1 % P, a[2] * k2 % P, a[3] * k3 % P, a[4] * k4 % P)


_G: Final = pow(3, (P - 1) // 5, P)
_FROBENIUS: Final = {k: tuple(pow(_G, k * i, P) for i in range(5)) for k in (1, 2)}
