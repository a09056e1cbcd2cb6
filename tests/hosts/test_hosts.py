"""Separate hosts, real TLS, real keys. The short form runs with all tests, the long one by
``make test-hosts`` (FEDWATT_HOSTS=long): 48 intervals, eight model rounds, and every fault.
"""

import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fl_server.host.folder import Folder
from fl_server.host.tls import make_authority, make_server_certificate
from tests.hosts.community import Community
from tests.hosts.network import HOSTS_TESTS
from tests.support.community import Homes, contexts, simulated
from tests.support.community import community as folder_of
from tests.support.community import run as run_here
from tests.support.intruder import EXPECTED
from tests.support.live import never, opened, rows, settled, traded
from tests.support.runs import HISTORY_DAYS

LONG = os.environ.get("FEDWATT_HOSTS") == "long"
pytestmark = HOSTS_TESTS
long_form = pytest.mark.skipif(not LONG, reason="long: make test-hosts")
HERE = Path(__file__).parent

# Names, intervals, intervals between model rounds, hour at which the run begins. The two of the
# short form trade at ten in the morning.
SHORT = (["H0001", "H0004"], 3, 3, 10)
FOUR = (["H0001", "H0002", "H0003", "H0004"], 48, 6, 0)
# An update and a model that a line of 64 kbit/s carries in seconds.
SMALL = ("fl.compression=top-k:0.01+int8", "fl.compression_down=top-k:0.01+int8")
BAD_LINE = {"delay_s": 0.2, "bytes_per_s": 8000, "reset_per_s": 0.03}
CUT_S = 300.0


def overrides(intervals: int, every: int) -> list[str]:
    return [
        f"run.days={intervals / 48}", f"run.history_days={HISTORY_DAYS}", "run.seed=5",
        "model.preset=edge", "fl.local_steps=1", f"fl.every_hours={every / 2}",
    ]  # fmt: skip


@pytest.fixture
def community(request: pytest.FixtureRequest, tmp_path: Path, homes: Path) -> Iterator[Community]:
    """Hosts with a running SuperLink and admitted households; (form, more settings)."""
    (names, intervals, every, _), *more = request.param
    there = Community(tmp_path, homes, names, *overrides(intervals, every), *more)
    try:
        there.start_server()
        for name in names:
            there.admit(name, there.client(name))
            there.start_household(name)
        yield there
    finally:
        there.close()


def once_each(directory: Path, intervals: int, households: int) -> None:
    """Every interval of every household is settled exactly once, and the ledger verifies."""
    assert settled(directory, households) == {
        (t, h): 1 for t in range(intervals) for h in range(households)
    }
    with opened(directory) as ledger:
        assert ledger.verify().ok


def events(there: Community, kind: str) -> list[dict[str, object]]:
    return [event for event in there.journal() if event["event"] == kind]


def refusals(there: Community) -> list[str]:
    """Why the SuperLink has refused calls, by its own log."""
    file = there.server / "log" / "link.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [str(line["why"]) for line in lines if line["event"] == "call refused"]


def strangers(there: Community, root: Path) -> None:
    """Three who do not get in: each is refused, and that is logged; then they are sent away.

    One has a key that nobody admitted; one trusts another authority, to which the coordinator is a
    man in the middle; one, a household with its own good key, is led to a real man in the middle.
    """
    home, ca = there.names[0], there.server / "tls" / "ca.crt"
    other = root / "other"
    other.mkdir()
    make_authority(other)
    make_server_certificate(other, [there.address])
    there.start(
        "impostor", "server", sys.executable, str(HERE / "impostor.py"), "9443",
        str(other / "server.pem"), str(other / "server.key"),
    )  # fmt: skip
    there.await_(lambda: "listening" in there.log("impostor"), "the impostor")
    there.client(home, "stranger", ca=ca, own_port=9194)
    there.client(home, "misled", ca=other / "ca.crt", own_port=9294)
    there.client(home, "lured", ca=ca, port=9443, own_port=9394)
    (there.root / "lured" / "key").write_bytes((there.root / home / "key").read_bytes())
    for who in ("stranger", "misled", "lured"):
        there.start_household(home, who)
    there.await_(lambda: "this key is not admitted" in there.log("stranger"), "the stranger")
    assert "this key is not admitted" in refusals(there)
    for who in ("misled", "lured"):
        there.await_(lambda who=who: "handshake error" in there.log(who), who)  # type: ignore[misc]
    there.await_(lambda: "refused" in there.log("impostor"), "a refusal of the impostor")
    assert "believed" not in there.log("impostor")
    for who in ("stranger", "misled", "lured"):
        there.await_(
            lambda who=who: "ended with status" in there.log(who),  # type: ignore[misc]
            f"{who} to give up",
        )
        there.services.pop(who).stop()


