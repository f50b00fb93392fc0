"""Verifying Lighter's Schnorr signatures over ecGFp5, in pure Python made fast.

The field is GF(p^5) = GF(p)[z]/(z^5 - 3), p = 2^64 - 2^32 + 1. An element is one Python integer with five lanes of
`LANE` bits: a product is then a single big multiplication, and all lanes are reduced together with
2^64 = 2^32 - 1 (mod p). Lanes stay below 2^65 and are made canonical only where bytes or comparisons need them.

Points are in the short Weierstrass form of the curve (X = x + a/3). A verification needs s G + e P; G has a table of
all multiples of its windows, and so has every public key once it has been used twice, which makes a verification
about a hundred additions without any doubling. Key tables are kept for the `KEYS_KEPT` keys used last.
"""

from __future__ import annotations

from collections import OrderedDict

from services.simulator.crypto.poseidon import P, from_bytes, hash_elements, to_bytes

N = 1067993516717146951041484916571792702745057740581727230159139685185762082554198619328292418486241
LANE = 144
WINDOW = 5
WINDOWS = -(-320 // WINDOW)
KEYS_KEPT = 64
_LOW = (1 << 64) - 1
_ALL = sum(1 << (LANE * i) for i in range(5))
_LOWS = _ALL * _LOW
_HIGHS = _ALL * ((1 << (LANE - 64)) - 1)
_FIVE = (1 << (5 * LANE)) - 1
_FOUR = (1 << (4 * LANE)) - 1
_BIG = _ALL * (4 * P)
"""Added before a subtraction so that no lane goes below zero."""

Point = tuple[int, int]


def pack(limbs: list[int] | tuple[int, ...]) -> int:
    """Return an element from five limbs."""
    value = 0
    for index, limb in enumerate(limbs):
        value |= limb << (LANE * index)
    return value


def unpack(value: int) -> list[int]:
    """Return the five canonical limbs of an element."""
    mask = (1 << LANE) - 1
    return [(value >> (LANE * index) & mask) % P for index in range(5)]


def _reduce(x: int) -> int:
    """Bring lanes below 2^140 under 2^65."""
    for _ in range(3):
        high = (x >> 64) & _HIGHS
        x = (x & _LOWS) + (high << 32) - high
    return x


def mul(a: int, b: int) -> int:
    """Multiply."""
    product = a * b
    return _reduce((product & _FIVE) + 3 * (product >> (5 * LANE)))


def sub(a: int, b: int) -> int:
    """Subtract; lanes of `b` must be below 4p."""
    return _small(a + _BIG - b)


def _small(x: int) -> int:
    """Bring lanes below 2^70 under 2^65."""
    high = (x >> 64) & _HIGHS
    return (x & _LOWS) + (high << 32) - high


def add(a: int, b: int) -> int:
    """Add."""
    return _small(a + b)


_G5 = pow(3, (P - 1) // 5, P)
_FROBENIUS = [[pow(_G5, power * lane, P) for lane in range(5)] for power in range(5)]
ZERO = 0
ONE = 1


def _frobenius(a: int, power: int) -> int:
    return pack([limb * factor % P for limb, factor in zip(unpack(a), _FROBENIUS[power], strict=True)])


def _norm(a: int) -> tuple[int, int]:
    """Return a^(p + p^2 + p^3 + p^4) and the norm of a, which is in GF(p)."""
    first = _frobenius(a, 1)
    pair = mul(first, _frobenius(first, 1))
    rest = mul(pair, _frobenius(pair, 2))
    return rest, unpack(mul(a, rest))[0]


def inverse(a: int) -> int:
    """Return 1/a, and 0 for 0."""
    rest, norm = _norm(a)
    if norm == 0:
        return ZERO
    factor = pow(norm, P - 2, P)
    return pack([limb * factor % P for limb in unpack(rest)])


def _is_square(a: int) -> bool:
    return pow(_norm(a)[1], (P - 1) // 2, P) == 1


def equal(a: int, b: int) -> bool:
    """Compare."""
    return unpack(a) == unpack(b)


def power(a: int, exponent: int) -> int:
    """Return a power."""
    result = ONE
    while exponent:
        if exponent & 1:
            result = mul(result, a)
        a = mul(a, a)
        exponent >>= 1
    return result


def square_root(a: int) -> int | None:
    """Return a root, None when there is none (Tonelli-Shanks; q - 1 = 2^32 t with t odd)."""
    if not any(unpack(a)):
        return ZERO
    if not _is_square(a):
        return None
    odd = (P**5 - 1) >> 32
    c, root, u, m = power(pack([7, 0, 0, 0, 0]), odd), power(a, (odd + 1) // 2), power(a, odd), 32
    while not equal(u, ONE):
        order, v = 0, u
        while not equal(v, ONE):
            v = mul(v, v)
            order += 1
        b = c
        for _ in range(m - order - 1):
            b = mul(b, b)
        root, c, m = mul(root, b), mul(b, b), order
        u = mul(u, c)
    return root


_A = pack([2, 0, 0, 0, 0])
_B4 = pack([0, 4 * 263, 0, 0, 0])
_HALF = inverse(pack([2, 0, 0, 0, 0]))
_A3 = mul(_A, inverse(pack([3, 0, 0, 0, 0])))
_AW = pack([6148914689804861439, 263, 0, 0, 0])
GENERATOR: Point = (
    pack([11712523173042564207, 14090224426659529053, 13197813503519687414, 16280770174934269299,
          15998333998318935536]),
    pack([14639054205878357578, 17426078571020221072, 2548978194165003307, 8663895577921260088,
          9793640284382595140]),
)  # fmt: skip


def encode(point: Point | None) -> list[int]:
    """Return a point's one field element as limbs; the neutral element is zero."""
    if point is None:
        return [0] * 5
    return unpack(mul(point[1], inverse(sub(_A3, point[0]))))


def decode(limbs: list[int]) -> tuple[Point | None, bool]:
    """Return the point of an encoded element, and whether it is one."""
    w = pack(limbs)
    e = sub(mul(w, w), _A)
    root = square_root(sub(mul(e, e), _B4))
    if root is None:
        return None, not any(limbs)
    x1, x2 = mul(add(e, root), _HALF), mul(sub(e, root), _HALF)
    x = x1 if _is_square(x1) else x2
    return (add(x, _A3), sub(ZERO, mul(w, x))), True


def _double_affine(p: Point) -> Point:
    square = mul(p[0], p[0])
    slope = mul(add(add(add(square, square), square), _AW), inverse(add(p[1], p[1])))
    x = sub(sub(mul(slope, slope), p[0]), p[0])
    return x, sub(mul(slope, sub(p[0], x)), p[1])


Jacobian = tuple[int, int, int]
"""X/Z^2, Y/Z^3."""


def _add_mixed(p: Jacobian | None, q: Point) -> Jacobian | None:
    """Add an affine point (EFD madd-2007-bl without its doublings); equal points take the slow road."""
    if p is None:
        return q[0], q[1], ONE
    x1, y1, z1 = p
    zz = mul(z1, z1)
    h = sub(mul(q[0], zz), x1)
    r = sub(mul(q[1], mul(zz, z1)), y1)
    hh = mul(h, h)
    hhh = mul(h, hh)
    z3 = mul(z1, h)
    if not any(unpack(z3)):
        if any(unpack(r)):
            return None
        x, y = _double_affine(q)
        return x, y, ONE
    v = mul(x1, hh)
    x3 = sub(sub(mul(r, r), hhh), add(v, v))
    return x3, sub(mul(r, sub(v, x3)), mul(y1, hhh)), z3


def _affine(points: list[Jacobian]) -> list[Point]:
    """Return points with Z = 1, with one inversion for all."""
    running, products = ONE, []
    for _, _, z in points:
        products.append(running)
        running = mul(running, z)
    back = inverse(running)
    out: list[Point] = []
    for (x, y, z), before in zip(reversed(points), reversed(products), strict=True):
        one_over = mul(back, before)
        back = mul(back, z)
        square = mul(one_over, one_over)
        out.append((mul(x, square), mul(y, mul(square, one_over))))
    return out[::-1]


Table = list[list[Point]]


def table_of(point: Point) -> Table:
    """Return, for each window, the multiples 1 to 2^WINDOW - 1 of the point times 2^(WINDOW x window)."""
    rows: list[Jacobian] = []
    base = point
    for _ in range(WINDOWS):
        current: Jacobian | None = None
        for _ in range((1 << WINDOW) - 1):
            current = _add_mixed(current, base)
            if current is None:
                raise ArithmeticError("the point has a small order; the curve has none such")
            rows.append(current)
        last = _add_mixed(current, base)
        if last is None:
            raise ArithmeticError("the point has a small order; the curve has none such")
        base = _affine([last])[0]
    flat, width = _affine(rows), (1 << WINDOW) - 1
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _accumulate(total: Jacobian | None, scalar: int, table: Table) -> Jacobian | None:
    mask = (1 << WINDOW) - 1
    for row in table:
        digit = scalar & mask
        if digit:
            total = _add_mixed(total, row[digit - 1])
        scalar >>= WINDOW
    return total


class Verifier:
    """Verifies signatures, keeping tables for the generator and for keys that come again."""

    def __init__(self) -> None:
        self._generator: Table | None = None
        self._keys: OrderedDict[bytes, Table | None] = OrderedDict()

    def _key(self, public: bytes) -> Table | None:
        found = self._keys.get(public)
        if found is None:
            point, valid = decode(from_bytes(public))
            found = table_of(point) if valid and point is not None else None
            self._keys[public] = found
            if len(self._keys) > KEYS_KEPT:
                self._keys.popitem(last=False)
        self._keys.move_to_end(public)
        return found

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """Say whether a signature of 80 bytes over 40 bytes of message is that of a public key of 40 bytes."""
        if len(public) != 40 or len(signature) != 80 or len(message) != 40:
            return False
        s, e = int.from_bytes(signature[:40], "little"), int.from_bytes(signature[40:], "little")
        if s >= N or e >= N:
            return False
        table = self._key(public)
        if table is None:
            return False
        if self._generator is None:
            self._generator = table_of(GENERATOR)
        total = _accumulate(_accumulate(None, s, self._generator), e, table)
        point = None if total is None else _affine([total])[0]
        digest = hash_elements(encode(point) + from_bytes(message), 5)
        return sum(limb << (64 * index) for index, limb in enumerate(digest)) % N == e


def public_key(private: bytes) -> bytes:
    """Return the public key of a private key of 40 bytes; for tests and for accounts that the simulator makes."""
    scalar, total = int.from_bytes(private, "little") % N, None
    total = _accumulate(None, scalar, table_of(GENERATOR))
    return to_bytes(encode(None if total is None else _affine([total])[0]))
