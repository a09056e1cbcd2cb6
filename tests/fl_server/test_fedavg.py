"""The project's FedAvg: the mean it claims, whatever the order, and nothing unsound in it."""

import itertools

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.messages import ARRAYS, CONFIG, METRICS, NUM_EXAMPLES, decode_arrays
from common.model_messages import TRAIN_STEPS
from fl_server.strategy import known_strategies, make_strategy
from fl_server.strategy.fedavg import FedAvg, mean_metrics
from fl_server.strategy.fixed_point import WeightedSum
from fl_server.strategy.screening import Limits, Screening, screen
from tests.support.updates import encode_update

SHAPES = {"w": (2, 3), "b": (3,)}


@pytest.fixture(autouse=True)
def _identity() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def reply(content: RecordDict, node: int) -> Message:
    return Message(content, reply_to=Message(RecordDict(), node, "train"))


def update(seed: int, examples: int) -> Message:
    told = {NUM_EXAMPLES: examples, "train_loss": seed / 7, TRAIN_STEPS: 8}
    return reply(encode_update(weights(seed), told), seed)


def test_mean_is_weighted_by_examples() -> None:
    """(1 * 3 + 5 * 1) / 4 = 2, and every array keeps its name and shape."""
    total = WeightedSum()
    total.add({"w": np.full((2, 2), 1.0, np.float32)}, 3)
    total.add({"w": np.full((2, 2), 5.0, np.float32)}, 1)
    np.testing.assert_array_equal(total.mean()["w"], np.full((2, 2), 2.0, np.float32))


def test_any_order_of_replies_gives_the_same_bytes() -> None:
    """Floating-point sums would differ in the last digit; fixed point does not."""
    results = set()
    for order in itertools.permutations(range(1, 5)):
        arrays, metrics = FedAvg().aggregate_train(1, (update(s, 10 * s) for s in order))
        assert arrays is not None
        assert metrics is not None
        digest = tuple(array.tobytes() for array in decode_arrays(arrays).values())
        results.add((*digest, metrics["train_loss"]))
    assert len(results) == 1


def test_agrees_with_flowers_fedavg() -> None:
    """The same mean as Flower's own strategy, to the rounding of float32 and 30 binary places."""
    replies = [update(seed, 10 * seed) for seed in range(1, 6)]
    ours, _ = FedAvg().aggregate_train(1, iter(replies))
    theirs, _ = FlowerFedAvg().aggregate_train(1, replies)
    assert ours is not None
    assert theirs is not None
    for name, array in decode_arrays(ours).items():
        np.testing.assert_allclose(array, theirs[name].numpy(), rtol=2e-6, atol=2e-7)


@given(
    hnp.arrays(np.float32, (4, 5), elements=st.floats(-100, 100, width=32)),
    st.lists(st.integers(1, 10_000), min_size=4, max_size=4),
)
def test_the_mean_lies_between_the_models(values: np.ndarray, examples: list[int]) -> None:
    """A weighted mean never leaves the range of what it averages, beyond rounding."""
    total = WeightedSum()
    for row, weight in zip(values, examples, strict=True):
        total.add({"x": row}, weight)
    mean = total.mean()["x"]
    slack = 1e-6 * np.maximum(1.0, np.abs(values).max(axis=0))
    assert (mean >= values.min(axis=0) - slack).all()
    assert (mean <= values.max(axis=0) + slack).all()


def test_a_sum_that_would_overflow_is_refused_and_changes_nothing() -> None:
    """Refused before anything is added: the mean is that of the sound model alone."""
    total = WeightedSum()
    total.add({"x": np.ones(3, np.float32)}, 5)
    with pytest.raises(OverflowError):
        total.add({"x": np.array([1.0, 1e30, 1.0], np.float32)}, 5)
    np.testing.assert_array_equal(total.mean()["x"], np.ones(3, np.float32))


@pytest.mark.parametrize("weight", [0, -1])
def test_a_weight_below_one_is_refused(weight: int) -> None:
    """A household without windows has nothing to say."""
    with pytest.raises(ValueError, match="weight"):
        WeightedSum().add({"x": np.ones(1, np.float32)}, weight)


def _bad(kind: str) -> Message:
    arrays, examples = weights(1), 10
    match kind:
        case "NaN or infinite weights":
            arrays["b"][1] = np.nan
        case "wrong shape":
            arrays["b"] = np.ones(4, np.float32)
        case "no or absurd number of examples":
            examples = 0
        case "oversized":
            arrays["w"] = np.ones((1000, 1000), np.float32)
        case "wrong records":
            return reply(RecordDict({METRICS: MetricRecord({NUM_EXAMPLES: 1})}), 9)
        case "error reply":
            return Message(
                Error(code=1, reason="broken"), reply_to=Message(RecordDict(), 9, "train")
            )
    told: dict[str, float | int] = {NUM_EXAMPLES: examples, "train_loss": 0.1, TRAIN_STEPS: 8}
    match kind:
        case "no or absurd number of steps":
            told[TRAIN_STEPS] = 10**7
        case "missing metrics":
            del told["train_loss"]
        case "NaN or infinite metrics":
            told["train_loss"] = -0.1
        case "absurdly large metrics":
            told["train_loss"] = 1e300
        case "unreadable array":
            big = {name: array.astype(">f4") for name, array in arrays.items()}
            record = ArrayRecord({name: Array(array) for name, array in big.items()})
            return reply(RecordDict({ARRAYS: record, METRICS: MetricRecord(told)}), 9)
    return reply(encode_update(arrays, told), 9)


