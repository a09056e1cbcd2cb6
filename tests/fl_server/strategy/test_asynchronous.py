"""Updates that are used when they come: FedAsync and FedBuff, worked out by hand.

The model starts at x = (1, 2). Households H0, H1, H2 answer with w + d_k, d = (0.6, 0), (0, 0.6),
(-0.6, -0.6), whatever they were sent. Those that are held back answer once they are let go.
"""

import itertools
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import Message, MessageType

from common.config import Settings
from common.errors import InputError
from fl_server.checkpoint import Checkpoint, Checkpoints
from fl_server.learning import Learning
from fl_server.passing_grid import PassingGrid
from fl_server.strategy import check_asynchronous, make_strategy
from simulations.engine.loop import FIRST_NODE
from tests.support.toy import Toy

X = np.array([1.0, 2.0])
D = np.array([[0.6, 0.0], [0.0, 0.6], [-0.6, -0.6]])
Options = dict[str, float | int | str | bool]


class Slow(PassingGrid):
    """A line on which updates of some households are late, until they are let go."""

    held: frozenset[int] = frozenset()
    asked: tuple[int, ...] = ()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        every = list(messages)
        training = [m for m in every if m.metadata.message_type == MessageType.TRAIN]
        if training or not every:
            self.asked = tuple(m.metadata.dst_node_id - FIRST_NODE for m in training)
        ids = list(self._grid.push_messages(every))
        self._to = vars(self).get("_to", {}) | {
            one: m.metadata.dst_node_id - FIRST_NODE
            for one, m in zip(ids, every, strict=True)
            if m.metadata.message_type == MessageType.TRAIN
        }
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(
            [i for i in message_ids if self._to.get(i) not in self.held]
        )


def toy(name: str, **options: float) -> tuple[Toy, Slow]:
    lines: list[Slow] = []

    def line(grid):  # type: ignore[no-untyped-def]
        lines.append(Slow(grid))
        return lines[0]

    made = Toy(name, lambda k, w: w + D[k], options=dict(options), line=line)
    return made, lines[0]


def step(made: Toy, line: Slow, *held: int):  # type: ignore[no-untyped-def]
    """One round in which the updates of ``held`` do not come, and nobody waits for them."""
    line.held = frozenset(held)
    made.rounds.limit(0.0)
    return made.round()


def test_a_fresh_update_with_alpha_1_is_the_model() -> None:
    """H0 alone is at work: alpha_t = 1 (0 + 1)^-a = 1, so that the model is what it sends, bit for
    bit."""
    made = Toy("fedasync", lambda k, w: w * 0.7 + D[k], examples=[10], options={"alpha": 1.0})
    made.round()
    assert made.model.astype(np.float32).tobytes() == (
        (X * 0.7 + D[0]).astype(np.float32).tobytes()
    )


def test_fedasync_mixes_by_staleness() -> None:
    """Round 1: H0 and H1 answer in time, one step each, in the order of names: staleness 0 and 1.

    x1 = x + 0.5 d0; x2 = (1 - b) x1 + b (x + d1), b = 0.5 / 2. Round 2: H2, sent the model of
    version 0 when now it is version 2, comes with those of H0 and H1, sent x2: staleness 2, and
    then 1 and 2, as the older goes first.
    """
    made, line = toy("fedasync", alpha=0.5, exponent=1.0)
    first = step(made, line, 2)
    x2 = 0.75 * (X + 0.5 * D[0]) + 0.25 * (X + D[1])
    np.testing.assert_allclose(made.model, x2, atol=1e-6)
    assert first.screening.late == 0
    assert first.screening.dropped["no reply"] == 0
    second = step(made, line)
    assert line.asked == (0, 1), "who is at work is asked for nothing else"
    assert second.screening.late == 1
    x = x2
    for sent, k, staleness in ((X, 2, 2), (x2, 0, 1), (x2, 1, 2)):
        share = 0.5 / (staleness + 1)
        x = (1 - share) * x + share * (sent + D[k])
    np.testing.assert_allclose(made.model, x, atol=1e-6)
    assert second.train is not None
    assert second.train["staleness"] == pytest.approx(5 / 3)


