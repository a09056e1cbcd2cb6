"""``fedwatt benchmark strategies``: aggregation strategies under dials, with all their costs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from common.console import single
from common.errors import InputError
from common.forecast.presets import find_preset

app = single()

CHECK_DAYS = 7
QUICK_TRIALS = 5


@app.command()
def strategies(
    out: Annotated[Path, typer.Option(help="folder for rows, costs and report.html; resumed")],
    strategies: Annotated[
        str | None,
        typer.Option(help="a,b(option=value),module:Class; default: those of the parts"),
    ] = None,
    dials: Annotated[
        Path | None, typer.Option(help="YAML file of dials; default: those of the parts")
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            help="of the full grid: table,dials,attacks,compression,privacy,clock,newcomers; "
            "default: all"
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="citylearn, synthetic, a folder or URL; A,B: the second for climate_share"
        ),
    ] = "citylearn",
    households: Annotated[int, typer.Option(min=1, help="first N by name")] = 11,
    rounds: Annotated[int, typer.Option(min=1)] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="repetitions, seeds 0..K-1")] = 5,
    local_steps: Annotated[int, typer.Option(min=1, help="steps a home and round")] = 4,
    preset: Annotated[str, typer.Option(help="model preset")] = "slot-small",
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    learning_rate: Annotated[float | None, typer.Option(help="default: the preset's")] = None,
    optimiser: Annotated[str, typer.Option(help="adamw or sgd, on the household")] = "adamw",
    train_days: Annotated[int, typer.Option(min=9, help="days to train on")] = 56,
    check_days: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="days after those, which say whose round's model counts; 0: the last's; default: "
            f"{CHECK_DAYS}, 0 with attacks or privacy",
        ),
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, help="rounds no better by these days that end a run")
    ] = 18,
    test_days: Annotated[int, typer.Option(min=1, help="held-out days after them")] = 14,
    evaluate_every: Annotated[int, typer.Option(min=1, help="rounds between errors")] = 1,
    money_days: Annotated[
        float, typer.Option(min=0.0, help="held-out days lived in the market; 0: no money")
    ] = 0.0,
    tune: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="trials a strategy is tuned by, on days before all held-out days; default: none, "
            f"{QUICK_TRIALS} with --quick",
        ),
    ] = None,
    tune_seeds: Annotated[int, typer.Option(min=1, help="seeds a trial is run with")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes; 0: one per core")] = 0,
    quick: Annotated[bool, typer.Option(help="a small grid for a first look, tuned")] = False,
) -> None:
    """Run the grid of strategies, dials and seeds; continue one that was stopped.

    Writes OUT/rows.parquet (one row a strategy, dial, seed, household and measured round),
    OUT/cells.jsonl (one line a cell), OUT/costs.parquet (seconds and memory
    a cell), OUT/tables.md and OUT/report.html. With --tune, OUT/tuning.json, and a row of each
    strategy as it was given and as tuned.
    """
    from simulations.benchmarks.strategies import checks, grid, report, tuning
    from simulations.benchmarks.strategies.setup import Setup, entry_of
    from simulations.benchmarks.strategies.tables import BASE

    find_preset(preset)
    if optimiser not in ("adamw", "sgd"):
        raise InputError(f"--optimiser {optimiser!r}: expected adamw or sgd")
    if quick and parts is not None:
        raise InputError("--parts: --quick has parts of its own")
    if quick:
        households, rounds, seeds = min(households, 8), min(rounds, 4), min(seeds, 2)
    trials = tune if tune is not None else QUICK_TRIALS if quick else 0
    jobs: list[checks.Job] = [
        *grid.plan("quick" if quick and dials is None else parts, strategies, dials)
    ]
    told = checks.all_tell_errors(jobs)
    setup = Setup(
        data=data,
        households=households,
        rounds=rounds,
        preset=preset,
        local_steps=local_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimiser=optimiser,
        train_days=train_days,
        test_days=test_days,
        evaluate_every=evaluate_every,
        check_days=check_days if check_days is not None else CHECK_DAYS if told else 0,
        patience=patience,
        money_days=money_days,
    )
    left_out: list[str] = []
    if dials is None:
        jobs, left_out = checks.fitting(jobs, households)
    if check_days is None and not told:
        left_out.append(
            "every run has all its rounds: nobody goes by errors under attack or privacy"
        )
    checks.check(jobs, setup)
    every = {name: dial for _, part in jobs for name, dial in part.items()}
    processes = workers or os.cpu_count() or 1
    found = []
    if trials:
        tuning.check(setup)
        given = {e.text: e for entries, _ in jobs for e in entries if not e.reference}
        grid.open_grid(out, setup, list(given.values()), every)
        found = tuning.tune(list(given.values()), setup, trials, seeds, tune_seeds, out, processes)
        better = {one.strategy: entry_of(one.tuned) for one in found}
        jobs = [([*e, *(better[x.text] for x in e if x.text in better)], d) for e, d in jobs]
    cells = grid.unique([cell for e, d in jobs for cell in grid.cells_of(e, d, seeds)])
    named = sorted({cell.entry.text: cell.entry for cell in cells}.values(), key=lambda e: e.text)
    grid.open_grid(out, setup, named, every)
    for line in left_out:
        print(line)
    count = grid.run_grid(cells, setup, out, processes)
    rows, costs = grid.gather(cells, every, setup, out)
    table = tuning.table(found) if found else None
    base = next((one.tuned for one in found if one.strategy == BASE), BASE)
    path = report.write(rows, costs, setup, every, out, table, base)
    print(f"{count} cells run, {len(cells)} in the table: {path}")
    failed = costs[costs["failure"] != ""]
    if len(failed):
        one = failed.iloc[0]
        raise InputError(
            f"{len(failed)} of {len(cells)} cells have no result, as no round made a model, "
            f"{one['strategy']} under {one['dial']} for one: {one['failure']}"
        )
