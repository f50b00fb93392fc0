"""Lighter's signatures checked the slow and obvious way: the oracle that the house's own arithmetic is compared with.

Affine points, big integers, nothing shared with `services.venues.lighter` but the table of round constants, which a
test compares with the captured one. About 70 ms a signature.
"""

from __future__ import annotations

import base64
from typing import Any

from services.venues.lighter.poseidon_constants import DIAGONAL, EXTERNAL, INTERNAL

P = 2**64 - 2**32 + 1
N = 1067993516717146951041484916571792702745057740581727230159139685185762082554198619328292418486241
Element = tuple[int, ...]
Point = tuple[Element, Element] | None


def _external(s: list[int]) -> list[int]:
    o = [0] * 12
    for b in range(0, 12, 4):
        a = s[b : b + 4]
        t = sum(a)
        for k in range(4):
            o[b + k] = t + a[k] + 2 * a[(k + 1) % 4]
    sums = [o[i] + o[i + 4] + o[i + 8] for i in range(4)]
    return [(o[i] + sums[i % 4]) % P for i in range(12)]


def permute(s: list[int]) -> list[int]:
    s = _external(s)
    for r in range(4):
        s = _external([pow(s[i] + EXTERNAL[r][i], 7, P) for i in range(12)])
    for constant in INTERNAL:
        s[0] = pow(s[0] + constant, 7, P)
        t = sum(s)
        s = [(t + s[i] * DIAGONAL[i]) % P for i in range(12)]
    for r in range(4, 8):
        s = _external([pow(s[i] + EXTERNAL[r][i], 7, P) for i in range(12)])
    return s


def hash_n(values: list[int], count: int) -> list[int]:
    s = [0] * 12
    for i in range(0, len(values), 8):
        for j, v in enumerate(values[i : i + 8]):
            s[j] = v % P
        s = permute(s)
    return s[:count]


def fmul(a: Element, b: Element) -> Element:
    r = [0] * 9
    for i in range(5):
        for j in range(5):
            r[i + j] += a[i] * b[j]
    return tuple((r[i] + (3 * r[i + 5] if i < 4 else 0)) % P for i in range(5))


def fadd(a: Element, b: Element) -> Element:
    return tuple((x + y) % P for x, y in zip(a, b, strict=True))


def fsub(a: Element, b: Element) -> Element:
    return tuple((x - y) % P for x, y in zip(a, b, strict=True))


def fpow(a: Element, e: int) -> Element:
    r: Element = (1, 0, 0, 0, 0)
    while e:
        if e & 1:
            r = fmul(r, a)
        a = fmul(a, a)
        e >>= 1
    return r


ZERO: Element = (0,) * 5
ONE: Element = (1, 0, 0, 0, 0)
Q = P**5


