"""The model's correction of a home's own days, for the trader, and whether it has been any good."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from common.arrays import Floats
from common.forecast.net_head import NetHead
from common.forecast.net_inputs import LEVELS, NetInputs, NetRows, net_inputs
from common.forecast.streams import SLOTS
from common.forecast.windows import NET_STEPS

PREFIX = "net."
"""Of the names of the head's weights in the whole model's."""

_STEPS = np.arange(SLOTS)
# A home's mean loads by which no model that has learned anything leaves all days that were.
_BEYOND = 5.0
_CHECKED_EVERY, _CHECKED = 7, 48  # origins of a week, at all hours


def has_net(weights: Mapping[str, NDArray[np.floating]]) -> bool:
    """Whether a model's weights hold a head for net load."""
    return any(name.startswith(PREFIX) for name in weights)


class NetCorrector:
    """The head of one model's weights, by itself: nothing else of the model is needed to trade."""

    def __init__(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        own = {
            name.removeprefix(PREFIX): torch.from_numpy(np.array(value, np.float32))
            for name, value in weights.items()
            if name.startswith(PREFIX)
        }
        self._head = NetHead(len(own["enter.bias"])).eval()
        self._head.load_state_dict(own)

    def quantiles(self, rows: NetRows, origin: int, lag: int, first: int = 0) -> Floats:
        """(14, 48) sorted quantiles of net load [kWh] from row ``origin`` on.

        nan where the home knows too little to have days of its own, and where the model is broken:
        a home too new to check it must not plan with what none of its days was near to. One home
        at a time, so that its numbers do not depend on who else is asked.
        """
        made = net_inputs(
            rows, np.array([origin]), np.array([lag]), np.array([first]), _STEPS[None]
        )
        corrected = self.corrected(made)[0]
        days = np.stack([made.own[0], made.other[0]])
        lowest, highest = days.min((0, 2)) - _BEYOND, days.max((0, 2)) + _BEYOND
        # nan is neither.
        if not ((lowest[:, None] <= corrected) & (corrected <= highest[:, None])).all():
            return np.full((corrected.shape[1], corrected.shape[0]), np.nan)
        return np.ascontiguousarray(corrected.T * made.unit[0])

    def corrected(self, made: NetInputs) -> Floats:
        """Own days as the model corrects them: (B, K, 14) sorted quantiles, in units."""
        with torch.inference_mode():
            moved = self._head(
                torch.from_numpy(made.inputs),
                torch.from_numpy(made.own.astype(np.float32)),
                torch.from_numpy(made.other.astype(np.float32)),
            ).numpy()
        return np.sort(made.own + moved, axis=-1)

    def gain(self, made: NetInputs, actual: Floats) -> float:
        """By how much the corrected quantiles beat own days, summed pinball loss in units.

        actual: (B, K) [kWh]. Steps without own days count nothing.
        """
        came = (actual / made.unit[:, None])[..., None]
        with np.errstate(invalid="ignore"):
            gained = pinball(made.own, came) - pinball(self.corrected(made), came)
        return float(np.nansum(gained))


class Corrections:
    """One home's own days in a run, as whatever model it holds corrects them.

    rows: the home's, of which views may be filled while the run goes on; begins: the row of the
    run's first half hour.
    """

    def __init__(self, rows: NetRows, begins: int) -> None:
        self._rows, self._begins = rows, begins
        self._past: tuple[int, NetInputs, Floats] | None = None
        self._judged: tuple[tuple[str, int], bool] | None = None

    def quantiles(self, name: str, corrector: NetCorrector, t: int, lag: int) -> Floats:
        """(14, 48) quantiles of net load [kWh] from the run's half hour ``t`` on.

        name: of the model. nan where ``NetCorrector.quantiles`` gives none, and where own days were
        nearer to what came in the week before the run's present day.
        """
        today = self._begins + t // SLOTS * SLOTS - int(self._rows.lag.max())
        if not self._trusted(name, corrector, today):
            return np.full((len(LEVELS), SLOTS), np.nan)
        return corrector.quantiles(self._rows, self._begins + t, lag)

    def _trusted(self, name: str, corrector: NetCorrector, today: int) -> bool:
        """Whether corrections were no worse than own days in the week before row ``today``.

        A matter of the model, the day and the readings before it alone: whoever goes on with a run
        comes to the same. Who has no week of its own yet trusts what the others have learned.
        """
        if self._judged is None or self._judged[0] != (name, today):
            if self._past is None or self._past[0] != today:
                self._past = (today, *recent_past(self._rows, today))
            made, came = self._past[1:]
            self._judged = (name, today), corrector.gain(made, came) >= 0.0
        return self._judged[1]


def recent_past(rows: NetRows, stop: int) -> tuple[NetInputs, Floats]:
    """What would have been known in the week before row ``stop``, and the net load that came.

    Origins are seven rows apart, so all hours of the day are among them; nothing from ``stop`` on
    is read.
    """
    origins = stop - SLOTS - _CHECKED_EVERY * np.arange(_CHECKED)
    origins = origins[origins >= 0]
    steps = np.broadcast_to(NET_STEPS, (len(origins), len(NET_STEPS))).copy()
    made = net_inputs(rows, origins, rows.lag[origins], np.zeros_like(origins), steps)
    at = origins[:, None] + steps
    return made, rows.load[at] - rows.pv[at]


def pinball(quantiles: Floats, actual: Floats) -> Floats:
    """Pinball loss (..., 14) of quantiles (..., 14) at ``LEVELS`` of what came, (..., 1).

    Twice their mean estimates the continuous ranked probability score (Gneiting and Ranjan 2011).
    """
    levels = np.array(LEVELS)
    error = actual - quantiles
    return np.asarray(np.maximum(levels * error, (levels - 1.0) * error))
