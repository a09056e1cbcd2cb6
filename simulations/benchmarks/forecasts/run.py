"""The forecast benchmark: every row scored on the same homes, origins and readings."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from common.arrays import Floats
from common.forecast.forecaster import Forecast
from common.forecast.metrics import weekly_naive_scale
from common.forecast.streams import STREAMS, horizon_of
from simulations.benchmarks.forecasts import neural, plain
from simulations.benchmarks.forecasts.neural import Plan, Trained
from simulations.benchmarks.forecasts.panel import (
    Panel,
    Rows,
    Span,
    all_origins,
    midnight_origins,
    window,
)
from simulations.benchmarks.forecasts.scores import community_nrmse, per_home, quantile_scores

NAIVE = ("last_day", "weekly_naive", "mean_7_days")
REGRESSIONS = ("ridge", "lightgbm")
NEURAL = ("local_only", "centralised", "federated", "personal_layers", "unseen")
ALL_HOURS = "consumption_day_all_hours"
STREAM_NAMES = (*STREAMS, ALL_HOURS)
UNSEEN_EVERY = 3


@dataclass
class Scored:
    """One row of the table for one seed: scores (H,) by stream and metric, and what it cost."""

    row: str
    seed: int
    homes: dict[str, dict[str, Floats]] = field(default_factory=dict)
    community: dict[str, float] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    weights: dict[str, Any] | None = None


@dataclass(frozen=True)
class Target:
    """What a stream is scored on: origins, actuals (H, n, steps) and scales (H,)."""

    name: str
    stream: str
    origins: Rows
    actual: Floats
    scale: Floats

    def add(self, scored: Scored, forecast: Floats) -> None:
        """Score (H, n, steps) forecasts into ``scored``."""
        scored.homes[self.name] = per_home(forecast, self.actual, self.scale)
        if self.stream.startswith("consumption"):
            scored.community[self.name] = community_nrmse(forecast, self.actual)


def targets(panel: Panel, span: Span, stride: int) -> list[Target]:
    """All streams from midnight, and the day's consumption from every ``stride``-th half hour."""
    made = []
    for stream, (kind, _) in STREAMS.items():
        values = panel.load if kind == "consumption" else panel.price
        scale = np.array([weekly_naive_scale(home[: span.start]) for home in values])
        steps = horizon_of(stream)
        kinds = [(stream, midnight_origins(panel, span, steps))]
        if stream == "consumption_day":
            kinds.append((ALL_HOURS, all_origins(span, steps, stride)))
        for name, origins in kinds:
            if len(origins):
                actual = window(values, origins, steps)
                made.append(Target(name, stream, origins, actual, scale))
    return made


def naive_row(name: str, panel: Panel, span: Span, stride: int) -> Scored:
    """Score a naive rule on every stream."""
    scored = Scored(name, 0, names=panel.names)
    for target in targets(panel, span, stride):
        values = panel.filled if target.stream.startswith("consumption") else panel.price
        made = plain.naive(name, values, target.origins, horizon_of(target.stream))
        target.add(scored, made)
    return scored


def regression_row(name: str, panel: Panel, span: Span, seed: int) -> Scored:
    """Score a pooled regression on the day ahead from midnight."""
    started = time.perf_counter()
    scored = Scored(name, seed, names=panel.names)
    for target in targets(panel, span, 1):
        if target.name == "consumption_day":
            made = plain.regression(name, panel, span, target.origins, seed)
            target.add(scored, made)
    scored.cost = {"seconds": time.perf_counter() - started}
    return scored


def _score(
    row: str, panel: Panel, span: Span, homes: neural.Homes, trained: Trained, stride: int
) -> Scored:
    scored = Scored(row, homes.seed, names=panel.names)
    asked: dict[tuple[str, bytes], Forecast] = {}  # consumption and price come in one forecast
    for target in targets(panel, span, stride):
        horizon = STREAMS[target.stream][1]
        key = (horizon, target.origins.tobytes())
        if key not in asked:
            asked[key] = neural.forecasts(
                panel, homes.scalers, homes.plan.preset, trained, target.origins, horizon
            )
        made = asked[key]
        target.add(scored, made.streams[target.stream].astype(np.float64))
        if target.stream == "consumption_day" and made.quantiles is not None:
            scored.homes[target.name] |= quantile_scores(
                made.quantiles.astype(np.float64), target.actual, made.levels
            )
    scored.cost = {
        "seconds": trained.seconds,
        "cpu_seconds": trained.cpu_seconds,
        "steps": trained.steps,
        "bytes_sent": trained.bytes_sent,
        **trained.notes,
    }
    return scored


def neural_rows(
    kind: str, panel: Panel, span: Span, plan: Plan, seed: int, stride: int
) -> list[Scored]:
    """Train and score one neural row; the federation's also gives the fine-tuned row.

    ``unseen`` trains the federation without every third home and scores only those.
    """
    # Numbers below 1e-38 count as 0: they are slow to compute. ``run`` calls this in processes of
    # its own, so nothing else is touched.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if kind == "unseen":
        away = list(range(0, len(panel.names), UNSEEN_EVERY))
        known = [i for i in range(len(panel.names)) if i not in away]
        trained = neural.federated(neural.Homes(panel.subset(known), span, plan, seed)).shared
        others = panel.subset(away)
        return [_score(kind, others, span, neural.Homes(others, span, plan, seed), trained, stride)]
    homes = neural.Homes(panel, span, plan, seed)
    if kind == "local_only":
        return [_score(kind, panel, span, homes, neural.local_only(homes), stride)]
    if kind == "centralised":
        return [_score(kind, panel, span, homes, neural.centralised(homes), stride)]
    if kind == "personal_layers":
        trained = neural.federated(homes, "fedper").own
        return [_score(kind, panel, span, homes, trained, stride)]
    # Fine-tuning leaves the shared model as it is: one federation gives both rows.
    made = neural.federated(homes, "fine-tuned", {"fine_tune_steps": plan.fine_tune_steps})
    federated = _score(kind, panel, span, homes, made.shared, stride)
    federated.weights = made.shared.models[0]
    return [federated, _score("fine_tuned", panel, span, homes, made.own, stride)]


def run(
    panel: Panel,
    span: Span,
    plan: Plan,
    *,
    seeds: int,
    rows: Sequence[str],
    stride: int,
    jobs: int,
    on_done: Callable[[Scored], None],
) -> list[Scored]:
    """Score the rows named, neural ones once per seed, in ``jobs`` processes of their own.

    ``on_done`` is called with each row as it is done. The result is in order of row and seed.
    """
    done: list[Scored] = []

    def finish(scored: Scored) -> None:
        done.append(scored)
        on_done(scored)

    for name in rows:
        if name in NAIVE:
            finish(naive_row(name, panel, span, stride))
        elif name in REGRESSIONS:
            finish(regression_row(name, panel, span, 0))
    work = [(kind, seed) for kind in rows if kind in NEURAL for seed in range(seeds)]
    if work:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            futures = [
                pool.submit(neural_rows, kind, panel, span, plan, seed, stride)
                for kind, seed in work
            ]
            for future in as_completed(futures):
                for scored in future.result():
                    finish(scored)
    order = [*NAIVE, *REGRESSIONS, "local_only", "centralised", "federated", "fine_tuned"]
    order += ["personal_layers", "unseen"]
    return sorted(done, key=lambda scored: (order.index(scored.row), scored.seed))
