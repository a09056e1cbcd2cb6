"""What all cells of a benchmark have in common, and what names one cell."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from math import ceil

from common.errors import InputError
from fl_server.strategy import Option, make_strategy
from simulations.benchmarks.strategies.dials import Dial

REFERENCES = ("mean-7-days", "local-only", "centralised")
OF_HOMES = ("learning_rate", "local_steps")
"""Options of an entry that say how homes train, in place of the run's."""


@dataclass(frozen=True)
class Setup:
    """Homes, model and length. ``evaluate_every``: rounds between measurements.

    ``before_seeds``: 0, or the held-out days are those before the earliest held-out days of seeds
    0 to ``before_seeds`` - 1, at the cost of training days: to choose by, and never to report.
    """

    data: str
    households: int
    rounds: int
    preset: str = "slot-small"
    local_steps: int = 4
    batch_size: int = 16
    learning_rate: float | None = None
    optimiser: str = "adamw"
    train_days: int = 56
    test_days: int = 14
    evaluate_every: int = 1
    timezone: str | None = None
    money_days: float = 0.0
    before_seeds: int = 0

    def measured(self, rounds: int) -> frozenset[int]:
        """Rounds after which the error is measured; 0 is before the first, the last is in it."""
        return frozenset({*range(0, rounds + 1, self.evaluate_every), rounds})


@dataclass(frozen=True)
class Entry:
    """A strategy of the table: how it is written, what it is called, its options."""

    text: str
    name: str
    options: tuple[tuple[str, Option], ...] = ()

    @property
    def reference(self) -> bool:
        """Whether it is a reference, not a federated strategy."""
        return self.name in REFERENCES

    @property
    def learning_rate(self) -> float | None:
        """Of the homes; None: the run's."""
        given = dict(self.options).get("learning_rate")
        return None if given is None else float(given)

    @property
    def local_steps(self) -> int | None:
        """Of the homes in a round; None: the run's."""
        given = dict(self.options).get("local_steps")
        return None if given is None else int(given)


def entry_of(text: str) -> Entry:
    """Read ``name`` or ``name(option=value,...)``; ``module:Class`` names one of your own.

    Raises InputError.
    """
    found = re.fullmatch(r"\s*([^()\s]+)\s*(?:\(([^()]*)\))?\s*", text)
    if found is None:
        raise InputError(f"--strategies: {text!r}: expected NAME or NAME(option=value,...)")
    name, inside = found.groups()
    options: dict[str, Option] = {}
    for pair in filter(None, (inside or "").split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--strategies: {text!r}: {pair!r} is not option=value")
        options[key.strip()] = _value(value.strip())
    for key in OF_HOMES:
        wrong = not isinstance(options.get(key, 1), int | float) or float(options.get(key, 1)) <= 0
        if wrong or (key == "local_steps" and not isinstance(options.get(key, 1), int)):
            raise InputError(f"--strategies: {text!r}: {key} is no such number above 0")
    return Entry(text.strip().replace(" ", ""), name, tuple(options.items()))


def _value(text: str) -> Option:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def split_entries(text: str) -> list[Entry]:
    """Entries of a comma-separated list, commas in brackets left alone. Raises InputError."""
    parts = re.findall(r"(?:[^,()]|\([^()]*\))+", text)
    entries = [entry_of(part) for part in parts if part.strip()]
    if not entries:
        raise InputError("--strategies: names no strategy")
    return entries


def options_of(entry: Entry, asked: int) -> dict[str, Option]:
    """An entry's options; defences are told to expect a fifth of the ``asked`` households."""
    malicious = ceil(0.2 * asked - 1e-9)
    defaults: dict[str, Option] = {}
    if entry.name in ("krum", "multikrum", "bulyan"):
        # Bulyan needs four times as many and three households, Krum twice and three.
        most = (asked - 3) // (4 if entry.name == "bulyan" else 2)
        defaults["num_malicious_nodes"] = max(0, min(malicious, most))
    if entry.name == "multikrum":
        defaults["num_nodes_to_select"] = max(1, asked - malicious)
    if entry.name == "fedtrimmedavg":
        defaults["beta"] = 0.2
    own = {key: value for key, value in entry.options if key not in OF_HOMES}
    return {**defaults, **own}


def check(entry: Entry, households: int) -> None:
    """Build the strategy once, so that a mistake shows before anything is run."""
    if not entry.reference:
        make_strategy(
            entry.name,
            options_of(entry, households),
            fraction_train=1.0,
            fraction_evaluate=1.0,
            seed=0,
        )


@dataclass(frozen=True)
class Cell:
    """One strategy under one dial with one seed."""

    entry: Entry
    dial_name: str
    dial: Dial
    seed: int

    @property
    def key(self) -> str:
        """File name of the cell."""
        slug = re.sub(r"[^A-Za-z0-9.=-]+", "_", self.entry.text)
        return f"{slug}--{self.dial_name}--{self.seed}"

    def digest(self, setup: Setup) -> str:
        """Hash of all that the cell's rows depend on."""
        plain = [asdict(setup), self.entry.text, self.dial.model_dump(), self.seed]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
