"""Compression and privacy of a round, with any strategy: what arrives, what is counted, epsilon."""

from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent, rdp

from common.compression import parse_compression
from common.errors import InputError
from common.model_messages import ModelReply, ModelRequest
from fl_client.personal_store import PersonalStore
from fl_server.downlink import Downlink
from fl_server.privacy import Privacy, epsilon
from fl_server.strategy import check_privacy
from tests.support.toy import Toy

D = np.array([[0.6, 0.0], [0.0, 0.6], [-0.6, -0.6]])


class Compressing(Toy):
    """Households that compress as they are told."""

    def reply(self, k: int, request: ModelRequest) -> ModelReply:
        plain = super().reply(k, request)
        assert plain.weights is not None
        delta = {"w": plain.weights["w"] - request.weights["w"]}
        blob = request.compression.compress(delta)
        return replace(plain, weights=None, compressed=blob)


@pytest.mark.parametrize("name", ["fedavg", "fedmedian", "fednova"])
@pytest.mark.parametrize("kind", ["bfloat16", "int8", "top-k:1.0"])
def test_strategies_see_weights_whatever_was_sent(name: str, kind: str) -> None:
    """The model is that without compression, to the grain of the compression (0.6 / 127 / 2)."""
    steps = [{"train_steps": 2}] * 3
    plain = Toy(name, lambda k, w: w + D[k], metrics=steps)
    small = Compressing(name, lambda k, w: w + D[k], metrics=steps, compression=kind)
    plain.round()
    result = small.round()
    assert result.screening.accepted == 3
    np.testing.assert_allclose(small.model, plain.model, atol=0.6 / 127)


def test_garbage_for_a_compressed_update_is_dropped() -> None:
    """One household sends other bytes: it is counted out, the round goes on."""

    class Garbage(Compressing):
        def reply(self, k: int, request: ModelRequest) -> ModelReply:
            good = super().reply(k, request)
            return replace(good, compressed=b"\x02\x01\xff\xff\xff\xff") if k == 0 else good

    toy = Garbage("fedavg", lambda k, w: w + D[k], compression="int8")
    result = toy.round()
    assert result.screening.dropped["unreadable compressed update"] == 1
    np.testing.assert_allclose(toy.model, [1.0, 2.0] + (20 * D[1] + 30 * D[2]) / 50, atol=0.01)


def test_households_are_told_clip_and_noise() -> None:
    """Noise of z C / sqrt(n) each: 2 * 0.5 / sqrt(3)."""
    toy = Toy("fedavg", lambda k, w: w + D[k], privacy=Privacy(0.5, 2.0))
    toy.round()
    assert toy.requests[0].privacy_clip == 0.5
    assert toy.requests[0].privacy_noise == pytest.approx(1.0 / np.sqrt(3))


def test_epsilon_is_the_accountants() -> None:
    """Three rounds in which all answer: three Gaussian mechanisms of multiplier 2."""
    toy = Toy("fedavg", lambda k, w: w + D[k], privacy=Privacy(0.5, 2.0))
    for _ in range(3):
        result = toy.round()
    direct = rdp.RdpAccountant()
    direct.compose(SelfComposedDpEvent(GaussianDpEvent(2.0), 3))
    server = rdp.RdpAccountant()
    server.compose(SelfComposedDpEvent(GaussianDpEvent(2.0 / np.sqrt(3)), 3))
    assert result.spent is not None
    assert result.spent.epsilon == pytest.approx(direct.get_epsilon(1e-5), rel=1e-6)
    assert result.spent.epsilon_server == pytest.approx(server.get_epsilon(1e-5), rel=1e-6)


def test_missing_households_cost_privacy() -> None:
    """Less noise arrives: with one of three answering, multiplier 2 / sqrt(3) for that one."""
    privacy = Privacy(0.5, 2.0)
    spent = privacy.spend(["a", "b", "c"], ["b"])
    assert spent.epsilon == pytest.approx(epsilon(3 / 4, 1e-5))
    # The server may have seen what it did not count.
    assert privacy.memory["a"] == (0.0, pytest.approx(3 / 4))


