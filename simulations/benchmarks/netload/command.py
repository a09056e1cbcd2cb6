"""``fedwatt benchmark netload``: corrections of own days, federated against other ways to learn."""

from pathlib import Path
from typing import Annotated, Any

import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder
from common.forecast.presets import find_preset
from simulations.benchmarks.starts import read_starts

app = single()

GENERATED_DAYS = 120
"""How many days of synthetic homes there are."""


@app.command()
def netload(
    out: Annotated[Path, typer.Option(help="new folder for results.json and picture.png")],
    data: Annotated[str, typer.Option(help="citylearn, synthetic, a folder or a URL")] = (
        "citylearn"
    ),
    households: Annotated[int, typer.Option(min=1, help="first N by name")] = 10,
    skip: Annotated[int, typer.Option(min=0, help="leave out the first K of them")] = 0,
    starts: Annotated[str, typer.Option(help="comma-separated local days")] = (
        "2016-10-01,2017-05-01"
    ),
    days: Annotated[float, typer.Option(help="days scored from each start")] = 30.0,
    history_days: Annotated[int, typer.Option(min=8, help="days before them to learn from")] = 56,
    seeds: Annotated[int, typer.Option(min=1, help="repeat with seeds 0..K-1")] = 1,
    preset: Annotated[str, typer.Option(help="model preset")] = "slot",
    rounds: Annotated[int, typer.Option(min=1)] = 60,
    local_steps: Annotated[int, typer.Option(min=1, help="of a home in a round")] = 8,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rows: Annotated[str, typer.Option(help="comma-separated; default: all")] = "",
    market: Annotated[bool, typer.Option(help="live the days with each row as well")] = True,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any setting of the days")
    ] = None,
) -> None:
    """Score net load of the next day, asked in every half hour, and what trading by it saves.

    What is corrected are the homes' own days. Homes learn together, alone, or all readings are
    pooled, at equal work, before the days that are scored.
    """
    if days <= 0:
        raise InputError(f"--days {days:g}: expected more than 0")
    if find_preset(preset).family != "slot":
        raise InputError(f"--preset {preset}: has no head for net load; slot and slot-small have")
    look_at_folder(out)
    begins = read_starts(starts)
    if skip >= households:
        raise InputError(f"--skip {skip}: nobody is left of {households} households")
    from simulations.benchmarks.boosted import regressor
    from simulations.benchmarks.forecasts.neural import Plan
    from simulations.benchmarks.netload import output, run
    from simulations.homes import load_households
    from simulations.progress import track

    chosen = [name.strip() for name in rows.split(",") if name.strip()] or list(run.ROWS)
    for name in chosen:
        if name not in run.ROWS:
            raise InputError(f"--rows {name!r}: expected one of {', '.join(run.ROWS)}")
    if "lightgbm" in chosen:
        regressor()  # whether there is one is known before anybody learns
    setup = run.Setup(
        days,
        history_days,
        Plan(preset, rounds, local_steps, batch_size),
        chosen,
        market,
        set_ or (),
    )
    found = run.Found()
    for seed in range(seeds):
        homes = load_households(
            data, households=households, days=GENERATED_DAYS, seed=seed, timezone=None
        )
        for start in begins:
            done = run.compare(homes[skip:], setup, start, seed, found)
            for _ in track(done, f"{start}, seed {seed}", len(chosen)):
                pass
    facts: dict[str, Any] = {
        "data": data,
        "households": [home.name for home in homes[skip:]],
        "starts": [str(start) for start in begins],
        "days": days,
        "history_days": history_days,
        "seeds": seeds,
        "preset": preset,
        "rounds": rounds,
        "local_steps": local_steps,
        "batch_size": batch_size,
        "settings": list(set_ or ()),
    }
    made = output.summary(found, chosen)
    output.write(made, found, facts, out)
    typer.echo("\n".join(output.lines(made)))
    typer.echo(f"written: {out / 'results.json'}, {out / 'picture.png'}")
