"""A web server on loopback that answers as the price services do, and fails when it is told to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd

Query = dict[str, str]
Answer = tuple[int, str, bytes]
"""Status, type of content, content."""


class PriceServer:
    """``answers``: by the beginning of a path, what is said. ``until``: prices are published up to
    this moment. ``faults``: the next answers instead. ``asked``: paths with their queries."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.until = pd.Timestamp.max.tz_localize("UTC")
        self.faults: list[Callable[[], Answer]] = []
        self.asked: list[str] = []
        self.missing: set[pd.Timestamp] = set()
        self.headers: dict[str, str] = {}

    def answer(self, target: str) -> Answer:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.asked.append(target)
        if self.faults:
            return self.faults.pop(0)()
        if parts.path.startswith("/v1/products/"):
            return self._json(self._octopus(parts.path, query))
        if parts.path == "/price":
            return self._json(self._energy_charts(query))
        if parts.path == "/api":
            return self._entsoe(query)
        if parts.path == "/rows":
            return self._json(self._rows(query))
        return 404, "text/plain", b"not here"

    def published(self, first: pd.Timestamp, last: pd.Timestamp, step: str) -> list[pd.Timestamp]:
        """Moments from ``first`` to ``last`` that have a price."""
        moments = pd.date_range(first, last, freq=step, inclusive="left")
        return [m for m in moments if m < self.until and m not in self.missing]

    @staticmethod
    def _json(value: Any) -> Answer:
        return 200, "application/json", json.dumps(value).encode()

    def _octopus(self, path: str, query: Query) -> Any:
        first, last = pd.Timestamp(query["period_from"]), pd.Timestamp(query["period_to"])
        outgoing = "OUTGOING" in path
        results = [
            {
                "value_exc_vat": pence(m) - (9.0 if outgoing else 0.0),
                "value_inc_vat": (pence(m) - (9.0 if outgoing else 0.0)) * 1.05,
                "valid_from": m.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "valid_to": (m + pd.Timedelta("30min")).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "payment_method": None,
            }
            for m in self.published(first.tz_convert("UTC"), last.tz_convert("UTC"), "30min")
        ][::-1]
        page, size = int(query.get("page", 1)), 40
        more = f"{self.url}{path}?" + "&".join(
            f"{key}={value}" for key, value in {**query, "page": page + 1}.items()
        )
        return {
            "count": len(results),
            "next": more if page * size < len(results) else None,
            "previous": None,
            "results": results[(page - 1) * size : page * size],
        }

    def _energy_charts(self, query: Query) -> Any:
        first, last = (pd.Timestamp(query[key], tz="Europe/Berlin") for key in ("start", "end"))
        last += pd.DateOffset(days=1)
        moments = self.published(first.tz_convert("UTC"), last.tz_convert("UTC"), "15min")
        return {
            "license_info": "CC BY 4.0",
            "unix_seconds": [int(m.timestamp()) for m in moments],
            "price": [euro_mwh(m) for m in moments],
            "unit": "EUR / MWh",
            "deprecated": False,
        }

    def _rows(self, query: Query) -> Any:
        """Hours by local time without a zone, as some services tell them."""
        first, last = (pd.Timestamp(query[key], tz="Europe/Vienna") for key in ("from", "to"))
        last += pd.DateOffset(days=1)
        moments = self.published(first.tz_convert("UTC"), last.tz_convert("UTC"), "1h")
        local = [m.tz_convert("Europe/Vienna").tz_localize(None) for m in moments]
        return {
            "data": {
                "list": [
                    {"at": at.isoformat(), "buy": {"cents": euro_mwh(m) / 10}, "sell": 4.5}
                    for at, m in zip(local, moments, strict=True)
                ]
            }
        }

    def _entsoe(self, query: Query) -> Answer:
        first, last = (pd.Timestamp(query[key], tz="UTC") for key in ("periodStart", "periodEnd"))
        days = pd.date_range(
            first.tz_convert("Europe/Vienna").normalize(), last.tz_convert("Europe/Vienna")
        )
        series = [
            found for day in days if (found := self._series(day.tz_convert("UTC"), day)) is not None
        ]
        if not series or int(query.get("offset", 0)):
            return 200, "application/xml", _NOTHING
        text = _DOCUMENT.format(series="".join(series))
        return 200, "application/xml", text.encode()

    def _series(self, begin: pd.Timestamp, day: pd.Timestamp) -> str | None:
        end = (day + pd.DateOffset(days=1)).tz_convert("UTC")
        moments = self.published(begin, end, "15min")
        if not moments:
            return None
        points = "".join(
            f"<Point><position>{round((m - begin) / pd.Timedelta('15min')) + 1}</position>"
            f"<price.amount>{euro_mwh(m):.2f}</price.amount></Point>"
            for m in moments
        )
        return _SERIES.format(
            begin=begin.strftime("%Y-%m-%dT%H:%MZ"), end=end.strftime("%Y-%m-%dT%H:%MZ"),
            points=points,
        )  # fmt: skip


def pence(moment: pd.Timestamp) -> float:
    """Price of a half hour: below zero in some."""
    return float((moment.hour * 2 + moment.minute // 30) % 48 - 4 + moment.day / 100)


def euro_mwh(moment: pd.Timestamp) -> float:
    """Price of a quarter hour, per MWh, two decimals."""
    return float(moment.hour * 10 + moment.minute / 15 - 20 + moment.day / 100)


def status(code: int, content: bytes = b"busy") -> Callable[[], Answer]:
    """A fault: this status."""
    return lambda: (code, "text/plain", content)


def slow(seconds: float) -> Callable[[], Answer]:
    """A fault: an answer that takes long."""

    def wait() -> Answer:
        time.sleep(seconds)
        return 200, "application/json", b"{}"

    return wait


@contextmanager
def price_server() -> Iterator[PriceServer]:
    """Serve from a thread until the block ends."""
    server: PriceServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.headers = dict(self.headers.items())
            code, kind, body = server.answer(self.path)
            try:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # who asked has gone

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = PriceServer(http.server_port)
    threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


_DOCUMENT = """<?xml version="1.0" encoding="utf-8"?>
<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">
<mRID>1</mRID><revisionNumber>1</revisionNumber><type>A44</type>{series}
</Publication_MarketDocument>"""
_SERIES = """<TimeSeries><mRID>1</mRID><auction.type>A01</auction.type>
<businessType>A62</businessType><in_Domain.mRID codingScheme="A01">10YAT-APG------L</in_Domain.mRID>
<out_Domain.mRID codingScheme="A01">10YAT-APG------L</out_Domain.mRID>
<contract_MarketAgreement.type>A01</contract_MarketAgreement.type>
<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>
<curveType>A01</curveType><Period><timeInterval><start>{begin}</start><end>{end}</end>
</timeInterval><resolution>PT15M</resolution>{points}</Period></TimeSeries>"""
_NOTHING = b"""<?xml version="1.0" encoding="utf-8"?>
<Acknowledgement_MarketDocument><Reason><code>999</code>
<text>No matching data found for Data item Day-ahead Prices</text></Reason>
</Acknowledgement_MarketDocument>"""
