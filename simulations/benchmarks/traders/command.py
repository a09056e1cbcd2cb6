"""``fedwatt benchmark traders``: every trader with every forecast on the same days."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from common.console import single
from common.data.frame import Household
from common.errors import InputError
from common.files import look_at_folder

app = single()

STARTS = "2016-10-01,2017-02-01,2017-05-01,2017-06-26"


@app.command()
def traders(
    out: Annotated[Path, typer.Option(help="new folder for results.json and picture.png")],
    data: Annotated[str, typer.Option(help="citylearn, synthetic, a folder or a URL")] = (
        "citylearn"
    ),
    households: Annotated[int, typer.Option(min=1, help="first N by name")] = 10,
    skip: Annotated[int, typer.Option(min=0, help="leave out the first K of them")] = 0,
    days: Annotated[float, typer.Option(help="days from each start")] = 30.0,
    starts: Annotated[
        str, typer.Option(help="comma-separated local days; default: four months of citylearn")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="repeat with seeds 0..K-1")] = 1,
    rows: Annotated[str, typer.Option(help="semicolon-separated; default: all")] = "",
    history_days: Annotated[int, typer.Option(min=1)] = 60,
    preset: Annotated[str, typer.Option(help="model preset of the federated rows")] = "slot",
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    local_steps: Annotated[int, typer.Option(min=1)] = 8,
    feed_in: Annotated[float, typer.Option(min=0.0, help="what the grid pays per kWh")] = 0.05,
    cap: Annotated[
        float, typer.Option(min=0.1, help="of the no-battery peak, for the capped row")
    ] = 0.7,
    panels: Annotated[
        bool, typer.Option("--panels", help="generate PV for two thirds of the homes without")
    ] = False,
    quarter_hours: Annotated[
        bool, typer.Option("--quarter-hours", help="split every interval in two")
    ] = False,
) -> None:
    """Run every trader on the same days, and print how near the optimum each one comes."""
    if days <= 0:
        raise InputError(f"--days {days:g}: expected more than 0")
    look_at_folder(out)
    if skip >= households:
        raise InputError(f"--skip {skip}: nobody is left of {households} households")
    from fl_client.trader import make_trader
    from simulations.benchmarks.traders import output, run, speed
    from simulations.benchmarks.traders.community import gather, halved
    from simulations.benchmarks.traders.panels import with_panels
    from simulations.progress import track

    chosen = [name.strip() for name in rows.split(";") if name.strip()] or list(run.ROWS)
    for name in chosen:
        if name not in run.ROWS:
            raise InputError(f"--rows {name!r}: expected one of {'; '.join(run.ROWS)}")
    federated = any(run.ROWS[name][2] == "federated" for name in chosen)
    if federated and quarter_hours:
        raise InputError("--quarter-hours: the model forecasts half hours; leave its rows out")
    spans = _dates(starts or (STARTS if data == "citylearn" else ""))
    scores, references = [], {}
    for seed in range(seeds if data == "synthetic" or federated else 1):
        for day in spans:
            homes, start = _homes(data, households, skip, day, days, history_days, seed)
            if panels:
                homes = [with_panels(home, i, seed) for i, home in enumerate(homes)]
            community = gather(homes, start, days, history_days, feed_in=feed_in)
            if quarter_hours:
                community = halved(community)
            references[f"{start.tz_convert(community.timezone).date()}, seed {seed}"] = (
                run.references(community, cap)
            )
            found = run.score_rows(
                community, homes, chosen,
                seed=seed, preset=preset, rounds=rounds, local_steps=local_steps, cap=cap,
            )  # fmt: skip
            scores += list(track(found, f"{day or 'default start'}, seed {seed}", len(chosen)))
    facts: dict[str, Any] = {
        "data": data,
        "households": [home.name for home in homes],
        "real": all(home.real for home in homes) and not panels,
        "days": days,
        "feed_in": feed_in,
        "cap": cap,
        "generated_pv": panels,
        "hours_per_interval": community.hours,
        "preset": preset,
        "rounds": rounds,
        "local_steps": local_steps,
    }
    facts["speed"] = speed.measure(community, make_trader("bid-curve", {}))
    output.write(out, scores, references, facts)
    output.show(scores)
    took = facts["speed"]
    typer.echo(
        f"one decision {took['one_ms']:.2f} ms ({took['one_cpu_ms']:.2f} ms of processor), "
        f"1,000 households at once {took['many_ms']:.0f} ms ({took['many_cpu_ms']:.0f})"
    )
    typer.echo(f"written: {out / output.RESULTS}, {out / output.PICTURE}")


def _dates(text: str) -> list[date | None]:
    if not text:
        return [None]
    found: list[date | None] = []
    for part in text.split(","):
        try:
            found.append(date.fromisoformat(part.strip()))
        except ValueError:
            raise InputError(f"--starts {part.strip()!r}: expected days like 2017-02-01") from None
    return found


def _homes(
    data: str, households: int, skip: int, day: date | None, days: float, history: int, seed: int
) -> tuple[list[Household], pd.Timestamp]:
    """Households (with all their rows) and the UTC time at which the days begin."""
    from common.data.source import open_source

    source = open_source(
        data, seed=seed, households=households, start=day, days=days, history_days=history
    )
    return [source.load(name).half_hours() for name in source.names()[skip:]], source.start()
