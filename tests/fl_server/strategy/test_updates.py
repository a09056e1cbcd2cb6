"""Every strategy's step on two parameters, against the formula of its paper worked out by hand.

The model starts at x = (1, 2). Households H0, H1, H2 count 10, 20, 30 windows and answer with
x + d_k, d = (0.6, 0), (0, 0.6), (-0.6, -0.6). The weighted mean change is
(6 + 0 - 18, 0 + 12 - 18) / 60 = (-0.2, -0.1).
"""

import numpy as np
import pytest

from common.messages import NUM_EXAMPLES
from common.model_messages import ModelReply, ModelRequest
from fl_server.strategy.memory import from_json, to_json
from tests.support.toy import Toy

X = np.array([1.0, 2.0])
D = np.array([[0.6, 0.0], [0.0, 0.6], [-0.6, -0.6]])
MEAN = np.array([-0.2, -0.1])


def move(k: int, w: np.ndarray) -> np.ndarray:
    return w + D[k]


def after(toy: Toy, rounds: int = 1) -> np.ndarray:
    for _ in range(rounds):
        toy.round()
    return toy.model


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold", "fedper", "ditto", "fine-tuned"])
def test_strategies_with_fedavgs_mean(name: str) -> None:
    """Where the household's side makes the difference, the server's step is the weighted mean."""
    options = {"personal": "w"} if name == "fedper" else {}
    toy = WithVariates(name, move) if name == "scaffold" else Toy(name, move, options=options)
    np.testing.assert_allclose(after(toy), X + MEAN, atol=1e-6)


class WithVariates(Toy):
    """Households whose control variate changes by (k + 1) (0.1, 0.2) each round."""

    def reply(self, k: int, request: ModelRequest) -> ModelReply:
        plain = super().reply(k, request)
        change = {"w": np.array([0.1, 0.2], np.float32) * (k + 1)}
        return ModelReply(plain.metrics, plain.weights, control=change)


def test_scaffold_moves_the_servers_variate() -> None:
    """All three of three take part: c = (10 * 1 + 20 * 2 + 30 * 3) / 60 (0.1, 0.2) = 7/3 (...).

    The next round's messages carry it, and it grows by as much again.
    """
    toy = WithVariates("scaffold", move)
    for times in (0.0, 1.0, 2.0):
        toy.round()
        sent = toy.requests[0].control
        assert sent is not None
        np.testing.assert_allclose(sent["w"], times * 7 / 3 * np.array([0.1, 0.2]), atol=1e-6)


def test_scaffold_counts_the_share_that_took_part() -> None:
    """One of three is sampled: c moves by a third of its change."""
    toy = WithVariates("scaffold", move, options={"fraction_train": 1 / 3})
    toy.round()
    [k] = toy.requests
    toy.round()
    second = toy.requests[max(toy.requests, key=lambda one: toy.requests[one].round)].control
    assert second is not None
    np.testing.assert_allclose(second["w"], np.array([0.1, 0.2]) * (k + 1) / 3, atol=1e-6)


def test_scaffolds_server_rate_scales_the_step() -> None:
    """x + 0.5 mean change."""
    toy = WithVariates("scaffold", move, options={"server_learning_rate": 0.5})
    np.testing.assert_allclose(after(toy), X + 0.5 * MEAN, atol=1e-6)


def test_fednova_normalises_by_steps() -> None:
    """Steps 1, 2, 6: sum p_i d_i / tau_i = (10 (0.6, 0) + 20 (0, 0.3) + 30 (-0.1, -0.1)) / 60
    = (0.05, 0.05); tau_eff = (10 + 40 + 180) / 60 = 23 / 6."""
    steps = [{"train_steps": n} for n in (1, 2, 6)]
    toy = Toy("fednova", move, metrics=steps)
    np.testing.assert_allclose(after(toy), X + 23 / 6 * 0.05, atol=1e-6)


def test_fednova_with_equal_steps_is_fedavg() -> None:
    """tau cancels."""
    toy = Toy("fednova", move, metrics=[{"train_steps": 4}] * 3)
    np.testing.assert_allclose(after(toy), X + MEAN, atol=1e-6)


