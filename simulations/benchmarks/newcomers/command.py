"""``fedwatt benchmark newcomers``: days of history against share of the optimum."""

from pathlib import Path
from typing import Annotated

import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder
from simulations.benchmarks.starts import read_starts

app = single()


@app.command()
def newcomers(
    out: Annotated[Path, typer.Option(help="new folder for results.json")],
    data: Annotated[str, typer.Option(help="citylearn, synthetic, a folder or a URL")] = (
        "citylearn"
    ),
    settled: Annotated[int, typer.Option(min=1, help="homes that have learned, first by name")] = (
        10
    ),
    joining: Annotated[int, typer.Option(min=1, help="homes that join, the next by name")] = 5,
    starts: Annotated[str, typer.Option(help="comma-separated local days")] = (
        "2016-10-01,2017-05-01"
    ),
    days: Annotated[float, typer.Option(help="days lived from each start")] = 10.0,
    history: Annotated[str, typer.Option(help="days of own readings, comma-separated")] = (
        "0,1,3,7,14"
    ),
    learned_days: Annotated[
        float, typer.Option(help="days for which the settled homes have learned together")
    ] = 14.0,
    seeds: Annotated[int, typer.Option(min=1, help="repeat with seeds 0..K-1")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any setting of all runs")
    ] = None,
) -> None:
    """Let homes join that have measured for few days, with and without what the others learned.

    The settled homes learn together up to each start. Then the homes that join live a market of
    their own: with the model, learning on together, and with their own days alone.
    """
    if days <= 0 or learned_days <= 0:
        raise InputError("--days, --learned-days: expected more than 0")
    look_at_folder(out)
    begins = read_starts(starts)
    try:
        known = [int(text) for text in history.split(",")]
    except ValueError:
        raise InputError(f"--history {history!r}: expected whole days like 0,3,14") from None
    if min(known) < 0:
        raise InputError(f"--history {history!r}: expected 0 or more")
    from common.files import write_json
    from simulations.benchmarks.newcomers.run import Plan, compare

    plan = Plan(data, settled, joining, begins, days, known, learned_days, seeds, set_ or ())
    found = compare(plan)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", found)
    for line in found["history"]:
        gain = line["gain"]
        typer.echo(
            f"{line['days']:>3} days of history: {100 * line['alone']:.2f} % of the optimum by own "
            f"days, {100 * line['federated']:.2f} % with the model; {gain['points']:+.2f} points, "
            f"95 % interval {gain['low']:.2f} to {gain['high']:.2f}"
        )
    typer.echo(f"written: {out / 'results.json'}")
