"""Aggregation strategies: the project's FedAvg, Flower's own, and any importable class."""

import inspect
import math
from collections.abc import Callable, Mapping

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy

from common.errors import InputError
from common.named import is_named, named
from fl_server.strategy.asynchronous import Asynchronous
from fl_server.strategy.clustered import Clustered
from fl_server.strategy.fedasync import FedAsync
from fl_server.strategy.fedavg import FedAvg
from fl_server.strategy.fedbuff import FedBuff
from fl_server.strategy.fednova import FedNova
from fl_server.strategy.fedprox import FedProx
from fl_server.strategy.personal import Ditto, FedPer, FedRep, FineTuned
from fl_server.strategy.robust import CentredClipping, GeometricMedian
from fl_server.strategy.scaffold import Scaffold

OWN: dict[str, type[Strategy]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fednova": FedNova,
    "scaffold": Scaffold,
    "fedper": FedPer,
    "fedrep": FedRep,
    "ditto": Ditto,
    "fine-tuned": FineTuned,
    "clustered": Clustered,
    "geometric-median": GeometricMedian,
    "centred-clipping": CentredClipping,
    "fedasync": FedAsync,
    "fedbuff": FedBuff,
}
"""The project's own; where Flower has one of the same name, this is the one that is meant."""

_DEFAULTS: dict[str, dict[str, float]] = {
    "fedavgm": {"server_momentum": 0.5},
    "fedadam": {"eta": 0.003, "tau": 0.001},
    "fedyogi": {"eta": 0.003, "tau": 0.001},
    "fedadagrad": {"eta": 0.003, "tau": 0.001},
    "qfedavg": {"client_learning_rate": 1.0, "q": 0.2},
}
"""Where Flower's default does nothing (momentum 0), ruins these models (steps of 0.1 on weights of
about 0.1), or is missing."""

Option = float | int | str | bool


# XGBoost averages no weights; the privacy wrappers take a strategy (see fl.privacy instead).
_UNFIT = ("FedXgb", "DifferentialPrivacy")


def _flower_strategies() -> dict[str, type[Strategy]]:
    return {
        name.lower(): kind
        for name, kind in vars(flower).items()
        if inspect.isclass(kind)
        and issubclass(kind, Strategy)
        and not inspect.isabstract(kind)
        and not name.startswith(_UNFIT)
    }


def known_strategies() -> list[str]:
    """Names that ``make_strategy`` takes, in lower case, besides ``module:Class``."""
    return sorted(OWN.keys() | _flower_strategies().keys())


def _imported(path: str) -> type[Strategy]:
    kind: type[Strategy] = named(path, "fl.strategy")
    if not (inspect.isclass(kind) and issubclass(kind, Strategy)):
        raise InputError(f"fl.strategy = {path!r}: not a flwr.serverapp.strategy.Strategy")
    return kind


def _read(key: str, value: Option, accepted: inspect.Parameter, kind: type[Strategy]) -> Option:
    """An option as its strategy's constructor is annotated. Raises InputError.

    A number that is none would be compared with, and found neither too small nor too large.
    """
    where = f"fl.strategy_options.{key} = {value!r}"
    wanted = getattr(accepted.annotation, "__name__", accepted.annotation)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: not a finite number")
    if wanted in ("int", "float") and not number:
        raise InputError(f"{where}: not a number")
    if wanted == "int" and isinstance(value, float):
        if not value.is_integer():
            raise InputError(f"{where}: not a whole number")
        value = int(value)
    # Flower's own take what is below 0 as it is.
    if number and kind.__module__.startswith("flwr.") and float(value) < 0:
        raise InputError(f"{where}: below 0")
    return value


def make_strategy(
    name: str,
    options: Mapping[str, Option],
    *,
    fraction_train: float,
    fraction_evaluate: float,
    seed: int,
) -> Strategy:
    """Build the strategy ``name``; ``options`` go to its constructor.

    Raises InputError for an unknown name or option, naming it.
    """
    kinds: dict[str, type[Strategy]] = {**_flower_strategies(), **OWN}
    kind: type[Strategy] | None
    kind = _imported(name) if is_named(name) else kinds.get(name.lower())
    if kind is None:
        raise InputError(f"fl.strategy = {name!r}: known are {', '.join(known_strategies())}")
    accepted = inspect.signature(kind).parameters
    read = {k: _read(k, v, accepted[k], kind) if k in accepted else v for k, v in options.items()}
    keywords: dict[str, object] = {**_DEFAULTS.get(name.lower(), {}), **read}
    # Flower waits for ever when fewer than its default of two nodes are connected.
    given = {
        "fraction_train": fraction_train,
        "fraction_evaluate": fraction_evaluate,
        "seed": seed,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1,
        "min_available_nodes": 1,
    }
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    for key, value in given.items():
        if key in accepted and key not in keywords:
            keywords[key] = value
    unknown = [key for key in options if key not in accepted and not takes_any]
    if unknown:
        raise InputError(f"fl.strategy_options.{unknown[0]}: {name} has no such option")
    build: Callable[..., Strategy] = kind
    try:
        return build(**keywords)
    except (TypeError, ValueError) as error:
        raise InputError(f"fl.strategy {name!r}: {error}") from None


_OF_THE_MEAN = ("FedAvgM", "FedAdam", "FedAdagrad", "FedYogi")
"""Flower's that move the model by what the mean of a round says, and ask nothing else of it."""


def takes_a_mean(strategy: Strategy) -> bool:
    """Whether a strategy needs no more of a round than the weighted mean of its updates."""
    return averages(strategy) or type(strategy).__name__ in _OF_THE_MEAN


def averages(strategy: Strategy) -> bool:
    """Whether the weighted mean of a round is the strategy's new model."""
    return type(strategy).aggregate_train is FedAvg.aggregate_train


def check_secure(name: str, strategy: Strategy, compression: str) -> None:
    """Refuse, under secure aggregation, what must look at single updates. Raises InputError."""
    if not takes_a_mean(strategy):
        raise InputError(
            f"fl.strategy = {name!r} looks at each update; with fl.secure_aggregation the server "
            "sees their mean alone: take fedavg, fedprox, fedper, fedrep, ditto, fine-tuned, "
            "fedavgm, fedadam, fedadagrad or fedyogi"
        )
    if compression != "none":
        raise InputError(
            f"fl.compression = {compression!r}: households compress by scales of their own, and "
            "sums under fl.secure_aggregation need one grid; set it to none"
        )


def check_privacy(name: str, *, private: bool) -> None:
    """Refuse the strategies whose households send more than a clipped update and its number.

    Raises InputError for SCAFFOLD (control variates) and q-FedAvg (losses) under privacy.
    """
    if private and name.lower() in ("scaffold", "qfedavg"):
        raise InputError(
            f"fl.strategy = {name!r} sends more of a household than its update; fl.privacy cannot"
            " protect that"
        )


def check_asynchronous(
    name: str, strategy: Strategy, *, private: bool, compression_down: str, min_replies: int = 1
) -> None:
    """Refuse beside an asynchronous strategy what counts on rounds. Raises InputError."""
    if not isinstance(strategy, Asynchronous):
        return
    counts = {
        "fl.privacy": (private, "shares its noise among the households of one round"),
        "fl.compression_down": (
            compression_down != "none",
            "sends changes of a model that all hold; set it to none",
        ),
        "fl.min_replies": (min_replies > 1, "counts the updates of one round; set it to 1"),
    }
    for setting, (given, why) in counts.items():
        if given:
            raise InputError(
                f"fl.strategy = {name!r} takes updates as they come, and {setting} {why}"
            )