def test_no_noise_is_no_privacy() -> None:
    """Epsilon is infinite, and zero before anything was sent."""
    privacy = Privacy(0.5, 0.0)
    assert privacy.spent().epsilon == 0.0
    assert privacy.spend(["a"], ["a"]).epsilon == float("inf")


@pytest.mark.parametrize("name", ["scaffold", "QFedAvg"])
def test_strategies_that_tell_more_are_refused_under_privacy(name: str) -> None:
    """Control variates and losses are neither clipped nor noised."""
    check_privacy(name, private=False)
    with pytest.raises(InputError, match=name):
        check_privacy(name, private=True)


def test_changes_sent_down_add_up_to_the_model() -> None:
    """What is left out of one round's change is in a later one: the model held follows the
    server's, and at rest reaches it."""
    from common.messages import decode_arrays, encode_arrays

    rng = np.random.default_rng(1)
    down = Downlink(parse_compression("top-k:0.25+int8"))
    model = {"b": rng.normal(size=8).astype(np.float32), "a": rng.normal(size=4).astype(np.float32)}
    held = decode_arrays(down.advance(0, encode_arrays(model)))
    np.testing.assert_array_equal(held["b"], model["b"])
    target = {name: value + 1.0 for name, value in model.items()}
    held = decode_arrays(down.advance(1, encode_arrays(target)))
    for round_ in range(2, 12):
        # Nobody moves the model any more: what comes back is what was sent.
        held = decode_arrays(down.advance(round_, encode_arrays(held)))
    for name in target:
        np.testing.assert_allclose(held[name], target[name], atol=1e-2)


def test_a_household_that_missed_a_model_is_sent_it_whole() -> None:
    """Of three households the second did not answer: it gets the model, the others the change."""
    from flwr.app import ConfigRecord, Message, RecordDict

    from common.messages import ARRAYS, CONFIG, encode_arrays
    from common.model_messages import COMPRESSED

    toy = Toy("fedavg", lambda k, w: w)
    roster = toy.rounds.roster
    down = Downlink(parse_compression("int8"))
    down.advance(0, encode_arrays({"w": np.zeros(2, np.float32)}))
    down.received(["H0", "H2"])
    arrays = down.advance(1, encode_arrays({"w": np.ones(2, np.float32)}))
    content = RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord()})
    messages = [Message(content, node, "evaluate") for node in roster.get_node_ids()]
    sent = down.shorten(messages, arrays, roster, training=False)
    kinds = [COMPRESSED in m.content.array_records for m in sent]
    assert kinds == [True, False, True]
    held = {0: {"w": np.zeros(2, np.float32)}}.get
    for message in sent:
        np.testing.assert_allclose(ModelRequest.decode(message.content, held).weights["w"], 1.0)


def test_the_store_forgets_the_future_and_the_far_past(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A round reads earlier rounds only; writing drops later ones and all but the newest two."""
    store = PersonalStore(tmp_path, keep=2)
    for round_ in (1, 2, 3, 4):
        store.save("control", round_, {"w": np.full(2, round_, np.float32)})
    kept = store.load("control", 4)
    assert kept is not None
    assert kept["w"][0] == 3.0
    assert store.load("control", 3) is None
    store.save("control", 3, {"w": np.full(2, 30.0, np.float32)})
    newest = store.load("control", 99)
    assert newest is not None
    assert newest["w"][0] == 30.0


def test_an_update_of_absurd_size_is_dropped() -> None:
    """It would overflow the sum; the round goes on without it."""
    toy = Toy("fedavg", lambda k, w: w * (1e30 if k == 0 else 1.0))
    assert toy.round().screening.dropped["absurdly large weights"] == 1
    np.testing.assert_allclose(toy.model, [1.0, 2.0])


@pytest.mark.parametrize(("needed", "moves"), [(2, True), (3, False)])
def test_too_few_updates_leave_the_model(needed: int, moves: bool) -> None:
    """One household of three counts no windows and is dropped: two are left."""
    toy = Toy("fedavg", lambda k, w: w + 1.0, examples=(10, 0, 30), min_replies=needed)
    toy.round()
    np.testing.assert_allclose(toy.model, [2.0, 3.0] if moves else [1.0, 2.0])
