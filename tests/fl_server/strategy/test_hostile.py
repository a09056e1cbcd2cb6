"""One household of several that means harm: what it can do to the model of all is bounded."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from flwr.supercore.task_identity import TaskIdentity

from common.messages import ARRAYS, METRICS, NUM_EXAMPLES
from common.model_messages import CONTROL, TRAIN_STEPS, ModelReply, ModelRequest
from fl_server.strategy import OWN, known_strategies
from fl_server.strategy.fedavg import FedAvg
from fl_server.strategy.lengths import LEAST, MULTIPLE, Lengths, length
from fl_server.strategy.screening import Limits, Screening, screen
from simulations.engine.parcel import Model
from tests.support.toy import Toy
from tests.support.updates import encode_update

X = np.array([1.0, 2.0])
HONEST = 0.01
Metrics = dict[str, float | int]


def move(k: int, w: np.ndarray) -> np.ndarray:
    return w + HONEST * np.array([1.0, 0.5 + 0.1 * k])


class Hostile(Toy):
    """The last household answers with ``lie(request, honest content)`` from round ``since`` on."""

    def __init__(
        self, strategy: str, lie: Callable[[RecordDict], RecordDict] | None, since: int = 1
    ) -> None:
        options: dict[str, float | int | str | bool] = {}
        if strategy in ("krum", "multikrum", "bulyan"):
            options["num_malicious_nodes"] = 1
        if strategy in ("fedper", "fedrep"):
            options["personal"] = "nothing,w"
        super().__init__(strategy, move, examples=(30,) * 8, options=options)
        self._lie, self._since = lie, since
        self.rounds._history, self.rounds._local_steps = 48, 8

    def round(self):  # type: ignore[no-untyped-def]
        self._number += 1
        interval = ConfigRecord({"interval": 6 * self._number})
        return self.rounds.run(self._number, interval, interval.copy())

    def reply(self, k: int, request: ModelRequest) -> ModelReply:
        honest = super().reply(k, request)
        if k != len(self._examples) - 1 or self._number < self._since:
            return honest
        return _Lying(honest, self._lie)  # type: ignore[return-value]


class _Lying:
    def __init__(self, honest: ModelReply, lie: Callable[[RecordDict], RecordDict] | None) -> None:
        self._honest, self._lie = honest, lie

    def encode(self) -> RecordDict:
        if self._lie is None:
            raise RuntimeError("silent")
        return self._lie(self._honest.encode())


def metric(**values: float | int) -> Callable[[RecordDict], RecordDict]:
    """A reply whose metrics say this."""

    def lie(content: RecordDict) -> RecordDict:
        plain = dict(content.metric_records[METRICS]) | {
            name.replace("_", "-") if name == "num_examples" else name: value
            for name, value in values.items()
        }
        return RecordDict({**content, METRICS: MetricRecord(plain)})

    return lie


def without(name: str) -> Callable[[RecordDict], RecordDict]:
    """A reply that lacks a metric."""

    def lie(content: RecordDict) -> RecordDict:
        plain = {key: v for key, v in content.metric_records[METRICS].items() if key != name}
        return RecordDict({**content, METRICS: MetricRecord(plain)})

    return lie


def weights(kind: str, factor: float = 1.0) -> Callable[[RecordDict], RecordDict]:
    """A reply with weights of another type, times ``factor``."""

    def lie(content: RecordDict) -> RecordDict:
        value = content.array_records[ARRAYS]["w"].numpy() * factor
        record = ArrayRecord({"w": Array(value.astype(kind))})
        return RecordDict({**content, ARRAYS: record})

    return lie


def records(content: RecordDict) -> RecordDict:
    """A reply with one record more than asked for."""
    return RecordDict({**content, "more": MetricRecord({"a": 1})})


REFUSED = {
    "10^7 examples": metric(num_examples=10**7),
    "examples as a float": metric(num_examples=30.0),
    "no examples": metric(num_examples=0),
    "no number of examples": without(NUM_EXAMPLES),
    "a million steps": metric(train_steps=10**6),
    "a loss below 0": metric(train_loss=-1.0),
    "a loss of 1e308": metric(train_loss=1e308),
    "a loss of NaN": metric(train_loss=float("nan")),
    "no loss": without("train_loss"),
    "no steps": without(TRAIN_STEPS),
    "big-endian": weights(">f4"),
    "big-endian, huge as summed": weights(">f4", 1e6),
    "float16": weights("<f2"),
    "float64": weights("<f8"),
    "long double": weights("g"),
    "integers": weights("<i4"),
    "NaN": weights("<f4", float("nan")),
    "beyond any weight": weights("<f4", 1e5),
    "a record more": records,
    "a control variate nobody asked for": lambda c: RecordDict({**c, CONTROL: c[ARRAYS]}),
    "nothing": lambda _: RecordDict(),
}


SOME = ("10^7 examples", "no loss", "big-endian", "float16", "a record more")


@pytest.mark.parametrize("name", [n for n in known_strategies() if n != "scaffold"])
def test_a_lie_refused_is_a_household_silent(name: str) -> None:
    """With every strategy: the others' model is, to the last bit, that of a round without it."""
    silent = Hostile(name, None)
    silent.round()
    for what in REFUSED if name in ("fedavg", "fedmedian") else SOME:
        lie = REFUSED[what]
        lied = Hostile(name, lie)
        result = lied.round()
        assert result.failed is None, what
        assert sum(result.screening.dropped.values()) == 1, what
        np.testing.assert_array_equal(lied.model, silent.model, err_msg=what)


