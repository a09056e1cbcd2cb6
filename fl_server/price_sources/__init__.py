"""Where energy prices come from: a file of any step, or a service that publishes them.

``open_prices`` is the one way in.
"""

from pathlib import Path
from typing import Final

from common.config import Tariff, cache_root
from fl_server.price_sources import table
from fl_server.price_sources.kept import Kept
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import PriceSource

__all__ = ["SERVICES", "open_prices"]

SERVICES: Final = ("entsoe", "octopus", "energy-charts", "json")


def open_prices(tariff: Tariff, cache: Path | None = None) -> PriceSource | None:
    """The source of a tariff; None for data and flat prices, which need none.

    ``cache``: where days that are complete are kept; None: in fedwatt's cache. Raises InputError.
    """
    options = Options(tariff.source, tariff.source_options)
    if tariff.source == "file":
        source = table.open_source(options)
    elif tariff.source in SERVICES:
        # Only who asks a service pays for loading what talks to it.
        from fl_server.price_sources.services import OPEN

        source = OPEN[tariff.source](options)
        source = Kept(source, (cache or cache_root() / "prices") / options.digest)
    else:
        return None
    options.all_read()
    return source
