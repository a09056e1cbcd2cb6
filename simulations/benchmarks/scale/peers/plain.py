"""A plain Python loop: train one client after the other, average, and nothing around it."""

import time
from functools import partial
from pathlib import Path

import numpy as np

from common.arrays import Floats, Floats32
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.transformer import blank_model
from simulations.benchmarks.scale.peers.task import (
    START,
    RoundClock,
    one_thread,
    read_home,
    read_settings,
    read_weights,
    update,
)


def carry(directory: Path, rounds: int, cores: int, clock: RoundClock) -> dict[str, Floats32]:
    """Run ``rounds`` rounds of the task in ``directory`` on one core; return the last model."""
    settings = read_settings(directory)
    one_thread(settings)
    homes = [read_home(directory, h) for h in range(settings.run.households)]
    weights, model = read_weights(directory / START), blank_model(settings.model.preset)
    examples = sum(len(home.windows) for home in homes)
    clock.mark(partial(dict, weights))
    for round_ in range(1, rounds + 1):
        total: dict[str, Floats] = {n: np.zeros(w.shape) for n, w in weights.items()}
        trained_s = trained_cpu_s = 0.0
        for home in homes:
            load_weights(model, weights)
            begin, cpu = time.perf_counter(), time.process_time()
            update(model, home, settings, round_)
            trained_s += time.perf_counter() - begin
            trained_cpu_s += time.process_time() - cpu
            for name, value in weights_of(model, copy=False).items():
                total[name] += value * np.float64(len(home.windows))
        weights = {name: (value / examples).astype(np.float32) for name, value in total.items()}
        clock.mark(partial(dict, weights), trained_s, trained_cpu_s)
    return weights