@pytest.mark.parametrize("name", ["fedavg", "fedmedian", "krum", "fedadam", "qfedavg", "fednova"])
def test_metrics_of_ones_own_change_nothing(name: str) -> None:
    """Names that households do not send are left out: no strategy sees or refuses them."""
    honest = Hostile(name, lambda content: content)
    more = Hostile(name, metric(mine=1, other=2.0))
    assert honest.round().train == more.round().train
    np.testing.assert_array_equal(more.model, honest.model)


@pytest.mark.parametrize("factor", [3.0, 100.0, -100.0, 4000.0])
def test_a_long_change_counts_no_more_than_a_few(factor: float) -> None:
    """From the second round on one of eight moves the mean by at most MULTIPLE honest lengths."""

    def lie(content: RecordDict) -> RecordDict:
        return weights("<f4", factor)(content)

    lied, honest = Hostile("fedavg", lie, since=3), Hostile("fedavg", lambda c: c)
    for _ in range(2):
        lied.round()
        honest.round()
    np.testing.assert_array_equal(lied.model, honest.model)
    result, _ = lied.round(), honest.round()
    assert result.screening.clipped == 1
    usual = HONEST * np.linalg.norm([1.0, 0.85])
    most = (MULTIPLE + 1.0) * 1.1 * usual / len(lied._examples)
    assert np.linalg.norm(lied.model - honest.model) <= most


def test_the_first_round_is_bounded_by_the_model() -> None:
    """Nobody moves a model further than it is long before anything is known of the others."""
    lied = Hostile("fedavg", weights("<f4", 4000.0))
    assert lied.round().screening.clipped == 1
    assert np.linalg.norm(lied.model - X) <= 1.1 * np.linalg.norm(X) / 8 + HONEST * 2


def otherwise(content: RecordDict) -> RecordDict:
    """An honest reply whose arrays say of themselves what they are not."""
    given = content.array_records[ARRAYS]["w"]
    record = ArrayRecord({"w": Array("int8", (7, 7), given.stype, given.data)})
    return RecordDict({**content, ARRAYS: record})


@pytest.mark.parametrize("name", ["fedavg", "fedmedian"])
@pytest.mark.parametrize(
    "sent",
    [otherwise, lambda c: RecordDict({**c, ARRAYS: Model.of(c.array_records[ARRAYS]).record()})],
)
def test_bytes_count_not_what_is_said_of_them(
    name: str, sent: Callable[[RecordDict], RecordDict]
) -> None:
    """Sound weights are taken, whatever describes them and whatever buffer holds them."""
    honest, odd = Hostile(name, lambda c: c), Hostile(name, sent)
    honest.round()
    assert odd.round().screening.accepted == 8
    np.testing.assert_array_equal(odd.model, honest.model)


def test_arrays_in_another_order_are_put_in_the_models() -> None:
    """Some strategies go by position: the coordinator's order holds, not the sender's."""
    model = {"a": np.ones(2, np.float32), "b": np.zeros(2, np.float32)}
    content = encode_update(
        {name: model[name] for name in ("b", "a")},
        {NUM_EXAMPLES: 1, "train_loss": 1.0, TRAIN_STEPS: 1},
    )
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    reply = Message(content, reply_to=Message(RecordDict(), 9, "train"))
    shapes = {name: array.shape for name, array in model.items()}
    [sound] = screen([reply], shapes, Limits(1000), Screening())
    assert list(sound.content.array_records[ARRAYS]) == ["a", "b"]
    np.testing.assert_array_equal(sound.content.array_records[ARRAYS]["a"].numpy(), model["a"])


def test_an_honest_community_is_not_shortened() -> None:
    """Changes as long as each other's, or shorter, or a little longer, stay as they are."""
    toy = Toy("fedavg", lambda k, w: w + HONEST * (1.0 + 0.3 * k), examples=(10, 20, 30))
    for _ in range(12):
        assert toy.round().screening.clipped == 0


