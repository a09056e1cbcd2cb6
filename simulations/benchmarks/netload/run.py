"""Net load of the coming day as everybody's models correct the homes' own days, and its worth.

All learn from the same readings before the days that are scored, and none learns on in them: the
homes together by the product's rounds, each home alone, one model on all readings pooled, at equal
work (``simulations/benchmarks/forecasts/neural.py``), and trees on the same pooled inputs. Each is
then asked in every half hour, and the days are lived with each. Nobody falls back to own days where
they were better lately, as households do: what is compared is the models.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common.arrays import Floats, Ints
from common.data.frame import Household
from common.data.store import write_household
from common.errors import InputError
from common.forecast.net_corrector import NetCorrector, pinball
from common.forecast.net_inputs import NetInputs, NetRows, net_inputs, net_rows
from common.forecast.streams import SLOTS
from fl_client.deciding import AskNet
from fl_client.household import Group
from simulations.benchmarks.forecasts import neural
from simulations.benchmarks.forecasts.panel import Span, make_panel
from simulations.benchmarks.netload.trees import Trees
from simulations.benchmarks.traders.run import Days, Score

OWN, FEDERATED = "own_days", "federated"
ROWS = (OWN, FEDERATED, "local_only", "centralised", "lightgbm")

Corrections = Callable[[int, NetInputs], Floats]
"""Of home number h, in units: (B, K, 14) sorted quantiles."""


@dataclass(frozen=True)
class Setup:
    """Whose days are scored, and how long everybody learns before them."""

    days: float
    history_days: int
    plan: neural.Plan
    rows: Sequence[str]
    market: bool
    settings: Sequence[str]


@dataclass(frozen=True)
class Errors:
    """What a row has forecast on one span. H homes, W weeks, 48 steps ahead.

    crps: (H, W) [kWh], mean over the half hours asked in and the steps ahead; crps_now: of the
    half hour being traded alone; rmse: (H,) [kWh] of the quantiles' mean; by_step: (48,) CRPS, mean
    over homes; cover: share of what came that lay between the outermost quantiles but one, of
    which 11 in 14 should.
    """

    row: str
    start: str
    seed: int
    crps: Floats
    crps_now: Floats
    rmse: Floats
    by_step: Floats
    cover: float


@dataclass
class Found:
    """Of every row, span and seed: errors, and the days lived; what the optimum saves by span."""

    errors: list[Errors] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    saving: dict[tuple[str, int], float] = field(default_factory=dict)


def compare(
    homes: Sequence[Household], setup: Setup, start: date, seed: int, found: Found
) -> Iterator[str]:
    """Teach, ask and live every row of the days from ``start`` on; yields each as it is done.

    Raises InputError where the homes have not measured as long.
    """
    torch.set_num_threads(1)
    cut = [_cut(home, start, setup) for home in homes]
    panel = make_panel(cut)
    begins = setup.history_days * SLOTS
    known = neural.Homes(panel, Span(begins, panel.load.shape[1]), setup.plan, seed)
    rows = [net_rows(history, len(history)) for history in panel.histories]
    with tempfile.TemporaryDirectory(prefix="fedwatt-netload-") as scratch:
        span = None
        if setup.market:
            for home in homes:
                write_household(home, Path(scratch))
            span = Days(
                [
                    f"data.source={scratch}",
                    f"run.households={len(homes)}",
                    f"run.start={start}",
                    f"run.days={setup.days}",
                    f"run.history_days={setup.history_days}",
                    f"run.seed={seed}",
                    f"model.preset={setup.plan.preset}",
                    *setup.settings,
                ],
                cap=1.0,
            )
            found.saving[span.start, seed] = span.saving
        for row in setup.rows:
            corrections = learn(row, known, rows, begins)
            issued = [issue(corrections, h, one, begins) for h, one in enumerate(rows)]
            found.errors.append(_errors(row, str(start), seed, rows, begins, issued))
            if span is not None:
                told = dict(zip(panel.names, issued, strict=True))
                found.scores.append(span.score(row, partial(_ask, told)))
            yield row
        if span is not None:
            span.close()


def learn(row: str, homes: neural.Homes, rows: Sequence[NetRows], known: int) -> Corrections:
    """Teach the model of ``row`` what came before row ``known``."""
    if row == OWN:
        return lambda h, made: made.own
    if row == "lightgbm":
        trees = Trees(rows, known, homes.seed)
        return lambda h, made: trees.corrected(made)
    trained = {
        FEDERATED: lambda: neural.federated(homes).shared,
        "local_only": lambda: neural.local_only(homes),
        "centralised": lambda: neural.centralised(homes),
    }[row]()
    heads = [NetCorrector(weights) for weights in trained.models]
    return lambda h, made: heads[h if len(heads) > 1 else 0].corrected(made)


def issue(corrections: Corrections, h: int, rows: NetRows, begins: int) -> Floats:
    """What home ``h`` is told in every half hour from row ``begins`` on: (T, 14, 48) [kWh]."""
    origins = np.arange(begins, len(rows))
    steps = np.broadcast_to(np.arange(SLOTS), (len(origins), SLOTS)).copy()
    made = net_inputs(rows, origins, rows.lag[origins], np.zeros_like(origins), steps)
    quantiles = corrections(h, made) * made.unit[:, None, None]
    return np.ascontiguousarray(quantiles.transpose(0, 2, 1))


def _ask(told: Mapping[str, Floats], group: Group) -> AskNet:
    def ask(households: Ints, unknown: int, lag: int) -> Floats:
        t = group.tokens.count + lag - unknown
        return np.stack([told[group.names[h]][t] for h in households.tolist()])

    return ask


def _errors(
    row: str,
    start: str,
    seed: int,
    rows: Sequence[NetRows],
    begins: int,
    issued: Sequence[Floats],
) -> Errors:
    crps, now, rmse, steps, inside = [], [], [], [], []
    for one, quantiles in zip(rows, issued, strict=True):
        at = np.arange(begins, len(one))[:, None] + np.arange(SLOTS)
        net = np.append(one.load - one.pv, np.nan)  # what comes after the days is in no score
        came = net[np.minimum(at, len(one))]
        asked = quantiles.transpose(0, 2, 1)
        scored = 2.0 * pinball(asked, came[..., None]).mean(-1)
        weeks = np.arange(0, len(scored), 7 * SLOTS)
        count = np.add.reduceat(np.isfinite(scored), weeks).sum(1)
        crps.append(np.add.reduceat(np.nan_to_num(scored), weeks).sum(1) / count)
        now.append(np.add.reduceat(scored[:, 0], weeks) / np.diff([*weeks, len(scored)]))
        rmse.append(np.sqrt(np.nanmean((asked.mean(-1) - came) ** 2)))
        steps.append(np.nanmean(scored, 0))
        within = (asked[..., 1] <= came) & (came <= asked[..., -2])
        inside.append(within[np.isfinite(came)].mean())
    return Errors(
        row, start, seed, np.array(crps), np.array(now), np.array(rmse), np.mean(steps, 0),
        float(np.mean(inside)),
    )  # fmt: skip


def _cut(home: Household, start: date, setup: Setup) -> Household:
    """The rows that a run of these days has."""
    begin = pd.Timestamp(start, tz=home.timezone).tz_convert("UTC")
    first = begin - pd.Timedelta(days=setup.history_days)
    last = begin + pd.Timedelta(days=setup.days)
    index = home.frame.index
    assert isinstance(index, pd.DatetimeIndex)
    kept = (index >= first) & (index < last)
    expected = round((setup.history_days + setup.days) * SLOTS)
    if kept.sum() != expected:
        raise InputError(
            f"household {home.name} has not measured from {first.date()} to {last.date()}"
        )
    return replace(home, frame=home.frame[kept], filled_rows=home.filled_rows[kept])
