"""``fedwatt simulate``: N households forecast, trade and learn; ends with a report."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from common.config import Settings, load
from common.console import single, writing_to
from common.errors import InputError
from fl_server.run_files import INTERVALS

# Households and coordinator round to a mWh.
_RESIDUAL_KWH = 1e-4

app = single()


@app.command()
def simulate(
    config: Annotated[str | None, typer.Option(help="preset or YAML file")] = None,
    households: Annotated[int | None, typer.Option(help="the first N by name")] = None,
    days: Annotated[float | None, typer.Option(help="days to simulate")] = None,
    start: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="first local midnight")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="citylearn, synthetic, a folder or a database URL")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="run directory; default runs/DATE-TIME")] = None,
    seed: Annotated[int | None, typer.Option(help="fixes every draw")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, batched, loop or flower")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Ray cluster for --engine batched, as HOST:PORT or auto")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any setting")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="continue this run directory")] = None,
) -> None:
    """Run N households: forecasts, a market round every half hour, a model round every three."""
    from common.data.source import lasting
    from simulations.preflight import preflight
    from simulations.resume import check_resumable
    from simulations.simulate import new_directory, owned, stored_settings

    if resume is not None:
        if any(v is not None for v in (config, households, days, start, data, out, seed, set_)):
            raise InputError("--resume continues a run as it was begun: give no other settings")
        directory = resume.resolve()
        # Who computes it may change: every engine gives the same bytes.
        settings = stored_settings(directory, engine=engine, ray_address=ray_address)
        with owned(directory), _telling_how_to_go_on(directory):
            check_resumable(settings, directory)
            execute(settings, directory)
    else:
        run = {
            "households": households,
            "days": days,
            "start": None if start is None else start.date(),
            "seed": seed,
            "engine": engine,
            "ray_address": ray_address,
        }
        settings = load(
            config,
            set_ or (),
            run={key: value for key, value in run.items() if value is not None},
            data={} if data is None else {"source": _absolute(data)},
        )
        checked = preflight(lasting(settings))
        settings = checked.settings
        for line in (*filter(None, [checked.replaced]), *checked.said):
            typer.echo(f"fedwatt: {line}", err=True)
        directory = new_directory(out or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
        with owned(directory):
            # Another may have been faster.
            new_directory(directory)
            with writing_to(directory), _telling_how_to_go_on(directory):
                execute(settings, directory)


def execute(settings: Settings, directory: Path) -> None:
    """Run, summarise, report; print where the report is.

    Exit status 1 where the energy of the run does not add up.
    """
    from simulations.report import write_report
    from simulations.simulate import simulate as run
    from simulations.summary import summarise

    begin = time.monotonic()
    with _Progress(directory / INTERVALS, settings.intervals):
        run(settings, directory)
    summary = summarise(directory, settings, time.monotonic() - begin)
    report = write_report(directory)
    _print(summary)
    typer.echo(f"report: {report}")
    checks = summary["checks"]
    assert isinstance(checks, dict)
    residual = checks["energy_residual_kwh_max"]
    if not abs(residual) <= _RESIDUAL_KWH:
        typer.echo(
            f"fedwatt: energy of {residual:g} kWh is missing in an interval: do not use this run",
            err=True,
        )
        raise typer.Exit(1)


@contextmanager
def _telling_how_to_go_on(directory: Path) -> Iterator[None]:
    """Let who interrupts a run know that it can be gone on with, where it can."""
    from simulations.resume import check_resumable
    from simulations.simulate import stored_settings

    try:
        yield
    except KeyboardInterrupt:
        said = "interrupted"
        with suppress(InputError):
            check_resumable(stored_settings(directory), directory)
            said += f"; `fedwatt simulate --resume {directory}` goes on"
        typer.echo(f"fedwatt: {said}", err=True)
        raise


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def _print(summary: dict[str, object]) -> None:
    cost = summary["cost"]
    assert isinstance(cost, dict)
    shadow = _sum_of_shadows(summary)
    for name, value in (
        ("no battery no trade", cost.get("no_battery_no_trade")),
        ("greedy battery", cost.get("greedy_battery")),
        ("traders, no market", shadow),
        ("community", cost.get("community")),
        ("own optimum", cost.get("own_optimum")),
        ("community optimum", cost.get("community_optimum")),
    ):
        if value is not None:
            typer.echo(f"{name:>22} {value:12.2f}")
    if cost.get("share_of_optimum") is not None:
        typer.echo(f"{'share of the optimum':>22} {cost['share_of_optimum']:12.1%}")
    if cost.get("losers") is not None:
        typer.echo(f"{'losing households':>22} {cost['losers']:12d}")
    if cost.get("losers_before_compensation") is not None:
        typer.echo(
            f"{'compensated':>22} {cost['compensated']:12.2f} from those who gained by the market; "
            f"before it {cost['losers_before_compensation']} lost"
        )
    cap = summary.get("cap")
    if isinstance(cap, dict):
        typer.echo(
            f"{'above the cap':>22} {cap['share_above']:12.2%} of intervals, by "
            f"{cap['mean_above_kw']:.2f} kW on average, {cap['highest_above_kw']:.2f} at most"
        )
    fl = summary["fl"]
    assert isinstance(fl, dict)
    if "privacy" in fl:
        # Beside the others' view, that of the server: it sees each update before the sum.
        spent = fl["privacy"]
        typer.echo(
            f"{'privacy, epsilon':>22} {spent['epsilon']:12.2f} "
            f"(server {spent['epsilon_server']:.2f}), delta {spent['delta']:g}"
        )


def _sum_of_shadows(summary: dict[str, object]) -> float | None:
    """What all would pay with the same traders and no market."""
    detail = summary["households_detail"]
    assert isinstance(detail, list)
    known = [one["shadow"] for one in detail if one.get("shadow") is not None]
    return sum(known) if detail and len(known) == len(detail) else None


class _Progress:
    """Shows how far the run is by the lines it has written, whatever process writes them."""

    def __init__(self, lines: Path, total: int) -> None:
        self._lines, self._total = lines, total
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        from simulations.progress import track

        for _ in track(self._done(), "intervals", self._total):
            pass

    def _done(self) -> Iterator[None]:
        shown = 0
        while shown < self._total and not self._stop.is_set():
            count = self._lines.read_bytes().count(b"\n") if self._lines.exists() else 0
            for _ in range(shown, count):
                yield None
            shown = max(shown, count)
            self._stop.wait(0.5)
