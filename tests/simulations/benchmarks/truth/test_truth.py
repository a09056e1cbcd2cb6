"""Strategies on small problems with a published answer, in the short form."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from simulations.benchmarks.truth import softmax, synthetic
from simulations.benchmarks.truth.command import app
from simulations.benchmarks.truth.quadratics import drifting, least_squares, points


def test_two_clients_drift_to_the_place_worked_out_by_hand() -> None:
    """f1 = x^2 + Gx, f2 = -Gx with K = 2, rate 0.1: two steps move f1 by -0.1 (1.8 (2x + G)).

    f2 moves by +0.2 G, so that 0.36 x + 0.18 G = 0.2 G: x = G / 18. SCAFFOLD goes to 0.
    """
    problem = drifting(1.0, 9.0)
    assert problem.standstill(0.1, [2, 2]) == pytest.approx([0.5])
    drifted = problem.run("fedavg", {}, 0.1, [2, 2], 35).models
    assert drifted[1][0] == pytest.approx(1.0 + 0.5 * (-0.1 * 1.8 * 11.0 + 0.2 * 9.0), abs=1e-5)
    assert drifted[-1][0] == pytest.approx(0.5, abs=1e-3)
    corrected = problem.run("scaffold", {}, 0.1, [2, 2], 50).models
    assert corrected[-1][0] == pytest.approx(0.0, abs=1e-3)


def test_the_formula_of_the_standstill_is_one_of_the_rounds_themselves() -> None:
    """From its standstill no round of exact arithmetic moves the model: 7 steps, mu = 0.5.

    Local descent is written out here, apart from the formula and from the product.
    """
    problem = least_squares(3, 2, 20, 1.0, 5)
    z = problem.standstill(0.03, [7] * 3, mu=0.5)
    ends = []
    for one in problem.households:
        x = z.copy()
        for _ in range(7):
            slope = one.rows.T @ (one.weights * (one.rows @ x - one.targets)) + 0.5 * (x - z)
            x = x - 0.03 * slope
        ends.append(x)
    np.testing.assert_allclose(np.mean(ends, axis=0), z, atol=1e-12)


def test_fednova_evens_out_unequal_steps() -> None:
    """Points 0 and 1 with 1 and 2 steps at rate 0.5: moves 0.5 and 0.75 of the way.

    FedAvg stands where 0.5 z = 0.75 (1 - z), at 0.6; by their steps 0.5 and 0.375: at 3 / 7.
    """
    pair = points([[0.0], [1.0]])
    averaged = pair.run("fedavg", {}, 0.5, [1, 2], 40).models[-1]
    evened = pair.run("fednova", {}, 0.5, [1, 2], 40).models[-1]
    assert averaged[0] == pytest.approx(0.6, abs=1e-5)
    assert evened[0] == pytest.approx(3 / 7, abs=1e-5)


def test_the_softmax_gradient_is_that_of_its_loss() -> None:
    """Central differences of the loss in four of its weights, one of them a bias."""
    device = softmax.synthetic(1.0, 1.0, 3, most=60)[4]
    rng = np.random.default_rng(0)
    w = rng.standard_normal((60, 10)).astype(np.float32) * 0.1
    b = rng.standard_normal(10).astype(np.float32) * 0.1
    rows = np.arange(len(device))

    def loss(w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        grad_w, grad_b = np.zeros_like(w), np.zeros_like(b)
        return (
            softmax._gradient(device.x, device.y, rows, w, b, grad_w, grad_b),
            grad_w,
            grad_b,
        )

    _, grad_w, grad_b = loss(w, b)
    for j, c in ((0, 0), (3, 7), (59, 2)):
        step = np.zeros_like(w)
        step[j, c] = 1e-2
        slope = (loss(w + step, b)[0] - loss(w - step, b)[0]) / 2e-2
        assert slope == pytest.approx(grad_w[j, c], abs=2e-3)
    step = np.zeros_like(b)
    step[5] = 1e-2
    assert (loss(w, b + step)[0] - loss(w, b - step)[0]) / 2e-2 == pytest.approx(
        grad_b[5], abs=2e-3
    )


def test_fedprox_stands_above_fedavg_where_its_paper_says() -> None:
    """At most 60 points a device, 8 rounds: all the sentences but those on IID and on each rung.

    A few rounds order the ends of the scale: IID below (1, 1), and mu = 1 above FedAvg that drops
    its stragglers. A curve run once more is the same.
    """
    found = synthetic.train(8, 0, most=60)
    averaged = [found[name, synthetic.AVERAGED, 0.0] for name in ("IID", "1, 1")]
    assert averaged[0].loss < averaged[1].loss
    assert averaged[0].dissimilarity < averaged[1].dissimilarity
    again = softmax.run(softmax.synthetic(1.0, 1.0, 0, most=60), "fedavg", {}, 8, 0)
    assert again.end(again.loss) == averaged[1].loss
    pulled = found["1, 1", synthetic.PULLED, synthetic.STRAGGLERS]
    assert pulled.loss < found["1, 1", synthetic.DROPPED, synthetic.STRAGGLERS].loss


def test_the_command_says_what_holds_and_ends_with_status_1_where_something_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points hold; with a fraction of the rounds models are not there yet, and it says so."""
    from simulations.benchmarks.truth import claims

    result = CliRunner().invoke(app, ["--parts", "estimation", "--out", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "a" / "truth.json").read_text())["claims"]
    assert len(kept) == 12
    assert all(claim["holds"] for claim in kept)
    assert "fedmedian: the median" in (tmp_path / "a" / "truth.md").read_text()

    monkeypatch.setitem(claims.PARTS, "regression", lambda: claims.regression(2))
    result = CliRunner().invoke(app, ["--parts", "regression"])
    assert result.exit_code == 1
    assert "NO" in result.output
    refused = CliRunner().invoke(app, ["--parts", "folklore"])
    assert refused.exit_code != 0
