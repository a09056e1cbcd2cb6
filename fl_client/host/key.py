"""The household's own key, by which the coordinator knows its node."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.files import write_secret


def make_node_key(folder: Path, comment: str) -> str:
    """Write ``key`` (secret) and ``key.pub``; returns the public key's line."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    line = f"{public.decode()} {comment}\n"
    write_secret(folder / "key", private)
    (folder / "key.pub").write_text(line)
    return line.strip()
