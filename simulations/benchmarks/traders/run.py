"""All traders with all forecasts on the same days, scored against the references."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from common.data.frame import Household
from common.market_rules import SCARCITY
from fl_client.trader import make_trader
from simulations.benchmarks.traders import foresights
from simulations.benchmarks.traders.community import Cap, Community, Foresight, Life, live
from simulations.references import (
    LOSER,
    Case,
    community_optimum,
    greedy_battery,
    no_battery_no_trade,
    own_optimum,
)

# Trader and forecast of each row. The rules' forecast is the model's or the tariff's mean price.
ROWS: dict[str, tuple[str, dict[str, str], str]] = {
    "hold": ("hold", {}, "none"),
    "greedy": ("greedy", {}, "none"),
    "rule-literal": ("rule-literal", {}, "last day"),
    "rule-literal, federated": ("rule-literal", {}, "federated"),
    "rule": ("rule", {}, "last day"),
    "rule, 7-day mean": ("rule", {}, "7-day mean"),
    "rule, federated": ("rule", {}, "federated"),
    "rule, perfect": ("rule", {}, "perfect"),
    "bid-curve, last day": ("bid-curve", {"scenarios": "point"}, "last day"),
    "bid-curve, 7-day mean": ("bid-curve", {"scenarios": "point"}, "7-day mean"),
    "bid-curve, own days": ("bid-curve", {"scenarios": "days"}, "none"),
    "bid-curve, own days + federated": ("bid-curve", {"scenarios": "model"}, "federated"),
    "bid-curve, capped": ("bid-curve", {"scenarios": "days"}, "none"),
    "bid-curve, perfect": ("bid-curve", {"scenarios": "point"}, "perfect"),
}


CAPPED = "bid-curve, capped"


@dataclass(frozen=True)
class Score:
    """One row on one span of days. Energy in kWh, money in currency, shares as fractions.

    over_cap: share of intervals in which the community drew more than ``cap`` of its no-battery
    peak, over_kw: by how much on average then; None where no cap was set.
    calibration: mean earning against a resting battery [currency per interval and home] of the
    lowest to the highest quarter of the scores, or None where nothing is scored.
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


def score_rows(
    community: Community,
    households: Sequence[Household],
    rows: Sequence[str],
    *,
    seed: int,
    preset: str,
    rounds: int,
    local_steps: int,
    cap: float = 0.7,
) -> Iterator[Score]:
    """Live the community's days once per row, with and without a market, and score it.

    ``cap``: share of the no-battery peak that the capped row may draw.
    """
    c = community
    case = c.case
    base, best = no_battery_no_trade(case), community_optimum(case)
    made: dict[str, Foresight | None] = {"none": None}
    errors: dict[str, float | None] = {"none": None}
    for row in rows:
        kind, options, wanted = ROWS[row]
        if wanted not in made:
            if wanted == "federated":
                made[wanted] = foresights.federated(
                    c, households, preset=preset, rounds=rounds, local_steps=local_steps, seed=seed
                )
            elif wanted == "perfect":
                made[wanted] = foresights.truth(c)
            else:
                made[wanted] = foresights.same_slots(c, 1 if wanted == "last day" else 7)
            ahead = made[wanted]
            assert ahead is not None
            errors[wanted] = foresights.error(c, ahead)
        trader = make_trader(kind, options)
        limit = None
        if row == CAPPED:
            limit = Cap(cap * base.peak_kw(c.hours), SCARCITY * float(c.retail.max()))
        life = live(c, trader, made[wanted], cap=limit)
        shadow = live(c, trader, made[wanted], market=False)
        yield _score(c, row, seed, life, shadow, base.total, best.total, base.peak_kw(c.hours),
                     errors[wanted], limit)  # fmt: skip


def references(community: Community, cap: float = 0.7) -> dict[str, float]:
    """Costs of the references on the same days, and the optimum under the cap."""
    case = community.case
    peak = no_battery_no_trade(case).peak_kw(case.hours)
    return {
        "no_battery_no_trade": no_battery_no_trade(case).total,
        "greedy_battery": greedy_battery(case).total,
        "own_optimum": own_optimum(case).total,
        "community_optimum": community_optimum(case).total,
        "capped_optimum": _capped(case, cap * peak),
        "no_battery_peak_kw": peak,
    }


def _capped(case: Case, cap_kw: float) -> float:
    try:
        return community_optimum(case, import_cap_kw=cap_kw).total
    except ValueError:
        return float("nan")  # no foresight holds this cap


def _score(
    c: Community,
    row: str,
    seed: int,
    life: Life,
    shadow: Life,
    base: float,
    best: float,
    base_peak: float,
    error: float | None,
    limit: Cap | None,
) -> Score:
    worse = life.cost - shadow.cost
    above = None if limit is None else life.grid_import.sum(axis=0) / c.hours - limit.kw
    over = None if above is None else above > 1e-6
    scored = ROWS[row][0] not in ("hold", "greedy")
    return Score(
        row=row,
        start=c.start.tz_convert(c.timezone).date().isoformat(),
        seed=seed,
        cost=life.total,
        share_of_optimum=(base - life.total) / (base - best),
        losers=int((worse > LOSER).sum()),
        worst_loss=float(worse.max()),
        peak_kw=life.peak_kw(c.hours),
        peak_ratio=life.peak_kw(c.hours) / base_peak,
        self_sufficiency=life.self_sufficiency,
        cycles=float(life.cycles.mean()),
        traded_kwh=float(life.bought.sum()),
        unserved_kwh=float(life.unserved.sum()),
        forecast_nrmse=error,
        over_cap=None if over is None else float(over.mean()),
        over_kw=None
        if over is None or above is None or not over.any()
        else float(above[over].mean()),
        calibration=calibration(c, shadow) if scored else None,
    )


def calibration(community: Community, shadow: Life, parts: int = 4) -> tuple[float, ...]:
    """What intervals of low to high score earned against a resting battery, mean per part.

    Earned: bill saved plus the change of stored energy at the mean tariff. Taken from the run
    without a market, where what an interval earns is the household's own doing.
    """
    c = community
    days = slice(c.first, None)
    net, retail = c.load[:, days] - c.pv[:, days], c.retail[days]
    rested = np.where(net > 0, net * retail, net * c.feed_in)
    start = np.full((len(c.names), 1), float(np.mean(c.battery.soc_initial)))
    stored = np.diff(np.hstack([start, shadow.soc]), axis=1) * float(
        np.mean(c.battery.capacity_kwh)
    )
    earned = (rested - shadow.paid + stored * retail.mean()).ravel()
    order = np.argsort(shadow.score.ravel(), kind="stable")
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
    perfect = frame[frame["row"] == f"{ROWS[row][0]}, perfect"]
    mine = frame[frame["row"] == row]
    error = mine["forecast_nrmse"].astype(float).mean()
    if perfect.empty or not error > 0:
        return float("nan")
    return float((mine["cost"].mean() - perfect["cost"].mean()) / (100.0 * error))
