"""What every way of carrying a federated round is given: homes, a model, one training function.

A folder holds it: the settings, the model of the start, and the training windows of each home as
one file, made by the household's own code. What differs between two ways is therefore only what
lies around ``update``.
"""

import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch
from flwr.app import Context

from common.arrays import Floats32
from common.config import Settings, dump, load
from common.data.source import source_of
from common.forecast.windows import Windows
from fl_client.session import HERE
from fl_client.training import at_round, local_update
from fl_server.initial import initial_weights
from fl_server.start import join_message
from simulations.engine.loop import client_context
from simulations.simulate import told_config

SETTINGS, START = "config.yaml", "start.npz"
_HOMES = "homes"
_RUN_ID = 7

Weights = Mapping[str, Floats32]


@dataclass(frozen=True)
class Home:
    """A client: the household's name, by which its batches are drawn, and its windows."""

    name: str
    windows: Windows


@dataclass(frozen=True)
class Round:
    """One federated round: seconds that passed, and CPU seconds of all its processes.

    ``training_s`` and ``training_cpu_s`` are those inside ``update``, where a way knows them.
    """

    seconds: float
    cpu_s: float
    training_s: float | None = None
    training_cpu_s: float | None = None


@dataclass
class RoundClock:
    """Seconds and CPU seconds of this process and those below it, from one mark to the next.

    ``first``: the model after the first round.
    """

    rounds: list[Round] = field(default_factory=list)
    first: dict[str, Floats32] = field(default_factory=dict)
    _since: tuple[float, float] | None = None

    def mark(
        self,
        model: Callable[[], Weights],
        training_s: float | None = None,
        training_cpu_s: float | None = None,
    ) -> None:
        """A round ends here with this model, where one had begun, and the next begins."""
        now, own = time.perf_counter(), time.process_time()
        cpu = _cpu_of_tree_s()
        if self._since is not None:
            begun, cpu_then = self._since
            self.rounds.append(Round(now - begun, cpu - cpu_then, training_s, training_cpu_s))
            if len(self.rounds) == 1:
                self.first = {name: np.array(value) for name, value in model().items()}
        # Looking through the processes is no part of either round, nor is the copy.
        self._since = time.perf_counter(), cpu + time.process_time() - own


def _cpu_of_tree_s() -> float:
    # Of other processes the system tells hundredths of a second.
    total = time.process_time()
    for one in psutil.Process().children(recursive=True):
        try:
            times = one.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        total += times.user + times.system
    return total


def prepare(settings: Settings, directory: Path) -> None:
    """Write settings, model of the start and the homes' windows into the new ``directory``.

    Raises InputError for settings whose homes have no data.
    """
    homes = directory / _HOMES
    homes.mkdir(parents=True)
    (directory / SETTINGS).write_text(dump(settings))
    start = initial_weights(settings.model.preset, settings.model.init, settings.run.seed)
    save_weights(directory / START, start)
    contexts = contexts_of(settings, directory / "prepared")
    join = join_message(settings, settings.digest(), source_of(settings).start(), 0)
    names = [one.name for one in HERE.join(join, contexts)]
    session = HERE.open(contexts)
    for h, name in enumerate(names):
        home = Home(name, session.learner.training(h))
        (homes / f"{h:06}.pickle").write_bytes(pickle.dumps(home))
    HERE.forget()


def contexts_of(settings: Settings, out: Path) -> list[Context]:
    """Flower's contexts of all clients of a run in ``out``."""
    count, told = settings.run.households, told_config(settings, out)
    return [client_context(_RUN_ID, h, count, told) for h in range(count)]


def read_settings(directory: Path) -> Settings:
    """The settings that ``prepare`` wrote."""
    return load(str(directory / SETTINGS))


def read_home(directory: Path, h: int) -> Home:
    """Client number ``h`` of those that ``prepare`` wrote; nobody else writes there."""
    home: Home = pickle.loads((directory / _HOMES / f"{h:06}.pickle").read_bytes())
    return home


def update(model: torch.nn.Module, home: Home, settings: Settings, round_: int) -> None:
    """Train ``model``, which holds the global weights, in place: this client's part of a round."""
    training = settings.training
    if settings.fl.rate_decay_rounds is not None:
        preset = home.windows.preset
        training = at_round(training, preset, round_, settings.fl.rate_decay_rounds)
    local_update(
        model,
        home.windows,
        training,
        steps=settings.fl.local_steps,
        seed=settings.run.seed,
        household=home.name,
        round_=round_,
    )


def one_thread(settings: Settings) -> None:
    """Let torch use as many threads in this process as the household's code lets it."""
    if settings.training.threads:
        torch.set_num_threads(settings.training.threads)


def save_weights(file: Path, weights: Weights) -> None:
    """Write a model."""
    with file.open("wb") as opened:
        np.savez(opened, **weights)  # type: ignore[arg-type]


def read_weights(file: Path) -> dict[str, Floats32]:
    """Read a model."""
    with np.load(file) as held:
        return {name: held[name] for name in held.files}
