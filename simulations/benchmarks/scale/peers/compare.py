"""Run each way on the same task, hold their models against each other, and set their times in
relation to what training alone takes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from common.arrays import Floats32
from common.config import Settings, dump
from common.errors import InputError, RunError
from simulations.benchmarks.scale.peers.task import START, Round, read_weights
from simulations.benchmarks.scale.peers.ways import PLAIN, WAYS, missing
from simulations.benchmarks.scale.peers.worker import GIVEN, PREPARE

AFTER_ONE, AT_THE_END = 1e-4, 0.05
"""How far a way's model may be from the plain loop's after the first round and after the last, as a
share of the way that this one has come from the start. After one round all the difference is how
averages are rounded: sums in float32 gave 5e-6 with 10 clients and 1.6e-5 with 100, while a client
left out of a thousand would be some 1e-3. AdamW divides small gradients by their own size: rounding
may grow a hundredfold in a round.
"""


@dataclass(frozen=True)
class Compared:
    """One way at one number of clients.

    ``start_s``: seconds before the first round and after the last, processes and imports included.
    ``first``: the first round; ``steady``: those after it. ``floor_s`` and ``floor_cpu_s``: of the
    plain loop's training alone, a round, the least of its steady ones. ``first_distance`` and
    ``distance``: from the plain loop's model after the first round and the last, as a share of the
    way that this one has come. All but ``skipped`` are None where that says why this way was not
    tried.
    """

    way: str
    clients: int
    cores: int
    skipped: str | None = None
    start_s: float | None = None
    first: Round | None = None
    steady: tuple[Round, ...] = ()
    floor_s: float | None = None
    floor_cpu_s: float | None = None
    first_distance: float | None = None
    distance: float | None = None

    @property
    def round_s(self) -> float | None:
        """Seconds of a steady round: the fastest, since what else a machine does only adds."""
        return min((one.seconds for one in self.steady), default=None)

    @property
    def cpu_s(self) -> float | None:
        """CPU seconds of a steady round over all processes: the least."""
        return min((one.cpu_s for one in self.steady), default=None)

    @property
    def over_floor(self) -> float | None:
        """Core seconds of a round (seconds times cores) over the floor."""
        if self.round_s is None or self.floor_s is None:
            return None
        return self.round_s * self.cores / self.floor_s

    @property
    def cpu_over_floor(self) -> float | None:
        """CPU seconds of a round over the floor's."""
        if self.cpu_s is None or self.floor_cpu_s is None:
            return None
        return self.cpu_s / self.floor_cpu_s


def compare(
    settings: Settings, directory: Path, *, steady: int, cores: int, ways: Sequence[str]
) -> list[Compared]:
    """Carry one round and ``steady`` more of ``settings`` by the plain loop and by ``ways``.

    Raises RunError where a way fails or ends with another model, InputError where the task cannot
    be made.
    """
    directory.mkdir(parents=True)
    (directory / GIVEN).write_text(dump(settings))
    rounds, clients = 1 + steady, settings.run.households
    _part(directory, PREPARE, rounds, cores)
    start = read_weights(directory / "task" / START)
    floor: tuple[float, float] | None = None
    references: list[dict[str, Floats32]] = []
    found = []
    for way in [PLAIN, *(name for name in WAYS if name in ways and name != PLAIN)]:
        used = cores if WAYS[way].parallel else 1
        lacking = missing(way)
        if lacking is not None:
            found.append(Compared(way, clients, used, lacking))
            continue
        _part(directory, way, rounds, cores)
        told = json.loads((directory / f"{way}.json").read_text())
        took = [Round(**one) for one in told["rounds"]]
        if len(took) != rounds:
            raise RunError(f"{directory}: {way} ran {len(took)} rounds instead of {rounds}")
        models = [read_weights(directory / f"{way}{end}.npz") for end in (".first", "")]
        if floor is None:
            references = models
            floor = (
                min(one.training_s for one in took[1:] if one.training_s is not None),
                min(one.training_cpu_s for one in took[1:] if one.training_cpu_s is not None),
            )
        apart = [distance(*two, start) for two in zip(models, references, strict=True)]
        same(way, clients, *apart)
        found.append(
            Compared(
                way,
                clients,
                used,
                start_s=told["whole_s"] - sum(one.seconds for one in took),
                first=took[0],
                steady=tuple(took[1:]),
                floor_s=floor[0],
                floor_cpu_s=floor[1],
                first_distance=apart[0],
                distance=apart[1],
            )
        )
    return found


def distance(
    model: Mapping[str, Floats32],
    reference: Mapping[str, Floats32],
    start: Mapping[str, Floats32],
) -> float:
    """Length of ``model`` - ``reference`` over that of ``reference`` - ``start``, all arrays
    together; inf where the arrays have other names or shapes."""
    shapes = [{n: a.shape for n, a in one.items()} for one in (model, reference, start)]
    if shapes[0] != shapes[1] or shapes[1] != shapes[2]:
        return float("inf")
    apart = sum(float(np.square(np.float64(model[n]) - reference[n]).sum()) for n in reference)
    moved = sum(float(np.square(np.float64(start[n]) - reference[n]).sum()) for n in reference)
    return float(np.sqrt(apart / moved)) if moved else float("inf")


def same(way: str, clients: int, after_one: float, at_the_end: float) -> None:
    """Raise RunError where these distances from the plain loop's models are too large."""
    for when, apart, most in (
        ("after one round", after_one, AFTER_ONE),
        ("at the end", at_the_end, AT_THE_END),
    ):
        if not apart <= most:
            raise RunError(
                f"{way}, {clients} clients: {when} its model is {apart:.2g} of the way from the"
                f" start away from the plain loop's; at most {most:g} was expected"
            )


def as_json(rows: Sequence[Compared]) -> list[dict[str, object]]:
    """Rows as plain values, with what follows from them."""
    return [
        {
            **asdict(row),
            "round_s": row.round_s,
            "cpu_s": row.cpu_s,
            "over_floor": row.over_floor,
            "cpu_over_floor": row.cpu_over_floor,
        }
        for row in rows
    ]


def _part(directory: Path, part: str, rounds: int, cores: int) -> None:
    module = "simulations.benchmarks.scale.peers.worker"
    command = [sys.executable, "-m", module, str(directory), part, str(rounds), str(cores)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    environment.setdefault("OMP_NUM_THREADS", "1")
    log = directory / f"{part}.log"
    with log.open("w") as opened:
        ran = subprocess.run(command, stdout=opened, stderr=opened, env=environment, check=False)
    if ran.returncode:
        said = " ".join(log.read_text().strip().splitlines()[-1:])
        kind = InputError if part == PREPARE else RunError
        raise kind(f"{log}: {part} failed: {said}")
