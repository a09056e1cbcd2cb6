"""A household's folder, and the command of its SuperNode."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml
from cryptography import x509

import fl_client
from common.data.frame import check_name
from common.errors import InputError
from common.files import check_secret, write_secret
from common.processes import (
    check_address,
    check_port,
    environment,
    exec_process,
    is_loopback,
)
from common.yaml_text import read_yaml
from fl_client.control.record import NONE, owed
from fl_client.control.settings import read_control
from fl_client.home.daemon import Lock
from fl_client.home.mapping import MAPPING, read_mapping
from fl_client.home.proposal import Proposal, propose
from fl_client.home.sources.source import SECRET_NAMES, TOKEN, secret
from fl_client.host.client_file import (
    KEEP_LOADED,
    SECRETS,
    ClientFile,
    check_discovery,
    read_client,
    secrets,
)
from fl_client.host.clientapp import check_host
from fl_client.host.keeper import AND
from fl_client.host.key import make_node_key
from fl_client.membership import METERS, own_settings

_PORT = re.compile(r"[0-9]{1,9}")
_WANTED = "the server's tls/ca.crt is wanted, which the coordinator hands out"
_LOCK = "client.lock"
LEAST_POLL_S, MOST_POLL_S = 0.1, 60.0


def read_proposal(mapping: Path | None, homeassistant: str) -> Proposal:
    """The household's meters: of a file, or as Home Assistant at a URL knows them.

    Paths of files are made absolute. Raises InputError.
    """
    if mapping is None:
        token = secret(os.environ, TOKEN, "--from-homeassistant", "the environment of init")
        try:
            return propose(homeassistant, token)
        except OSError as error:
            raise InputError(f"--from-homeassistant {homeassistant}: {error}") from None
    read_mapping(mapping)
    entries = read_yaml(mapping)
    for entry in entries:
        if "path" in entry:
            entry["path"] = str((mapping.resolve().parent / entry["path"]).resolve())
    return Proposal(entries, [])


def init_client(
    root: Path,
    file: ClientFile,
    ca: Path | None,
    meters: Sequence[Mapping[str, object]] = (),
) -> str:
    """Make the folder; returns the public key's line. Raises InputError, leaving nothing.

    ``ca``: the community's certificate, None without TLS. ``meters``: what meters.yaml gets. A
    database's password comes from PGPASSWORD, as everywhere, and is kept in ``secret.env``, as are
    the sources' addresses, users and passwords.
    """
    check_name(file.name)
    _check_poll("--poll", file.poll_s)
    check_discovery(file, "--")
    if (root / "client.yaml").exists():
        raise InputError(f"{root}: is a household's folder already")
    _check_address(file.server, file.insecure)
    if ca is None and not file.insecure:
        raise InputError("--ca: the community's certificate is needed (ca.crt of the server)")
    authority = None if ca is None else _authority(ca)
    data, kept = (METERS, _own_secrets()) if meters else _checked_data(root, file)
    new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        if authority is not None:
            (root / "ca.crt").write_bytes(authority)
        if kept:
            lines = "".join(f"{key}={value}\n" for key, value in kept.items())
            write_secret(root / SECRETS, lines.encode())
        if meters:
            text = yaml.safe_dump(list(meters), sort_keys=False, allow_unicode=True)
            (root / MAPPING).write_text(text, encoding="utf-8")
            (root / MAPPING).chmod(0o600)
        line = make_node_key(root, file.name)
        whole = replace(file, data=data)
        (root / "client.yaml").write_text(yaml.safe_dump(asdict(whole), sort_keys=False))
    except OSError as error:
        if new:
            shutil.rmtree(root, ignore_errors=True)
        raise InputError(f"{root}: {error.strerror}") from None
    return line


def _authority(ca: Path) -> bytes:
    """The community's certificate. Raises InputError for what is none, or not an authority's."""
    try:
        raw = ca.read_bytes()
        certificates = x509.load_pem_x509_certificates(raw)
        signs = [
            certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            for certificate in certificates
        ]
    except OSError as error:
        raise InputError(f"--ca {ca}: {error.strerror}: {_WANTED}") from None
    except ValueError:
        raise InputError(f"--ca {ca}: no certificate: {_WANTED}") from None
    except x509.ExtensionNotFound:
        signs = [False]
    if not all(signs):
        raise InputError(f"--ca {ca}: a certificate, but not of an authority: {_WANTED}")
    if b"PRIVATE KEY" in raw:
        raise InputError(f"--ca {ca}: holds a private key, which is nobody else's: {_WANTED}")
    return raw


def _own_secrets() -> dict[str, str]:
    """What the environment of ``init`` tells of sources' addresses, users and passwords."""
    found = {name: os.environ[name] for name in SECRET_NAMES if os.environ.get(name)}
    for name, value in found.items():
        if value != value.strip() or "\n" in value:
            raise InputError(f"{name}: begins or ends with a blank, or has a line break")
    return found


