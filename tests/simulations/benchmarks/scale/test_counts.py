"""Work that a step, a market round and a model round may do, counted instead of timed.

Counts do not hang on the machine or on what else it does. Each bound stands a tenth above what was
counted when it was set: whoever passes one has made something slower, or says why it is worth it.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from common.config import Settings, Training
from common.forecast.net_inputs import INPUTS, SCENARIOS
from common.forecast.presets import find_preset
from common.forecast.scalers import fit_scaler
from common.forecast.slot_inputs import CANDIDATES, DAY_CANDIDATES, HEAD_WIDTH, TOKEN_WIDTH
from common.forecast.streams import QUANTILE_LEVELS
from common.forecast.transformer import blank_model
from common.forecast.windows import NET_STEPS, Windows, training_windows
from fl_client.training import local_update
from tests.support.homes import home
from tests.support.runs import small


def _windows(preset: str) -> Windows:
    history = home(56, timezone="UTC")
    rows = len(history)
    return training_windows(history, fit_scaler(history, 0, rows), preset, 0, rows)


def _update(preset: str, steps: int) -> Callable[[], None]:
    windows, model = _windows(preset), blank_model(preset)

    def update() -> None:
        local_update(model, windows, Training(device="cpu"), steps=steps, seed=0)

    return update


def _expected_flop(preset: str, windows: int, far: int, price: int) -> int:
    """Of one step: each product of the forward pass twice more for the gradients of both factors,
    but once where one factor is data; two operations a multiplication."""
    p = find_preset(preset)
    tokens, width = 24 * windows, p.width
    once = TOKEN_WIDTH * width  # the embedding reads data
    twice = p.layers * (4 * width**2 + 2 * width * p.feedforward + 2 * 24 * width)
    twice += width * 2 * (DAY_CANDIDATES + 1 + len(QUANTILE_LEVELS))
    day = tokens * (2 * once + 3 * twice) + 2 * 48 * windows * 4
    head = 2 * (HEAD_WIDTH * p.head) + 3 * (p.head**2 + p.head * (CANDIDATES + 1)) + 2 * 2
    net = 2 * INPUTS * width + 3 * (width**2 + width * (SCENARIOS + 3))
    return 2 * (day + windows * ((far + price) * head + len(NET_STEPS) * net))


@pytest.mark.parametrize("preset", ["slot", "slot-small"])
def test_a_step_multiplies_no_more_than_its_layers_need(preset: str) -> None:
    """Floating-point operations of a step are, to a thousandth, those of the formula: 26 or 25
    steps of the week, 24 or 23 of the month, by where the comb of steps starts."""
    update = _update(preset, 1)
    with FlopCounterMode(display=False) as counter:
        update()
    counted = counter.get_total_flops()
    least, most = (_expected_flop(preset, 32, far, far + 48) for far in (48, 50))
    assert 0.999 * least <= counted <= 1.001 * most


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("preset", "most"), [("slot", 730), ("slot-small", 620)])
def test_a_step_calls_torch_so_often(preset: str, most: int) -> None:
    """Operations of a second step, views and allocations included: 663 and 565, of which the head
    for net load about 140."""
    counts = []
    for steps in (1, 2):
        update = _update(preset, steps)
        with _Calls() as calls:
            update()
        counts.append(calls.count)
    assert counts[1] - counts[0] <= most


def test_a_batch_takes_little_memory() -> None:
    """Numpy's peak while 32 windows of 28 days are gathered: 2.3 MB, 4.5 times the bare days."""
    windows, rng = _windows("slot"), np.random.default_rng(0)
    next(windows.draws(32, 1, rng))
    tracemalloc.start()
    try:
        next(windows.draws(32, 1, rng))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2.6e6


def _python_calls(run: Callable[[], None]) -> int:
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def _later_calls(run: Callable[[Settings], Path], homes: Path, *override: str) -> float:
    """Calls a household and interval of six more intervals, after as many that fill caches."""
    counts = []
    for intervals in (6, 6, 12):  # the first imports
        settings = small(homes, f"run.days={intervals / 48}", "run.shadow=false", *override)
        counts.append(_python_calls(lambda settings=settings: run(settings)))
    return (counts[2] - counts[1]) / 6 / 3


def test_rounds_call_so_often(run: Callable[[Settings], Path], homes: Path) -> None:
    """Python and C calls on the loop, of the server as well: of a market round, and what a model
    round of 8 steps adds with messages, training, evaluation, files."""
    market = _later_calls(run, homes, "fl.enabled=false")
    sets = ("model.preset=slot", "fl.local_steps=8", "fl.every_hours=0.5")
    model = _later_calls(run, homes, *sets) - market
    assert market <= 3600
    assert model <= 47000


def test_a_model_round_holds_few_models(run: Callable[[Settings], Path], homes: Path) -> None:
    """On the loop, where every household is a group of its own, one more costs Python and numpy
    its readings and two models: the one it forecasts with, and a message on its way."""
    size = sum(p.numel() for p in blank_model("edge").parameters()) * 4
    peaks = []
    for households in (1, 3):
        settings = small(homes, "run.days=0.25", "fl.every_hours=3", households=households)
        run(settings)
        found = []
        for _ in range(3):  # what other tests have left to be collected only adds
            gc.collect()
            tracemalloc.start()
            try:
                run(settings)
                found.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
        peaks.append(min(found))
    assert peaks[1] - peaks[0] <= 2 * 2.4 * size