@pytest.mark.parametrize("held", [(), (2,), (0, 1), (0, 1, 2)])
def test_a_synchronous_round_forgets_who_is_late(held: tuple[int, ...]) -> None:
    """Everybody is asked anew, and what came late is used by nobody."""
    made, line = toy("fedavg")
    first = step(made, line, *held)
    assert first.screening.dropped["no reply"] == len(held)
    second = step(made, line)
    assert (line.asked, second.screening.accepted, second.screening.late) == ((0, 1, 2), 3, 0)
    assert made.rounds.take_late(2).received == 0


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_fedbuff_with_everybody_in_time_is_fedavg_of_equal_weights(rate: float) -> None:
    """K = 3 of 3, no staleness: x + eta mean(d), over three rounds of awkward numbers."""
    changes = np.random.default_rng(5).normal(size=(3, 2))

    def odd(k: int, w: np.ndarray) -> np.ndarray:
        return w * 0.7 + changes[k]

    options: Options = {"buffer": 3, "server_learning_rate": rate}
    buffered = Toy("fedbuff", odd, examples=(7, 11, 13), options=options)
    plain = Toy("fedavg", odd, examples=(5, 5, 5))
    x = X
    for _ in range(3):
        buffered.round()
        plain.round()
        x = x + rate * (np.mean([odd(k, x) for k in range(3)], axis=0) - x)
        np.testing.assert_allclose(buffered.model, x, atol=1e-6)
    if rate == 1.0:
        np.testing.assert_allclose(buffered.model, plain.model, atol=1e-6)


def test_fedbuff_does_not_overshoot_when_all_homes_are_of_one_speed() -> None:
    """15 homes that each go all the way to one place, K = 5: three steps a round, of one model's
    changes. By default it comes nearer in every round; with full steps it is thrown 1.28 times as
    far to the other side."""

    def there(k: int, w: np.ndarray) -> np.ndarray:
        return np.full_like(w, 3.0)

    cautious = Toy("fedbuff", there, examples=(1,) * 15)
    away = np.abs(X - 3.0)
    for _ in range(4):
        cautious.round()
        now = np.abs(cautious.model - 3.0)
        assert (now < 0.5 * away).all()
        away = now
    full = Toy("fedbuff", there, examples=(1,) * 15, options={"server_learning_rate": 1.0})
    full.round()
    factor = 1 + 2**-0.5 + 3**-0.5
    np.testing.assert_allclose(full.model, X + factor * (3.0 - X), rtol=1e-5)


def test_fedbuff_steps_when_the_buffer_is_full() -> None:
    """K = 2. Round 1: H0 and H1 fill it, x1 = x + (d0 + d1) / 2; H2 is late.

    Round 2: H2 goes first, one step stale, and fills it with H0: x2 = x1 + (d2 / sqrt 2 + d0) / 2;
    H1, now a step stale as well, stays in the buffer. Round 3: H0 completes it; H1 and H2 make the
    next step, one step stale.
    """
    made, line = toy("fedbuff", buffer=2, server_learning_rate=1.0)
    step(made, line, 2)
    x1 = X + (D[0] + D[1]) / 2
    np.testing.assert_allclose(made.model, x1, atol=1e-6)
    step(made, line)
    x2 = x1 + (D[2] / 2**0.5 + D[0]) / 2
    np.testing.assert_allclose(made.model, x2, atol=1e-6)
    step(made, line)
    x3 = x2 + (D[1] / 2**0.5 + D[0]) / 2
    np.testing.assert_allclose(made.model, x3 + (D[1] + D[2]) / 2**0.5 / 2, atol=1e-6)


def test_what_comes_between_two_rounds_is_used_at_once() -> None:
    """H2 answers after round 1: the model moves before round 2 asks anybody."""
    made, line = toy("fedasync", alpha=0.5, exponent=0.0)
    step(made, line, 2)
    before = made.model
    assert made.rounds.take_late(1).accepted == 0, "it has not come yet"
    line.held = frozenset()
    taken = made.rounds.take_late(1)
    assert (taken.accepted, taken.late) == (1, 1)
    np.testing.assert_allclose(made.model, 0.5 * before + 0.5 * (X + D[2]), atol=1e-6)
    assert made.rounds.take_late(1).received == 0
    step(made, line)
    assert line.asked == (0, 1, 2)


def test_a_household_that_stays_silent_is_asked_anew() -> None:
    """After ``late_s``; what it answers to the old message is not used any more."""
    made, line = toy("fedasync", alpha=0.5)
    made.rounds._late.patience_s = 0.05  # type: ignore[union-attr]
    step(made, line, 2)
    time.sleep(0.06)
    result = step(made, line)
    assert line.asked == (0, 1, 2)
    assert result.screening.dropped["no reply"] == 1
    assert (result.screening.accepted, result.screening.late) == (3, 0)


