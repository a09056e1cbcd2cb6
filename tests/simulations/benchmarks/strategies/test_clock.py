"""The simulated clock: arrivals worked out by hand, and strategies that wait or do not.

Models are two float32 values, which travel as 136 bytes. A line of 136 bytes/s takes 1 s each way;
a training is 4 steps of 1 s. An answer takes 6 s. Household k moves each value by (k + 1) / 10.
"""

from collections.abc import Mapping

import numpy as np
import pytest
from flwr.app import ConfigRecord

from common.messages import NUM_EXAMPLES, decode_arrays
from common.model_messages import ModelReply, ModelRequest
from simulations.benchmarks.strategies.clock import ClockGrid
from simulations.benchmarks.strategies.dials import Dial
from tests.support.toy import Toy

MODEL_BYTES = 136
LINE = MODEL_BYTES * 8 / 1e6
NAMES = ["H0", "H1", "H2"]


class Paced(Dial):
    """Homes whose steps take as many times as long as said here."""

    slower: Mapping[str, float] = {}

    def step_seconds(self, seed: int, name: str, round_: int) -> float:
        return super().step_seconds(seed, name, round_) * self.slower.get(name, 1.0)


class Timed(Toy):
    """The toy federation on the clock; ``order``: who trained, one after the other."""

    def __init__(self, name: str, dial: Dial, options: dict[str, float] | None = None) -> None:
        self.order: list[str] = []
        clocks: list[ClockGrid] = []

        def line(grid):  # type: ignore[no-untyped-def]
            named = dict(zip(grid.get_node_ids(), NAMES, strict=True))
            rush = name in ("fedasync", "fedbuff")
            clocks.append(ClockGrid(grid, dial, 1, named, 4, rush=rush))
            return clocks[0]

        super().__init__(
            name, lambda k, w: w + (k + 1) / 10, options=dict(options or {}), line=line
        )
        self.clock = clocks[0]
        self.rounds._deadline = 0.0

    def reply(self, k: int, request: ModelRequest) -> ModelReply:
        self.order.append(NAMES[k])
        return super().reply(k, request)

    def train(self):  # type: ignore[no-untyped-def]
        """Train once: a round, or until somebody has answered an asynchronous strategy."""
        self._number += 1
        return self.rounds.train(self._number, ConfigRecord())


def timed(name: str, options: dict[str, float] | None = None, **dial: object) -> Timed:
    return Timed(name, Paced.model_validate({"line_mbit_per_s": LINE, **dial}), options)


def test_a_synchronous_round_takes_as_long_as_the_slowest() -> None:
    """1 + 4 + 1 s where all are alike; with steps of 3 s in one home 1 + 12 + 1 s."""
    for slower, seconds in (({}, 6.0), ({"H1": 3.0}, 14.0)):
        federation = timed("fedavg", slower=slower)
        for number in (1, 2):
            assert federation.train().screening.accepted == 3
            assert federation.clock.now_s == pytest.approx(number * seconds)
        assert federation.clock.late_bytes == 0


def test_a_round_may_end_before_the_slowest() -> None:
    """After 8 s, or with two of three: H1, at 14 s, is left out, and in the next round it is still
    at work. It comes to that one's message in time only where it ends late enough."""
    federation = timed("fedavg", slower={"H1": 3.0}, round_s=8.0)
    result = federation.train()
    assert (result.screening.accepted, result.screening.dropped["no reply"]) == (2, 1)
    assert federation.clock.now_s == 8.0
    federation.train()
    assert federation.clock.now_s == 16.0
    # What it trained for round 1 was there at 14 s, and nobody waited for it.
    federation.train()
    assert federation.clock.late_bytes == MODEL_BYTES
    shared = timed("fedavg", slower={"H1": 3.0}, wait_share=0.6)
    assert shared.train().screening.accepted == 2
    assert shared.clock.now_s == 6.0


def test_what_a_home_has_not_begun_is_withdrawn() -> None:
    """Steps of 10 s: at work from 1 s to 41 s, through the rounds of 2 to 6, whose messages it
    never trains for."""
    federation = timed("fedavg", slower={"H1": 10.0}, round_s=8.0)
    for _ in range(6):
        federation.train()
    # Round 6 begins at 40 s: the home is free at 41 s.
    assert federation.order.count("H0") == 6
    assert federation.order.count("H1") == 2


