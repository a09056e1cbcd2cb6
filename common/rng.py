"""All randomness of fedwatt: every draw is a function of (seed, household, round, purpose).

Two runs with one seed draw the same numbers whatever the order, process or host in which the
draws are made, because no generator is shared between purposes.
"""

import hashlib

import numpy as np


def _entropy(seed: int, household: str, round_: int, purpose: str) -> int:
    key = f"{seed}\x1f{household}\x1f{round_}\x1f{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "little")


def generator(seed: int, household: str, round_: int, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose, for example ``generator(7, "B01", 3, "batches")``.

    ``household`` is "" for draws that belong to nobody, ``round_`` is 0 for draws made once.
    """
    return np.random.Generator(np.random.PCG64(_entropy(seed, household, round_, purpose)))


def torch_seed(seed: int, household: str, round_: int, purpose: str) -> int:
    """Return a seed for ``torch.manual_seed`` (63 bits) for the same four keys."""
    return _entropy(seed, household, round_, purpose) >> 65
