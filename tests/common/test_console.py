"""Every program and every command of it behaves the same at its entrance."""

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from common import __version__
from fl_client.host.commands import app as household
from simulations.cli import app as fedwatt

PROGRAMS = {"fedwatt": fedwatt, "fedwatt-client": household}
MODULES = {"fedwatt": "simulations.cli", "fedwatt-client": "fl_client.host.commands"}


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The command line words of every command below, itself included."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


EVERY = [
    path
    for program, app in PROGRAMS.items()
    for path in commands(typer.main.get_command(app), (program,))
]


def call(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A program in a process of its own, as its console script runs it."""
    program = f"from {MODULES[words[0]]} import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *words[1:]],
        env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_is_the_same_at_every_level(path: tuple[str, ...]) -> None:
    """-h and --help print the same: usage, a sentence, options; no completion, no escapes."""
    program, *words = path
    short, long = (
        CliRunner().invoke(PROGRAMS[program], [*words, flag]) for flag in ("-h", "--help")
    )
    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.stdout == long.stdout
    text = short.stdout
    assert text.startswith("Usage:")
    assert "-h, --help" in text
    assert "\\[" not in text
    assert "completion" not in text
    sentence = text.splitlines()[2].strip()
    assert len(sentence) > 10, path
    assert "..." not in text.partition("Commands:")[2], "a command's sentence is cut"
    listed = text.partition("\nArguments:\n")[2].partition("\n\n")[0].splitlines()
    assert all(len(line.removesuffix("[required]").split()) > 1 for line in listed), path
    assert "Positional" not in text


@pytest.mark.parametrize("path", [p for p in EVERY if len(p) == 1], ids=" ".join)
def test_a_program_has_version_and_completion(path: tuple[str, ...]) -> None:
    """Of a program itself: its version, and completion, which knows the commands of all levels."""
    [program] = path
    assert call(program, "--version").stdout == f"fedwatt {__version__}\n"
    assert "--install-completion" in call(program, "-h").stdout
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    lines = {"fedwatt": ("fedwatt benchmark tr", "traders"), "fedwatt-client": (
        "fedwatt-client st", "start")}  # fmt: skip
    line, found = lines[program]
    done = call(
        program, **{variable: "complete_bash", "COMP_WORDS": line,
                    "COMP_CWORD": str(line.count(" "))},
    )  # fmt: skip
    assert found in done.stdout.split()


def test_a_mistake_is_one_line_and_status_two() -> None:
    """What the user can mend is said in a line that begins with the program's name."""
    for words in (("fedwatt", "report", "/no/such"), ("fedwatt-client", "start", "/no/such")):
        done = call(*words)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{words[0]}: ")
        assert done.stderr.count("\n") == 1
    assert call("fedwatt", "nothing").returncode == 2


@pytest.mark.parametrize(
    ("path", "near"),
    [
        (("fedwatt", "simulat"), "simulate"),
        (("fedwatt", "server", "admi"), "admit"),
        (("fedwatt", "benchmark", "trader"), "traders"),
        (("fedwatt-client", "stat"), "start, status"),
    ],
)
def test_an_unknown_command_is_told_what_is_near(path: tuple[str, ...], near: str) -> None:
    """Once, at every level; an unknown option is still one."""
    program, *words = path
    done = CliRunner().invoke(PROGRAMS[program], words)
    assert done.exit_code == 2
    assert f"{words[-1]!r}; did you mean {near}?" in done.output
    assert done.output.lower().count("did you mean") == 1
    done = CliRunner().invoke(PROGRAMS[program], ["--nothing"])
    assert (done.exit_code, "No such option" in done.output) == (2, True)
