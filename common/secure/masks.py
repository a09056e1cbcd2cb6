"""Masks that cancel in a sum, and the keys they are drawn from.

Two households agree on a key (X25519, RFC 7748; HKDF-SHA256, RFC 5869) and expand it to words
(AES-256 in counter mode, NIST SP 800-38A). Flower's own generator is not used for this: it folds
its seed to 32 bits, which anybody can try out.
"""

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.secure.grid import Words

KEY_BYTES = 32
_NONCE_BYTES = 12


def public_of(secret: bytes) -> bytes:
    """The public key of a secret one, 32 bytes each."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, public: bytes, purpose: bytes) -> bytes:
    """The key of 32 bytes that two households share, each from its own secret.

    ``purpose`` parts keys of different use and session. Raises ValueError for a public key that
    makes no secret.
    """
    exchanged = X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(public)
    )
    return HKDF(hashes.SHA256(), KEY_BYTES, None, b"fedwatt secure " + purpose).derive(exchanged)


def usable(public: bytes) -> bool:
    """Whether a public key makes a secret: points of low order make zero with every key."""
    try:
        agree(bytes(range(KEY_BYTES)), public, b"whether it does")
    except ValueError:
        return False
    return True


def own_key(secret: bytes, purpose: bytes) -> bytes:
    """The key of the mask that a household adds for itself, from its secret of 32 bytes."""
    return HKDF(hashes.SHA256(), KEY_BYTES, None, b"fedwatt secure " + purpose).derive(secret)


def expand(key: bytes, count: int) -> Words:
    """``count`` words (count,) from a key that is used for this alone."""
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), dtype="<u8").astype(np.uint64, copy=False)


def seal(key: bytes, text: bytes, nonce: bytes, about: bytes) -> bytes:
    """``text`` for the one who shares ``key``; it cannot be opened as anything but ``about``."""
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, text, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """What ``seal`` was given. Raises ValueError where it was not sealed so."""
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
    except InvalidTag:
        raise ValueError("a share that was not sealed for this household") from None
