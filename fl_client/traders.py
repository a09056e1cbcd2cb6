"""The traders of households that step together: those of one kind and options decide as one."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from common.arrays import Floats, Ints
from common.config import Trader as TraderSettings
from fl_client.trader import make_trader
from fl_client.trader.base import Actual, Trader


class Traders:
    """One trader for each of H households, ``groups`` of them alike. Raises InputError."""

    def __init__(self, settings: Sequence[TraderSettings]) -> None:
        alike: dict[str, list[int]] = {}
        for h, one in enumerate(settings):
            alike.setdefault(json.dumps([one.kind, one.options], sort_keys=True), []).append(h)
        self.groups: list[tuple[Trader, Ints]] = [
            (make_trader(settings[which[0]].kind, settings[which[0]].options), np.array(which))
            for which in alike.values()
        ]

    @property
    def plan_width(self) -> int:
        """Columns of a plan: those of the widest."""
        return max(trader.plan_width for trader, _ in self.groups)

    def dispatch(self, plan: Floats, actual: Actual) -> Floats:
        """The batteries' actions (H,), see ``Trader.dispatch``; ``plan`` (H, ``plan_width``)."""
        if len(self.groups) == 1:
            return self.groups[0][0].dispatch(plan, actual)
        action = np.empty(len(actual.soc))
        for trader, which in self.groups:
            some = actual.among(which)
            if actual.allowance is not None:
                some = replace(
                    some,
                    allowance=actual.allowance[which],
                    scarcity_price=actual.scarcity_price,
                )
            action[which] = trader.dispatch(plan[which, : trader.plan_width], some)
        return action

    def among(self, which: Ints) -> "Traders":
        """The traders of some of the households, which are then numbered from 0."""
        some = object.__new__(Traders)
        some.groups = [
            (trader, np.flatnonzero(np.isin(which, members)))
            for trader, members in self.groups
            if np.isin(which, members).any()
        ]
        return some