def test_an_asynchronous_strategy_goes_on_with_whoever_is_next() -> None:
    """H0 and H1 answer at 6, 12 and 18 s, H2, at half their speed, at 10 and 20 s.

    The newest model goes out at once to who has answered. H0 and H1, asked at 12 s, are the next to
    answer, and not late.
    """
    federation = timed("fedasync", {"alpha": 0.5}, slower={"H2": 2.0})
    seen = []
    for _ in range(5):
        result = federation.train()
        seen.append((federation.clock.now_s, result.screening.accepted, result.screening.late))
    assert seen == [(6.0, 2, 0), (10.0, 1, 1), (12.0, 2, 2), (18.0, 2, 0), (20.0, 1, 1)]


def test_answers_of_one_time_go_by_name() -> None:
    """Equal homes answer at the same time: alpha = 1 without staleness leaves the model of the
    last by name."""
    federation = timed("fedasync", {"alpha": 1.0, "exponent": 0.0})
    federation.train()
    np.testing.assert_allclose(federation.model, [1.3, 2.3], rtol=1e-6)
    assert federation.clock.now_s == 6.0


def test_fedbuff_on_equal_homes_is_fedavg_of_equal_weights() -> None:
    """K = 3 of 3, all in time: x + mean(0.1, 0.2, 0.3) each round, in the same time."""
    options = {"buffer": 3, "server_learning_rate": 1.0}
    buffered, plain = timed("fedbuff", options), timed("fedavg")
    for number in (1, 2):
        buffered.train()
        plain.train()
        moved = [1 + 0.2 * number, 2 + 0.2 * number]
        np.testing.assert_allclose(buffered.model, moved, atol=1e-6)
        assert buffered.clock.now_s == plain.clock.now_s == 6.0 * number


@pytest.mark.parametrize("name", ["fedavg", "fedasync", "fedbuff"])
def test_one_seed_gives_one_course(name: str) -> None:
    """Speeds drawn at random: twice the same times and the same bytes; of another seed, others."""
    dial: dict[str, object] = {"step_spread": 0.5, "line_spread": 0.5, "unsteadiness": 0.5}

    def course(seed: int) -> tuple[list[float], bytes]:
        federation = timed(name, **dial)
        federation.clock._seed = seed
        times = []
        for _ in range(4):
            federation.train()
            times.append(federation.clock.now_s)
        weights = decode_arrays(federation.rounds.arrays)["w"]
        return times, weights.tobytes()

    assert course(1) == course(1)
    assert course(1)[0] != course(2)[0]


def test_speeds_are_drawn_by_seed_home_and_round() -> None:
    """Middling without spread; each home its own factor; unsteadiness another one each round."""
    plain = Dial(step_s=2.0, line_mbit_per_s=8.0)
    assert plain.step_seconds(1, "H0", 3) == 2.0
    assert plain.line_bytes_per_s(1, "H0", 3) == 1e6
    own = Dial(step_spread=0.5)
    assert own.step_seconds(1, "H0", 1) == own.step_seconds(1, "H0", 2)
    assert len({own.step_seconds(1, name, 1) for name in NAMES}) == 3
    moving = Dial(unsteadiness=0.5)
    assert moving.step_seconds(1, "H0", 1) != moving.step_seconds(1, "H0", 2)
    assert moving.step_seconds(1, "H0", 2) == moving.step_seconds(1, "H0", 2)
    slow = Dial(stragglers=0.5, straggler_work=0.1, stragglers_finish=True)
    taken = {slow.step_seconds(1, f"H{h}", 1) for h in range(20)}
    assert taken == {1.0, 10.0}


def test_rounds_mark_where_an_update_started() -> None:
    """A household cannot say so itself: what it writes beside its update is not read."""

    class Lying(Timed):
        def reply(self, k: int, request: ModelRequest) -> ModelReply:
            plain = super().reply(k, request)
            return ModelReply({**plain.metrics, "server-round": 99, NUM_EXAMPLES: 5}, plain.weights)

    honest = timed("fedasync", slower={"H2": 2.0})
    lying = Lying("fedasync", Paced(line_mbit_per_s=LINE, slower={"H2": 2.0}))
    for federation in (honest, lying):
        for _ in range(3):
            federation.train()
    np.testing.assert_array_equal(honest.model, lying.model)
