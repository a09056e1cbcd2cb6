"""``fedwatt benchmark scale``: time and memory of a run against its number of households."""

import os
from pathlib import Path
from typing import Annotated

import psutil
import typer

from common.config import Settings, load
from common.console import single
from common.errors import InputError
from common.files import look_at_folder
from common.forecast.presets import find_preset

app = single()

_ENGINES = ("batched", "loop", "flower")


@app.command()
def scale(
    out: Annotated[Path, typer.Option(help="new folder for results.json, picture.png, the runs")],
    households: Annotated[
        str | None,
        typer.Option(help="comma-separated numbers; by default 10,100,1000, with --peers 10,100"),
    ] = None,
    days: Annotated[float, typer.Option(help="days of each run")] = 1.0,
    engines: Annotated[str, typer.Option(help="of batched, loop, flower")] = "batched,loop,flower",
    loop_limit: Annotated[int, typer.Option(help="most households for the loop")] = 1000,
    flower_limit: Annotated[int, typer.Option(help="most for Flower's own engine")] = 100,
    config: Annotated[str | None, typer.Option(help="preset or YAML file")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
    steps: Annotated[
        str | None,
        typer.Option(help="only time a training step of these presets against its matrix products"),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="only time a model round beside other frameworks'")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="model rounds of --peers after the first")] = 4,
    cores: Annotated[int, typer.Option(min=1, help="cores of --peers, for each framework")] = 1,
) -> None:
    """Run synthetic communities of growing size on every engine; print where the time goes."""
    look_at_folder(out)
    if steps is not None:
        device = load(config, set_ or ()).training.device
        _steps(out, [name.strip() for name in steps.split(",")], device)
        return
    words = households or ("10,100" if peers else "10,100,1000")
    sizes = [_number(part) for part in words.split(",")]
    if peers:
        _peers(out, sizes, rounds, cores, config, set_ or [])
        return
    chosen = [name.strip() for name in engines.split(",")]
    for name in chosen:
        if name not in _ENGINES:
            raise InputError(f"--engines {name!r}: expected of {', '.join(_ENGINES)}")
    from simulations.benchmarks.scale import output
    from simulations.benchmarks.scale.run import measure

    most = {"loop": loop_limit, "flower": flower_limit}
    rows = []
    for engine in chosen:
        for size in sizes:
            if size > most.get(engine, size):
                continue
            run = {"households": size, "days": days, "engine": engine}
            settings: Settings = load(
                config, set_ or (), run=run, data={"source": "synthetic", "fallback": None}
            )
            rows.append(measure(settings, out.resolve() / f"{engine}-{size}"))
            typer.echo(f"{engine}, {size} households: {sum(rows[-1].wall_s.values()):.1f} s")
    facts: dict[str, object] = {
        "days": days,
        "set": list(set_ or ()),
        "cores": os.cpu_count(),
        "load_average_at_the_end": list(psutil.getloadavg()),
    }
    output.write(out, rows, facts)
    output.show(rows)


def _steps(out: Path, presets: list[str], device: str) -> None:
    for name in presets:
        find_preset(name)
    from simulations.benchmarks.scale import output
    from simulations.benchmarks.scale.steps import measure

    found = [measure(name, device=device) for name in presets]
    output.write_steps(out, found)
    output.show_steps(found)


def _peers(
    out: Path, sizes: list[int], rounds: int, cores: int, config: str | None, set_: list[str]
) -> None:
    from simulations.benchmarks.scale.peers import output
    from simulations.benchmarks.scale.peers.compare import compare
    from simulations.benchmarks.scale.peers.ways import WAYS

    rows = []
    for size in sizes:
        # No interval is played: a day of run is what settings ask for at least.
        run = {"households": size, "days": 1.0}
        settings = load(config, set_, run=run, data={"source": "synthetic", "fallback": None})
        folder = out.resolve() / str(size)
        rows += compare(settings, folder, steady=rounds, cores=cores, ways=list(WAYS))
        typer.echo(f"{size} clients: done")
    facts: dict[str, object] = {
        "set": set_,
        "cores": cores,
        "cores_of_the_machine": os.cpu_count(),
        "load_average_at_the_end": list(psutil.getloadavg()),
    }
    output.write(out, rows, facts)
    output.show(rows)


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"--households {text.strip()!r}: expected whole numbers of at least 1")
    return number
