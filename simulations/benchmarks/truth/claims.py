"""What papers say of strategies on small problems, and what the product's strategies do there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np

from common.arrays import Floats
from fl_server.strategy import Option
from simulations.benchmarks.strategies.tables import Table
from simulations.benchmarks.truth.quadratics import Problem, drifting, least_squares, points

SCAFFOLD = "Karimireddy et al. 2020, theorem II and figure 3"
FEDNOVA = "Wang et al. 2020, section 3"
FEDSPLIT = "Pathak and Wainwright 2020, section 3"
DITTO = "Li et al. 2021, federated point estimation"
CLOSE = 1e-4
"""How near to a published place a model must end: it travels in float32."""
NEAR = 0.01
"""Distance to the optimum up to which rounds are counted."""


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper with what it expects and what came out."""

    problem: str
    paper: str
    says: str
    expected: str
    ours: str
    holds: bool


def _ends(
    problem: str,
    paper: str,
    says: str,
    at: Floats | Sequence[float],
    ended: Floats | Sequence[float],
    close: float = CLOSE,
) -> Claim:
    """The claim that something ends at a place."""
    left, right = np.atleast_1d(at), np.atleast_1d(ended)
    # Relative where places are far from 0: float32 has seven digits.
    held = bool(np.all(np.abs(left - right) <= close * np.maximum(1.0, np.abs(left))))
    return Claim(problem, paper, says, _places(left), _places(right), held)


def _places(values: Floats) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def rises(problem: str, paper: str, says: str, values: Sequence[float]) -> Claim:
    """The claim that each value is above the one before."""
    held = all(a < b for a, b in pairwise(values))
    return Claim(problem, paper, says, "rising", _places(np.array(values)), held)


def _first_near(models: Sequence[Floats], optimum: Floats) -> int:
    """The first round after which a model is within NEAR of the optimum, or one too many."""
    away = [float(np.linalg.norm(model - optimum)) for model in models]
    return next((r for r, far in enumerate(away) if far < NEAR), len(models))


def drift(rounds: int = 130) -> Iterator[Claim]:
    """Two households that pull apart: where FedAvg drifts to, and that SCAFFOLD does not."""
    rate, mu = 0.05, 1.0
    name = "two clients, f1 = x^2 + Gx, f2 = -Gx"
    ended: dict[tuple[float, int], float] = {}
    reached: dict[tuple[float, int], int] = {}
    for g in (1.0, 10.0, 100.0):
        problem = drifting(mu, g)
        for steps in (1, 2, 10):
            course = problem.run("fedavg", {}, rate, [steps] * 2, rounds)
            ended[g, steps] = float(course.models[-1][0])
            corrected = problem.run("scaffold", {}, rate, [steps] * 2, rounds)
            reached[g, steps] = _first_near(corrected.models, problem.optimum)
            if steps == 1 and g > 1.0:
                continue
            drifted = problem.standstill(rate, [steps] * 2)
            if steps > 1:
                yield _ends(
                    name,
                    SCAFFOLD,
                    f"FedAvg, G = {g:g}, K = {steps}: drifts to",
                    drifted,
                    course.models[-1],
                )
            yield _ends(
                name,
                SCAFFOLD,
                f"SCAFFOLD, G = {g:g}, K = {steps}: ends at the optimum",
                problem.optimum,
                corrected.models[-1],
                1e-2 if steps == 1 else 2e-3,
            )
    yield rises(
        name,
        SCAFFOLD,
        "FedAvg's error grows with K (1, 2, 10; G = 10)",
        [ended[10.0, k] for k in (1, 2, 10)],
    )
    yield rises(
        name,
        SCAFFOLD,
        "FedAvg's error grows with G (1, 10, 100; K = 10)",
        [ended[g, 10] for g in (1.0, 10.0, 100.0)],
    )
    own = [reached[10.0, k] for k in (10, 2, 1)]
    yield Claim(
        name,
        SCAFFOLD,
        f"SCAFFOLD needs fewer rounds the more steps (K = 10, 2, 1) to {NEAR:g}",
        "rising",
        ", ".join(map(str, own)),
        own[0] < own[1] < own[2],
    )
    spread = [reached[g, 2] for g in (1.0, 10.0, 100.0)]
    yield Claim(
        name,
        SCAFFOLD,
        "SCAFFOLD's rounds hardly depend on G (1, 10, 100; K = 2)",
        "equal; the first round, its variates 0, drifts: within a tenth",
        ", ".join(map(str, spread)),
        max(spread) <= 1.1 * min(spread),
    )


