"""The battery on the page of the house: what it is told, in words."""

import http.client
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from fl_client.control import record as record_module
from fl_client.control.record import COMMAND, FOLLOW, SETPOINT, STEERING, Plan, Record, Snapshot
from fl_client.host.client_file import ClientFile
from fl_client.host.window import serve

Ask = Callable[..., tuple[int, str]]
PRESS = '<button name="do" value="{}">'.format


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A household with a battery that follows the plan."""
    file = asdict(ClientFile("maple", "synthetic", "127.0.0.1:9092", page_port=9481))
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(file))
    record = Record(tmp_path)
    record.put(Snapshot(time.time(), COMMAND, STEERING, "the plan", 0.7))
    record.close()
    return tmp_path


@pytest.fixture
def ask(home: Path) -> Iterator[Ask]:
    """Its page: by GET, or the form by POST with these fields; status and text."""
    served = serve(home, "127.0.0.1", 0)
    here = f"127.0.0.1:{served.server_port}"

    def asked(**fields: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(here, timeout=60)
        if fields:
            token = re.search(r'name="token" value="([^"]+)"', asked()[1])
            assert token is not None
            body = urllib.parse.urlencode({**fields, "token": token[1]})
            connection.request("POST", "/override", body, {"Origin": f"http://{here}"})
        else:
            connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    yield asked
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize(
    ("setpoint_kw", "follow_kw", "words"),
    [
        (0.7, None, "0.70 kW into it"),
        (-0.7, None, "0.70 kW out of it"),
        (0.7, -0.4, "keep 0.40 kW to the grid"),
        (0.7, 0.4, "keep 0.40 kW from the grid"),
    ],
)
def test_what_it_is_told(
    home: Path,
    ask: Ask,
    setpoint_kw: float,
    follow_kw: float | None,
    words: str,
) -> None:
    """A power of the battery, or one that it keeps at the grid's connection; the log says the
    same."""
    record, now = Record(home), time.time()
    record.put(Snapshot(now, COMMAND, STEERING, "the plan", setpoint_kw, follow_kw))
    command, kw = (SETPOINT, setpoint_kw) if follow_kw is None else (FOLLOW, follow_kw)
    record.log(now, command, "the plan", kw, sent=True)
    record.close()
    text = ask()[1]
    assert f"<td>Told</td><td>{words}</td>" in text
    assert f"<td>{command} {words.removeprefix('keep ')}</td>" in text


@pytest.mark.parametrize("moment", [9.2e15, -9.2e15, 1e300, -1e300, 3.6e11])
def test_no_time_in_a_record_takes_the_page(home: Path, ask: Ask, moment: float) -> None:
    """Of the snapshot, its plan, the log or the override: the page stands and can end it."""
    record = Record(home)
    plan = Plan(moment, moment, 1.0, 0.5, 0.2, 0.3)
    record.put(Snapshot(moment, COMMAND, STEERING, "the plan", 0.7, plan=plan))
    if abs(moment) < 1e16:  # what the other columns hold
        record.set_override(moment, max(moment, 9e15), "somebody")
        record.log(moment, SETPOINT, "the plan", 0.7)
    else:
        record.set_override(time.time(), None, "somebody")
    code, text = ask()
    assert code == 200
    assert PRESS("clear") in text
    assert ask(do="clear")[0] == 303
    assert record.override(time.time()) is None
    record.close()


@pytest.mark.parametrize(
    "hours",
    ["nan", "inf", "-1", "0", "1e-300", "0.01", "1e3", "8760.1", "99999", "1_0", "\u0663", "\u00b2",
     "x", "9" * 3000, " "],
)  # fmt: skip
def test_hours_that_are_none_hold_nothing(home: Path, ask: Ask, hours: str) -> None:
    """400, with what would be right; the battery is left as it was."""
    code, text = ask(do="set", hours=hours)
    assert code == 400
    assert "hours: " in text
    assert "expected hours, as 3 or 1.5" in text
    record = Record(home)
    assert record.override(time.time()) is None
    record.close()


@pytest.mark.parametrize("hours", ["0.02", "1", "1.5", ".5", "24", "8760"])
def test_hours_hold_as_long_as_they_say(home: Path, ask: Ask, hours: str) -> None:
    """To the second; with the date where that is another day."""
    assert ask(do="set", hours=hours)[0] == 303
    record = Record(home)
    held = record.override(time.time())
    record.close()
    assert held is not None
    assert held.until is not None
    assert held.until - held.since == pytest.approx(3600 * float(hours), abs=1)
    assert (time.strftime("%Y-%m-%d", time.localtime(held.until)) in ask()[1]) == (
        time.localtime(held.until)[:3] != time.localtime()[:3]
    )


def test_a_form_while_the_record_is_busy_is_answered(
    home: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and why; the page is still there meanwhile, and the form is taken afterwards."""
    connect = sqlite3.connect

    def impatient(path: Path, **more: Any) -> sqlite3.Connection:
        return connect(path, **{**more, "timeout": 0.1})

    monkeypatch.setattr(record_module.sqlite3, "connect", impatient)
    other = connect(home / record_module.RECORD, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    code, text = ask(do="set", hours="1")
    assert code == 503
    assert "database is locked: try again" in text
    assert ask()[0] == 200
    other.execute("ROLLBACK")
    other.close()
    assert ask(do="set", hours="1")[0] == 303
    assert PRESS("clear") in ask()[1]
