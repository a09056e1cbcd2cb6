"""Addresses of servers and topics, as mappings, ``control.yaml`` and ``secret.env`` name them."""

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from common.errors import InputError

_LONGEST_TOPIC = 65535


def server(url: str, schemes: Sequence[str], where: str) -> SplitResult:
    """The parts of a server's URL, its host and port such that somebody could be called there.

    Raises InputError that begins with ``where``, and never shows a password.
    """
    # Of what is no URL nobody knows what is a password in it.
    shown = url.rpartition("@")[2][:80]
    wanted = " or ".join(f"{one}://..." for one in schemes)
    if not url.startswith(tuple(f"{one}://" for one in schemes)):
        raise InputError(f"{where} {shown!r}: expected {wanted}")
    try:
        parts = urlsplit(url)
        port = parts.port
        # What names are looked up by; labels that are empty or too long are none.
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise InputError(
            f"{where} {shown!r}: no such host or port can be: expected {schemes[0]}://HOST or "
            f"{schemes[0]}://HOST:PORT, the port from 1 to 65535, IPv6 in brackets"
        ) from None
    if not parts.hostname or port == 0:
        raise InputError(f"{where} {shown!r}: the {'port 0' if parts.hostname else 'host'} is none")
    if not url.isprintable() or " " in url:
        raise InputError(f"{where} {shown!r}: a blank or a control character in it")
    return parts


def topic(name: str, where: str) -> str:
    """The topic of MQTT, one alone. Raises InputError that begins with ``where``."""
    if any(sign in name for sign in "+#") or not name.isprintable():
        raise InputError(f"{where}: {name[:80]!r} is no topic: one alone, without + and #")
    if len(name.encode()) > _LONGEST_TOPIC:
        raise InputError(f"{where}: more than {_LONGEST_TOPIC} bytes are no topic")
    return name
