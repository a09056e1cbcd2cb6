"""The household's side of each strategy, against updates derived by hand (support/pair.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.compression import Compression, parse_compression
from common.messages import NUM_EXAMPLES, MessageError
from common.model_messages import ModelReply, ModelRequest
from fl_client.participant import Participant, clipped
from fl_client.personal_store import PersonalStore
from tests.support.pair import RATE, SGD, Constant, Pair, gradient, weights

A, B = 1.0, -2.0
START = np.array([3.0, 4.0])


def participant(folder: Path, steps: int = 3) -> Participant:
    return Participant("H1", Pair(), SGD, steps, 7, PersonalStore(folder, keep=9), True)


def request(round_: int = 1, **asked: object) -> ModelRequest:
    return ModelRequest(round_, weights(*START), **asked)  # type: ignore[arg-type]


def trained(reply: ModelReply) -> np.ndarray:
    assert reply.weights is not None
    return reply.weights["w"].astype(np.float64)


def descend(w: np.ndarray, steps: int, extra=lambda w: 0.0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """``steps`` of gradient descent on the household's loss plus an extra gradient."""
    for _ in range(steps):
        w = w - RATE * (gradient(w, A, B) + extra(w))
    return w


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_plain_training_is_gradient_descent(tmp_path: Path, steps: int) -> None:
    """w <- w - 0.1 (1.2 (w0 - 1), 0.4 sign(w1 + 2)), so many times."""
    reply = participant(tmp_path, steps).train(request(), Constant(A, B, 5))  # type: ignore[arg-type]
    np.testing.assert_allclose(trained(reply), descend(START, steps), rtol=1e-6)
    assert reply.metrics[NUM_EXAMPLES] == 5
    assert reply.metrics["train_steps"] == steps


