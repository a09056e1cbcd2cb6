"""Any web service that answers JSON, by a mapping: where the times are, and where the prices.

Either a list of records (``rows`` leads to it, ``time`` and ``price`` are keys of a record) or
arrays beside each other (``time`` and ``price`` lead to them). Paths have dots: ``data.prices``.
"""

from typing import Any, Final

import pandas as pd

from common.errors import InputError
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import Pieces, PriceSource, seconds
from fl_server.price_sources.web import Web

PER_KWH: Final = {"kwh": 1.0, "mwh": 1e-3, "cents/kwh": 1e-2}
"""Price units by name, as factors to currency per kWh."""
_TIMES: Final = ("iso", "unix", "unix-ms")


class MappedJson:
    """Options: ``url``, with ``{first}`` and ``{last}`` (ISO, UTC), ``{first_day}`` and
    ``{last_day}`` (dates in ``timezone``, both asked for); ``rows``, ``time``, ``price``, and where
    there are such ``until`` (end of a price) and ``export``; ``unit`` (kwh, mwh, cents/kwh);
    ``times`` (iso, unix, unix-ms); ``timezone`` of times that have none (UTC); ``step_minutes`` of
    a lone price (60)."""

    name = "json"

    def __init__(self, options: Options) -> None:
        self._url = options.text("url")
        self._rows = options.text("rows", "")
        self._time, self._price = options.text("time", "time"), options.text("price", "price")
        self._until, self._export = options.text("until", ""), options.text("export", "")
        unit, self._times = options.text("unit", "kwh"), options.text("times", "iso")
        for key, value, known in (("unit", unit, PER_KWH), ("times", self._times, _TIMES)):
            if value not in known:
                raise InputError(
                    f"tariff.source_options.{key} = {value!r}: expected {', '.join(known)}"
                )
        self._factor = PER_KWH[unit]
        self._zone = options.text("timezone", "UTC")
        try:
            pd.Timestamp(0, tz=self._zone)
        except (KeyError, ValueError):
            raise InputError(
                f"tariff.source_options.timezone = {self._zone!r}: no such time zone"
            ) from None
        self._step_s = round(options.number("step_minutes", 60) * 60)
        self._web = Web(options)

    def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """Prices at ``price``."""
        return self.pieces(self.answer(first, last), self._price, first, last)

    def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        """Prices at ``export``, where the mapping has it."""
        if not self._export:
            return None
        return self.pieces(self.answer(first, last), self._export, first, last)

    def answer(self, first: pd.Timestamp, last: pd.Timestamp) -> Any:
        """What the service says of this time."""
        begin, end = (moment.tz_convert("UTC") for moment in (first, last))
        before = (end - pd.Timedelta(seconds=1)).tz_convert(self._zone)
        places = {
            "first": begin.strftime("%Y-%m-%dT%H:%MZ"),
            "last": end.strftime("%Y-%m-%dT%H:%MZ"),
            "first_day": begin.tz_convert(self._zone).date().isoformat(),
            "last_day": before.date().isoformat(),
        }
        url = self._url
        for name, text in places.items():
            url = url.replace("{" + name + "}", text)
        return self._web.json(url)

    def pieces(self, answer: Any, key: str, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """The prices of an answer. Raises InputError that names what is missing."""
        place = f"prices of {self.name}"
        columns = [self._time, key, *([self._until] if self._until else [])]
        if self._rows or isinstance(answer, list):
            rows = _at(answer, self._rows, place)
            if not isinstance(rows, list):
                raise InputError(f"{place}: {self._rows!r} is no list")
            table = [[_at(row, column, place) for row in rows] for column in columns]
        else:
            table = [_at(answer, column, place) for column in columns]
            if not all(isinstance(column, list) for column in table):
                raise InputError(f"{place}: {' or '.join(columns)} is no list")
            if len({len(column) for column in table}) > 1:
                raise InputError(f"{place}: {' and '.join(columns)} differ in length")
        # A price that is null is not published yet.
        there = [at for at, price in enumerate(table[1]) if price is not None]
        prices = [self._number(table[1][at], place) for at in there]
        starts = self._moments([table[0][at] for at in there], place)
        low, high = int(first.timestamp()), int(last.timestamp())
        if self._until:
            ends = self._moments([table[2][at] for at in there], place)
            made = Pieces.of(list(zip(starts, ends, prices, strict=True)), place)
        else:
            made = Pieces.of_starts(list(zip(starts, prices, strict=True)), place, self._step_s)
        return made.between(low, high)

    def _number(self, value: Any, place: str) -> float:
        try:
            return float(value) * self._factor
        except (TypeError, ValueError):
            raise InputError(f"{place}: {value!r} is no price") from None

    def _moments(self, values: list[Any], place: str) -> list[int]:
        if not values:
            return []
        try:
            if self._times != "iso":
                scale = 1000 if self._times == "unix-ms" else 1
                return [round(float(value)) // scale for value in values]
            stamps = [pd.Timestamp(value) for value in values]
            if stamps[0].tzinfo is None:
                # In order, so that the hour that comes twice in autumn is told apart.
                local = pd.DatetimeIndex(stamps)
                return seconds(local.tz_localize(self._zone, ambiguous="infer"))
            return seconds(pd.DatetimeIndex([stamp.tz_convert("UTC") for stamp in stamps]))
        except (TypeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise InputError(f"{place}: times: {why}") from None


def _at(value: Any, path: str, place: str) -> Any:
    """What lies at a path with dots."""
    for key in path.split(".") if path else ():
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(f"{place}: the answer has no {path!r}") from None
    return value


def open_source(options: Options) -> PriceSource:
    """A mapped service by its options."""
    return MappedJson(options)