def _checked_data(root: Path, file: ClientFile) -> tuple[str, dict[str, str]]:
    """The data source as it is kept, and the secrets that opening it takes. Raises InputError,
    also for a file or folder in which a run would not find the household.
    """
    data = file.data
    if "://" in data:
        from common.database import has_password, parse_url, shown

        if has_password(data):
            raise InputError(
                f"--data {shown(data)}: no password in a URL, others see a command line; leave it "
                f"out and set PGPASSWORD for init, which keeps it in {root / SECRETS}"
            )
        url = parse_url(data)
        if url.get_backend_name() == "sqlite":
            return data, {}
        password = os.environ.get("PGPASSWORD")
        if password is None:
            return data, {}
        if password != password.strip() or "\n" in password:
            raise InputError("PGPASSWORD: begins or ends with a blank, or has a line break")
        return data, {"PGPASSWORD": password}
    if data in ("citylearn", "synthetic"):
        return data, {}
    if not Path(data).exists():
        raise InputError(f"--data {data}: no such file or folder")
    _look_at(Path(data), file.name)
    return str(Path(data).resolve()), {}


def _look_at(data: Path, name: str) -> None:
    """Raise InputError unless ``data`` is, or holds alone, the file of household ``name``."""
    # Only init reads readings here: what is started stays without the libraries for it.
    from common.data.store import household_files, is_household_file, read_household

    if data.is_file() and not is_household_file(data):
        raise InputError(
            f"--data {data}: not a household file of fedwatt: make one with 'fedwatt data import "
            f"{data} --name {name} --out FOLDER'"
        )
    files = [data] if data.is_file() else household_files(data)
    if len(files) > 1:
        own = data / f"{name}.parquet"
        named = f": name {own}" if own in files else ""
        raise InputError(f"--data {data}: holds {len(files)} households, not one{named}")
    found = read_household(files[0]).name
    if found != name:
        raise InputError(
            f"--data {files[0]}: is of household {found}, not of {name}: --name {found}, or "
            f"'fedwatt data import {files[0]} --name {name} --out FOLDER'"
        )


def _check_poll(key: str, poll_s: float) -> None:
    if not LEAST_POLL_S <= poll_s <= MOST_POLL_S:
        raise InputError(f"{key} {poll_s}: between {LEAST_POLL_S} and {MOST_POLL_S} seconds")


def _check_address(server: str, insecure: bool) -> None:
    host, colon, port = server.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or not host:
        raise InputError(f"--server {server!r}: expected HOST:PORT")
    check_address(host.removeprefix("[").removesuffix("]"), f"--server {server}:")
    if not 0 < int(port) < 1 << 16:
        raise InputError(f"--server {server}: a port is a number from 1 to 65535")
    if insecure and not is_loopback(host.strip("[]")):
        raise InputError(f"insecure with server {server}: without TLS only loopback will do")


def supernode(root: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the household's SuperNode. Raises InputError."""
    check_host()
    file = read_client(root)
    _check_address(file.server, file.insecure)
    _check_poll(f"{root / 'client.yaml'}: poll_s", file.poll_s)
    own_settings(root / "settings.yaml")
    command = [sys.executable, "-m", "fl_client.host.node", str(file.poll_s)]
    command += ["--superlink", file.server, "--host", "127.0.0.1", "--port", str(file.port)]
    if file.insecure:
        command.append("--insecure")
    else:
        for needed in ("ca.crt", "key"):
            if not (root / needed).is_file():
                raise InputError(f"{root / needed}: missing; without TLS there is no start")
        check_secret(root / "key")
        command += ["--root-certificates", str(root / "ca.crt")]
        command += ["--auth-supernode-private-key", str(root / "key")]
    node = {"household": file.name, "state": str(root / "state"), "data": file.data}
    command += ["--node-config", " ".join(f"{k}={json.dumps(v)}" for k, v in node.items())]
    own = secrets(root)
    if file.keep_loaded:
        own[KEEP_LOADED] = "1"
    if not os.access(Path(fl_client.__file__).parent, os.W_OK):
        # Compiled code is kept beside the source where that may be written to.
        own["NUMBA_CACHE_DIR"] = str(root / "cache")
    return command, environment(root / "flwr", own)


def start_client(root: Path) -> None:
    """Become the daemon that keeps the household's SuperNode connected, its meters read, its
    battery steered and its page served. Raises InputError.
    """
    command, env = supernode(root)
    file = read_client(root)
    if file.page_port or file.discovery:
        command += [AND, sys.executable, "-m", "fl_client.host.window", str(root)]
    if (root / MAPPING).exists():
        read_mapping(root / MAPPING)
        command += [AND, sys.executable, "-m", "fl_client.host.meters", str(root)]
        if read_control(root).mode != NONE or owed(root):
            command += [AND, sys.executable, "-m", "fl_client.host.control", str(root)]
    _hold(root)
    check_port("127.0.0.1", file.port, f"{root / 'client.yaml'}: port")
    exec_process([sys.executable, "-m", "fl_client.host.keeper", *command], env)


def _hold(root: Path) -> None:
    """Hold the folder from now on, in the process that this one becomes too; not in those that it
    starts. Raises Busy where another one does."""
    path = root / _LOCK
    known = path.read_text() if path.exists() else ""
    lock = Lock(path, f"its client runs already (process {known or 'unknown'})")
    lock.pass_on(str(os.getpid()))
