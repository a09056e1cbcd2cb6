"""A household's outlook: what its model says of the day, week and month after its last reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.cadence import HALF_HOUR
from common.files import whole
from common.forecast.streams import HORIZONS
from fl_client.session import Session

_RECENT_DAYS = 7


@dataclass(frozen=True)
class Ahead:
    """A horizon: consumption [kWh] and price [currency per kWh] (N,) of its half hours."""

    name: str
    consumption: Floats
    price: Floats


@dataclass(frozen=True)
class Outlook:
    """What a household expects from ``begins`` (local time) on, which is interval ``t`` of its run.

    recent: consumption (P,) [kWh] of the half hours before it, a week at most.
    """

    name: str
    t: int
    begins: pd.Timestamp
    ahead: Sequence[Ahead]
    recent: Floats

    @property
    def month(self) -> Ahead:
        """The longest horizon."""
        return self.ahead[-1]

    @property
    def lines(self) -> list[str]:
        """A line for each horizon: energy, and what a kWh costs."""
        return [
            f"{one.name:>6}: {one.consumption.sum():9.2f} kWh, {one.price.mean():.4f} a kWh on "
            f"average, {one.price.min():.4f} to {one.price.max():.4f}"
            for one in self.ahead
        ]


def outlook_of(session: Session, h: int) -> Outlook | None:
    """What household ``h`` of a session expects, by what its next decision may read.

    None where it has no model. Raises InputError where its history is too short.
    """
    group, made = session.group, session.learner.outlook(h)
    if made is None:
        return None
    history = group.histories[h]
    known = len(history) - group.unknown(h)
    begins = history.index[0] + known * pd.Timedelta(HALF_HOUR.step)
    first = group.tokens.first(group.tokens.count - group.unknown(h))
    load, _ = group.measured(h)
    return Outlook(
        name=group.names[h],
        t=first + group.window.base,
        begins=begins.tz_convert(history.timezone),
        ahead=[
            Ahead(
                horizon,
                made.streams[f"consumption_{horizon}"][0].astype(np.float64),
                made.streams[f"price_{horizon}"][0].astype(np.float64),
            )
            for horizon in HORIZONS
        ],
        recent=load[max(0, known - _RECENT_DAYS * HALF_HOUR.per_day) : known],
    )


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
        axes.set_ylim(bottom=0, top=1.1 * float(axes.dataLim.y1) or None)
        beside = axes.twinx()
        beside.step(times, price, where="post", color="#b5651d", linewidth=0.9)
        beside.set_ylim(bottom=min(0.0, float(price.min())), top=1.05 * float(price.max()))
        beside.set_ylabel("price a kWh", color="#b5651d")
        axes.tick_params(axis="x", labelsize=8)
    rows[0].legend(loc="upper left", fontsize=8, frameon=False)
    with whole(path, durable=False) as part, part.open("wb") as file:
        figure.savefig(file, format="png", dpi=120)
