"""``fedwatt benchmark forecasts``: federated against local, pooled and plain forecasts."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder
from common.forecast.presets import find_preset

app = single()


@app.command()
def forecasts(
    out: Annotated[Path, typer.Option(help="new folder for results.json, homes.csv, picture.png")],
    data: Annotated[str, typer.Option(help="citylearn, synthetic, a folder or URL")] = "citylearn",
    households: Annotated[int, typer.Option(help="first N by name; 0: all there are")] = 0,
    days: Annotated[int, typer.Option(help="days to generate, for synthetic homes")] = 140,
    seeds: Annotated[int, typer.Option(min=1, help="repeat neural rows with seeds 0..K-1")] = 3,
    scored: Annotated[
        Literal["test", "validation"],
        typer.Option(help="last 20 % of the days; or, for choices, the 20 % before them"),
    ] = "test",
    preset: Annotated[str, typer.Option(help="model preset of the neural rows")] = "slot",
    rounds: Annotated[int, typer.Option(min=1)] = 40,
    local_steps: Annotated[int, typer.Option(min=1)] = 12,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    fraction: Annotated[float, typer.Option(help="share of the homes in each round")] = 0.25,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="default: the preset's own; it falls with the rounds as in a run"),
    ] = None,
    rows: Annotated[str, typer.Option(help="comma-separated; default: all")] = "",
    stride: Annotated[int, typer.Option(min=1, help="of the all-hours origins, half hours")] = 7,
    jobs: Annotated[int, typer.Option(min=1, help="processes, one torch thread each")] = 2,
    local_price: Annotated[
        Path | None, typer.Option(help="run whose local market price replaces the retail price")
    ] = None,
) -> None:
    """Score forecasts of the last days of every home, and print the table."""
    find_preset(preset)
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"--fraction {fraction}: expected a share above 0 and up to 1")
    look_at_folder(out)
    from simulations.benchmarks.forecasts import output, run
    from simulations.benchmarks.forecasts.neural import Plan
    from simulations.benchmarks.forecasts.panel import make_panel, make_span
    from simulations.benchmarks.forecasts.prices import with_local_price
    from simulations.homes import load_households

    known = [*run.NAIVE, *run.REGRESSIONS, *run.NEURAL]
    chosen = [name.strip() for name in rows.split(",") if name.strip()]
    if not chosen:
        # The regressions forecast consumption alone.
        chosen = known if local_price is None else [*run.NAIVE, *run.NEURAL]
    for name in chosen:
        if name not in known:
            raise InputError(f"--rows {name!r}: expected one of {', '.join(known)}")
    homes = load_households(data, households=households, days=days, seed=0, timezone=None)
    panel = make_panel(homes)
    if local_price is not None:
        panel = with_local_price(panel, local_price)
    span = make_span(panel, scored)
    plan = Plan(preset, rounds, local_steps, batch_size, learning_rate, fraction)
    index = panel.histories[0].index
    facts = {
        "data": data,
        "homes": len(panel.names),
        "scored": scored,
        "scored_from": index[span.start].isoformat(),
        "scored_days": (span.stop - span.start) / 48,
        "training_days": span.start / 48,
        "preset": preset,
        "rounds": rounds,
        "local_steps": local_steps,
        "batch_size": batch_size,
        "fraction": fraction,
        "fine_tune_steps": plan.fine_tune_steps,
        "seeds": seeds,
    }
    done: list[run.Scored] = []

    def keep(one: run.Scored) -> None:
        # What is done is on disk: a benchmark of an hour may be stopped.
        done.append(one)
        output.write(output.summary(done, facts), done, out)
        typer.echo(f"done: {output.TITLES[one.row]}, seed {one.seed}")

    results = run.run(
        panel, span, plan, seeds=seeds, rows=chosen, stride=stride, jobs=jobs, on_done=keep
    )
    made = output.summary(results, facts)
    output.write(made, results, out)
    for stream in run.STREAM_NAMES:
        if any(stream in entry["streams"] for entry in made["rows"].values()):
            typer.echo("\n" + "\n".join(output.table(made, stream)))
    typer.echo("")
    for name, pair in made["comparisons"].items():
        typer.echo(
            f"{name}: nRMSE {pair['difference']:+.4f} [{pair['low']:+.4f}, {pair['high']:+.4f}], "
            f"{pair['relative']:+.1%}, lower at {pair['better']:.0%} of the homes"
        )
    if "federated" in made["rows"]:
        cost = made["rows"]["federated"]["cost"]
        typer.echo(
            f"\nfederated: {rounds} rounds, {cost['steps']:.0f} steps, "
            f"{cost['bytes_sent'] / 1e6:.1f} MB both ways, {cost['cpu_seconds']:.0f} s of one core "
            f"({cost['seconds']:.0f} s on the clock)"
        )
    typer.echo(f"\n{out}/results.json, homes.csv, picture.png")