@pytest.mark.parametrize(
    ("round_", "share"), [(10, 1 / 2), (30, 1 / 4), (150, 1 / 16), (999, 1 / 16)]
)
def test_the_learning_rate_falls_with_the_rounds(tmp_path: Path, round_: int, share: float) -> None:
    """By 1 / (1 + round / 10) of the constant one, and never below a sixteenth of it."""
    slower = replace(participant(tmp_path, 1), decay_rounds=10)
    reply = slower.train(request(round_), Constant(A, B))  # type: ignore[arg-type]
    expected = START - share * RATE * gradient(START, A, B)
    np.testing.assert_allclose(trained(reply), expected, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_fedprox_pulls_to_what_was_sent(tmp_path: Path, steps: int) -> None:
    """The gradient of mu/2 ||w - w_sent||^2 is mu (w - w_sent): nothing in the first step."""
    mu = 0.7
    reply = participant(tmp_path, steps).train(request(proximal_mu=mu), Constant(A, B))  # type: ignore[arg-type]
    expected = descend(START, steps, lambda w: mu * (w - START))
    np.testing.assert_allclose(trained(reply), expected, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_scaffold_steps_along_the_corrected_gradient(tmp_path: Path, steps: int) -> None:
    """Two rounds: g - c_i + c with c_i = 0, then with the c_i the first round has left.

    The new c_i must be the paper's option II, c_i - c + (x - y) / (K eta).
    """
    who, windows = participant(tmp_path, steps), Constant(A, B)
    own = np.zeros(2)
    for round_, server in ((1, np.array([0.5, -0.25])), (2, np.array([-1.0, 0.125]))):
        reply = who.train(request(round_, control=weights(*server)), windows)  # type: ignore[arg-type]
        correction = server - own
        expected = descend(START, steps, lambda w, c=correction: c)
        np.testing.assert_allclose(trained(reply), expected, rtol=1e-6)
        new = own - server + (START - expected) / (steps * RATE)
        assert reply.control is not None
        np.testing.assert_allclose(reply.control["w"], new - own, rtol=1e-5, atol=1e-6)
        own = new


def test_no_proximal_weight_and_no_variates_are_plain_training_bit_for_bit(tmp_path: Path) -> None:
    """mu = 0 and c = c_i = 0 must not change a bit."""
    windows = Constant(A, B)
    plain = participant(tmp_path / "a", 5).train(request(), windows)  # type: ignore[arg-type]
    prox = participant(tmp_path / "b", 5).train(request(proximal_mu=0.0), windows)  # type: ignore[arg-type]
    zero = request(control=weights(0.0, 0.0))
    scaffold = participant(tmp_path / "c", 5).train(zero, windows)  # type: ignore[arg-type]
    assert plain.weights is not None
    for other in (prox, scaffold):
        assert other.weights is not None
        assert other.weights["w"].tobytes() == plain.weights["w"].tobytes()


def test_personal_layers_stay_and_are_used(tmp_path: Path) -> None:
    """What goes back in their place is what was sent; the household goes on from its own."""
    who, windows = participant(tmp_path, 2), Constant(A, B)
    asked = request(personal_layers=("w",))
    first = who.train(asked, windows)  # type: ignore[arg-type]
    assert first.weights is not None
    np.testing.assert_array_equal(first.weights["w"], asked.weights["w"])
    after = descend(START, 2)
    kept = who.forecasting_weights(asked, windows)["w"]  # type: ignore[arg-type]
    np.testing.assert_allclose(kept, after, rtol=1e-6)
    again = replace(asked, round=2)
    who.train(again, windows)  # type: ignore[arg-type]
    kept = who.forecasting_weights(again, windows)["w"]  # type: ignore[arg-type]
    np.testing.assert_allclose(kept, descend(after, 2), rtol=1e-6)


def test_fedrep_trains_the_personal_layers_first(tmp_path: Path) -> None:
    """With all layers personal, only the head's steps move them: 3 of the 3 + 2 steps."""
    who, windows = participant(tmp_path, 2), Constant(A, B)
    asked = request(personal_layers=("w",), head_steps=3)
    who.train(asked, windows)  # type: ignore[arg-type]
    kept = who.forecasting_weights(asked, windows)["w"]  # type: ignore[arg-type]
    np.testing.assert_allclose(kept, descend(START, 3), rtol=1e-6)
    # With none of them personal, only the body's steps do.
    body = participant(tmp_path / "body", 2).train(
        request(personal_layers=("x",), head_steps=3),
        windows,  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(trained(body), descend(START, 2), rtol=1e-6)


def test_ditto_trains_both_models(tmp_path: Path) -> None:
    """w as FedAvg; v from v (at first from w) with lambda (v - w_sent) in its gradient."""
    who, windows = participant(tmp_path, 2), Constant(A, B)
    asked = request(ditto_lambda=0.5, ditto_steps=4)
    reply = who.train(asked, windows)  # type: ignore[arg-type]
    np.testing.assert_allclose(trained(reply), descend(START, 2), rtol=1e-6)
    pull = lambda v: 0.5 * (v - START)  # noqa: E731
    own = descend(START, 4, pull)
    kept = who.forecasting_weights(asked, windows)["w"]  # type: ignore[arg-type]
    np.testing.assert_allclose(kept, own, rtol=1e-6)
    again = replace(asked, round=2)
    who.train(again, windows)  # type: ignore[arg-type]
    kept = who.forecasting_weights(again, windows)["w"]  # type: ignore[arg-type]
    np.testing.assert_allclose(kept, descend(own, 4, pull), rtol=1e-6)


def test_fine_tuning_changes_what_is_used_not_what_is_sent(tmp_path: Path) -> None:
    """The model received, trained for three steps more."""
    who, windows = participant(tmp_path, 2), Constant(A, B)
    asked = request(fine_tune_steps=3)
    np.testing.assert_allclose(trained(who.train(asked, windows)), descend(START, 2), rtol=1e-6)  # type: ignore[arg-type]
    used = who.forecasting_weights(asked, windows)["w"]  # type: ignore[arg-type]
    np.testing.assert_allclose(used, descend(START, 3), rtol=1e-6)


def test_a_repeated_round_gives_the_same_bytes(tmp_path: Path) -> None:
    """A lost reply or a resumed run asks again: the state read is that of the rounds before."""
    who, windows = participant(tmp_path), Constant(A, B)
    asked = {"control": weights(0.5, 0.5), "compression": Compression("int8")}
    who.train(request(1, **asked), windows)  # type: ignore[arg-type]
    replies = [who.train(request(2, **asked), windows) for _ in range(2)]  # type: ignore[arg-type]
    assert replies[0].compressed == replies[1].compressed
    assert replies[0].control is not None
    assert replies[1].control is not None
    assert replies[0].control["w"].tobytes() == replies[1].control["w"].tobytes()


def test_error_feedback_sends_later_what_was_left_out(tmp_path: Path) -> None:
    """With one of two values a round, the two rounds' sums differ by what is still owed."""
    who, windows = participant(tmp_path, 1), Constant(A, B)
    asked = {"compression": parse_compression("top-k:0.5")}
    moved = RATE * -gradient(START, A, B)  # -0.24 and -0.04 each round
    sent = np.zeros(2)
    for round_ in range(1, 9):
        reply = who.train(request(round_, **asked), windows)  # type: ignore[arg-type]
        assert reply.compressed is not None
        sent += Compression.expand(reply.compressed, {"w": (2,)})["w"]
    owed = who.store.load("residual", 9)
    assert owed is not None
    np.testing.assert_allclose(sent + owed["w"], 8 * moved, rtol=1e-5)
    assert sent[1] < 0.0  # the small value has had its turn


def test_an_update_is_clipped_and_noised(tmp_path: Path) -> None:
    """The change has norm ||0.1 g|| = 0.2433; clipped to 0.1 it keeps its direction.

    Noise of standard deviation s is drawn per value: over 400 rounds the mean square is s^2 to
    within five standard errors, and no loss or number of windows leaves.
    """
    who, windows = participant(tmp_path, 1), Constant(A, B, 50)
    moved = -RATE * gradient(START, A, B)
    reply = who.train(request(privacy_clip=0.1), windows)  # type: ignore[arg-type]
    expected = START + moved * (0.1 / np.linalg.norm(moved))
    np.testing.assert_allclose(trained(reply), expected, rtol=1e-6)
    assert dict(reply.metrics) == {NUM_EXAMPLES: 1}
    noise = [
        trained(who.train(request(r, privacy_clip=0.1, privacy_noise=0.3), windows)) - expected  # type: ignore[arg-type]
        for r in range(1, 401)
    ]
    mean_square = float(np.square(noise).mean())
    assert abs(mean_square - 0.09) < 5 * 0.09 * (2 / 800) ** 0.5


def test_privacy_noise_is_not_seeded_unless_asked(tmp_path: Path) -> None:
    """Whoever knows the seed could take seeded noise off again."""
    asked = request(privacy_clip=0.1, privacy_noise=0.3)
    windows = Constant(A, B)
    seeded = [trained(participant(tmp_path, 1).train(asked, windows)) for _ in range(2)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(*seeded)
    secret = replace(participant(tmp_path, 1), seeded_noise=False)
    free = [trained(secret.train(asked, windows)) for _ in range(2)]  # type: ignore[arg-type]
    assert not np.array_equal(*free)


def test_an_update_with_nan_leaves_as_nothing_under_privacy() -> None:
    """Its absence would tell of the household, and NaN is no noise."""
    out = clipped({"w": np.array([np.nan, 1.0], np.float32)}, 1.0)
    np.testing.assert_array_equal(out["w"], np.zeros(2, np.float32))


def test_a_household_without_windows_sends_the_model_back(tmp_path: Path) -> None:
    """It counts nothing, and nothing it sends differs from what it got."""
    reply = participant(tmp_path).train(request(), Constant(A, B, 0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(trained(reply), START)
    assert reply.metrics[NUM_EXAMPLES] == 0


def test_nonsense_in_the_config_is_refused() -> None:
    """A negative weight or number of steps is named."""
    from flwr.app import ConfigRecord, RecordDict

    from common.messages import ARRAYS, CONFIG, encode_arrays

    for key in ("proximal-mu", "local-steps", "head-steps"):
        content = RecordDict(
            {ARRAYS: encode_arrays(weights(1, 2)), CONFIG: ConfigRecord({key: -1})}
        )
        with pytest.raises(MessageError, match=key):
            ModelRequest.decode(content)