def test_a_minority_does_not_raise_the_bound() -> None:
    """Three of seven that always go as far as they may: the bound stays where it was."""
    lengths, model = Lengths(), {"w": np.ones(4, np.float32)}
    bounds = []
    for _ in range(50):
        lengths.begin(model)
        bounds.append(lengths._bound)
        for step in (1e-2, 1e-2, 1e-2, 1e-2, 1e3, 1e3, 1e3):
            lengths.shorten({"w": model["w"] + np.float32(step)}, model)
        lengths.end()
    assert max(bounds[1:]) == pytest.approx(MULTIPLE * 2e-2, rel=1e-3)


def test_a_round_of_liars_does_not_raise_the_bound() -> None:
    """A small sample may be all hostile once: the median is over several rounds."""
    lengths, model = Lengths(), {"w": np.ones(4, np.float32)}
    for step in (1e-2, 1e-2, 1e-2, 1e3, 1e-2):
        lengths.begin(model)
        lengths.shorten({"w": model["w"] + np.float32(step)}, model)
        lengths.end()
    lengths.begin(model)
    assert lengths._bound == pytest.approx(MULTIPLE * 2e-2, rel=1e-3)


def test_a_shortened_change_points_the_same_way() -> None:
    """Its length is the bound, and its direction is kept."""
    lengths, model = Lengths(), {"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.float32)}
    lengths.begin(model)
    after = {"a": np.array([9, 1, 1], np.float32), "b": np.full((2, 2), 7, np.float32)}
    held = lengths.shorten(after, model)
    assert held is not None
    assert length(held, model) == pytest.approx(3**0.5, rel=1e-6)
    share = 3**0.5 / length(after, model)
    for name in model:
        expected = model[name] + share * (after[name] - model[name])
        np.testing.assert_allclose(held[name], expected, rtol=1e-6)


def test_a_model_that_stands_still_can_move_again() -> None:
    """Rounds without change leave a thousandth of the model's length to go."""
    lengths, model = Lengths(), {"w": np.ones(4, np.float32)}
    for _ in range(9):
        lengths.begin(model)
        lengths.shorten(model, model)
        lengths.end()
    lengths.begin(model)
    assert lengths._bound == pytest.approx(2 * LEAST)


class Raising(FedAvg):
    """A strategy that fails on whatever it is given."""

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        list(replies)
        raise ZeroDivisionError("by nobody")

    def aggregate_evaluate(self, server_round, replies):  # type: ignore[no-untyped-def]
        raise KeyError("val_loss")


class Wild(FlowerFedAvg):
    """A strategy that returns ``result`` for a model."""

    def __init__(self, result: dict[str, np.ndarray]) -> None:
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        self.result = result

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        list(replies)
        return ArrayRecord({n: Array(a) for n, a in self.result.items()}), None


def test_a_strategy_that_raises_leaves_the_model_and_says_so() -> None:
    """Training and evaluation alike; the run goes on with the old model."""
    toy = Toy(Raising(), move)
    result = toy.round()
    np.testing.assert_array_equal(toy.model, X)
    assert result.failed == "ZeroDivisionError: by nobody"
    assert result.evaluate is not None
    assert result.evaluate["val_loss"] == 1.0


@pytest.mark.parametrize(
    "result",
    [
        {"w": np.array([np.nan, 1.0], np.float32)},
        {"w": np.array([1e9, 1.0], np.float32)},
        {"w": np.ones(3, np.float32)},
        {"v": np.ones(2, np.float32)},
        {},
    ],
)
def test_what_is_no_model_is_not_taken(result: dict[str, np.ndarray]) -> None:
    """A strategy's result has the model's arrays, and numbers in them."""
    toy = Toy(Wild(result), move)
    assert toy.round().failed is not None
    np.testing.assert_array_equal(toy.model, X)


def test_what_breaks_off_the_replies_is_not_the_strategys_fault() -> None:
    """A grid that is lost ends the round, and with it the run."""
    toy = Toy("fedavg", move)

    def lost(_: object) -> list[Message]:
        raise ConnectionError("lost")

    toy.rounds.roster.pull_messages = lost  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="lost"):
        toy.round()


def test_every_own_strategy_names_its_state() -> None:
    """What a strategy of the project remembers is what it says, not whatever it holds."""
    assert {name: sorted(kind().state()) for name, kind in OWN.items()} == {  # type: ignore[attr-defined]
        name: [] for name in OWN
    } | {
        "scaffold": ["control"],
        "clustered": ["cluster_of", "directions", "models", "rounds"],
        "centred-clipping": ["centre"],
        "fedasync": ["version"],
        "fedbuff": ["held", "total", "version"],
    }
