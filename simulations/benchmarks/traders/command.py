"""``fedwatt benchmark traders``: every trader with every forecast on the same days."""

import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder
from simulations.benchmarks.starts import read_starts

app = single()

STARTS = "2016-10-01,2017-02-01,2017-05-01,2017-06-26"
SYNTHETIC_DAYS = 120
"""How many days of synthetic homes are generated where they are changed."""


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
    history_days: Annotated[int, typer.Option(min=1)] = 56,
    cap: Annotated[
        float, typer.Option(min=0.1, help="of the no-battery peak, for the capped row")
    ] = 0.7,
    panels: Annotated[
        bool, typer.Option("--panels", help="generate PV for two thirds of the homes without")
    ] = False,
    quarter_hours: Annotated[
        bool, typer.Option("--quarter-hours", help="meter and trade every quarter of an hour")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any setting of all rows")
    ] = None,
) -> None:
    """Run every trader on the same days, and print how near the optimum each one comes.

    Every row is a run; those that learn take minutes a month.
    """
    if days <= 0:
        raise InputError(f"--days {days:g}: expected more than 0")
    look_at_folder(out)
    if skip >= households:
        raise InputError(f"--skip {skip}: nobody is left of {households} households")
    from simulations.benchmarks.traders import output, run
    from simulations.benchmarks.traders.paired import gain
    from simulations.progress import track

    chosen = [name.strip() for name in rows.split(";") if name.strip()] or list(run.ROWS)
    for name in chosen:
        if name not in run.ROWS:
            raise InputError(f"--rows {name!r}: expected one of {'; '.join(run.ROWS)}")
    told = starts or (STARTS if data == "citylearn" else "")
    begins: list[date | None] = [*read_starts(told)] if told else [None]
    learns = any(run.ROWS[name].learns for name in chosen)
    scores, references, saving = [], {}, {}
    with tempfile.TemporaryDirectory(prefix="fedwatt-homes-") as folder:
        for seed in range(seeds if data == "synthetic" or learns else 1):
            source = data
            if skip or panels:
                source = _homes(data, households, skip, panels, seed, Path(folder) / str(seed))
            for day in begins:
                span = run.Days(
                    [
                        f"data.source={source}",
                        f"run.households={households - skip}",
                        f"run.days={days}",
                        f"run.history_days={history_days}",
                        f"run.seed={seed}",
                        *([] if day is None else [f"run.start={day}"]),
                        *(["run.interval_minutes=15"] if quarter_hours else []),
                        *(set_ or ()),
                    ],
                    cap,
                )
                begun = f"{span.start}, seed {seed}"
                scores += list(track(run.score_rows(span, chosen), begun, len(chosen)))
                references[begun] = span.references
                saving[span.start, seed] = span.saving
                span.close()
    facts: dict[str, Any] = {
        "data": data,
        "households": span.names,
        "real": span.real and not panels,
        "days": days,
        "cap": cap,
        "generated_pv": panels,
        "hours_per_interval": span.case.hours,
        "settings": list(set_ or ()),
    }
    gains = [
        gain(scores, name, run.BASE, saving)
        for name in chosen
        if run.BASE in chosen and name != run.BASE and name.startswith("bid-curve")
    ]
    output.write(out, scores, gains, references, facts)
    output.show(scores, gains)
    typer.echo(f"written: {out / output.RESULTS}, {out / output.PICTURE}")


def _homes(data: str, households: int, skip: int, panels: bool, seed: int, folder: Path) -> str:
    """Write the homes of the benchmark into ``folder``, with panels or as they are; its name."""
    from common.data.store import write_household
    from simulations.benchmarks.traders.panels import with_panels
    from simulations.homes import load_households

    homes = load_households(
        data, households=households, days=SYNTHETIC_DAYS, seed=seed, timezone=None
    )
    for number, home in enumerate(homes[skip:]):
        write_household(with_panels(home, number, seed) if panels else home, folder)
    return str(folder)
