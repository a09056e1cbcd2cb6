"""What ships for a deployment can be carried out: units, compose file, commands in print."""

import configparser
import re
import shlex
from pathlib import Path

import click
import pytest
import typer
import yaml

from fl_client.host.commands import app as household
from simulations.cli import app

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "configs" / "deploy"


PROGRAMS = {"fedwatt": app, "fedwatt-client": household}


def check(program: str, words: list[str]) -> None:
    """Fail unless the command line names a command and options that exist."""
    command = typer.main.get_command(PROGRAMS[program])
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words
        command, words = found, words[1:]
    known = {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, word


def printed(page: str) -> list[str]:
    """Commands in the code blocks of a page, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / page).read_text())
    return [
        re.sub(r"\s#.*", "", line).strip().removesuffix("&").removeprefix("sudo ")
        for line in text.splitlines()
        if re.match(r"\s*fedwatt(-client)? \w", line)
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/deployment.md"])
def test_commands_in_print_exist(page: str) -> None:
    """Every fedwatt command of the page, with each of its options."""
    lines = printed(page)
    assert len(lines) >= 5
    for line in lines:
        program, *words = shlex.split(re.sub(r"[>|].*", "", line))
        check(program, words)


def test_units_start_commands_that_exist() -> None:
    """The three systemd units run fedwatt, unprivileged, and come back when it ends."""
    units = sorted(DEPLOY.glob("*.service"))
    assert len(units) == 3
    for unit in units:
        text = configparser.ConfigParser(strict=False, interpolation=None)
        text.read(unit)
        service = text["Service"]
        program, *words = shlex.split(service["ExecStart"])
        name = "fedwatt-client" if unit.stem == "fedwatt-household" else "fedwatt"
        assert program.endswith(f"/bin/{name}")
        check(name, words)
        assert service["User"] == "fedwatt"
        assert service["UMask"] == "0077"
        assert service["Restart"] in ("always", "on-failure")


def test_compose_file() -> None:
    """It parses; commands exist; households' port alone is published; nothing runs as root."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    published = [port for one in services.values() for port in one.get("ports", [])]
    assert published == ["9092:9092"]
    for one in services.values():
        check("fedwatt", one["command"])
        assert one["user"].split(":")[0] != "0"
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["restart"] in ("always", "on-failure")
    assert services["run"]["network_mode"] == "service:coordinator"
    assert 'ENTRYPOINT ["fedwatt"]' in (DEPLOY / "Dockerfile").read_text()
