"""The messages of secure aggregation: four short ones round the training message of a round.

Households are known to each other by labels, numbers from 1 on that last for a run, and by their
keys; names do not travel. What is signed is made here, so that both ends sign the same bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.messages import MessageError, view_arrays
from common.secure.grid import Words

SECURE = "secure"
"""Action of the short messages, and record of the training message."""
MASKED = "masked"
"""Array record of a masked update: bytes of words of 64 bits."""
_WORDS = "words"

METRICS = ("train_loss", "train_steps")
"""What of a training is summed up beside the model; under privacy these are 0."""

KEYS, SHARES, AGREE, UNMASK = "keys", "shares", "agree", "unmask"

SIGNATURE = ec.ECDSA(hashes.SHA256())
SESSION_BYTES = 16
KEY_MOST, SEALED_MOST = 400, 1024
"""Bytes that an identity or a signature, and a sealed pair of shares, may have."""
MOST_HOUSEHOLDS = 10_000
LEAST_HOUSEHOLDS = 3
"""Of two, each knows the other's update from the sum."""


@dataclass(frozen=True)
class Session:
    """One attempt at one round: ``run``, ``round`` and a number of the coordinator's own."""

    run: str
    round: int
    number: bytes

    def about(self, *parts: bytes | int) -> bytes:
        """Bytes that belong to this session and these parts alone: what is signed or sealed."""
        digest = hashlib.sha256(b"fedwatt secure aggregation 2")
        for part in (self.run.encode(), self.round, self.number, *parts):
            text = part if isinstance(part, bytes) else str(part).encode()
            digest.update(len(text).to_bytes(8, "big") + text)
        return digest.digest()

    def agreed(
        self, members: Mapping[int, tuple[bytes, bytes, bytes]], survivors: Sequence[int]
    ) -> bytes:
        """What households sign of who is left, and of whom they take for ``members``.

        ``members``: channel key, mask key and identity by label. With them inside, a signature of
        one household counts for another only where both were shown the same session: their
        thresholds are the same, which the count of signatures rests on.
        """
        keys = [part for label in sorted(members) for part in (label, *members[label])]
        return self.about(b"survivors", self.about(*keys), *survivors)


@dataclass(frozen=True)
class Advert:
    """The keys a household has for a session; ``identity`` (DER) signs the other two."""

    channel: bytes
    mask: bytes
    identity: bytes
    signature: bytes


def masked(words: Words) -> RecordDict:
    """A masked update (N,) as it travels."""
    blob = np.frombuffer(words.astype("<u8").tobytes(), dtype=np.uint8)
    return RecordDict({MASKED: ArrayRecord({_WORDS: Array(blob)})})


def words_of(content: RecordDict, size: int) -> Words:
    """The masked update (size,) of a reply. Raises MessageError."""
    blob = view_arrays(content.array_records[MASKED])[_WORDS]
    if blob.dtype != np.uint8 or blob.shape != (8 * size,):
        raise MessageError(f"a masked update of shape {blob.shape}")
    return np.frombuffer(blob.tobytes(), "<u8").astype(np.uint64, copy=False)


def request(phase: str, session: Session, **fields: Any) -> RecordDict:
    """A short message of the coordinator's."""
    record = ConfigRecord(
        {"phase": phase, "run": session.run, "round": session.round, "session": session.number}
    )
    for key, value in fields.items():
        record[key] = value
    return RecordDict({SECURE: record})


def reply(**fields: Any) -> RecordDict:
    """A household's answer to a short message."""
    record = ConfigRecord()
    for key, value in fields.items():
        record[key] = value
    return RecordDict({SECURE: record})


def record_of(content: RecordDict) -> Mapping[str, object]:
    """The record of secure aggregation. Raises MessageError where there is none."""
    if SECURE not in content.config_records:
        raise MessageError("no record of secure aggregation")
    return content.config_records[SECURE]


def session_of(record: Mapping[str, object]) -> Session:
    """The session a message is of. Raises MessageError."""
    run, round_, number = record.get("run"), record.get("round"), record.get("session")
    if not (isinstance(run, str) and type(round_) is int and isinstance(number, bytes)):
        raise MessageError("a message of no session")
    if len(number) != SESSION_BYTES or not 0 <= round_ < 1 << 31 or len(run) > 200:
        raise MessageError("a message of no session")
    return Session(run, round_, number)


def bytes_of(record: Mapping[str, object], key: str, most: int) -> bytes:
    """A field of at most ``most`` bytes. Raises MessageError."""
    value = record.get(key)
    if not isinstance(value, bytes) or not 0 < len(value) <= most:
        raise MessageError(f"{key}: expected up to {most} bytes")
    return value


def many_bytes(record: Mapping[str, object], key: str, count: int, most: int) -> list[bytes]:
    """A list of ``count`` fields of at most ``most`` bytes, empty ones too. Raises MessageError."""
    value = record.get(key)
    if not isinstance(value, list) or len(value) != count:
        raise MessageError(f"{key}: expected {count} of them")
    if not all(isinstance(one, bytes) and len(one) <= most for one in value):
        raise MessageError(f"{key}: expected up to {most} bytes each")
    return value


def labels_of(record: Mapping[str, object], key: str = "labels") -> list[int]:
    """Labels, rising and each once. Raises MessageError."""
    value = record.get(key)
    if not isinstance(value, list) or not 0 < len(value) <= MOST_HOUSEHOLDS:
        raise MessageError(f"{key}: expected labels")
    if not all(type(one) is int and 0 < one <= 1 << 31 for one in value):
        raise MessageError(f"{key}: expected labels")
    if any(a >= b for a, b in pairwise(value)):
        raise MessageError(f"{key}: labels must rise")
    return value


def number_of(record: Mapping[str, object], key: str, low: int, high: int) -> int:
    """A whole number. Raises MessageError."""
    value = record.get(key)
    if type(value) is not int or not low <= value <= high:
        raise MessageError(f"{key}: expected {low} to {high}")
    return value


def threshold_of(households: int) -> int:
    """How many of so many must hold together to tell anything: more than two thirds.

    With t > 2n/3 a coordinator that tells one half of the households another list of survivors
    than the other half gets signatures for one list at most, unless a third of them are its own
    (Bonawitz et al. 2017, section 6: 2t - n > the number that collude).
    """
    return 2 * households // 3 + 1


def known(labels: Sequence[int], among: Sequence[int]) -> bool:
    """Whether all these labels are among those."""
    return set(labels) <= set(among)


def sign(key: ec.EllipticCurvePrivateKey, text: bytes) -> bytes:
    """A signature that ``verify`` accepts: r and s, each as long as the curve's order.

    DER would be now one byte longer and now one shorter, and with it what a run has sent.
    """
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(text, SIGNATURE))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def verify(identity: bytes, signature: bytes, text: bytes) -> None:
    """Raise MessageError unless the owner of ``identity`` has signed ``text``."""
    try:
        key = serialization.load_der_public_key(identity)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise MessageError("an identity that is no elliptic-curve key")
        half = len(signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        key.verify(encode_dss_signature(r, s), text, SIGNATURE)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise MessageError("a signature that does not hold") from None
