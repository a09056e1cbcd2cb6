"""``fedwatt config``: what can be set, what is set, and what it means."""

from typing import Annotated

import typer

from common import config
from common.console import group
from common.settings_text import annotated, defaults
from common.settings_text import explain as explained

app = group(help="show the settings, explain a setting")


@app.command()
def show(
    config_: Annotated[str | None, typer.Option("--config", help="preset or YAML file")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any setting")
    ] = None,
    only_defaults: Annotated[
        bool, typer.Option("--defaults", help="those of no config at all: configs/default.yaml")
    ] = False,
) -> None:
    """Print every setting with its meaning, as a run with these options would have it."""
    if only_defaults:
        typer.echo(defaults(), nl=False)
    else:
        typer.echo(annotated(config.load(config_, set_ or [])).lstrip("\n"), nl=False)


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="section.key, or a section for all of its keys")],
) -> None:
    """Say what a setting means, its default, and what it may be."""
    typer.echo(explained(key))
