"""``client.yaml`` and ``secret.env`` of a household's folder, as its processes read them."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files import check_secret
from common.yaml_text import read_yaml

SECRETS = "secret.env"
# In the environment of a household's processes, for ``ClientFile.keep_loaded``.
KEEP_LOADED = "FEDWATT_KEEP_LOADED"


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
    """Read ``client.yaml``. Raises InputError."""
    file = root / "client.yaml"
    if not file.is_file():
        raise InputError(f"{root}: no household's folder (run fedwatt-client init)")
    try:
        return ClientFile(**read_yaml(file))
    except TypeError as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}") from None


def secrets(root: Path) -> dict[str, str]:
    """What the household's secret file holds, lines of KEY=VALUE. Raises InputError."""
    path = root / SECRETS
    if not path.exists():
        return {}
    check_secret(path)
    pairs = [line.partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {key.strip(): value.strip() for key, _, value in pairs}
