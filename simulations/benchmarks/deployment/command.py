"""``fedwatt benchmark deployment``: what a real coordinator and real households cost."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer

from common.console import single
from common.errors import InputError
from common.files import look_at_folder

app = single()


@app.command()
def deployment(
    out: Annotated[Path, typer.Option(help="new folder for results.json and the logs")],
    supernodes: Annotated[
        str, typer.Option(help="comma-separated numbers of households on this machine")
    ] = "4,50",
    rounds: Annotated[int, typer.Option(help="market rounds of each size", min=1)] = 5,
    idle: Annotated[float, typer.Option(help="seconds to watch households without work")] = 120.0,
    poll: Annotated[float, typer.Option(help="seconds between two questions for messages")] = 3.0,
    model: Annotated[
        str | None, typer.Option(help="preset to train once, after the last market round")
    ] = None,
    soak: Annotated[
        int | None,
        typer.Option(help="market rounds to watch memory, descriptors and disk in", min=6),
    ] = None,
    kill_every: Annotated[
        int | None,
        typer.Option(help="market rounds between two kills -9 of one part, in turn", min=2),
    ] = None,
) -> None:
    """Start a SuperLink and so many SuperNodes with TLS and keys; measure them idle, then trading.

    A household takes 0.2 GB, and a training one 0.4 GB more: 50 need 16 GB.
    """
    look_at_folder(out)
    sizes = [_number(part) for part in supernodes.split(",")]
    from simulations.benchmarks.deployment.books import audited
    from simulations.benchmarks.deployment.run import clear, measure
    from simulations.benchmarks.deployment.soak import grown

    if soak is not None:
        rounds = soak

    rows, growth = [], []
    for size in sizes:
        place = out.resolve() / str(size)
        row = measure(
            size,
            place,
            rounds=rounds,
            idle_s=idle,
            poll_s=poll,
            preset=model,
            soak=soak is not None,
            kill_every=kill_every,
        )
        if soak is not None:
            found_growth = grown(place / "soak.jsonl")
            growth.append(asdict(found_growth))
            for part, one in found_growth.parts.items():
                typer.echo(
                    f"{part}: memory {one.memory_mb[0]:.0f} MB, at the end {one.memory_mb[1]:.0f} "
                    f"({one.memory:.2f}); descriptors {one.descriptors[0]}, {one.descriptors[1]}"
                )
            for folder, kb in found_growth.disk_kb.items():
                typer.echo(f"{folder}: {kb:.1f} kB an interval")
        books = audited(place / "server" / "run", rounds, size)
        typer.echo(str(books))
        clear(place)
        rows.append(row)
        down, up = row.mb_per_day
        typer.echo(
            f"{size} households: market round {_span(row.round_s)} s, "
            f"{row.missing} of {size * rounds} replies missing, fills told after "
            f"{_span(row.told_s)} s more; one without work: {row.pss_mb:.0f} MB "
            f"({row.rss_mb:.0f} MB resident), {row.cpu_s_per_hour:.0f} s of CPU an hour; "
            f"a day: {down:.1f} MB received, {up:.1f} MB sent"
        )
    found = {
        "rounds": rounds,
        "idle_s": idle,
        "cores": os.cpu_count(),
        "load_average_at_the_end": list(psutil.getloadavg()),
        "soak": growth,
        "sizes": [{**asdict(row), "mb_per_day": row.mb_per_day} for row in rows],
    }
    (out / "results.json").write_text(json.dumps(found, indent=1) + "\n")


def _span(seconds: list[float]) -> str:
    """The middle of some durations, and how far they reach."""
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} ({ordered[0]:.1f} to {ordered[-1]:.1f})"


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"--supernodes {text.strip()!r}: expected whole numbers of at least 1")
    return number
