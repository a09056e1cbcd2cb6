"""``client.yaml`` and ``secret.env`` of a household's folder, as its processes read them."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files import check_secret
from common.yaml_text import number, read_yaml, whole_number

SECRETS = "secret.env"
# In the environment of a household's processes, for ``ClientFile.keep_loaded``.
KEEP_LOADED = "FEDWATT_KEEP_LOADED"

_PREFIX = re.compile(r"([\w-]+(/[\w-]+)*)?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}")
_LAST_PORT = 65535


@dataclass(frozen=True)
class ClientFile:
    """``client.yaml``: who this is, where its data is, whom it talks to and how often.

    server: HOST:PORT. port: Flower's own, on this host's loopback. insecure: no TLS, loopback
    only. poll_s: seconds between two questions for messages. keep_loaded: what an answer takes
    stays in memory between messages: more memory for good, less CPU time a message. page_host,
    page_port: where the page of the house is; port 0: nowhere. discovery: topic prefix by which
    Home Assistant finds what the page shows, "": it is not told. currency: of prices and bills, as
    ISO 4217 calls it.
    """

    name: str
    data: str
    server: str
    port: int = 9094
    insecure: bool = False
    poll_s: float = 3.0
    keep_loaded: bool = False
    page_host: str = "127.0.0.1"
    page_port: int = 0
    discovery: str = ""
    currency: str = "EUR"


def read_client(root: Path) -> ClientFile:
    """Read ``client.yaml``. Raises InputError with file, key and what to write instead."""
    file = root / "client.yaml"
    if not file.is_file():
        raise InputError(f"{root}: no household's folder (run fedwatt-client init)")
    loaded = read_yaml(file)
    if not isinstance(loaded, dict):
        raise InputError(f"{file}: expected keys and values")
    try:
        found = ClientFile(**loaded)
    except TypeError as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}") from None
    _check_kinds(found, f"{file}: ")
    check_discovery(found, f"{file}: ")
    return found


def _check_kinds(file: ClientFile, where: str) -> None:
    entry = vars(file)
    for key in ("name", "data", "server", "page_host", "discovery", "currency"):
        value = entry[key]
        if not isinstance(value, str) or not value.isprintable():
            raise InputError(
                f"{where}{key}: expected text, not {value!r:.60}; what YAML reads otherwise "
                "is put in quotes"
            )
    for key in ("insecure", "keep_loaded"):
        if not isinstance(entry[key], bool):
            raise InputError(f"{where}{key}: expected true or false, not {entry[key]!r:.60}")
    for key in ("port", "page_port"):
        whole_number(entry, key, 0, 0, _LAST_PORT, where)
    number(entry, "poll_s", 0.0, 0.0, math.inf, where)


def check_discovery(file: ClientFile, where: str) -> None:
    """Raise InputError, which begins with ``where``, for what Home Assistant cannot be told."""
    if not _PREFIX.fullmatch(file.discovery):
        raise InputError(
            f"{where}discovery {file.discovery!r:.60}: expected a topic, say homeassistant"
        )
    if not _CURRENCY.fullmatch(file.currency):
        raise InputError(f"{where}currency {file.currency!r:.60}: expected three letters, as EUR")


def secrets(root: Path) -> dict[str, str]:
    """What the household's secret file holds, lines of KEY=VALUE. Raises InputError."""
    path = root / SECRETS
    if not path.exists():
        return {}
    check_secret(path)
    pairs = [line.partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {key.strip(): value.strip() for key, _, value in pairs}