def estimation(rounds: int = 20) -> Iterator[Claim]:
    """f_i = |x - e_i|^2 / 2: what each strategy takes the middle of the e_i to be."""
    rate, slow = 0.2, 0.1

    def ended(
        problem: Problem,
        strategy: str,
        options: Mapping[str, Option],
        steps: Sequence[int],
        at: float = rate,
    ) -> Floats:
        return problem.run(strategy, options, at, steps, rounds).models[-1]

    name = "points e = 0 and 1; 2 and 20 steps"
    pair, unequal = points([[0.0], [1.0]]), [2, 20]
    yield _ends(
        name,
        FEDNOVA,
        "FedAvg leans to who takes more steps, to",
        pair.standstill(slow, unequal),
        ended(pair, "fedavg", {}, unequal, slow),
    )
    yield _ends(
        name,
        FEDNOVA,
        "FedNova ends nearer to the optimum 0.5, at",
        pair.standstill(slow, unequal, normalised=True),
        ended(pair, "fednova", {}, unequal, slow),
    )
    yield _ends(name, FEDNOVA, "FedNova with equal steps: the optimum", [0.5],
                ended(pair, "fednova", {}, [5, 5]))  # fmt: skip
    name, three = "points e = 0, 1 and 8; 5 steps", points([[0.0], [1.0], [8.0]])
    even = [5, 5, 5]
    for strategy, options in (
        ("fedavg", {}),
        ("fedprox", {"proximal_mu": 1.0}),
        ("fedavgm", {"server_momentum": 0.2}),
        ("scaffold", {}),
    ):
        yield _ends(name, "mean of the points", f"{strategy}: the mean", [3.0],
                    ended(three, strategy, options, even))  # fmt: skip
    yield _ends(name, "Yin et al. 2018", "fedmedian: the median", [1.0],
                ended(three, "fedmedian", {}, even))  # fmt: skip
    course = three.run("ditto", {"ditto_lambda": 1.0, "ditto_steps": 5}, rate, even, rounds)
    yield _ends(name, DITTO, "ditto, lambda 1: each own model at (e_i + mean) / 2",
                [1.5, 2.0, 5.5], [float(course.own[n][0]) for n in sorted(course.own)])  # fmt: skip
    name, right = "points (0, 0), (1, 0), (0, 1)", points([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    fermat = (3.0 - sqrt(3.0)) / 6.0
    for held, count, close in (("near the", 8, 1e-2), ("the", 100, 1e-3)):
        says = f"geometric-median, {count} steps: {held} point of least distances"
        yield _ends(name, "Fermat's point", says,
                    [fermat, fermat], ended(right, "geometric-median", {"steps": count}, even),
                    close)  # fmt: skip
    name, groups = "points 1, 2, 8 and 9 from 5", points([[1.0], [2.0], [8.0], [9.0]], [5.0])
    course = groups.run("clustered", {"clusters": 2, "warmup": 1}, rate, [5] * 4, rounds)
    yield _ends(name, "Briggs et al. 2020", "clustered: the mean of each group",
                [1.5, 1.5, 8.5, 8.5],
                [float(course.own[n][0]) for n in sorted(course.own)])  # fmt: skip


def regression(rounds: int = 150) -> Iterator[Claim]:
    """Heterogeneous least squares: five homes, four features, each home with a truth of its own."""
    name, rate, steps = "least squares, 5 homes, 10 steps", 0.02, [10] * 5
    problem = least_squares(5, 4, 50, 1.0, 0)
    away: dict[str, float] = {}
    for label, strategy, options, mu in (
        ("fedavg", "fedavg", {}, 0.0),
        ("fedavgm", "fedavgm", {"server_momentum": 0.5}, 0.0),
        ("fedprox, mu = 1", "fedprox", {"proximal_mu": 1.0}, 1.0),
        ("fedprox, mu = 10", "fedprox", {"proximal_mu": 10.0}, 10.0),
        ("scaffold", "scaffold", {}, None),
    ):
        ended = problem.run(strategy, options, rate, steps, rounds).models[-1]
        away[label] = float(np.linalg.norm(ended - problem.optimum))
        if mu is None:
            yield _ends(name, SCAFFOLD, f"{label}: ends at the optimum", problem.optimum, ended)
        else:
            yield _ends(name, FEDSPLIT, f"{label}: ends beside the optimum, at",
                        problem.standstill(rate, steps, mu), ended)  # fmt: skip
    order = ["scaffold", "fedprox, mu = 10", "fedprox, mu = 1", "fedavg"]
    yield rises(name, FEDSPLIT, f"distance to the optimum: {', '.join(order)}",
                 [away[label] for label in order])  # fmt: skip
    single = problem.run("fedavg", {}, rate, [1] * 5, 6 * rounds).models[-1]
    yield _ends(name, FEDSPLIT, "fedavg with one step: ends at the optimum", problem.optimum,
                single)  # fmt: skip


PARTS: dict[str, Callable[[], Iterator[Claim]]] = {
    "drift": drift,
    "estimation": estimation,
    "regression": regression,
}


def table(part: str, found: Sequence[Claim]) -> Table:
    """A part's claims as a table."""
    names = {claim.problem for claim in found}
    lines = []
    for claim in found:
        where = "" if len(names) == 1 else f"{claim.problem}: "
        held = "yes" if claim.holds else "NO"
        lines.append([where + claim.says, claim.expected, claim.ours, held, claim.paper])
    title = f"{part}: {found[0].problem}" if len(names) == 1 else part
    return Table(title, ("claim", "published", "ours", "holds", "paper"), lines)
