"""How long the default trader takes to decide: one household, and a thousand in one call."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from common.rng import generator
from fl_client.trader import Situation, Trader
from simulations.benchmarks.traders.community import Community, situation_at

REPEATS = 101


def measure(community: Community, trader: Trader, many: int = 1000) -> dict[str, float]:
    """Median time of one decision, wall clock and processor, for 1 and for ``many`` households.

    Processor time is what a core of its own would take; on a busy machine wall clock is longer.
    """
    t = community.intervals // 2
    count = len(community.names)
    soc = generator(0, "", 0, "speed").uniform(0.1, 0.8, count)
    signals = np.full((community.intervals, 2), 0.15)
    whole = situation_at(community, trader, t, soc, signals)
    rows = np.arange(many) % count
    crowd = _rows(whole, rows)
    one = _rows(whole, np.zeros(1, np.int64))
    found = {}
    for name, situation, repeats in (("one", one, REPEATS), ("many", crowd, 3)):
        trader.decide(situation)  # compiled code is loaded, memory touched
        wall, cpu = [], []
        for _ in range(repeats):
            began, used = time.perf_counter(), time.process_time()
            trader.decide(situation)
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        found[f"{name}_ms"] = 1e3 * float(np.median(wall))
        found[f"{name}_cpu_ms"] = 1e3 * float(np.median(cpu))
    return {"households": float(many), **found}


def _rows(situation: Situation, rows: NDArray[np.int64]) -> Situation:
    return replace(
        situation,
        past_load=situation.past_load[rows],
        past_pv=situation.past_pv[rows],
        soc=situation.soc[rows],
        forecast=None,
    )
