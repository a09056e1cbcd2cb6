"""Databases, files and HTTP that are asked again and again, with the real things."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import psycopg
import pytest

from tests.fl_client.home.listening import listening, said, until, values, write

NOW = 1_795_694_400


@pytest.fixture
def table(postgres):
    """A database with a table of readings: (its URL, a connection)."""
    url = postgres()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("create table r (home text, time timestamptz, kwh float8)")
        yield url, db


QUERY = "select time, kwh from r where home = 'maple' and time > :since and home like '%'"


def _insert(db, *rows):
    for seconds, kwh in rows:
        db.execute("insert into r values ('maple', to_timestamp(%s), %s)", (NOW + seconds, kwh))


def test_a_database_is_asked_for_what_is_new(tmp_path, table):
    """All rows at first, then the new ones; a row that was corrected is found; what cannot be asked
    is said in one line; a second start goes on where the first one ended."""
    url, db = table
    write(tmp_path / "home", {"role": "import", "source": "sql", "query": QUERY, "every": 0.05})
    secrets = {"FEDWATT_SQL": url}
    _insert(db, (0, 1.0), (10, 1.1), (20, None))
    with listening(tmp_path / "home", secrets) as meters:
        until(meters, lambda: len(values(meters)) == 2)
        _insert(db, (30, 1.3))
        until(meters, lambda: len(values(meters)) == 3)
        db.execute("update r set kwh = 1.2 where kwh = 1.1")
        until(meters, lambda: (NOW + 10, 1.2) in values(meters))
        assert float(meters.store.cursor(meters.channels[0].name)) == NOW + 30
        db.execute("alter table r rename column kwh to wh")
        until(meters, lambda: said(meters, 'column "kwh" does not exist'))
        db.execute("alter table r rename column wh to kwh")
        _insert(db, (40, 1.4))
        until(meters, lambda: len(values(meters)) == 4)
    _insert(db, (50, 1.5))
    with listening(tmp_path / "home", secrets) as meters:
        until(meters, lambda: len(values(meters)) == 5)
        assert [value for _, value in values(meters)] == [1.0, 1.2, 1.3, 1.4, 1.5]


def test_rows_stamped_ahead_are_read_once(tmp_path, table):
    """A database whose clock is ahead gives its newest rows with every answer: each is measured
    when it came first, also after another start and when its stamp has passed; what comes when the
    clock has been set right is read, whatever was stamped, even in another century."""
    url, db = table
    write(tmp_path / "home", {"role": "import", "source": "sql", "query": QUERY, "every": 0.05})
    secrets = {"FEDWATT_SQL": url}

    def insert(ahead_s, kwh):
        db.execute(
            "insert into r values ('maple', now() + make_interval(secs => %s), %s)", (ahead_s, kwh)
        )

    told = [1.0, 1.1, 1.2, 1.3]
    for attempt in range(2):
        with listening(tmp_path / "home", secrets) as meters:
            for kwh in told[2 * attempt : 2 * attempt + 2]:
                insert(3.0, kwh)
                until(meters, lambda kwh=kwh: kwh in [value for _, value in values(meters)])
                for _ in range(5):
                    meters.step(0.1)
            assert [value for _, value in values(meters)] == told[: 2 * attempt + 2]
    with listening(tmp_path / "home", secrets) as meters:
        until(meters, lambda: time.time() > values(meters)[-1][0] + 4.0)
        meters.step(0.2)
        insert(3e9, 1.4)
        until(meters, lambda: len(values(meters)) == 5)
        insert(0.0, 1.5)
        until(meters, lambda: len(values(meters)) == 6)
        assert [value for _, value in values(meters)] == [*told, 1.4, 1.5]
        assert float(meters.store.cursor(meters.channels[0].name)) <= time.time()


def test_a_query_that_does_not_fit_says_what_it_gives(tmp_path, table):
    """The line names the columns that are there and the one that is not."""
    write(tmp_path / "home", {"role": "import", "query": "select 1 as a, 2 as b", "every": 0.05})
    with listening(tmp_path / "home", {"FEDWATT_SQL": table[0]}) as meters:
        until(meters, lambda: said(meters, "the query gives a, b, and no 'time'"))


def _times(seconds):
    return pd.to_datetime(NOW + np.asarray(seconds), unit="s", utc=True)


def test_a_csv_is_read_as_it_grows(tmp_path):
    """Whole lines only; a row without a value is no reading; a file that was begun anew, or that
    became shorter, is read from its start."""
    file = tmp_path / "home" / "meter.csv"
    write(tmp_path / "home", {"role": "import", "path": "meter.csv", "json": "kwh", "every": 0.05})
    file.write_text("time,kwh\n2026-11-26T12:00:00Z,1.0\n2026-11-26T12:00:10Z,\n2026-11-26T12:0")
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: values(meters) == [(NOW, 1.0)])
        with file.open("a") as more:
            more.write("0:20Z,1.2\n2026-11-26T12:00:30Z,1.3,4\n")
        until(meters, lambda: len(values(meters)) == 2)
        until(meters, lambda: said(meters, "a row of 3 fields"))
    with file.open("a") as more:
        more.write("2026-11-26T12:00:40Z,1.4\n")
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: len(values(meters)) == 3)
        file.write_text("time,kwh\n2026-11-26T12:01:00Z,1.5\n")
        until(meters, lambda: values(meters)[-1] == (NOW + 60, 1.5))
        file.unlink()
        until(meters, lambda: said(meters, "no such file"))
        file.write_text("when,kwh\n")
        until(meters, lambda: said(meters, "no column 'time' (time:); it has when, kwh"))


def test_a_folder_of_parquet_is_read_as_it_is_rewritten(tmp_path):
    """New files are found, and files written anew are read again."""
    folder = tmp_path / "home" / "data"
    folder.mkdir(parents=True)
    write(tmp_path / "home", {"role": "import", "path": "data", "json": "kwh", "every": 0.05})

    def put(name, seconds):
        frame = pd.DataFrame({"time": _times(seconds), "kwh": np.asarray(seconds) / 1000})
        frame.to_parquet(folder / f"{name}.part")
        (folder / f"{name}.part").rename(folder / f"{name}.parquet")

    put("a", [0, 10])
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: len(values(meters)) == 2)
        put("a", [0, 10, 20])
        put("b", [30])
        until(meters, lambda: len(values(meters)) == 4)
        assert values(meters)[-1] == (NOW + 30, 0.03)
        (folder / "c.parquet").write_bytes(b"no parquet")
        until(meters, lambda: said(meters, "c.parquet"))


@pytest.fixture
def device():
    """An HTTP server that answers with what it is told: (its URL, the answers, paths asked)."""
    answers, asked = {"status": 200, "body": {}}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            body = json.dumps(answers["body"]).encode()
            self.send_response(answers["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers, asked
    server.shutdown()
    server.server_close()


def test_a_device_is_asked_by_http(tmp_path, device):
    """One answer serves all channels of a URL; a list is rows, asked for from the last one on; what
    the device refuses is said."""
    url, answers, asked = device
    query = f"{url}/query?begin={{since}}"
    write(
        tmp_path / "home",
        {"role": "import", "url": query, "json": "1", "time": "0", "unit": "Wh", "every": 0.05,
         "kind": "interval", "minutes": 5},
        {"role": "export", "url": query, "json": "2", "time": "0", "unit": "Wh", "every": 0.05},
    )  # fmt: skip
    answers["body"] = [["2026-11-26T12:00:00Z", 50, 1000], ["2026-11-26T12:05:00Z", 60, 1000]]
    with listening(tmp_path / "home", {"FEDWATT_HTTP_AUTHORIZATION": "Bearer x"}) as meters:
        until(meters, lambda: len(values(meters)) == 2 and len(values(meters, 1)) == 2)
        assert values(meters) == [(NOW, pytest.approx(0.05)), (NOW + 300, pytest.approx(0.06))]
        assert asked[0] == ("/query?begin=1970-01-01T00%3A00%3A00Z", "Bearer x")
        until(meters, lambda: "12%3A00%3A00Z" in asked[-1][0])
        answers["status"] = 403
        until(meters, lambda: said(meters, "answers 403"))
        answers |= {"status": 200, "body": [["2026-11-26T12:10:00Z", 70, 1001]]}
        until(meters, lambda: len(values(meters)) == 3)
