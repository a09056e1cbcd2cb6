"""Octopus Energy's Agile and Outgoing: half-hourly unit rates in pence per kWh.

``GET /v1/products/PRODUCT/electricity-tariffs/E-1R-PRODUCT-REGION/standard-unit-rates/`` answers
``{"count", "next", "results": [{"value_exc_vat", "value_inc_vat", "valid_from", "valid_to"}]}``,
newest first, in pages (https://developer.octopus.energy/docs/api/). Tomorrow's rates appear in the
afternoon.
"""

from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from common.errors import InputError
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import Pieces, PriceSource, seconds
from fl_server.price_sources.web import Web

_PAGES = 50
_PENCE = 100.0


class Octopus:
    """Options: ``product`` and ``region`` (A to P), ``outgoing`` (a product that pays for exports;
    without it the tariff's feed-in holds), ``vat`` (``excluded``, the default, so that
    ``tariff.vat`` adds it, or ``included``), ``url``."""

    name = "octopus"

    def __init__(self, options: Options) -> None:
        self._base = options.text("url", "https://api.octopus.energy").rstrip("/")
        self._product = options.text("product")
        self._region = options.text("region").lstrip("_").upper()
        self._outgoing = options.text("outgoing", "")
        vat = options.text("vat", "excluded")
        if vat not in ("excluded", "included"):
            raise InputError(f"tariff.source_options.vat = {vat!r}: expected excluded or included")
        self._value = "value_exc_vat" if vat == "excluded" else "value_inc_vat"
        self._web = Web(options)

    def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """Rates of the product."""
        return self._rates(self._product, self._value, first, last)

    def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        """Rates of the outgoing product, which know no VAT."""
        if not self._outgoing:
            return None
        return self._rates(self._outgoing, "value_exc_vat", first, last)

    def _rates(self, product: str, value: str, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        url: str | None = (
            f"{self._base}/v1/products/{product}/electricity-tariffs/"
            f"E-1R-{product}-{self._region}/standard-unit-rates/"
        )
        place = f"prices of octopus {product}"
        params: dict[str, str] | None = {
            "period_from": first.tz_convert("UTC").strftime("%Y-%m-%dT%H:%MZ"),
            "period_to": last.tz_convert("UTC").strftime("%Y-%m-%dT%H:%MZ"),
            "page_size": "1500",
        }
        rows: list[tuple[int, int, float]] = []
        for _ in range(_PAGES):
            answer = self._web.json(str(url), params)
            rows += [_row(one, value, last, place) for one in _results(answer, place)]
            url, params = answer.get("next"), None
            if not url:
                low, high = int(first.timestamp()), int(last.timestamp())
                return Pieces.of(rows, place).between(low, high)
            if urlsplit(url).hostname != urlsplit(self._base).hostname:
                raise InputError(f"{place}: the next page lies at another host")
        raise InputError(f"{place}: more than {_PAGES} pages")


def _results(answer: Any, place: str) -> list[Any]:
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        raise InputError(f"{place}: the answer has no results")
    return results


def _row(one: Any, value: str, last: pd.Timestamp, place: str) -> tuple[int, int, float]:
    try:
        # A rate without an end holds until another is published.
        moments = (one["valid_from"], one["valid_to"] or last.isoformat())
        begin, end = seconds(pd.DatetimeIndex([pd.Timestamp(moment) for moment in moments]))
        return begin, max(end, begin + 1), float(one[value]) / _PENCE
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place}: {one!r}: {error}") from None


def open_source(options: Options) -> PriceSource:
    """Octopus by its options."""
    return Octopus(options)