def intrude(there: Community) -> None:
    """The last household tries everything against the first, in the middle of the run."""
    thief, victim = there.names[-1], there.names[0]
    there.await_(lambda: len(there.received(thief)) > 1 and there.interval() > 0, "an interval")
    [run, *_] = re.findall(r"\[RUN (\d+)", there.log(thief))
    done = there.on(
        thief, sys.executable, "-m", "tests.support.intruder", f"{there.address}:9092",
        str(there.server / "tls" / "ca.crt"), str(there.root / thief / "key"),
        str(there.root / victim / "key.pub"), str(there.node(thief)), str(there.node(victim)),
        there.received(thief)[0], there.received(victim)[-1], run,
    )  # fmt: skip
    found = json.loads(done)
    for attempt, why in EXPECTED.items():
        assert why in found[attempt], attempt
    assert set(EXPECTED.values()) - {"passed"} <= set(refusals(there))


def reference(
    homes: Path, root: Path, folder: Folder, form: tuple[list[str], int, int, int]
) -> Path:
    """The run directory of the same community without hosts.

    The long form's is a simulation; the short form's begins at another hour, which only a
    coordinator does: its households are called in this process.
    """
    names, intervals, every, hour = form
    if hour == 0:
        return simulated(homes, root / "simulated", folder, len(names))
    here = folder_of(root / "here", homes, names, *overrides(intervals, every), hour=hour)
    run_here(here, Homes(contexts(root / "homes-here", homes, names, here), never))
    return here.run


FORM = FOUR if LONG else SHORT


@pytest.mark.parametrize("community", [(FORM,)], indirect=True)
def test_ledger_is_that_of_the_simulation(
    community: Community, homes: Path, tmp_path: Path
) -> None:
    """Over gRPC with TLS and keys, between hosts, the ledger is the simulation's, row by row.

    Before it strangers knock, and while it runs one of its own households tries to speak for
    another, to answer twice, and to play calls again: all refused, and nobody notices.
    """
    there, (names, intervals, every, hour) = community, FORM
    strangers(there, tmp_path)
    there.await_(lambda: there.log("superlink").count("Activated") >= len(names), "the households")
    idle = figures(there, 60.0) if LONG else None
    begin, before = time.monotonic(), there.hosts.traffic(names[0])
    there.run(hour)
    intrude(there)
    there.finish()
    seconds, after = time.monotonic() - begin, there.hosts.traffic(names[0])
    folder = Folder(there.server)
    assert rows(folder.run) == rows(reference(homes, tmp_path, folder, FORM))
    assert traded(folder.run)
    rounds = (folder.run / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(r)["replies"] for r in rounds] == [len(names)] * (intervals // every)
    assert json.loads((folder.run / "reports.json").read_text())["faults"] == []
    assert len(events(there, "fills told")) == intervals
    no_secrets_about(there)
    booked = [float(str(e["seconds"])) for e in events(there, "interval booked")]
    print(f"\n{intervals} intervals in {seconds:.0f} s; market rounds [s] {booked}")
    print(f"model rounds [s] {[json.loads(r)['seconds'] for r in rounds]}")
    print(f"{names[0]}: received {after[0] - before[0]} bytes, sent {after[1] - before[1]}")
    print(f"an idle household: {idle}")


def figures(there: Community, seconds: float) -> dict[str, float]:
    """Memory [MB], CPU [s an hour] and traffic [MB a day] of a household without work."""
    name = there.names[0]
    processes = there.services[name].processes()

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    begin, cpu, before = time.monotonic(), spent(), there.hosts.traffic(name)
    time.sleep(seconds)
    gone, after = time.monotonic() - begin, there.hosts.traffic(name)
    memory = [process.memory_full_info() for process in processes]
    return {
        "processes": len(processes),
        "pss_mb": sum(one.pss for one in memory) / 1e6,
        "rss_mb": sum(one.rss for one in memory) / 1e6,
        "cpu_s_per_hour": (spent() - cpu) / gone * 3600,
        "received_mb_per_day": (after[0] - before[0]) / gone * 86400 / 1e6,
        "sent_mb_per_day": (after[1] - before[1]) / gone * 86400 / 1e6,
    }


def no_secrets_about(there: Community) -> None:
    """Private keys are for their owners alone; no log holds a key, or a reading."""
    secrets = [there.server / "tls" / "server.key", there.server / "tls" / "ca.key"]
    secrets += [there.root / name / "key" for name in there.names]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in secrets)
    logs = [*there.root.glob("*.log"), *(there.server / "log").iterdir()]
    text = "".join(file.read_text(errors="replace") for file in logs)
    for file in secrets:
        body = file.read_text().splitlines()[1]
        assert len(body) > 20
        assert body not in text
    for name in there.names:
        assert (there.root / name / "key.pub").read_text().split()[1] not in text
        database = there.root / name / "state" / "household.sqlite"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            loads = [load for (load,) in db.execute("SELECT load FROM intervals")]
        assert loads
        for load in loads:
            if len(str(load)) > 6:  # one that is no chance match: in kWh, and in mWh
                assert str(load) not in text
                assert f" {round(load * 1e6)}," not in text


