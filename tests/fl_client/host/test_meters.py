"""The process that reads the meters, and the command that looks at them."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import yaml

from fl_client.home.store import STORE

CLIENT = {"name": "maple", "data": "", "server": "127.0.0.1:9092", "insecure": True}
HEADER = "time,kwh\n"


def _home(tmp_path, text=HEADER):
    home = tmp_path / "home"
    home.mkdir()
    (home / "client.yaml").write_text(yaml.safe_dump(CLIENT))
    (home / "m.csv").write_text(text)
    entry = {"role": "import", "path": "m.csv", "json": "kwh", "every": 0.1}
    (home / "meters.yaml").write_text(yaml.safe_dump([entry]))
    return home


def _rows(minutes):
    return "".join(f"2026-11-25T{m // 60:02d}:{m % 60:02d}:00Z,{m / 100}\n" for m in minutes)


def _meters(home, *options):
    main = "from fl_client.host.commands import main; main()"
    command = [sys.executable, "-c", main, "meters", str(home), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def _count(home):
    try:
        with sqlite3.connect(home / STORE) as db:
            return db.execute("SELECT count(*) FROM readings").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_the_look_before_anybody_trades(tmp_path):
    """Without a daemon the command reads by itself: value, kind of the intervals, what is wrong;
    status 1 while a meter has said nothing, 2 for a mapping that is no good, 0 otherwise."""
    home = _home(tmp_path)
    silent = _meters(home, "--seconds", "3")
    assert (silent.returncode, "nothing yet" in silent.stdout) == (1, True), silent.stderr
    (home / "m.csv").write_text(HEADER + _rows(range(120)))
    spoken = _meters(home, "--seconds", "3")
    assert (spoken.returncode, "1.190 kWh" in spoken.stdout) == (0, True), spoken.stdout
    (home / "meters.yaml").write_text("- {role: import}\n")
    wrong = _meters(home, "--seconds", "3")
    assert wrong.returncode == 2
    assert "entry 1 (import): one of topic, entity" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_a_daemon_that_is_killed_goes_on_where_it_was(tmp_path):
    """Killed in the middle of its work it leaves a sound store; started again it has everything
    once; the command looks at what it reads, for two do not write."""
    home = _home(tmp_path, HEADER + _rows(range(60)))
    daemon = [sys.executable, "-m", "fl_client.host.meters", str(home)]
    first = subprocess.Popen(daemon)
    try:
        _until(lambda: _count(home) == 60)
    finally:
        first.kill()
        first.wait()
    with (home / "m.csv").open("a") as more:
        more.write(_rows(range(60, 90)))
    second = subprocess.Popen(daemon)
    try:
        _until(lambda: _count(home) == 90)
        seen = _meters(home, "--seconds", "1")
        assert "read by the household's daemon" in seen.stdout, seen.stderr
        refused = subprocess.run(daemon, capture_output=True, text=True)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "read by another process" in refused.stderr
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0


def test_a_home_is_made_with_its_meters(tmp_path):
    """The mapping is checked and kept, relative paths made absolute, secrets of the environment in
    a file of mode 0600; a wrong one leaves nothing behind."""
    mapping = tmp_path / "mine.yaml"
    mapping.write_text("- {role: import, path: m.csv, json: kwh}\n")
    home = tmp_path / "home"
    main = "from fl_client.host.commands import main; main()"
    command = [sys.executable, "-c", main, "init", str(home), "--name", "maple", "--insecure"]
    environment = {**os.environ, "FEDWATT_MQTT_PASSWORD": "let me in"}

    def init(*options):
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, env=environment, timeout=120
        )

    wrong = init("--meters", str(tmp_path / "none.yaml"))
    assert (wrong.returncode, wrong.stderr.count("\n"), home.exists()) == (2, 1, False)
    both = init("--meters", str(mapping), "--data", "synthetic")
    assert both.returncode == 2
    assert "one of --data, --meters" in both.stderr
    dead = init("--from-homeassistant", "http://127.0.0.1:9")
    assert "put FEDWATT_HOMEASSISTANT_TOKEN=... into the environment of init" in dead.stderr
    made = init("--meters", str(mapping))
    assert made.returncode == 0, made.stderr
    entry = {"role": "import", "path": str(tmp_path / "m.csv"), "json": "kwh"}
    assert yaml.safe_load((home / "meters.yaml").read_text()) == [entry]
    assert yaml.safe_load((home / "client.yaml").read_text())["data"] == "meters"
    assert (home / "secret.env").read_text() == "FEDWATT_MQTT_PASSWORD=let me in\n"
    assert (home / "secret.env").stat().st_mode & 0o777 == 0o600


def _until(happened, seconds=40.0):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)
