"""Readings by HTTP, asked for again and again: an answer in JSON, one message or a list of rows.

``{since}`` in the URL becomes the time from which on rows are wanted (ISO 8601, UTC), for devices
that keep their own history.
"""

import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel
from fl_client.home.sources.polling import Since, poll
from fl_client.home.sources.source import AUTHORIZATION, Cursor
from fl_client.home.values import Unreadable, decode, pick, stamp

_TIMEOUT_S = 10.0
_LARGEST = 1 << 24


class Http:
    """URLs of devices and services."""

    name = "http"

    def __init__(
        self, channels: Sequence[Channel], secrets: Mapping[str, str], cursor: Cursor
    ) -> None:
        self._channels, self._since = channels, Since(channels, cursor)
        self._head = {"Accept": "application/json"}
        if secrets.get(AUTHORIZATION):
            self._head["Authorization"] = secrets[AUTHORIZATION]
        # Channels that share a URL share an answer.
        self._answers: dict[str, Any] = {}

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """See ``Source``."""
        by_url: dict[str, list[Channel]] = {}
        for one in self._channels:
            by_url.setdefault(one.address, []).append(one)
        leaders = [group[0] for group in by_url.values()]
        poll(leaders, inbox, stop, lambda one: self._ask(by_url[one.address], inbox))

    def _ask(self, channels: Sequence[Channel], inbox: Inbox) -> None:
        since = min(self._since.time(one) for one in channels)
        text = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        url = channels[0].address.replace("{since}", quote(text))
        host = urlsplit(url).netloc.rpartition("@")[2]
        request = urllib.request.Request(url, headers=self._head)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                message = decode(answer.read(_LARGEST))
        except urllib.error.HTTPError as error:
            raise OSError(f"{host}: answers {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise OSError(f"{host}: {error.reason}") from None
        inbox.state(self.name, f"connected to {host}")
        rows = message if isinstance(message, list) and _is_rows(message) else [message]
        for one in channels:
            newest = 0.0
            for row in rows:
                inbox.hear(one, row)
                if one.time:
                    try:
                        newest = max(newest, stamp(pick(row, one.time), one.zone, since))
                    except Unreadable:
                        continue
            self._since.seen(one, newest, inbox)


def _is_rows(message: list[Any]) -> bool:
    return all(isinstance(row, list | dict) for row in message)
