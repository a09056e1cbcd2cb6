"""Pictures of household data: what ``fedwatt data check`` and ``compare`` draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.data.frame import DAY, Household
from common.data.quality import Quality
from common.errors import InputError

mpl.use("Agg")
import matplotlib.pyplot as plt

_INK, _ONE, _TWO = "#33404d", "#1f77b4", "#e07b39"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
}
_MOST_ROWS = 40


def draw_check(homes: Sequence[Household], figures: Sequence[Quality], path: Path) -> None:
    """Draw each household's days, level and regularity in one picture.

    Left: consumption per day over time (white: filled). Middle: the mean day by local hour.
    Right: correlation with the day and the week before; suspicious households in orange.
    """
    shown = list(zip(homes, figures, strict=True))[:_MOST_ROWS]
    with mpl.rc_context(_STYLE):
        height = 1.6 + 0.28 * max(4, len(shown))
        figure, axes = plt.subplots(
            1, 3, figsize=(12, height), width_ratios=[5, 3, 2], layout="constrained"
        )
        names = [home.name for home, _ in shown]
        first = min(home.frame.index[0] for home, _ in shown)
        last = max(home.frame.index[-1] for home, _ in shown)
        days = (last - first).days + 1
        daily = np.full((len(shown), days), np.nan)
        profile = np.zeros((len(shown), DAY))
        for row, (home, _) in enumerate(shown):
            load = np.where(home.filled_rows, np.nan, home.consumption)
            at = np.asarray((home.frame.index - first) // np.timedelta64(1, "D"))
            seen = np.isfinite(load)
            total = np.bincount(at[seen], load[seen], minlength=days)
            count = np.bincount(at[seen], minlength=days)
            with np.errstate(invalid="ignore", divide="ignore"):
                daily[row] = np.where(count > 0, total / count * DAY, np.nan)
            local = home.frame.index.tz_convert(home.timezone)  # type: ignore[attr-defined]
            slot = np.asarray(local.hour * 2 + local.minute // 30)
            sums = np.bincount(slot[seen], load[seen], minlength=DAY)
            profile[row] = sums / np.maximum(np.bincount(slot[seen], minlength=DAY), 1)
        scale = np.nanmax(daily, axis=1, keepdims=True)
        axes[0].imshow(
            daily / np.maximum(scale, 1e-9), aspect="auto", cmap="viridis", interpolation="none"
        )
        ticks = np.linspace(0, days - 1, min(6, days)).astype(int)
        labels = [f"{first + np.timedelta64(int(t), 'D'):%Y-%m-%d}" for t in ticks]
        axes[0].set_xticks(ticks, labels)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_title("kWh per day, each household against its own highest day")
        shape = profile / np.maximum(profile.max(axis=1, keepdims=True), 1e-9)
        axes[1].imshow(shape, aspect="auto", cmap="magma", interpolation="none")
        axes[1].set_xticks([0, 12, 24, 36, 47], ["0", "6", "12", "18", "24"])
        axes[1].set_yticks(range(len(names)), [f"{q.kwh_per_day:.1f}" for _, q in shown])
        axes[1].set_title("mean day by local hour; kWh/day")
        rows = np.arange(len(shown))
        colours = [_TWO if q.suspicious else _ONE for _, q in shown]
        axes[2].hlines(
            rows,
            [q.day_correlation for _, q in shown],
            [q.week_correlation for _, q in shown],
            color=colours,
        )
        axes[2].scatter([q.day_correlation for _, q in shown], rows, c=colours, s=18, label="day")
        axes[2].scatter(
            [q.week_correlation for _, q in shown],
            rows,
            facecolors="white",
            edgecolors=colours,
            s=18,
            label="week",
        )
        axes[2].set_ylim(len(shown) - 0.5, -0.5)
        axes[2].set_yticks([])
        axes[2].set_xlim(-0.1, 1)
        axes[2].legend(loc="lower right", frameon=False)
        axes[2].set_title("correlation: day, week")
        if len(homes) > len(shown):
            figure.suptitle(f"first {len(shown)} of {len(homes)} households")
        _save(figure, path)


def draw_comparison(
    figures: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    profiles: tuple[NDArray[np.float64], NDArray[np.float64]],
    example: tuple[NDArray[np.float64], NDArray[np.float64]],
    path: Path,
) -> None:
    """Draw generated against real homes: one cumulative distribution per figure, the mean day of
    weekday and weekend (2, 48), and a week of one home of each."""
    with mpl.rc_context(_STYLE):
        rows = (len(figures) + 3) // 4
        figure, grid = plt.subplots(
            rows + 1, 4, figsize=(12, 2.5 * (rows + 1)), layout="constrained"
        )
        for axis, (title, (real, made)) in zip(grid[:rows].flat, figures.items(), strict=False):
            for values, colour, label in ((real, _INK, "real"), (made, _TWO, "generated")):
                ordered = np.sort(values[np.isfinite(values)])
                share = (np.arange(len(ordered)) + 0.5) / len(ordered)
                axis.step(ordered, share, where="mid", color=colour, label=label)
            axis.set_title(title)
            axis.set_ylim(0, 1)
        grid[0, 0].legend(frameon=False, loc="lower right")
        for axis in grid[:rows].flat[len(figures) :]:
            axis.axis("off")
        hours = (np.arange(DAY) + 0.5) / 2
        for axis, part, title in (
            (grid[rows, 0], 0, "mean workday, kWh"),
            (grid[rows, 1], 1, "mean weekend day, kWh"),
        ):
            axis.plot(hours, profiles[0][part], color=_INK)
            axis.plot(hours, profiles[1][part], color=_TWO)
            axis.set_title(title)
            axis.set_ylim(0)
            axis.set_xticks([0, 6, 12, 18, 24])
        for axis, week, colour, title in (
            (grid[rows, 2], example[0], _INK, "a real week"),
            (grid[rows, 3], example[1], _TWO, "a generated week"),
        ):
            axis.plot(np.arange(len(week)) / DAY, week, color=colour, linewidth=0.7)
            axis.set_title(title)
            axis.set_ylim(0)
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"picture {path}: {reason[:160]}") from None
    finally:
        plt.close(figure)
