"""What a price may be, wherever one enters: in readings, tables, tariffs, settings, orders."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError

# Prices are numbers of either sign. Europe's day-ahead market is capped at 5 per kWh and
# Australia's spot market at about 17: beyond 100 the unit is another one.
PRICE_LIMIT_PER_KWH = 100.0


def check_prices(price_per_kwh: NDArray[np.float64], place: Callable[[int], str]) -> None:
    """Raise InputError unless every price is a number within +-PRICE_LIMIT_PER_KWH.

    ``price_per_kwh``: (n,). ``place``: what to call the price at an index, for example
    ``"tariff.csv: row 7: retail"``.
    """
    # Written so that NaN fails as well.
    wrong = np.flatnonzero(~(np.abs(price_per_kwh) <= PRICE_LIMIT_PER_KWH))
    if wrong.size:
        at = int(wrong[0])
        raise InputError(
            f"{place(at)} = {price_per_kwh[at]:g}: a price is a number within "
            f"+-{PRICE_LIMIT_PER_KWH:g} per kWh (is it per MWh, or in cents?)"
        )
