"""energy-charts.info (Fraunhofer ISE): day-ahead prices of Europe's bidding zones.

``GET /price?bzn=DE-LU&start=DAY&end=DAY`` answers arrays ``unix_seconds`` and ``price`` and their
``unit`` (https://api.energy-charts.info). Days are those of the service, in Central Europe.
"""

from typing import Any

import pandas as pd

from common.errors import InputError
from fl_server.price_sources.mapped_json import MappedJson
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import Pieces, PriceSource


class EnergyCharts(MappedJson):
    """Options: ``zone`` (DE-LU, AT, NL, ...), ``url``."""

    name = "energy-charts"

    def __init__(self, options: Options) -> None:
        base = options.text("url", "https://api.energy-charts.info").rstrip("/")
        zone = options.text("zone")
        web = {key: options.number(key, value) for key, value in _WEB.items()}
        super().__init__(
            Options(
                self.name,
                {
                    "url": f"{base}/price?bzn={zone}&start={{first_day}}&end={{last_day}}",
                    "time": "unix_seconds",
                    "times": "unix",
                    "unit": "mwh",
                    "timezone": "Europe/Berlin",
                    **web,
                },
            )
        )

    def pieces(self, answer: Any, key: str, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """As ``MappedJson``, once the unit is what it should be."""
        if not isinstance(answer, dict):
            raise InputError("prices of energy-charts: the answer has no prices")
        unit = answer.get("unit")
        if isinstance(unit, str) and "".join(unit.split()).lower() != "eur/mwh":
            raise InputError(f"prices of energy-charts: unit {unit!r}: expected EUR/MWh")
        return super().pieces(answer, key, first, last)


_WEB = {"timeout_s": 10.0, "tries": 3.0, "pause_s": 1.0}


def open_source(options: Options) -> PriceSource:
    """energy-charts by its options."""
    return EnergyCharts(options)
