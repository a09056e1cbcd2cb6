"""A household's outlook: what its model says of the day, week and month after its last reading.

Read from a copy of the household's files, so that a run is never changed by being looked at.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.cadence import HALF_HOUR
from common.config import Settings, load
from common.data.source import source_of
from common.errors import InputError
from common.files import whole
from common.forecast.streams import HORIZONS
from fl_client.session import Sessions
from simulations.engine.loop import client_context
from simulations.simulate import CONFIG_FILE, told_config

_RECENT_DAYS = 28
"""What is paid of the grid's price is told by so many days at most, and at least one."""


@dataclass(frozen=True)
class Ahead:
    """A horizon: consumption [kWh] and price [currency per kWh] (N,) of its half hours."""

    name: str
    consumption: Floats
    price: Floats


@dataclass(frozen=True)
class Outlook:
    """What a household expects from ``begins`` (local time) on.

    recent: consumption (P,) [kWh] of the half hours before it, a week at most. paid_share: what it
    has paid over the last ``days``, over what all it used would have cost from the grid; bill: the
    month's, at that share of what it is expected to use at the expected prices. Both None where
    less than a day has been settled. The share knows of sun, battery and neighbours what the last
    weeks knew: no model tells production of a month.
    """

    name: str
    begins: pd.Timestamp
    ahead: Sequence[Ahead]
    recent: Floats
    paid_share: float | None
    bill: float | None
    days: float


def outlook_of(run: Path, household: str = "") -> Outlook:
    """The outlook of a household of the run in folder ``run``; of its first where none is named.

    Raises InputError where the folder holds no run, or the household no model.
    """
    if not (run / CONFIG_FILE).is_file():
        raise InputError(f"{run}: holds no run (no {CONFIG_FILE}); fedwatt simulate makes one")
    settings = load(str(run / CONFIG_FILE))
    homes = run / "households"
    names = source_of(settings).names()
    name = household or names[0]
    if name not in names:
        raise InputError(f"--household {name!r}: not in {run}; there are {', '.join(names)}")
    if not (homes / name / "household.sqlite").is_file():
        raise InputError(f"{run}: household {name} has not begun this run; simulate goes first")
    with tempfile.TemporaryDirectory(prefix="fedwatt-forecast-") as copy:
        shutil.copytree(homes / name, Path(copy) / "households" / name)
        if (homes / ".models").is_dir():
            shutil.copytree(homes / ".models", Path(copy) / "households" / ".models")
        return _outlook(settings, Path(copy), name, names.index(name), len(names))


def _outlook(settings: Settings, copy: Path, name: str, partition: int, count: int) -> Outlook:
    context = client_context(0, partition, count, told_config(settings, copy))
    sessions = Sessions()
    session = sessions.open([context])
    try:
        group, made = session.group, session.learner.outlook(0)
        if made is None:
            raise InputError(
                f"household {name}: it has no model to forecast with; a run with fl.enabled=true "
                "or model.init gives it one"
            )
        history = group.histories[0]
        known = len(history) - group.unknown(0)
        begins = (history.index[0] + known * pd.Timedelta(HALF_HOUR.step)).tz_convert(
            history.timezone
        )
        ahead = [
            Ahead(
                horizon,
                made.streams[f"consumption_{horizon}"][0].astype(np.float64),
                made.streams[f"price_{horizon}"][0].astype(np.float64),
            )
            for horizon in HORIZONS
        ]
        share, days = _paid_share(group.log.values, group.log.settled + 1, group.cadence.per_day)
        month = ahead[-1]
        bill = None if share is None else share * float(np.dot(month.consumption, month.price))
        load, _ = group.measured(0)
        recent = load[max(0, known - 7 * HALF_HOUR.per_day) : known]
        return Outlook(name, begins, ahead, recent, share, bill, days)
    finally:
        sessions.forget()


def _paid_share(log: dict[str, Floats], settled: int, per_day: int) -> tuple[float | None, float]:
    """What has been paid over the last days, as a share of the grid's price of all that was used;
    and of how many days."""
    span = slice(max(0, settled - _RECENT_DAYS * per_day), settled)
    days = (span.stop - span.start) / per_day
    worth = float(np.dot(log["load"][0, span], log["retail"][0, span]))
    if days < 1 or not worth > 0:
        return None, days
    return float(log["cost"][0, span].sum()) / worth, days


def draw(outlook: Outlook, path: Path) -> None:
    """Draw the outlook as a PNG: day and week by half hours, the month by days."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(outlook.ahead), 1)
    for axes, one in zip(rows, outlook.ahead, strict=True):
        step = HALF_HOUR.per_day if one.name == "month" else 1
        energy = one.consumption.reshape(-1, step).sum(axis=1)
        price = one.price.reshape(-1, step).mean(axis=1)
        hours = np.arange(len(energy)) * step / 2
        times = outlook.begins.tz_localize(None) + pd.to_timedelta(hours, "h")
        axes.step(times, energy, where="post", color="#2a7f62", label="consumption")
        if one.name == "week":
            back = np.arange(-len(outlook.recent), 0) / 2
            before = outlook.begins.tz_localize(None) + pd.to_timedelta(back, "h")
            axes.step(before, outlook.recent, where="post", color="#bbbbbb", label="measured")
        axes.set_ylabel("kWh a day" if step > 1 else "kWh a half hour")
        title = f"{outlook.name}: next {one.name}, {one.consumption.sum():.1f} kWh"
        axes.set_title(title, loc="left")
        axes.set_ylim(bottom=0)
        beside = axes.twinx()
        beside.step(times, price, where="post", color="#b5651d", linewidth=0.9)
        beside.set_ylim(bottom=min(0.0, float(price.min())), top=1.05 * float(price.max()))
        beside.set_ylabel("price a kWh", color="#b5651d")
        axes.tick_params(axis="x", labelsize=8)
    rows[0].legend(loc="upper left", fontsize=8, frameon=False)
    with whole(path, durable=False) as part, part.open("wb") as file:
        figure.savefig(file, format="png", dpi=120)
