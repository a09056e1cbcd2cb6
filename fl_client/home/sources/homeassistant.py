"""Readings by way of Home Assistant's WebSocket, with a token that need not be an administrator's.

It tells changes only, with its own stamps. While it runs and an entity is available, the last value
is repeated once a minute; a register that then moves by more than a home uses had been silent.
The past is taken from its history (ten days, every change) and its statistics (hours, for ever), at
first and whenever the connection was lost.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from common.errors import InputError
from fl_client.home import address as addresses
from fl_client.home.inbox import Inbox
from fl_client.home.mapping import BATTERY_ROLES, Channel, factor
from fl_client.home.sources.source import HOMEASSISTANT, TOKEN, Cursor, secret
from fl_client.home.store import ARRIVAL, HELD, STATISTIC
from fl_client.home.values import Unreadable, said

_TIMEOUT_S = 30.0
_LARGEST = 1 << 26
_HOLD_S = 60.0
_DAY_S = 86400.0
_HISTORY_DAYS, _STATISTICS_DAYS = 10, 400
_NOT_RUNNING_S = 2.0
# What a battery's control goes by: it must know that a value still holds.
_LIVE = ("soc", "power", *BATTERY_ROLES)
_NO_VALUE = ("unavailable", "unknown")


class Refused(InputError):
    """The token is not accepted: asking again and again may have this address banned."""


class Session:
    """One connection to Home Assistant that has been let in. Raises OSError, Refused, and
    InputError for an address that is none."""

    def __init__(self, url: str, token: str) -> None:
        parts = addresses.server(url, ("http", "https"), "Home Assistant at")
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._number = 0
        self._events: list[dict[str, Any]] = []
        try:
            self.socket: ClientConnection = connect(
                f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/websocket",
                open_timeout=_TIMEOUT_S, max_size=_LARGEST,
            )  # fmt: skip
            self.receive()
            self.socket.send(json.dumps({"type": "auth", "access_token": token}))
            if self.receive().get("type") != "auth_ok":
                self.close()
                raise Refused(f"Home Assistant at {parts.netloc} does not accept the token")
        except (WebSocketException, TimeoutError) as error:
            raise OSError(f"Home Assistant at {parts.netloc}: {error}") from None

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def receive(self, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """The next message, those that came during a question first. Raises TimeoutError."""
        if self._events:
            return self._events.pop(0)
        return self._receive(timeout_s)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        try:
            found = json.loads(self.socket.recv(timeout=timeout_s))
        except WebSocketException as error:
            raise OSError(f"Home Assistant: {error}") from None
        return found if isinstance(found, dict) else {}

    def send(self, **message: object) -> int:
        """Send a command; returns its number."""
        self._number += 1
        try:
            self.socket.send(json.dumps({"id": self._number, **message}))
        except WebSocketException as error:
            raise OSError(f"Home Assistant: {error}") from None
        return self._number

    def ask(self, **message: object) -> Any:
        """Send a command and wait for its result; events that come meanwhile are kept."""
        number = self.send(**message)
        while True:
            answer = self._receive(_TIMEOUT_S)
            if answer.get("type") == "event":
                self._events.append(answer)
            if answer.get("id") == number and answer.get("type") == "result":
                if not answer.get("success"):
                    error = answer.get("error") or {}
                    raise OSError(f"Home Assistant: {error.get('code')}: {error.get('message')}")
                return answer.get("result")


class HomeAssistant:
    """Entities of one Home Assistant."""

    def __init__(
        self, server: str, channels: Sequence[Channel], secrets: Mapping[str, str], cursor: Cursor
    ) -> None:
        self._url = server or secret(secrets, HOMEASSISTANT, "source homeassistant: no address")
        self._token = secret(secrets, TOKEN, "source homeassistant: no token")
        parts = addresses.server(self._url, ("http", "https"), "source homeassistant: address")
        self.name = f"homeassistant {parts.netloc}"
        self._channels: dict[str, list[Channel]] = {}
        for one in channels:
            self._channels.setdefault(one.address, []).append(one)
        self._units: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._read_to = {one.name: float(cursor(one.name) or 0.0) for one in channels}

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """See ``Source``."""
        session = Session(self._url, self._token)
        try:
            while session.ask(type="get_config").get("state") != "RUNNING":
                inbox.state(self.name, "Home Assistant is starting")
                if stop.wait(_NOT_RUNNING_S):
                    return
            self._subscribe(session, inbox)
            self._follow(session, inbox, stop)
        finally:
            session.close()

    def _subscribe(self, session: Session, inbox: Inbox) -> None:
        """Learn units and values now, then what was missed: what changes meanwhile comes after.

        Home Assistant runs before all of its integrations have made their entities.
        """
        number = session.send(type="subscribe_entities", entity_ids=sorted(self._channels))
        while True:
            message = session.receive()
            if message.get("id") == number and message.get("type") == "event":
                break
            if message.get("type") == "result" and not message.get("success"):
                raise OSError(f"Home Assistant: {message.get('error')}")
        added = message["event"].get("a", {})
        for entity, channels in self._channels.items():
            if entity not in added:
                for one in channels:
                    inbox.doubt(one, f"Home Assistant has no entity {entity}")
                continue
            self._learn(entity, added[entity])
        self._backfill(session, inbox)
        self._event(message["event"], inbox)
        inbox.state(self.name, "connected")

    # ---- live ---------------------------------------------------------------------------------

    def _follow(self, session: Session, inbox: Inbox, stop: threading.Event) -> None:
        hold_s = max(inbox.clock.wall(_HOLD_S), 0.2)
        held = inbox.clock.now()
        while not stop.is_set():
            try:
                message = session.receive(min(hold_s, 0.5))
            except TimeoutError:
                message = {}
            if message.get("type") == "event":
                self._event(message["event"], inbox)
            now = inbox.clock.now()
            if now - held >= _HOLD_S:
                self._hold(now, inbox)
                held = now

    def _event(self, event: Mapping[str, Any], inbox: Inbox) -> None:
        changes = dict(event.get("a", {}))
        changes |= {name: change.get("+", {}) for name, change in event.get("c", {}).items()}
        for entity in event.get("r", []):
            self._values.pop(entity, None)
        for entity, state in changes.items():
            self._learn(entity, state)
            if "s" in state:
                self._values[entity] = state["s"]
            at = state.get("lu", state.get("lc"))
            if at is not None and entity in self._values:
                self._take(entity, self._values[entity], float(at), ARRIVAL, inbox)

    def _learn(self, entity: str, state: Mapping[str, Any]) -> None:
        """Note an entity's unit, which may come when it is added, or later."""
        unit = state.get("a", {}).get("unit_of_measurement")
        if unit is not None:
            self._units[entity] = str(unit)

    def _hold(self, now: float, inbox: Inbox) -> None:
        """Say once more what has not changed. Where nothing changes at all, nobody knows."""
        for entity, value in self._values.items():
            self._take(entity, value, now, HELD, inbox)
        for channels in self._channels.values():
            for one in channels:
                inbox.cursor(one, repr(now))

    def _take(self, entity: str, value: str, at: float, quality: str, inbox: Inbox) -> None:
        if value in _NO_VALUE:
            return
        for one in self._channels.get(entity, []):
            if quality == HELD and one.kind != "register" and one.role not in _LIVE:
                continue
            try:
                unit = one.unit or self._units.get(entity, "")
                told = said(value, one.word) * factor(one.kind, unit) * one.sign
                inbox.put(one, at, told, quality)
            except (Unreadable, InputError) as error:
                inbox.doubt(one, f"{entity}: {error}")

    # ---- the past -----------------------------------------------------------------------------

    def _backfill(self, session: Session, inbox: Inbox) -> None:
        """What was said since a channel was last read: statistics first, then every change."""
        now = inbox.clock.now()
        since = min(self._read_to.values())
        recent = max(since, now - _HISTORY_DAYS * _DAY_S)
        if since < recent:
            self._statistics(session, inbox, max(since, now - _STATISTICS_DAYS * _DAY_S), recent)
        begin = recent
        while begin < now:
            end = min(begin + _DAY_S, now)
            inbox.state(self.name, f"reading the past: {_iso(begin)[:10]}")
            found = session.ask(
                type="history/history_during_period", start_time=_iso(begin), end_time=_iso(end),
                entity_ids=sorted(self._channels), minimal_response=True, no_attributes=True,
                significant_changes_only=False,
            )  # fmt: skip
            for entity, rows in (found or {}).items():
                for place, row in enumerate(rows):
                    # The first one is the state before, with the stamp that was asked for.
                    at = float(row.get("lu", row.get("lc", begin)))
                    quality = HELD if place == 0 and abs(at - begin) < 1e-3 else ARRIVAL
                    self._take(entity, str(row.get("s")), at, quality, inbox)
            begin = end
        for channels in self._channels.values():
            for one in channels:
                self._read_to[one.name] = now
                inbox.cursor(one, repr(now))

    def _statistics(self, session: Session, inbox: Inbox, begin: float, end: float) -> None:
        registers = [
            entity for entity, channels in self._channels.items()
            if any(one.kind == "register" for one in channels)
        ]  # fmt: skip
        found = session.ask(
            type="recorder/statistics_during_period", start_time=_iso(begin), end_time=_iso(end),
            statistic_ids=sorted(registers), period="hour", types=["state"],
            units={"energy": "kWh"},
        )  # fmt: skip
        for entity, rows in (found or {}).items():
            for row in rows:
                if row.get("state") is None:
                    continue
                for one in self._channels.get(entity, []):
                    at, value = float(row["end"]) / 1000, float(row["state"]) * one.sign
                    inbox.put(one, at, value, STATISTIC)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
