"""Making a coordinator's folder and letting households in."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from common.config import Settings, dump, load
from common.data.frame import check_name
from common.data.source import source_of
from common.errors import InputError
from common.files import write_whole
from common.processes import is_loopback
from fl_server.host.flower import CONNECTION, await_superlink, flwr, write_connection
from fl_server.host.folder import Deployment, Folder
from fl_server.host.members import admit, expel, read_members
from fl_server.host.tariff_file import read_tariff, write_tariff
from fl_server.host.tls import check_public_key, make_authority, make_server_certificate
from fl_server.start import published_prices


def init_server(
    root: Path,
    addresses: Sequence[str],
    config: str | None,
    override: Sequence[str],
    tariff: str | None,
    households: int,
    ports: Mapping[str, object],
) -> None:
    """Make the folder. Raises InputError, and then leaves nothing."""
    folder = Folder(root)
    if folder.server_file.exists():
        raise InputError(f"{root}: is a server folder already")
    if ports["insecure"] and not is_loopback(addresses[0]):
        raise InputError(f"insecure with address {addresses[0]}: without TLS only loopback will do")
    settings = load(config, override, run={"households": households})
    start = _tariff_start(settings, tariff)
    deployment = Deployment.model_validate({"address": addresses[0], "start": start, **ports})
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    if tariff is not None:
        _write_tariff(folder, settings, tariff)
    folder.tls.mkdir(mode=0o700, exist_ok=True)
    if not deployment.insecure:
        make_authority(folder.tls)
        make_server_certificate(folder.tls, addresses)
    write_whole(folder.settings_file, dump(settings))
    write_connection(folder, deployment)
    plain = json.loads(deployment.model_dump_json())
    write_whole(folder.server_file, yaml.safe_dump(plain, sort_keys=False))
    write_whole(folder.tls / "names", "\n".join(addresses) + "\n")


def _is_csv(tariff: str) -> bool:
    return tariff.endswith(".csv") and Path(tariff).is_file()


def _rehearsal(settings: Settings, tariff: str) -> Settings:
    values = settings.model_dump(mode="json")
    values["data"]["source"] = tariff
    return Settings.model_validate(values)


def _tariff_start(settings: Settings, tariff: str | None) -> pd.Timestamp | None:
    """Time of interval 0 where a data source tells it."""
    if tariff is None:
        if settings.tariff.source != "flat":
            raise InputError("--tariff: a CSV file or data source, or --set tariff.source=flat")
        return None
    if _is_csv(tariff):
        return None
    return source_of(_rehearsal(settings, tariff)).start()


def _write_tariff(folder: Folder, settings: Settings, tariff: str) -> None:
    if _is_csv(tariff):
        text = Path(tariff).read_text()
        write_whole(folder.tariff, text)
        first = pd.to_datetime(pd.read_csv(folder.tariff)["time"], utc=True).min()
        read_tariff(folder.tariff, first, 1)
        return
    rehearsed = _rehearsal(settings, tariff)
    source = source_of(rehearsed)
    start = source.start()
    write_tariff(folder.tariff, start, published_prices(rehearsed, source, start).retail)


def renew_certificate(root: Path, addresses: Sequence[str] | None) -> None:
    """Make a new server certificate. Raises InputError."""
    folder = Folder(root)
    folder.deployment()
    names = addresses or (folder.tls / "names").read_text().split()
    make_server_certificate(folder.tls, names)
    write_whole(folder.tls / "names", "\n".join(names) + "\n")


def admit_household(root: Path, public_key: str, name: str) -> int:
    """Register a public key and bind the name to its node; returns the node id."""
    folder = Folder(root)
    deployment = folder.deployment()
    if deployment.insecure:
        raise InputError(f"{root}: insecure: nobody is admitted, who connects takes part")
    check_name(name)
    if name in read_members(folder.members).values():
        raise InputError(f"household {name!r} is admitted already")
    file = Path(public_key)
    line = check_public_key(
        file.read_text() if len(public_key) < 1000 and file.is_file() else public_key
    )
    keys = folder.root / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    path = keys / f"{name}.pub"
    write_whole(path, line + "\n")
    try:
        await_superlink(deployment)
        answer = flwr(folder, "supernode", "register", str(path), CONNECTION, "--name", name)
    except ConnectionError as error:
        path.unlink()
        raise InputError(f"{name}: not admitted: {error}") from None
    node = int(str(answer["node-id"]))
    admit(folder.members, name, node, line)
    return node


def expel_household(root: Path, name: str) -> None:
    """Withdraw a household's registration. Raises InputError."""
    folder = Folder(root)
    found = [node for node, known in read_members(folder.members).items() if known == name]
    if not found:
        raise InputError(f"household {name!r}: not admitted")
    try:
        await_superlink(folder.deployment())
        flwr(folder, "supernode", "unregister", str(found[0]), CONNECTION)
    except ConnectionError as error:
        raise InputError(f"{name}: not expelled: {error}") from None
    expel(folder.members, name)
