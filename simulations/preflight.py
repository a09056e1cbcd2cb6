"""Everything a run could fail on later, checked in one second before anything is started."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.config import Settings, parse
from common.data.citylearn import IndexUnreachableError
from common.data.quality import doubts_of
from common.data.source import source_of
from common.data.store import household_files
from common.errors import InputError
from common.forecast.presets import find_preset
from common.market_rules import MAX_FEEDER
from fl_client.trader import make_trader
from fl_server.market import find_mechanism
from fl_server.prices import prices_of_source
from fl_server.strategy import make_strategy

_NAMES, _LINES = 4, 10  # that are shown


@dataclass(frozen=True)
class Checked:
    """``settings``: with data that can be had; ``replaced``: why they are other data than asked
    for; ``said``: what else a person should know.
    """

    settings: Settings
    replaced: str | None = None
    said: tuple[str, ...] = ()


def preflight(settings: Settings) -> Checked:
    """Check everything a run needs.

    Raises InputError, one line that names key or file, for anything the run could not use.
    """
    _check_names(settings)
    try:
        doubts = _check_source(settings)
    except IndexUnreachableError as error:
        if settings.data.fallback is None:
            raise
        values = settings.model_dump(mode="json")
        values["data"]["source"] = settings.data.fallback
        values["run"]["start"] = None
        return Checked(parse(values), f"{error}; using {settings.data.fallback} homes instead")
    said = []
    if settings.market.compensate_losers and not settings.run.shadow:
        said.append(
            "market.compensate_losers: without run.shadow no household knows what it would have "
            "paid alone, so nobody is compensated"
        )
    return Checked(settings, None, (*said, *_alone(settings), *_doubts(doubts)))


def _alone(settings: Settings) -> list[str]:
    """A line of settings that lie in the data's folder beside no household: nobody reads them."""
    folder = Path(settings.data.source)
    if not folder.is_dir():
        return []
    names = {file.stem for file in household_files(folder)}
    found = sorted(file.name for file in folder.glob("*.yaml") if file.stem not in names)
    more = f" and {len(found) - _NAMES} more" if len(found) > _NAMES else ""
    said = f"doubt: {', '.join(found[:_NAMES])}{more} in {folder}: no household of that name there"
    return [said] if found else []


def _doubts(of: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines of the doubts of households, each with those who share it; the most shared first."""
    homes: dict[str, list[str]] = {}
    for name, doubts in of.items():
        for doubt in doubts:
            homes.setdefault(doubt, []).append(name)
    lines = []
    for doubt, names in sorted(homes.items(), key=lambda pair: -len(pair[1])):
        others = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        lines.append(f"doubt: {', '.join(names[:_NAMES])}{others}: {doubt}")
    if len(lines) > _LINES:
        lines[_LINES:] = [f"{len(lines) - _LINES} more doubts: see 'fedwatt data check'"]
    return lines


def _check_names(settings: Settings) -> None:
    make_trader(settings.trader.kind, settings.trader.options)
    find_mechanism(settings.market.mechanism)
    size, most = settings.market.feeder_size, MAX_FEEDER + 1
    if size is not None and settings.run.households > size * most:
        raise InputError(
            f"market.feeder_size = {size}: {settings.run.households} households would need more "
            f"than {most} feeders"
        )
    if settings.run.metrics == "none":
        raise InputError("run.metrics = 'none': a simulation reports what its households tell")
    find_preset(settings.model.preset)
    fl = settings.fl
    make_strategy(
        fl.strategy,
        fl.strategy_options,
        fraction_train=fl.fraction_train,
        fraction_evaluate=fl.fraction_evaluate,
        seed=settings.run.seed,
    )
    if settings.model.init is not None:
        # Reading weights needs torch: only where there are some to read.
        from fl_server.initial import initial_weights

        initial_weights(settings.model.preset, settings.model.init, settings.run.seed)
    if settings.training.device != "auto":
        from common.forecast.device import choose_device

        choose_device(settings.training.device)


def _check_source(settings: Settings) -> dict[str, list[str]]:
    """Check the households' data and what lies beside it. Returns what is doubtful of each."""
    source = source_of(settings)
    start = source.start()
    names = source.names()
    for pattern in (*settings.homes, *settings.homes_last):
        if pattern != "*" and pattern not in names and not fnmatch.filter(names, pattern):
            raise InputError(
                f"homes: {pattern!r} is no household of the run and no pattern of one "
                f"(they are {names[0]} to {names[-1]})"
            )
    # Also what lies beside the data, before anything runs.
    asked: set[tuple[object, ...]] = set()
    for name in names:
        own = settings.home(name, source.block(name))
        tariff = own.tariff
        try:
            make_trader(own.trader.kind, own.trader.options)
            place = tariff.source, *sorted(tariff.source_options.items())
            if tariff.source not in ("data", "flat") and place not in asked:
                asked.add(place)
                prices_of_source(settings, tariff, start)
        except InputError as error:
            raise InputError(f"household {name}: {error}") from None
    doubts: dict[str, list[str]] = {}
    if settings.data.source not in ("citylearn", "synthetic"):
        for name in names:
            home = source.load(name)
            doubts[name] = list(dict.fromkeys([*home.doubts, *doubts_of(home)]))
    return doubts
