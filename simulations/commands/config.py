"""``fedwatt config``: what can be set, what is set, and what it means."""

from typing import Annotated

import typer

from common import config, local_rules
from common.console import group
from common.settings_text import annotated, defaults
from common.settings_text import explain as explained

app = group(help="show the settings, explain a setting, list rules for local energy")


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


@app.command()
def rules(
    name: Annotated[str | None, typer.Argument(help="which; default: a list of all")] = None,
) -> None:
    """Rules for local energy by country (tariff.rules): shares, VAT, the pages they are from."""
    if name is None:
        for one in local_rules.names():
            typer.echo(f"{one:<14}{local_rules.rules_of(one).title}")
        return
    found = local_rules.rules_of(name)
    typer.echo(found.title)
    told = {"vat": found.vat, **{f"local.{k}": v for k, v in dict(found.local).items()}}
    for key, value in told.items():
        typer.echo(f"  tariff.{key}: {'not said' if value is None else f'{value:g}'}")
    for source in found.sources:
        typer.echo(f"  read {source.read} from {source.page}: {source.says}")
