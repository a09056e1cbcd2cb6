"""Commands in this process, and what they say to bad input."""

import typer
from typer.testing import CliRunner

from common.errors import InputError


def refused(app: typer.Typer, *arguments: str) -> str:
    """The line with which a command refuses ``arguments``; nothing else may end it."""
    done = CliRunner().invoke(app, list(arguments))
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)