def test_fedavgm_adds_momentum() -> None:
    """x1 = x - g; x2 = x1 - (0.5 g + g), g = -mean change: both rounds make the same change."""
    toy = Toy("fedavgm", move, options={"server_momentum": 0.5})
    np.testing.assert_allclose(after(toy, 2), X + 2.5 * MEAN, atol=1e-6)


def test_fedadam() -> None:
    """m = 0.1 d, v = 0.01 d^2; rate 0.5 sqrt(1 - 0.99^2) / (1 - 0.9^2) as Flower counts rounds."""
    toy = Toy("fedadam", move, options={"eta": 0.5, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.01})
    rate = 0.5 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2)
    step = rate * 0.1 * MEAN / (np.sqrt(0.01 * MEAN**2) + 0.01)
    np.testing.assert_allclose(after(toy), X + step, rtol=1e-5)


def test_fedyogi() -> None:
    """From v = 0 Yogi's v is 0.01 d^2; m = 0.1 d; no bias correction."""
    toy = Toy("fedyogi", move, options={"eta": 0.5, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.01})
    step = 0.5 * 0.1 * MEAN / (np.sqrt(0.01 * MEAN**2) + 0.01)
    np.testing.assert_allclose(after(toy), X + step, rtol=1e-5)


def test_fedadagrad() -> None:
    """v = d^2, m = d: a step of almost eta in each direction."""
    toy = Toy("fedadagrad", move, options={"eta": 0.5, "tau": 0.01})
    step = 0.5 * MEAN / (np.abs(MEAN) + 0.01)
    np.testing.assert_allclose(after(toy), X + step, rtol=1e-5)


def test_fedmedian_takes_the_middle_of_each() -> None:
    """The middle of (0.6, 0, -0.6) and of (0, 0.6, -0.6) is 0."""
    np.testing.assert_allclose(after(Toy("fedmedian", move)), X, atol=1e-6)


def test_fedtrimmedavg_drops_the_ends() -> None:
    """With a third cut at each end one value is left, the middle one."""
    toy = Toy("fedtrimmedavg", move, options={"beta": 0.34})
    np.testing.assert_allclose(after(toy), X, atol=1e-6)


FIVE = np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.2], [0.1, 0.1], [9.0, 9.0]])


def test_krum_takes_the_one_with_the_nearest_neighbours() -> None:
    """Five updates, one far away: the 5 - 1 - 2 = 2 nearest neighbours count. Squared distances of
    (0.1, 0.1) are 0.02 + 0.02; of a corner 0.02 + 0.04."""
    options: dict[str, float | int | str | bool] = {"num_malicious_nodes": 1}
    toy = Toy("krum", lambda k, w: w + FIVE[k], examples=[10] * 5, options=options)
    np.testing.assert_allclose(after(toy), X + FIVE[3], atol=1e-6)


def test_multikrum_averages_the_best() -> None:
    """The best four are all but the far one: (0.3, 0.3) / 4."""
    options: dict[str, float | int | str | bool] = {"num_malicious_nodes": 1}
    options["num_nodes_to_select"] = 4
    toy = Toy("multikrum", lambda k, w: w + FIVE[k], examples=[10] * 5, options=options)
    np.testing.assert_allclose(after(toy), X + 0.075, atol=1e-6)


def test_bulyan_is_not_moved_by_one_of_seven() -> None:
    """Six agree on (0.1, -0.1), one sends (50, 50): five are selected, three averaged."""
    changes = np.array([[0.1, -0.1]] * 6 + [[50.0, 50.0]])
    toy = Toy(
        "bulyan", lambda k, w: w + changes[k], examples=[10] * 7, options={"num_malicious_nodes": 1}
    )
    np.testing.assert_allclose(after(toy), X + np.array([0.1, -0.1]), atol=1e-6)


