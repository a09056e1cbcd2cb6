"""Shamir's secret sharing (Shamir 1979, "How to share a secret"): any t shares tell, t - 1 do not.

Over the field of the prime 2^521 - 1, which holds 32 bytes whole. Flower's, which takes 16 bytes at
a time in GF(2^128), needs 0.2 s for one secret of a hundred households; this one some milliseconds.
"""

import secrets
from collections.abc import Mapping, Sequence

PRIME = 2**521 - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(
    secret: bytes, threshold: int, points: Sequence[int], coefficients: Sequence[int] | None = None
) -> list[bytes]:
    """One share of 66 bytes for each of ``points`` (distinct, above 0).

    ``coefficients`` (threshold - 1) are drawn from the operating system unless a test gives them.
    Raises ValueError for a secret of other than 32 bytes or points that would tell it.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes")
    if len(set(points)) != len(points) or min(points, default=0) < 1:
        raise ValueError("points of shares must be distinct and above 0")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"a threshold of {threshold} of {len(points)} shares")
    if coefficients is None:
        coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    polynomial = [int.from_bytes(secret, "big"), *coefficients]
    shares = []
    for x in points:
        y = 0
        for coefficient in reversed(polynomial):
            y = (y * x + coefficient) % PRIME
        shares.append(y.to_bytes(SHARE_BYTES, "big"))
    return shares


def whole(share: bytes) -> bool:
    """Whether this could be a share: of its length, and below the prime."""
    return len(share) == SHARE_BYTES and int.from_bytes(share, "big") < PRIME


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret whose shares these are, by point; as many as its threshold, or more.

    Raises ValueError where they are shares of no secret of 32 bytes.
    """
    if not all(whole(share) for share in shares.values()):
        raise ValueError("a share of another form")
    numbers = {x: int.from_bytes(share, "big") for x, share in shares.items()}
    secret = 0
    for i, y in numbers.items():
        over, under = 1, 1
        for j in numbers:
            if j != i:
                over, under = over * j % PRIME, under * (j - i) % PRIME
        secret = (secret + y * over * pow(under, -1, PRIME)) % PRIME
    if secret >= 1 << (8 * SECRET_BYTES):
        raise ValueError("shares that do not belong together")
    return secret.to_bytes(SECRET_BYTES, "big")
