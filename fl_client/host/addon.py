"""A household inside Home Assistant's add-on: makes its folder the first time, then takes part.

    python -m fl_client.host.addon [ROOT]

ROOT (/) holds ``data/options.json``, which the Supervisor writes, ``data/home``, the household's
folder, and ``config``, the folder of the add-on that people see: ``ca.crt`` of the community goes
there, and ``meters.yaml`` where the energy dashboard does not know the meters.
"""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

from common.files import write_secret, write_whole
from common.web import token_of

SUPERVISOR = os.environ.get("SUPERVISOR", "http://supervisor")
_CLIENT = [sys.executable, "-c", "from fl_client.host.commands import main; main()"]


def mqtt(token: str) -> dict[str, str]:
    """The broker that Home Assistant has, as a household's secrets; {} where it has none."""
    request = urllib.request.Request(
        f"{SUPERVISOR}/services/mqtt", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())["data"]
    except (OSError, ValueError, KeyError):
        return {}
    scheme = "mqtts" if found.get("ssl") else "mqtt"
    secrets = {"FEDWATT_MQTT": f"{scheme}://{found['host']}:{found['port']}"}
    if found.get("username"):
        secrets["FEDWATT_MQTT_USER"] = found["username"]
        secrets["FEDWATT_MQTT_PASSWORD"] = found.get("password", "")
    return secrets


def main() -> int:
    """Become the household."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "/")
    options = json.loads((root / "data" / "options.json").read_text())
    home, config = root / "data" / "home", root / "config"
    token = os.environ.get("SUPERVISOR_TOKEN", "")
    secrets = {
        "FEDWATT_HOMEASSISTANT": f"{SUPERVISOR}/core",
        "FEDWATT_HOMEASSISTANT_TOKEN": token,
        **mqtt(token),
    }
    if not (home / "client.yaml").exists():
        if not (config / "ca.crt").exists():
            print(f"fedwatt: put the community's ca.crt into {config}", file=sys.stderr)
            return 2
        own = config / "meters.yaml"
        meters = (
            ["--meters", str(own)]
            if own.exists()
            else ["--from-homeassistant", secrets["FEDWATT_HOMEASSISTANT"]]
        )
        done = subprocess.run(
            [*_CLIENT, "init", str(home), "--name", options["name"], "--server", options["server"],
             "--ca", str(config / "ca.crt"), *meters],
            env=os.environ | secrets, check=False,
        )  # fmt: skip
        if done.returncode:
            return done.returncode
    # The Supervisor gives another token at every start, and people may change an option.
    known = yaml.safe_load((home / "client.yaml").read_text())
    known |= {
        "server": options["server"], "currency": options["currency"], "poll_s": options["poll_s"],
        "discovery": "homeassistant" if "FEDWATT_MQTT" in secrets else "",
        "page_host": "0.0.0.0", "page_port": 9481,
    }  # fmt: skip
    write_whole(home / "client.yaml", yaml.safe_dump(known, sort_keys=False))
    lines = "".join(f"{key}={value}\n" for key, value in secrets.items())
    write_secret(home / "secret.env", lines.encode())
    print(f"fedwatt: public key, for the coordinator: {(home / 'key.pub').read_text().strip()}")
    print(f"fedwatt: token of the page, as a password: {token_of(home / 'page.token')}", flush=True)
    command = [*_CLIENT, "start", str(home)]
    os.execve(command[0], command, dict(os.environ))


if __name__ == "__main__":
    sys.exit(main())
