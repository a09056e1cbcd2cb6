"""All traders with all forecasts on the same days, scored against the references.

Each row is a run of the product with settings of its own. Where a row learns, its households learn
in that run, in its own rounds; where a forecast is plain or perfect, it stands in for the model's.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.config import Settings, load
from common.errors import InputError
from fl_client.deciding import AskModel
from fl_client.household import Group
from fl_server.run_files import REPORTS
from simulations.benchmarks.traders import foresights
from simulations.benchmarks.traders.life import Correct, live, logged, priced_by_interval
from simulations.references import LOSER, Case, no_battery_no_trade
from simulations.summary import case_of, share_of_optimum


@dataclass(frozen=True)
class Row:
    """A line of the table: a trader, and what it is told.

    foresight: what stands in for the model; learns: the households train, and the model tells;
    capped: under a cap on what the community imports.
    """

    kind: str
    options: Mapping[str, str] = field(default_factory=dict)
    foresight: str | None = None
    learns: bool = False
    capped: bool = False


LAST_DAY, WEEK, PERFECT = "last day", "7-day mean", "perfect"
_FORESEE: dict[str, Callable[[Group], AskModel]] = {
    LAST_DAY: foresights.same_slots(1),
    WEEK: foresights.same_slots(7),
    PERFECT: foresights.truth,
}
_POINT, _DAYS = {"scenarios": "point"}, {"scenarios": "days"}
ROWS: dict[str, Row] = {
    "hold": Row("hold"),
    "greedy": Row("greedy"),
    "rule-literal": Row("rule-literal", foresight=LAST_DAY),
    "rule-literal, federated": Row("rule-literal", learns=True),
    "rule": Row("rule", foresight=LAST_DAY),
    "rule, 7-day mean": Row("rule", foresight=WEEK),
    "rule, federated": Row("rule", learns=True),
    "rule, perfect": Row("rule", foresight=PERFECT),
    "bid-curve, last day": Row("bid-curve", _POINT, LAST_DAY),
    "bid-curve, 7-day mean": Row("bid-curve", _POINT, WEEK),
    "bid-curve, own days": Row("bid-curve", _DAYS),
    "bid-curve, both sets of days": Row("bid-curve", _DAYS | {"current": "both"}),
    "bid-curve, federated": Row("bid-curve", learns=True),
    "bid-curve, capped": Row("bid-curve", _DAYS, capped=True),
    "bid-curve, federated, capped": Row("bid-curve", learns=True, capped=True),
    "bid-curve, perfect": Row("bid-curve", _POINT, PERFECT),
}
"""``bid-curve, federated`` is what a run does by default."""
BASE = "bid-curve, own days"
"""What other rows of the same trader are compared with."""


@dataclass(frozen=True)
class Score:
    """One row on one span of days. Energy in kWh, money in currency, shares as fractions.

    losers, worst_loss: before any compensation. over_cap: share of intervals in which the community
    drew more than its cap, over_kw: by how much on average then; None where no cap was set.
    calibration: mean earning against a resting battery [currency per interval and home] of the
    lowest to the highest quarter of the scores, or None where nothing is scored.
    weekly: what each home [by name] paid in each week less the change of what it had stored.
    """

    row: str
    start: str
    seed: int
    cost: float
    share_of_optimum: float
    losers: int
    worst_loss: float
    peak_kw: float
    peak_ratio: float
    self_sufficiency: float
    cycles: float
    traded_kwh: float
    unserved_kwh: float
    forecast_nrmse: float | None
    over_cap: float | None
    over_kw: float | None
    calibration: tuple[float, ...] | None
    weekly: dict[str, tuple[float, ...]]


class Days:
    """A span of days under one set of settings: its references, then any row.

    ``settings`` (``section.key=value``): of every row. ``cap``: share of the peak without
    batteries that a capped row may draw. Raises InputError where there is nothing to save.
    """

    def __init__(self, settings: Sequence[str], cap: float) -> None:
        self._settings = list(settings)
        self._folder = tempfile.TemporaryDirectory(prefix="fedwatt-traders-")
        resting = self._load("trader.kind=hold", "fl.enabled=false", "run.references=all")
        directory = self._directory("references")
        self._resting = live(resting, directory)
        reports = json.loads((directory / REPORTS).read_text())
        self.names = sorted(reports["households"])
        self.case, (self.timezone, *_) = case_of(resting, self.names, reports["tariffs"])
        self.cap_kw = cap * self.peak_kw
        self.capped_optimum: float | None = None
        self.start = local_start(reports["start"], self.timezone)
        if self._share(0.0) is None:
            self.close()
            raise InputError(
                f"{self.start}: even perfect foresight saves nothing; choose other days or homes"
            )

    @property
    def peak_kw(self) -> float:
        """Highest import of the community without batteries."""
        return no_battery_no_trade(self.case).peak_kw(self.case.hours)

    @property
    def references(self) -> dict[str, float | None]:
        """Costs of the references on these days, and the optimum under the cap where a row had it.

        The capped optimum is None as well where no foresight holds the cap.
        """
        cost = self._resting["cost"]
        names = ("no_battery_no_trade", "greedy_battery", "own_optimum", "community_optimum")
        return {name: cost[name] for name in names} | {
            "capped_optimum": self.capped_optimum,
            "no_battery_peak_kw": self.peak_kw,
        }

    def score(self, name: str, correct: Correct | None = None) -> Score:
        """Live the days by row ``name`` and score them.

        ``correct``: a row of another name, own days corrected by this in place of the model.
        """
        row = ROWS[name] if correct is None else Row("bid-curve")
        trader = [f"trader.kind={row.kind}", f"fl.enabled={str(row.learns).lower()}"]
        trader += [f"trader.options.{key}={value}" for key, value in row.options.items()]
        trader.append(f"run.references={'all' if row.capped else 'none'}")
        if row.capped:
            trader.append(f"market.import_cap_kw={self.cap_kw}")
        settings = self._load(*trader)
        directory = self._directory(name)
        foresee = None if row.foresight is None else _FORESEE[row.foresight]
        summary = live(settings, directory, foresee, correct)
        if row.capped:
            self.capped_optimum = summary["cap"]["capped_optimum"]
        return self._score(name, row, settings, summary, directory)

    def close(self) -> None:
        """Remove the runs."""
        self._folder.cleanup()

    def _load(self, *more: str) -> Settings:
        return load(None, [*self._settings, "run.engine=loop", *more])

    def _directory(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder.name))

    def _score(
        self, name: str, row: Row, settings: Settings, summary: dict[str, Any], directory: Path
    ) -> Score:
        cost, energy = summary["cost"], summary["energy"]
        worse = np.array(
            [
                one["cost"] + one.get("compensation", 0.0) - one["shadow"]
                for one in summary["households_detail"]
            ]
        )
        log = logged(directory, self.names)
        paid = priced_by_interval(log, self.case.battery)
        cap = summary.get("cap")
        reports = json.loads((directory / REPORTS).read_text())["households"]
        share = self._share(cost["community"])
        assert share is not None
        told = row.learns or row.foresight is not None
        errors = summary["forecast"]["consumption_day"] if told else None
        return Score(
            row=name,
            start=self.start,
            seed=settings.run.seed,
            cost=cost["community"],
            share_of_optimum=share,
            losers=int((worse > LOSER).sum()),
            worst_loss=float(worse.max()),
            peak_kw=energy["peak_import_kw"],
            peak_ratio=energy["peak_import_kw"] / self.peak_kw,
            self_sufficiency=energy["self_sufficiency"],
            cycles=float(np.mean([one["cycles"] for one in reports.values()])),
            traded_kwh=energy["p2p_delivered_kwh"],
            unserved_kwh=summary["checks"]["unserved_kwh"],
            forecast_nrmse=None if errors is None else errors["nrmse"],
            over_cap=None if cap is None else cap["share_above"],
            over_kw=None if cap is None or not cap["share_above"] else cap["mean_above_kw"],
            calibration=None
            if row.kind in ("hold", "greedy")
            else calibration(self.case, log["score"], paid),
            weekly=weekly(paid, self.names, settings.cadence.per_day),
        )

    def _share(self, cost: float) -> float | None:
        resting = self._resting["cost"]
        return share_of_optimum(cost, resting["no_battery_no_trade"], resting["community_optimum"])

    @property
    def saving(self) -> float:
        """What perfect foresight saves the community."""
        cost = self._resting["cost"]
        return float(cost["no_battery_no_trade"] - cost["community_optimum"])

    @property
    def real(self) -> bool:
        """Whether the homes are measured ones."""
        return bool(self._resting["data"]["real"])


def score_rows(days: Days, rows: Sequence[str]) -> Iterator[Score]:
    """Score the rows one after the other."""
    for name in rows:
        yield days.score(name)


def local_start(start: str, timezone: str) -> str:
    """The local day on which a run begins at ``start`` (UTC)."""
    return pd.Timestamp(start).tz_convert(timezone).date().isoformat()


def weekly(paid: Floats, names: Sequence[str], per_day: int) -> dict[str, tuple[float, ...]]:
    """What each home paid a week, from ``paid`` (H, T); the last may be shorter."""
    begins = np.arange(0, paid.shape[1], 7 * per_day)
    return {
        name: tuple(float(week) for week in np.add.reduceat(mine, begins))
        for name, mine in zip(names, paid, strict=True)
    }


def calibration(case: Case, score: Floats, paid: Floats, parts: int = 4) -> tuple[float, ...]:
    """What intervals of low to high ``score`` earned against a resting battery, mean per part.

    Earned: what the household would have paid the grid with a resting battery, less ``paid``, both
    (H, T).
    """
    net = case.load - case.pv
    rested = np.where(net > 0, net * case.retail, net * case.feed_in)
    earned, order = (rested - paid).ravel(), np.argsort(score.ravel(), kind="stable")
    return tuple(float(earned[part].mean()) for part in np.array_split(order, parts))


def table(scores: Sequence[Score]) -> pd.DataFrame:
    """One line per row, means over spans and seeds; share of the optimum per span as well.

    money_per_point: what one point (1 %) of the load forecast's nRMSE costs against the perfect
    forecast of the same trader, in currency per span.
    """
    frame = pd.DataFrame([asdict(score) for score in scores])
    lines = []
    for row in dict.fromkeys(frame["row"]):
        mine = frame[frame["row"] == row]
        line: dict[str, object] = {"trader": row}
        for start in dict.fromkeys(frame["start"]):
            share = mine.loc[mine["start"] == start, "share_of_optimum"]
            line[start] = float(share.mean())
        line |= {
            "share": float(mine["share_of_optimum"].mean()),
            "losers": int(mine["losers"].max()),
            "peak_ratio": float(mine["peak_ratio"].mean()),
            "self_sufficiency": float(mine["self_sufficiency"].mean()),
            "cycles": float(mine["cycles"].mean()),
            "traded_kwh": float(mine["traded_kwh"].mean()),
            "over_cap": float(mine["over_cap"].astype(float).mean()),
            "nrmse": float(mine["forecast_nrmse"].astype(float).mean()),
            "money_per_point": _money_per_point(frame, row),
        }
        lines.append(line)
    return pd.DataFrame(lines)


def _money_per_point(frame: pd.DataFrame, row: str) -> float:
    perfect = frame[frame["row"] == f"{ROWS[row].kind}, perfect"]
    mine = frame[frame["row"] == row]
    error = mine["forecast_nrmse"].astype(float).mean()
    if perfect.empty or not error > 0:
        return float("nan")
    return float((mine["cost"].mean() - perfect["cost"].mean()) / (100.0 * error))
