"""The services that publish prices, by the names that a tariff knows them by."""

from collections.abc import Callable
from typing import Final

from fl_server.price_sources import energy_charts, entsoe, mapped_json, octopus
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import PriceSource

OPEN: Final[dict[str, Callable[[Options], PriceSource]]] = {
    "entsoe": entsoe.open_source,
    "octopus": octopus.open_source,
    "energy-charts": energy_charts.open_source,
    "json": mapped_json.open_source,
}
