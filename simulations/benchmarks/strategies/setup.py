"""What all cells of a benchmark have in common, and what names one cell."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, isfinite

from flwr.serverapp.strategy import Strategy

from common import __version__
from common.errors import InputError
from common.named import is_named
from fl_server.strategy import (
    Option,
    check_asynchronous,
    check_privacy,
    make_strategy,
)
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.origins import data_of, source_of

UNTRAINED = ("mean-7-days", "untrained")
"""References that have no rounds."""
REFERENCES = (*UNTRAINED, "local-only", "centralised")
OF_BENCHMARK = (
    "fraction_train", "fraction_evaluate", "seed", "min_train_nodes", "min_evaluate_nodes",
    "min_available_nodes",
)  # fmt: skip
"""What no entry says: dials and seeds do, and every home's error is measured."""
SCHEMA = 4
"""Of rows and lines; cells of another one are run again."""
OF_HOMES = ("learning_rate", "local_steps")
"""Options of an entry that say how homes train, in place of the run's."""


@dataclass(frozen=True)
class Setup:
    """Homes, model and length. ``evaluate_every``: rounds between measurements.

    Homes train on ``train_days``. The ``check_days`` after them say which round's model counts, and
    that a run is over when ``patience`` rounds were none the better; 0: all rounds are run, and the
    last model counts. The held-out days follow.

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
    check_days: int = 7
    patience: int = 18

    @property
    def known_days(self) -> int:
        """Days before the held-out ones that are trained on or chosen by."""
        return self.train_days + self.check_days

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

    Names are those of ``fl.strategy``, in any spelling of their letters. Raises InputError.
    """
    found = re.fullmatch(r"\s*([^()\s]+)\s*(?:\(([^()]*)\))?\s*", text)
    if found is None:
        raise InputError(f"--strategies: {text!r}: expected NAME or NAME(option=value,...)")
    written, inside = found.groups()
    name = written if is_named(written) else written.lower()
    options: dict[str, Option] = {}
    for pair in filter(None, (inside or "").split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--strategies: {text!r}: {pair!r} is not option=value")
        key = key.strip()
        if key in options:
            raise InputError(f"--strategies: {text!r}: {key} is given twice")
        if key in OF_BENCHMARK:
            raise InputError(f"--strategies: {text!r}: {key} is set by dials and seeds")
        options[key] = given = _value(value.strip())
        if isinstance(given, float) and not isfinite(given):
            raise InputError(f"--strategies: {text!r}: {key} is not finite")
    for key, kind in zip(OF_HOMES, ((int, float), (int,)), strict=True):
        # Of bool, which is an int in Python, too.
        of_homes = options.get(key, 1)
        if type(of_homes) not in kind or float(of_homes) <= 0:
            raise InputError(f"--strategies: {text!r}: {key} is no such number above 0")
    if options and name in REFERENCES:
        raise InputError(f"--strategies: {text!r}: references have no options")
    plain = text.strip().replace(" ", "")
    return Entry(name + plain[len(written) :], name, tuple(options.items()))


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


def check(entry: Entry, households: int, dials: Mapping[str, Dial] | None = None) -> None:
    """Build the strategy once, and hold it against every dial, so that a mistake shows before
    anything is run. Raises InputError."""
    if entry.reference:
        return
    strategy = make_strategy(
        entry.name,
        options_of(entry, households),
        fraction_train=1.0,
        fraction_evaluate=1.0,
        seed=0,
    )
    for name, dial in (dials or {}).items():
        try:
            check_together(entry, strategy, dial)
        except InputError as error:
            raise InputError(f"{entry.text} under {name}: {error}") from None


def check_together(entry: Entry, strategy: Strategy, dial: Dial) -> None:
    """Refuse a strategy beside what it does not go with. Raises InputError."""
    private = dial.privacy_clip is not None
    check_privacy(entry.name, private=private)
    check_asynchronous(
        entry.name, strategy, private=private, compression_down=dial.compression_down
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
        """File name of the cell; entries that would be written alike have a part of their hash."""
        text = self.entry.text
        slug = re.sub(r"[^A-Za-z0-9.=-]+", "_", text)[:120]
        if slug != text:
            slug += "-" + hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{slug}--{self.dial_name}--{self.seed}"

    def digest(self, setup: Setup) -> str:
        """Hash of all that the cell's rows depend on: settings, the user's own code, readings and
        fedwatt's version."""
        named = (self.entry.name, self.dial.attack, self.dial.change or "", setup.preset)
        plain = [
            asdict(setup),
            self.entry.text,
            self.dial.model_dump(),
            self.seed,
            [source_of(name) for name in named if is_named(name)],
            [data_of(part.strip()) for part in setup.data.split(",")],
            __version__,
            SCHEMA,
        ]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
