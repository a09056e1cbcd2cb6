"""ENTSO-E's transparency platform: day-ahead prices by ``entsoe-py``.

The key stands in the environment, ENTSOE_API_KEY (https://transparency.entsoe.eu).
"""

import math
import os

import pandas as pd

from common.errors import InputError
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import Pieces, PriceSource, seconds
from fl_server.price_sources.web import Web, reason

KEY = "ENTSOE_API_KEY"
_MWH = 1e-3


class Entsoe:
    """Options: ``zone``, as entsoe-py names it (AT, DE_LU, NL, ES, IT_NORD, ...)."""

    name = "entsoe"

    def __init__(self, options: Options) -> None:
        try:
            from entsoe.entsoe import EntsoePandasClient
            from entsoe.mappings import lookup_area
        except ImportError:
            raise InputError(
                "tariff.source = entsoe: needs entsoe-py: pip install entsoe-py"
            ) from None
        zone = options.text("zone")
        try:
            self._area = lookup_area(zone)
        except (KeyError, ValueError):
            raise InputError(f"tariff.source_options.zone = {zone!r}: no zone of ENTSO-E") from None
        key = os.environ.get(KEY)
        if not key:
            raise InputError(f"tariff.source = entsoe: no key in the environment: {KEY}")
        web = Web(options)
        # The session tries again by itself.
        self._client = EntsoePandasClient(
            api_key=key,
            session=web.session,
            retry_count=1,
            retry_delay=0,
            timeout=math.ceil(web.timeout_s),
        )

    def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """Day-ahead prices."""
        import requests
        from entsoe.exceptions import NoMatchingDataError

        place = f"prices of entsoe {self._area.name}"
        try:
            series = self._client.query_day_ahead_prices(self._area, start=first, end=last)
        except NoMatchingDataError:
            return Pieces.of([], place)
        except requests.HTTPError as error:
            status = None if error.response is None else error.response.status_code
            raise InputError(f"{place}: status {status}") from None
        except requests.RequestException as error:
            raise InputError(f"{place}: {reason(error)}") from None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{place}: no prices: {' '.join(str(error).split())}") from None
        series = series.dropna()
        rows = zip(seconds(pd.DatetimeIndex(series.index)), series.to_numpy(float), strict=True)
        made = Pieces.of_starts([(start, float(price) * _MWH) for start, price in rows], place)
        return made.between(int(first.timestamp()), int(last.timestamp()))

    def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        """ENTSO-E says nothing of exports."""
        return None


def open_source(options: Options) -> PriceSource:
    """ENTSO-E by its options."""
    return Entsoe(options)