def test_qfedavg_favours_large_losses() -> None:
    """q = 1, L = 1 / 0.5 = 2, losses F = 1, 2, 3: delta_k = F_k L (x - w_k) and
    h_k = ||L (x - w_k)||^2 + L F_k; x+ = x - sum delta / sum h.

    sum delta = -2 (0.6 - 1.8, 1.2 - 1.8) = (2.4, 1.2);
    sum h = 4 (0.36 + 0.36 + 0.72) + 2 * 6 = 17.76.
    """
    losses = [{"train_loss": float(k)} for k in (1, 2, 3)]
    options: dict[str, float | int | str | bool] = {"client_learning_rate": 0.5, "q": 1.0}
    toy = Toy("qfedavg", move, options=options, metrics=losses)
    np.testing.assert_allclose(after(toy), X - np.array([2.4, 1.2]) / 17.76, rtol=1e-5)


def test_clusters_part_households_that_pull_apart() -> None:
    """H0 and H1 go right, H2 and H3 go left. One round of FedAvg, then each pair by itself.

    Round 1 ends at the mean, x. Round 2 is made from each pair's own model of round 1.
    """
    changes = np.array([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    toy = Toy(
        "clustered",
        lambda k, w: w + changes[k],
        examples=[10] * 4,
        options={"clusters": 2, "warmup": 1},
    )
    toy.round()
    for k, side in enumerate((1.0, 1.0, -1.0, -1.0)):
        np.testing.assert_allclose(toy.received[k], X + np.array([side, 0.0]), atol=1e-6)
    toy.round()
    for k, side in enumerate((2.0, 2.0, -2.0, -2.0)):
        np.testing.assert_allclose(toy.received[k], X + np.array([side, 0.0]), atol=1e-6)
    np.testing.assert_allclose(toy.model, X, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["fedprox", "scaffold", "fednova", "clustered", "fedavgm", "fedadam", "fedyogi"]
)
def test_what_a_strategy_remembers_survives_a_restart(name: str) -> None:
    """Three rounds at a stretch, and three with everything but the memory thrown away between.

    The memory goes through text and arrays, as in a run folder.
    """

    def fresh() -> Toy:
        kind = WithVariates if name == "scaffold" else Toy
        steps = [{"train_steps": k + 1} for k in range(3)]
        return kind(name, lambda k, w: 0.5 * w + D[k], metrics=steps)

    whole = fresh()
    straight = after(whole, 3)
    toy = fresh()
    for number in range(3):
        arrays, memory = toy.rounds.arrays, from_json(*to_json(toy.rounds.memory()))
        toy = fresh()
        toy.rounds.arrays = arrays
        toy.rounds.recall(memory)
        toy._number = number
        toy.round()
    np.testing.assert_array_equal(toy.model, straight)


def test_a_household_without_windows_does_not_stop_a_round() -> None:
    """It counts nothing, is dropped and named; the mean is that of the others."""
    toy = Toy("fedavg", move, examples=(10, 0, 30))
    result = toy.round()
    assert result.screening.dropped["no or absurd number of examples"] == 1
    np.testing.assert_allclose(toy.model, X + (10 * D[0] + 30 * D[2]) / 40, atol=1e-6)
    assert result.train is not None
    assert result.train[NUM_EXAMPLES] == 40


class WithoutVariates(Toy):
    """Households whose variates never change."""

    def reply(self, k: int, request: ModelRequest) -> ModelReply:
        plain = super().reply(k, request)
        zero = {"w": np.zeros(2, np.float32)}
        return ModelReply(plain.metrics, plain.weights, control=zero)


def test_fedprox_and_scaffold_without_their_terms_are_fedavg_bit_for_bit() -> None:
    """mu = 0, and variates of zero, over three rounds of awkward numbers."""
    rng = np.random.default_rng(5)
    changes = rng.normal(size=(3, 2))

    def odd(k: int, w: np.ndarray) -> np.ndarray:
        return w * 0.7 + changes[k]

    plain = after(Toy("fedavg", odd, examples=(7, 11, 13)), 3)
    prox = after(Toy("fedprox", odd, examples=(7, 11, 13), options={"proximal_mu": 0.0}), 3)
    scaffold = after(WithoutVariates("scaffold", odd, examples=(7, 11, 13)), 3)
    assert plain.tobytes() == prox.tobytes() == scaffold.tobytes()