@pytest.mark.parametrize(
    "kind",
    [
        "NaN or infinite weights",
        "wrong shape",
        "no or absurd number of examples",
        "oversized",
        "wrong records",
        "error reply",
        "no or absurd number of steps",
        "missing metrics",
        "NaN or infinite metrics",
        "absurdly large metrics",
        "unreadable array",
    ],
)
def test_unsound_updates_are_dropped_and_counted(kind: str) -> None:
    """The bad one is named by its reason; the two sound ones still make the mean of the two."""
    report = Screening()
    replies = iter([update(1, 10), _bad(kind), update(2, 10)])
    arrays, _ = FedAvg().aggregate_train(1, screen(replies, SHAPES, Limits(100_000), report))
    assert arrays is not None
    expected = (weights(1)["w"].astype(np.float64) + weights(2)["w"]) / 2
    np.testing.assert_allclose(decode_arrays(arrays)["w"], expected, atol=1e-7)
    assert report.dropped == {kind: 1}
    assert (report.received, report.accepted) == (3, 2)


def test_updates_are_taken_one_at_a_time() -> None:
    """No reply is asked for before the one before it has been added: memory stays at one model."""
    alive = 0

    def stream():  # type: ignore[no-untyped-def]
        nonlocal alive
        for seed in range(1, 4):
            alive += 1
            yield update(seed, 1)
            # Reached only when the consumer asks for more.
            alive -= 1
            assert alive == 0

    arrays, _ = FedAvg().aggregate_train(1, stream())
    assert arrays is not None


def test_metrics_average_over_those_who_have_them() -> None:
    """(1 * 1 + 3 * 2) / 4 = 1.75 for a metric of both, 5 for a metric of one."""
    rows = [(1, MetricRecord({"a": 1.0})), (3, MetricRecord({"a": 2.0, "b": 5.0}))]
    mean = mean_metrics(rows)
    assert (mean["a"], mean["b"], mean[NUM_EXAMPLES]) == (1.75, 5.0, 4)


def test_no_reply_leaves_the_model_alone() -> None:
    """A round that nobody answers returns nothing to put in the model's place."""
    assert FedAvg().aggregate_train(1, iter([])) == (None, None)


def test_every_named_strategy_is_known() -> None:
    """The strategies the documentation names can be asked for by name."""
    wanted = {"fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "fedprox", "fedmedian"}
    assert wanted <= set(known_strategies())


@pytest.mark.parametrize("name", ["nonsense", "json:dumps", "no.such.module:X"])
def test_an_unknown_strategy_is_named(name: str) -> None:
    """The value is in the message."""
    with pytest.raises(ValueError, match=name):
        make_strategy(name, {}, fraction_train=1.0, fraction_evaluate=1.0, seed=0)


def test_an_unknown_option_is_named() -> None:
    """So is the option."""
    with pytest.raises(ValueError, match="bogus"):
        make_strategy("fedavg", {"bogus": 1}, fraction_train=1.0, fraction_evaluate=1.0, seed=0)


def test_sampling_goes_by_name_and_seed() -> None:
    """The sample is the same for other node ids in the same order, and differs by round."""

    class Nodes:
        def __init__(self, ids: list[int]) -> None:
            self.ids = ids

        def get_node_ids(self) -> list[int]:
            return self.ids

    strategy = FedAvg(fraction_train=0.3, seed=5)
    chosen = [
        [nodes.index(n) for n in strategy.sample(Nodes(nodes), 0.3, round_, "train")]  # type: ignore[arg-type]
        for round_ in (1, 2)
        for nodes in ([*range(10)], [*range(100, 110)])
    ]
    assert chosen[0] == chosen[1]
    assert chosen[2] == chosen[3]
    assert len(chosen[0]) == 3
    assert chosen[0] != chosen[2]


def test_config_carries_the_round() -> None:
    """Every strategy's message tells its round: households seed their draws with it."""
    from flwr.app import ConfigRecord

    class One:
        def get_node_ids(self) -> list[int]:
            return [4]

    [message] = FedAvg().configure_train(7, ArrayRecord(), ConfigRecord(), One())  # type: ignore[arg-type]
    assert message.content[CONFIG]["server-round"] == 7
    assert ARRAYS in message.content
