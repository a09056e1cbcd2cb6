"""Separate hosts, real TLS, real keys. The short form runs with all tests, the long one by
``make test-hosts`` (FEDWATT_HOSTS=long): 48 intervals, eight model rounds, and every fault.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_server.deployment import Folder
from simulations.deploy.tls import make_authority, make_server_certificate
from tests.deploy.community import simulated
from tests.deploy.test_live import opened, rows
from tests.hosts.community import FEDWATT, Community
from tests.hosts.network import why_not
from tests.simulations.conftest import HISTORY_DAYS

LONG = os.environ.get("FEDWATT_HOSTS") == "long"
_REASON = why_not()
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]
long_form = pytest.mark.skipif(not LONG, reason="long: make test-hosts")


def overrides(intervals: int, every: int) -> list[str]:
    return [
        f"run.days={intervals / 48}", f"run.history_days={HISTORY_DAYS}", "run.seed=5",
        "model.preset=edge", "fl.local_steps=1", f"fl.every_intervals={every}",
    ]  # fmt: skip


@pytest.fixture
def community(request: pytest.FixtureRequest, tmp_path: Path, homes: Path) -> Iterator[Community]:
    """Hosts with a running SuperLink and admitted households; (names, intervals, every)."""
    names, intervals, every = request.param
    there = Community(tmp_path, homes, names, *overrides(intervals, every))
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
    from tests.deploy.test_live import settled

    assert settled(directory, households) == {
        (t, h): 1 for t in range(intervals) for h in range(households)
    }


def knock(there: Community, who: str, ca: Path, port: int) -> None:
    """Start a household that has no business here, on the first household's host."""
    folder, home = there.root / who, there.names[0]
    there.fedwatt(
        home, "client", "init", str(folder), "--name", home, "--ca", str(ca),
        "--data", str(there.homes / f"{home}.parquet"),
        "--server", f"{there.address}:9092", "--port", str(port),
    )  # fmt: skip
    there.start(who, home, *FEDWATT, "client", "start", str(folder))


SHORT = (["H0001", "H0002"], 3, 3)
FOUR = (["H0001", "H0002", "H0003", "H0004"], 48, 6)


@pytest.mark.parametrize("community", [FOUR if LONG else SHORT], indirect=True)
def test_ledger_is_that_of_the_simulation(
    community: Community, homes: Path, tmp_path: Path
) -> None:
    """Over gRPC with TLS and keys, between hosts, the ledger is the simulation's, row by row.

    Meanwhile a stranger with a key nobody admitted and a household that trusts another authority
    (to which this server is a man in the middle) knock: they are refused, and nobody notices.
    """
    there, (_, intervals, every) = community, (FOUR if LONG else SHORT)
    other = tmp_path / "other"
    other.mkdir()
    make_authority(other)
    knock(there, "stranger", there.server / "tls" / "ca.crt", 9194)
    knock(there, "misled", other / "ca.crt", 9294)
    begin, before = time.monotonic(), there.hosts.traffic(there.names[0])
    there.run()
    there.finish()
    seconds, after = time.monotonic() - begin, there.hosts.traffic(there.names[0])
    folder = Folder(there.server)
    directory = simulated(homes, tmp_path / "simulated", folder, len(there.names))
    assert rows(folder.run) == rows(directory)
    rounds = (folder.run / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(r)["replies"] for r in rounds] == [len(there.names)] * (intervals // every)
    told = [e for e in there.journal() if e["event"] == "fills told"]
    assert len(told) == intervals
    assert "ended with status" in there.log("stranger")
    assert "Received successfully" not in there.log("stranger") + there.log("misled")
    secrets = [there.server / "tls" / "server.key", there.server / "tls" / "ca.key"]
    secrets += [there.root / name / "key" for name in there.names]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in secrets)
    booked = [e["seconds"] for e in there.journal() if e["event"] == "interval booked"]
    print(f"{intervals} intervals in {seconds:.0f} s; market rounds {booked}")
    print(
        f"traffic of {there.names[0]}: received {after[0] - before[0]}, sent {after[1] - before[1]}"
    )


@long_form
@pytest.mark.parametrize("community", [FOUR], indirect=True)
def test_faults(community: Community) -> None:
    """Killed, cut off, throttled and reset: each interval settled once, everyone back by itself."""
    there = community
    there.configure(market_deadline_s=25.0)
    there.start(
        "proxy", "server", "python3", str(Path(__file__).parent / "proxy.py"),
        "9093", "127.0.0.1", "9092", str(there.root / "line.json"),
    )  # fmt: skip
    bad = there.names[3]
    file = there.root / bad / "client.yaml"
    there.services.pop(bad).stop()
    file.write_text(file.read_text().replace(":9092", ":9093"))
    there.start_household(bad)
    (there.root / "line.json").write_text(
        json.dumps({"delay_s": 0.1, "bytes_per_s": 8000, "reset_per_s": 0.02})
    )
    there.run()
    there.await_(lambda: there.interval() >= 3, "interval 3")
    there.services[there.names[0]].kill()
    there.await_(lambda: there.interval() >= 8, "interval 8")
    there.services["superlink"].kill()
    at = there.interval()
    there.await_(lambda: there.interval() >= at + 3, "the run to go on")
    there.hosts.cable(there.names[1], plugged=False)
    time.sleep(300)
    there.hosts.cable(there.names[1], plugged=True)
    there.finish()
    once_each(there.server / "run", 48, 4)
    lines = (there.server / "run" / "intervals.jsonl").read_text().splitlines()
    missing = [json.loads(line)["missing"] for line in lines]
    for name in there.names[:2]:
        assert any(name in who for who in missing)
        assert not any(name in who for who in missing[-3:])
    with opened(there.server / "run") as ledger:
        assert ledger.verify().ok


@long_form
@pytest.mark.parametrize("community", [SHORT], indirect=True)
def test_expired_certificate(community: Community) -> None:
    """A coordinator whose certificate has run out is talked to by nobody, until it is renewed."""
    there = community
    there.await_(lambda: "Activated" in there.log("superlink"), "a household")
    make_server_certificate(there.server / "tls", [there.address], days=-0.5)
    there.services["superlink"].kill()
    there.await_(lambda: there.services["superlink"].starts == 2, "the SuperLink's restart")
    time.sleep(30)
    seen = there.log("superlink").count("Activated")
    time.sleep(60)
    assert there.log("superlink").count("Activated") == seen
    there.fedwatt("server", "server", "renew", str(there.server))
    there.services["superlink"].kill()
    there.run()
    there.finish()
    once_each(there.server / "run", SHORT[1], len(there.names))
