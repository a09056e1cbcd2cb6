"""``fedwatt train``: the training pipeline without federation, pooled over the households given."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from common.config import load
from common.console import single
from common.files import look_at_folder

app = single()


@app.command()
def train(
    config: Annotated[str | None, typer.Option(help="preset or YAML file")] = None,
    data: Annotated[str | None, typer.Option(help="citylearn, synthetic, a folder or URL")] = None,
    households: Annotated[int, typer.Option(help="first N by name; 0: all there are")] = 0,
    days: Annotated[int, typer.Option(help="days to generate, for synthetic homes")] = 112,
    out: Annotated[Path, typer.Option(help="new folder for the model")] = Path("model"),
    seed: Annotated[int | None, typer.Option(help="overrides run.seed")] = None,
    stride: Annotated[int, typer.Option(min=1, help="use every n-th forecast origin")] = 1,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one setting")
    ] = None,
) -> None:
    """Train the configured model on all readings, the last tenth of them held out in time.

    Writes OUT/model.safetensors (the weights of the best epoch; ``model.init`` takes it),
    OUT/scalers/NAME.npz and OUT/training.json.
    """
    flags: dict[str, Any] = {
        "run": {} if seed is None else {"seed": seed},
        "data": {} if data is None else {"source": data},
    }
    settings = load(config, override or (), **flags)
    look_at_folder(out)

    from simulations.homes import load_households
    from simulations.training import train_pooled

    homes = load_households(
        settings.data.source,
        households=households,
        days=days,
        seed=settings.run.seed,
        timezone=settings.data.timezone,
    )
    summary = train_pooled(homes, settings, out, stride=stride)
    print(json.dumps(summary))
