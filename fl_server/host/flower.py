"""The Flower processes of a deployment and how they are called: SuperLink, SuperNode, ``flwr``."""

import json
import socket
import subprocess
import sys
import time
from typing import Any

from common.config import Settings
from common.errors import InputError
from common.files import check_secret, write_whole
from common.flower_release import GRPC_FLEET, check_release, release, speaks_http
from common.processes import BIN, check_port, environment, is_loopback
from fl_server.host.folder import FOLDER_VARIABLE, Deployment, Folder

CONNECTION = "fedwatt"


def superlink(folder: Folder) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the coordinator's SuperLink. Raises InputError."""
    deployment = folder.deployment()
    check_release("the bounds of the SuperLink")
    by_http = deployment.transport == "http"
    if by_http and not speaks_http():
        raise InputError(
            f"{folder.server_file}: transport http: flwr {release()} has grpc alone "
            "(install a newer one, docs/flower.md, or write transport: grpc)"
        )
    command = [
        sys.executable, "-m", "fl_server.host.superlink",
        "--database", str(folder.database),
        "--disable-runtime-dependency-installation",
        "--host", "127.0.0.1",
        "--port", str(deployment.control_port),
    ]  # fmt: skip
    if deployment.insecure:
        if not is_loopback(deployment.address):
            raise InputError(
                f"{folder.server_file}: insecure with address {deployment.address}: "
                "without TLS only loopback will do"
            )
        command.append("--insecure")
    else:
        tls = folder.tls
        for file in ("ca.crt", "server.pem", "server.key"):
            if not (tls / file).is_file():
                raise InputError(f"{tls / file}: missing; without TLS there is no start")
        check_secret(tls / "server.key")
        check_secret(tls / "ca.key")
        command += [
            "--ssl-ca-certfile", str(tls / "ca.crt"),
            "--ssl-certfile", str(tls / "server.pem"),
            "--ssl-keyfile", str(tls / "server.key"),
            "--enable-supernode-auth",
        ]  # fmt: skip
    own = {FOLDER_VARIABLE: str(folder.root)}
    if not by_http:
        command += ["--fleet-api-address", f"{deployment.heard_on}:{deployment.fleet_port}"]
        own[GRPC_FLEET] = "1"
    return command, environment(folder.flower, own)


def check_ports(folder: Folder) -> None:
    """Raise InputError where the ports of ``server.yaml`` are taken: Flower would say it at length,
    and neither whose nor where they are named."""
    deployment = folder.deployment()
    taken = {"control_port": "127.0.0.1", "fleet_port": deployment.heard_on}
    for key, host in taken.items():
        check_port(host, getattr(deployment, key), f"{folder.server_file}: {key}")


def write_connection(folder: Folder, deployment: Deployment) -> None:
    """Tell ``flwr`` where this coordinator's SuperLink is."""
    folder.flower.mkdir(mode=0o700, parents=True, exist_ok=True)
    trust = (
        "insecure = true\n"
        if deployment.insecure
        else f"root-certificates = {json.dumps(str(folder.tls / 'ca.crt'))}\n"
    )
    write_whole(
        folder.flower / "config.toml",
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "127.0.0.1:{deployment.control_port}"\n{trust}',
    )


def write_app(folder: Folder, settings: Settings) -> None:
    """Write the app description that Flower hands to the ServerApp and to every household.

    It carries no code, no path and no password: each host runs the fedwatt it has installed.
    """
    hidden: dict[str, Any] = {"ledger": True, "data": True, "tariff": {"source_options"}}
    plain = json.loads(settings.model_dump_json(exclude=hidden))
    for layer in ("homes", "homes_last"):
        # Every node hears the settings; what others pay is none of its business.
        for block in plain[layer].values():
            block.pop("tariff", None)
    folder.app.mkdir(parents=True, exist_ok=True)
    write_whole(
        folder.app / "pyproject.toml", _PROJECT + f"settings = {json.dumps(json.dumps(plain))}\n"
    )


_PROJECT = """\
[project]
name = "fedwatt-live"
version = "1.0.0"

[tool.flwr.app]
publisher = "fedwatt"

[tool.flwr.app.components]
serverapp = "fl_server.app:app"
clientapp = "fl_client.app:app"

[tool.flwr.app.config]
live = true
"""


def await_superlink(deployment: Deployment, patience_s: float = 30.0) -> None:
    """Wait until the SuperLink takes calls: it may have been started a moment ago.

    Raises ConnectionError after ``patience_s`` seconds.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", deployment.control_port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                where = f"port {deployment.control_port}"
                raise ConnectionError(f"no SuperLink on {where} (fedwatt server start)") from None
            time.sleep(0.5)


def flwr(folder: Folder, *arguments: str, timeout: float = 120.0) -> dict[str, object]:
    """Call ``flwr ... --format json`` and return what it says. Raises ConnectionError."""
    command = [str(BIN / "flwr"), *arguments, "--format", "json"]
    try:
        done = subprocess.run(
            command, env=environment(folder.flower), capture_output=True, text=True,
            timeout=timeout, cwd=folder.root, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConnectionError("flwr: no answer from the SuperLink") from None
    answer = _json_of(done.stdout)
    if done.returncode or not answer.get("success"):
        said = str(answer.get("error-message") or done.stderr or done.stdout)
        raise ConnectionError(f"flwr {arguments[0]}: {' '.join(said.split())[-300:]}")
    return answer


def _json_of(text: str) -> dict[str, object]:
    begin = text.find("{")
    try:
        loaded = json.loads(text[begin:]) if begin >= 0 else {}
    except json.JSONDecodeError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
