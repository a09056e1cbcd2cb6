"""Making a coordinator's folder and letting households in."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from common.config import Settings, dump, load
from common.data.frame import check_name
from common.data.source import lasting, source_of
from common.errors import InputError
from common.files import write_whole
from common.processes import check_address, is_loopback
from fl_server.host.flower import CONNECTION, await_superlink, flwr, write_connection
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.members import admit, admitted, expel, leave, read_members
from fl_server.host.tariff_file import check_members, write_tariff
from fl_server.host.tls import (
    check_public_key,
    make_authority,
    make_server_certificate,
)
from fl_server.price_sources import open_prices
from fl_server.price_sources.table import read_table
from fl_server.prices import published_prices


def init_server(
    root: Path,
    addresses: Sequence[str],
    config: str | None,
    override: Sequence[str],
    tariff: str | None,
    households: int,
    deployment: Deployment,
) -> None:
    """Make the folder of a coordinator that is reached by ``addresses``.

    ``tariff``: a CSV file, or a data source of ``households`` homes to rehearse with. Raises
    InputError, and then leaves nothing.
    """
    folder = Folder(root)
    if folder.server_file.exists():
        raise InputError(f"{root}: is a server folder already")
    for address in addresses:
        check_address(address)
    if deployment.insecure and not is_loopback(addresses[0]):
        raise InputError(f"insecure with address {addresses[0]}: without TLS only loopback will do")
    settings = load(config, override, run={"households": households})
    check_members(settings)
    origin = _origin(settings, tariff)
    moment = None
    if origin is not None:
        moment = origin[0].to_pydatetime()
        # Days and months of the books are those of the homes.
        data = settings.data.model_copy(update={"timezone": origin[1]})
        settings = settings.model_copy(update={"data": data})
    deployment = deployment.model_copy(update={"address": addresses[0], "start": moment})
    new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        if tariff is not None and settings.tariff.source in ("data", "flat"):
            _write_tariff(folder, settings, tariff)
        folder.tls.mkdir(mode=0o700, exist_ok=True)
        if not deployment.insecure:
            make_authority(folder.tls)
            make_server_certificate(folder.tls, addresses)
        write_whole(folder.tls / "names", "\n".join(addresses) + "\n")
        write_whole(folder.settings_file, dump(settings))
        write_connection(folder, deployment)
        # Last, for it is what makes a folder a server's.
        plain = json.loads(deployment.model_dump_json())
        write_whole(folder.server_file, yaml.safe_dump(plain, sort_keys=False))
    except BaseException as error:
        if new:
            shutil.rmtree(root, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"{root}: {error.strerror}") from None
        raise


def _is_csv(tariff: str) -> bool:
    return tariff.endswith(".csv") and Path(tariff).is_file()


def _rehearsal(settings: Settings, tariff: str) -> Settings:
    values = settings.model_dump(mode="json")
    values["data"]["source"] = tariff
    values["homes"] = values["homes_last"] = {}  # the file is of whoever has no tariff of its own
    return lasting(Settings.model_validate(values))


def _origin(settings: Settings, tariff: str | None) -> tuple[pd.Timestamp, str] | None:
    """Time of interval 0, and the time zone, where a data source tells them."""
    if tariff is None:
        if settings.tariff.source == "data":
            raise InputError("--tariff: a CSV file or data source, or --set tariff.source=flat")
        open_prices(settings.tariff)
        return None
    if _is_csv(tariff):
        return None
    if tariff.endswith(".csv") and not Path(tariff).exists():
        raise InputError(f"--tariff {tariff}: no such file; its columns are time,retail")
    source = source_of(_rehearsal(settings, tariff))
    return source.start(), source.load(source.names()[0]).timezone


def _write_tariff(folder: Folder, settings: Settings, tariff: str) -> None:
    if _is_csv(tariff):
        read_table(Path(tariff))
        write_whole(folder.tariff, Path(tariff).read_bytes())
        return
    rehearsed = _rehearsal(settings, tariff)
    source = source_of(rehearsed)
    start = source.start()
    energy = published_prices(rehearsed, source, start).energy[0]
    write_tariff(folder.tariff, start, energy, rehearsed.cadence)


def renew_certificate(root: Path, addresses: Sequence[str] | None) -> None:
    """Make a new server certificate. Raises InputError."""
    folder = Folder(root)
    folder.deployment()
    names = addresses or (folder.tls / "names").read_text().split()
    if not names:
        raise InputError(f"{folder.tls / 'names'}: empty; name the addresses with --address")
    for name in names:
        check_address(name)
    make_server_certificate(folder.tls, names)
    write_whole(folder.tls / "names", "\n".join(names) + "\n")


def admit_household(root: Path, public_key: str, name: str) -> int:
    """Register a public key and bind the name to its node; returns the node id."""
    folder = Folder(root)
    deployment = folder.deployment()
    if deployment.insecure:
        raise InputError(f"{root}: insecure: nobody is admitted, who connects takes part")
    check_name(name)
    if name in admitted(read_members(folder.members)):
        raise InputError(f"household {name!r} is admitted already")
    file = Path(public_key)
    if len(public_key.split()) == 1 and not file.is_file():
        raise InputError(
            f"public key {public_key}: no such file; the line of fedwatt-client init will do too"
        )
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
    nodes = {member.name: member.node_id for member in read_members(folder.members)}
    node = nodes.get(name)
    if node is None:
        raise InputError(f"household {name!r}: not admitted")
    try:
        await_superlink(folder.deployment())
        flwr(folder, "supernode", "unregister", str(node), CONNECTION)
    except ConnectionError as error:
        raise InputError(f"{name}: not expelled: {error}") from None
    expel(folder.members, name)


def leave_household(root: Path, name: str, *, stays: bool = False) -> None:
    """Let a household trade no more from the next interval on, or, if it ``stays``, again.

    It is heard until its last readings are there. Raises InputError.
    """
    folder = Folder(root)
    if folder.deployment().insecure:
        raise InputError(f"{root}: insecure: nobody is admitted, who connects takes part")
    leave(folder.members, name, leaving=not stays)


def end_run(root: Path) -> None:
    """Let a run without end come to its end. Raises InputError."""
    folder = Folder(root)
    folder.deployment()
    if not folder.settings().endless:
        raise InputError(f"{root}: this run ends by itself (run.days in config.yaml)")
    if Live.read(folder.live) is None:
        raise InputError(f"{root}: no run has begun")
    write_whole(folder.ending, "")
