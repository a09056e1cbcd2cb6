"""Asking a web service: with a time limit, some patience, and one clear line when it fails."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from common.errors import InputError
from fl_server.price_sources.options import Options

AUTHORIZATION = "FEDWATT_PRICES_AUTHORIZATION"
"""Environment variable with the Authorization header of a service that asks for one."""
_BUSY = (429, 500, 502, 503, 504)


class Web:
    """A session that asks again where a service is busy or the line breaks."""

    def __init__(self, options: Options) -> None:
        """Reads ``timeout_s`` (10), ``tries`` (3) and ``pause_s`` (1), which doubles each time."""
        self._timeout_s = options.number("timeout_s", 10.0)
        tries = round(options.number("tries", 3))
        retry = Retry(
            total=tries - 1,
            backoff_factor=options.number("pause_s", 1.0),
            status_forcelist=_BUSY,
            allowed_methods=["GET"],
            raise_on_status=False,
            # A server may ask for an hour; prices are asked for again soon anyway.
            respect_retry_after_header=False,
        )
        self.session = requests.Session()
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=retry))

    @property
    def timeout_s(self) -> float:
        """How long one answer may take [s]."""
        return self._timeout_s

    def json(self, url: str, params: Mapping[str, str] | None = None) -> Any:
        """What a service answers. Raises InputError that names the service, without its query:
        that may hold a key."""
        place = _place(url)
        key = os.environ.get(AUTHORIZATION)
        headers = {"Authorization": key} if key else {}
        try:
            answer = self.session.get(url, params=params, headers=headers, timeout=self._timeout_s)
        except requests.RequestException as error:
            raise InputError(f"prices of {place}: {reason(error)}") from None
        if not answer.ok:
            raise InputError(f"prices of {place}: status {answer.status_code} {answer.reason}")
        try:
            return answer.json()
        except ValueError:
            raise InputError(f"prices of {place}: the answer is not JSON") from None


def reason(error: requests.RequestException) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"
