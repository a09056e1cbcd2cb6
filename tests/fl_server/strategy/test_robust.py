"""Geometric median and centred clipping, against points worked out by hand."""

import itertools

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from common.messages import NUM_EXAMPLES, decode_arrays, encode_arrays
from fl_server.strategy import make_strategy
from fl_server.strategy.robust import CentredClipping, GeometricMedian, _Collected
from tests.support.updates import encode_update


@pytest.fixture(autouse=True)
def _identity() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


class Nobody:
    """A grid without nodes: configuring a round only tells the strategy where it starts."""

    def get_node_ids(self) -> list[int]:
        return []


def averaged(strategy: _Collected, start: list[float], sent: list[list[float]]) -> np.ndarray:
    """The new model of one round in which these weights come back, each of weight 1."""
    model = encode_arrays({"w": np.array(start, np.float32)})
    list(strategy.configure_train(1, model, ConfigRecord(), Nobody()))  # type: ignore[arg-type]
    replies = [
        Message(
            encode_update({"w": np.array(one, np.float32)}, {NUM_EXAMPLES: 1}),
            reply_to=Message(RecordDict(), node, "train"),
        )
        for node, one in enumerate(sent, start=1)
    ]
    arrays, metrics = strategy.aggregate_train(1, replies)
    assert arrays is not None
    assert metrics is not None
    assert metrics[NUM_EXAMPLES] == len(sent)
    return decode_arrays(arrays)["w"]


def test_the_geometric_median_of_a_majority_is_where_the_majority_is() -> None:
    """Three at (1, 0) and two at (0, 1000): more than half in one point make it the median."""
    found = averaged(GeometricMedian(steps=60), [0, 0], [[1, 0]] * 3 + [[0, 1000]] * 2)
    assert found == pytest.approx([1, 0], abs=2.0)  # the smoothing is a thousandth of ~480


def test_the_geometric_median_of_a_triangle() -> None:
    """Of an equilateral triangle it is the centre: (0, 0), by symmetry."""
    corners = [[0.0, 1.0], [-(3**0.5) / 2, -0.5], [3**0.5 / 2, -0.5]]
    assert averaged(GeometricMedian(), [5, 5], corners) == pytest.approx([0, 0], abs=1e-6)


def test_clipping_holds_what_is_far_to_the_median_distance() -> None:
    """Changes 1, 1 and 100 round 0: median distance 1, so one step moves by (1 + 1 + 1) / 3 = 1."""
    assert averaged(CentredClipping(steps=1), [0.0], [[1], [1], [100]]) == pytest.approx([1])


def test_the_centre_is_that_of_the_round_before() -> None:
    """Round 1 changes by 1. Then changes 1, 1, -99 are 0, 0, -100 away: median distance 0, so 1."""
    strategy = CentredClipping(steps=1)
    averaged(strategy, [0.0], [[1], [1], [1]])
    assert averaged(strategy, [10.0], [[11], [11], [-89]]) == pytest.approx([11])
    again = CentredClipping(steps=1)
    again.restore(strategy.state())
    assert averaged(again, [10.0], [[11], [11], [-89]]) == pytest.approx([11])


@pytest.mark.parametrize("name", ["geometric-median", "centred-clipping"])
def test_any_order_gives_the_same_bytes(name: str) -> None:
    """Rows are put in an order of their own before floats are added up."""
    rng = np.random.default_rng(0)
    sent = rng.normal(size=(4, 7)).tolist()
    found = {
        averaged(
            make_strategy(name, {}, fraction_train=1.0, fraction_evaluate=1.0, seed=0),  # type: ignore[arg-type]
            [0.0] * 7,
            list(order),
        ).tobytes()
        for order in itertools.permutations(sent)
    }
    assert len(found) == 1


@pytest.mark.parametrize("options", [{"steps": 0}, {"smoothing": 0.0}, {"smoothing": 2.0}])
def test_absurd_options_are_refused(options: dict[str, float]) -> None:
    """Before a run, not in it."""
    with pytest.raises(ValueError, match="needed"):
        GeometricMedian(**options)  # type: ignore[arg-type]