@pytest.mark.parametrize("name", ["fedasync", "fedbuff"])
def test_the_order_of_arrival_in_a_round_does_not_matter(name: str) -> None:
    """Every order in which three updates may come gives the same bytes."""
    found = set()
    for order in itertools.permutations(range(3)):

        class Shuffled(PassingGrid):
            def pull_messages(
                self, message_ids: Iterable[str], order: tuple[int, ...] = order
            ) -> Iterable[Message]:
                replies = list(self._grid.pull_messages(message_ids))
                replies.sort(key=lambda one: one.metadata.src_node_id)
                return [replies[i] for i in order] if len(replies) == 3 else replies

        made = Toy(name, lambda k, w: w * 0.7 + D[k], line=Shuffled)
        for _ in range(3):
            made.round()
        found.add(made.model.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", ["fedasync", "fedbuff"])
def test_a_crash_loses_no_update_that_was_taken(name: str, tmp_path: Path) -> None:
    """The coordinator dies after each round and goes on from its checkpoint: as without.

    FedBuff's buffer of five has 3 updates then, 1, and 4.
    """
    straight, _ = toy(name)
    for _ in range(3):
        straight.round()
    checkpoints, state = Checkpoints(tmp_path, durable=False), Checkpoint.fresh(3)
    made, _ = toy(name)
    for number in range(3):
        made._number = number
        made.round()
        state.t = number + 1
        checkpoints.save(state, made.rounds)
        if name == "fedbuff":
            assert made.strategy.state()["held"] == 3 * (number + 1) % 5  # type: ignore[attr-defined]
        made, _ = toy(name)
        checkpoints.restore(state, made.rounds)
    assert made.model.tobytes() == straight.model.tobytes()
    assert made.strategy.version > 0  # type: ignore[attr-defined]


class Written(list[dict[str, object]]):
    """The lines of a run's rounds, kept."""

    def write(self, line: dict[str, object]) -> None:
        self.append(line)


def test_the_lines_of_rounds_tell_what_was_late() -> None:
    """H2 comes between the rounds 1 and 2: the line of round 2 counts it, and no other does."""
    made, line = toy("fedasync")
    lines = Written()
    learning = Learning(made.rounds, lines, Settings(), pd.Timestamp("2021-01-01", tz="UTC"))  # type: ignore[arg-type]
    line.held = frozenset({2})
    made.rounds.limit(0.0)
    learning.round(1)
    assert learning.take_late(1) == 0
    line.held = frozenset()
    assert learning.take_late(1) == 1
    learning.round(2)
    learning.round(3)
    assert [one.get("late") for one in lines] == [None, 1, None]
    # H0 and H1 in round 1: 0 and 1 steps stale, and in those after it three of three.
    assert [one["staleness"] for one in lines] == [0.5, 1.0, 1.0]


def test_a_share_of_the_households_is_at_work_at_a_time() -> None:
    """One of three: while it is at work nobody else is asked."""
    lines: list[Slow] = []

    def line(grid):  # type: ignore[no-untyped-def]
        lines.append(Slow(grid))
        return lines[0]

    strategy = make_strategy("fedasync", {}, fraction_train=1 / 3, fraction_evaluate=1.0, seed=3)
    made = Toy(strategy, lambda k, w: w + D[k], line=line)
    step(made, lines[0], 0, 1, 2)
    assert len(lines[0].asked) == 1
    step(made, lines[0], 0, 1, 2)
    assert lines[0].asked == ()
    step(made, lines[0])
    step(made, lines[0])
    assert len(lines[0].asked) == 1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"private": True, "compression_down": "none"}, "fl.privacy"),
        ({"private": False, "compression_down": "int8"}, "fl.compression_down"),
        ({"private": False, "compression_down": "none", "min_replies": 2}, "fl.min_replies"),
    ],
)
def test_what_counts_on_rounds_is_refused(given: dict, named: str) -> None:  # type: ignore[type-arg]
    """By the setting's name; a synchronous strategy takes it."""
    for name in ("fedbuff", "fedavg"):
        strategy = make_strategy(name, {}, fraction_train=1.0, fraction_evaluate=1.0, seed=0)
        if name == "fedavg":
            check_asynchronous(name, strategy, **given)
            continue
        with pytest.raises(InputError, match=named):
            check_asynchronous(name, strategy, **given)


@pytest.mark.parametrize(
    ("text", "options"),
    [("fedasync", {"alpha": 0.0}), ("fedasync", {"alpha": 1.5}), ("fedasync", {"rho": -1.0}),
     ("fedasync", {"exponent": -1.0}), ("fedbuff", {"buffer": 0}),
     ("fedbuff", {"server_learning_rate": 0.0})],
)  # fmt: skip
def test_options_out_of_bounds_are_named(text: str, options: Options) -> None:
    """Before a run begins."""
    [name] = options
    with pytest.raises(InputError, match=name):
        make_strategy(text, options, fraction_train=1.0, fraction_evaluate=1.0, seed=0)