@long_form
@pytest.mark.parametrize("community", [(FOUR, *SMALL)], indirect=True)
def test_faults(community: Community) -> None:
    """Killed, cut off, throttled and reset: each interval settled once, everyone back by itself."""
    there = community
    killed, cut, _, bad = there.names
    there.configure(market_deadline_s=60.0)
    line = there.root / "line.json"
    there.start(
        "proxy", "server", sys.executable, str(HERE / "proxy.py"), "9093", "127.0.0.1", "9092",
        str(line),
    )  # fmt: skip
    there.services.pop(bad).stop()
    file = there.root / bad / "client.yaml"
    file.write_text(file.read_text().replace(":9092", ":9093"))
    there.start_household(bad)
    there.run()

    there.await_(lambda: there.interval() >= 3 and there.working(killed), "a market round")
    there.services[killed].kill()
    print(f"\n{killed} killed at interval {there.interval()}")

    there.await_(lambda: there.interval() >= 8, "interval 8")
    kill_in_mid_settlement(there)
    kill_after_the_commit(there)

    line.write_text(json.dumps(BAD_LINE))
    there.hosts.cable(cut, plugged=False)
    at, before = time.monotonic(), there.booked()
    time.sleep(CUT_S)
    there.hosts.cable(cut, plugged=True)
    through = there.booked()
    print(f"{cut} cut off for {time.monotonic() - at:.0f} s, intervals {before} to {through}")
    assert through > before
    there.await_(lambda: there.booked() >= min(through + 8, 40), "the bad line's rounds")
    resets = there.log("proxy").count("reset")
    assert resets
    print(f"{bad}: {resets} connections reset up to interval {there.booked()}")
    line.write_text(json.dumps(dict.fromkeys(BAD_LINE, 0)))
    there.finish()

    once_each(there.server / "run", 48, 4)
    lines = (there.server / "run" / "intervals.jsonl").read_text().splitlines()
    missing = [json.loads(line)["missing"] for line in lines]
    print("missing:", {t: who for t, who in enumerate(missing) if who})
    for name in (killed, cut):
        assert any(name in who for who in missing)
    assert not any(missing[-3:])
    rounds = (there.server / "run" / "rounds.jsonl").read_text().splitlines()
    print("model rounds:", [(json.loads(r)["round"], json.loads(r)["replies"]) for r in rounds])
    assert [json.loads(r)["round"] for r in rounds] == list(range(1, 9))


def kill_in_mid_settlement(there: Community) -> None:
    """kill -9 of the whole coordinator while it commits an interval.

    The commit is held up from outside: everybody has answered, nothing is booked.
    """
    ledger = there.server / "run" / "ledger.sqlite"
    there.await_(lambda: any(there.working(name) for name in there.names), "a market round")
    with closing(sqlite3.connect(ledger, isolation_level=None, timeout=30)) as held:
        held.execute("BEGIN IMMEDIATE")
        t = there.booked() + 1
        there.await_(lambda: all(there.decided(n) >= t for n in there.names), f"interval {t}")
        time.sleep(4.0)
        assert not events(there, "failed")
        for service in ("superlink", "run"):
            there.services[service].kill()
        held.execute("ROLLBACK")
    assert there.booked() == t - 1
    print(f"coordinator killed while it booked interval {t}")
    there.await_(lambda: there.booked() >= t, "the run to go on")
    assert events(there, "resumed")[-1]["interval"] == t


def kill_after_the_commit(there: Community) -> None:
    """kill -9 of the whole coordinator when an interval is booked and nobody has heard of it."""
    t = there.booked() + 1
    there.await_(lambda: there.interval() == t and there.status()["phase"] == "market", "the round")
    told = len(events(there, "fills told"))
    while there.booked() < t:
        time.sleep(0.002)
    for service in ("superlink", "run"):
        there.services[service].kill()
    assert len(events(there, "fills told")) == told
    print(f"coordinator killed when it had booked interval {t}")
    there.await_(lambda: there.booked() > t, "the run to go on")
    assert events(there, "resumed")[-1]["interval"] == t + 1


@long_form
@pytest.mark.parametrize("community", [(SHORT,)], indirect=True)
def test_expired_certificate(community: Community) -> None:
    """A coordinator whose certificate has run out is talked to by nobody, until it is renewed."""
    there = community
    superlink = there.services["superlink"]

    def activated() -> int:
        return there.log("superlink").count("Activated")

    there.await_(lambda: activated() >= len(there.names), "the households")
    make_server_certificate(there.server / "tls", [there.address], days=-0.5)
    seen = activated()
    superlink.kill()
    for name in there.names:
        there.await_(
            lambda name=name: "handshake error" in there.log(name),  # type: ignore[misc]
            f"{name} to refuse the certificate",
        )
    assert superlink.starts == 2
    assert activated() == seen
    there.fedwatt("server", "server", "renew", str(there.server))
    superlink.kill()
    there.run(SHORT[3])
    there.finish()
    once_each(there.server / "run", SHORT[1], len(there.names))