def frob(a: Element, k: int = 1) -> Element:
    g = pow(3, (P - 1) // 5, P)
    return tuple(a[i] * pow(g, k * i, P) % P for i in range(5))


def _others(a: Element) -> Element:
    f1 = frob(a)
    e = fmul(f1, frob(f1))
    return fmul(e, frob(e, 2))


def finv(a: Element) -> Element:
    if a == ZERO:
        return ZERO
    f = _others(a)
    n = fmul(a, f)
    assert n[1:] == (0, 0, 0, 0)
    i = pow(n[0], P - 2, P)
    return tuple(x * i % P for x in f)


def legendre(a: Element) -> int:
    return pow(fmul(a, _others(a))[0], (P - 1) // 2, P)


def fsqrt(a: Element) -> Element | None:
    if a == ZERO:
        return ZERO
    if legendre(a) != 1:
        return None
    t = (Q - 1) >> 32
    c = fpow((7, 0, 0, 0, 0), t)
    r, u, m = fpow(a, (t + 1) // 2), fpow(a, t), 32
    while u != ONE:
        i, v = 0, u
        while v != ONE:
            v = fmul(v, v)
            i += 1
        b = c
        for _ in range(m - i - 1):
            b = fmul(b, b)
        r, c = fmul(r, b), fmul(b, b)
        u, m = fmul(u, c), i
    return r


A: Element = (2, 0, 0, 0, 0)
B4: Element = (0, 4 * 263, 0, 0, 0)
I2, A3 = finv((2, 0, 0, 0, 0)), fmul(A, finv((3, 0, 0, 0, 0)))
AW: Element = (6148914689804861439, 263, 0, 0, 0)
G: Point = (
    (11712523173042564207, 14090224426659529053, 13197813503519687414, 16280770174934269299, 15998333998318935536),
    (14639054205878357578, 17426078571020221072, 2548978194165003307, 8663895577921260088, 9793640284382595140),
)


def padd(p: Point, q: Point) -> Point:
    if p is None:
        return q
    if q is None:
        return p
    if p[0] == q[0]:
        if p[1] != q[1] or p[1] == ZERO:
            return None
        s = fmul(p[0], p[0])
        slope = fmul(fadd(fadd(fadd(s, s), s), AW), finv(fadd(p[1], p[1])))
    else:
        slope = fmul(fsub(q[1], p[1]), finv(fsub(q[0], p[0])))
    x = fsub(fsub(fmul(slope, slope), p[0]), q[0])
    return x, fsub(fmul(slope, fsub(p[0], x)), p[1])


def pmul(k: int, p: Point) -> Point:
    r: Point = None
    while k:
        if k & 1:
            r = padd(r, p)
        p = padd(p, p)
        k >>= 1
    return r


def encode(p: Point) -> Element:
    return ZERO if p is None else fmul(p[1], finv(fsub(A3, p[0])))


def decode(w: Element) -> tuple[Point, bool]:
    e = fsub(fmul(w, w), A)
    r = fsqrt(fsub(fmul(e, e), B4))
    if r is None:
        return None, w == ZERO
    x1, x2 = fmul(fadd(e, r), I2), fmul(fsub(e, r), I2)
    x = x1 if legendre(x1) == 1 else x2
    return (fadd(x, A3), fsub(ZERO, fmul(w, x))), True


def le5(b: bytes) -> Element:
    assert len(b) == 40
    return tuple(int.from_bytes(b[i * 8 : i * 8 + 8], "little") for i in range(5))


def to_bytes(e: list[int] | Element) -> bytes:
    return b"".join(int(v).to_bytes(8, "little") for v in e)


def scalar(e: list[int] | Element) -> int:
    return sum(v << (64 * i) for i, v in enumerate(e)) % N


def public_of(secret: bytes) -> bytes:
    return to_bytes(encode(pmul(int.from_bytes(secret, "little") % N, G)))


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    s, e = int.from_bytes(signature[:40], "little"), int.from_bytes(signature[40:], "little")
    point, good = decode(le5(public))
    if s >= N or e >= N or not good:
        return False
    r = encode(padd(pmul(s, G), pmul(e, point)))
    return scalar(hash_n([*r, *le5(message)], 5)) == e


ORDER = (
    "MarketIndex", "ClientOrderIndex", "BaseAmount", "Price", "IsAsk", "Type", "TimeInForce", "ReduceOnly",
    "TriggerPrice", "OrderExpiry",
)  # fmt: skip
HALVES = ("Amount", "USDCFee", "USDCAmount")
FIELDS: dict[int, tuple[str, ...]] = {
    8: ("AccountIndex", "ApiKeyIndex", "PubKey"),
    9: ("AccountIndex", "ApiKeyIndex"),
    10: ("AccountIndex", "ApiKeyIndex", "OperatorFee", "InitialTotalShares", "MinOperatorShareRate"),
    11: ("AccountIndex", "ApiKeyIndex", "PublicPoolIndex", "Status", "OperatorFee", "MinOperatorShareRate"),
    12: (
        "FromAccountIndex", "ApiKeyIndex", "ToAccountIndex", "AssetIndex", "FromRouteType", "ToRouteType", "Amount",
        "USDCFee",
    ),
    13: ("FromAccountIndex", "ApiKeyIndex", "AssetIndex", "RouteType", "Amount"),
    14: ("AccountIndex", "ApiKeyIndex", *ORDER),
    15: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "Index"),
    16: ("AccountIndex", "ApiKeyIndex", "TimeInForce", "Time"),
    17: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "Index", "BaseAmount", "Price", "TriggerPrice"),
    18: ("AccountIndex", "ApiKeyIndex", "PublicPoolIndex", "ShareAmount"),
    19: ("AccountIndex", "ApiKeyIndex", "PublicPoolIndex", "ShareAmount"),
    20: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "InitialMarginFraction", "MarginMode"),
    29: ("AccountIndex", "ApiKeyIndex", "MarketIndex", "USDCAmount", "Direction"),
    35: ("AccountIndex", "ApiKeyIndex", "StakingPoolIndex", "ShareAmount"),
    36: ("AccountIndex", "ApiKeyIndex", "StakingPoolIndex", "ShareAmount"),
    41: ("AccountIndex", "ApiKeyIndex", "AccountTradingMode"),
    42: ("AccountIndex", "ApiKeyIndex", "AssetIndex", "AssetMarginMode"),
    45: (
        "AccountIndex", "ApiKeyIndex", "IntegratorAccountIndex", "MaxPerpsTakerFee", "MaxPerpsMakerFee",
        "MaxSpotTakerFee", "MaxSpotMakerFee", "ApprovalExpiry",
    ),
}  # fmt: skip
"""Pools and stakes (10, 11, 18, 19, 35, 36) are our reading of the field order; the library's own hashes confirm it."""
NIL = {1: 0, 2: 0, 3: 0, 4: 0, 5: 255, 6: 0, 7: 0, 8: 0}


def body(kind: int, info: Any) -> list[int]:
    if kind == 28:
        total: list[int] = []
        for order in info["Orders"]:
            h = hash_n([order[k] for k in ORDER], 4)
            total = hash_n(total + h, 4) if total else h
        return [info["AccountIndex"], info["ApiKeyIndex"], info["GroupingType"], *total]
    values: list[int] = []
    for name in FIELDS[kind]:
        value = info[name]
        if name == "PubKey":
            values += le5(base64.b64decode(value))
        elif name in HALVES:
            values += [value & 0xFFFFFFFF, value >> 32]
        else:
            values.append(value)
    return values


def tx_hash(chain: int, kind: int, info: Any) -> bytes:
    h = hash_n([chain, kind, info["Nonce"], info["ExpiredAt"], *body(kind, info)], 5)
    held = {int(k): v for k, v in (info.get("L2TxAttributes") or {}).items()}
    names = sorted(k for k, v in held.items() if v != NIL[k])
    if names:
        pairs = [(k, held[k]) for k in names] + [(0, 0)] * (4 - len(names))
        h = hash_n(h + hash_n([n for pair in pairs for n in pair], 5), 5)
    return to_bytes(h)


def auth_hash(text: str) -> bytes:
    raw = text.encode()
    return to_bytes(hash_n([int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)], 5))
