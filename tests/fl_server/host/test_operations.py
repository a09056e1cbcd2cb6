"""A community's life: members come, go, change keys and disks, tariffs are edited, things break."""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.errors import InputError
from fl_server.host import live
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.members import admit, admitted, expel, read_members
from fl_server.host.setup import init_server
from fl_server.ledger import COMMUNITY, Kind, Ledger
from simulations.engine.loop import server_context
from tests.support.community import Killed
from tests.support.puppets import Puppet, Stage, meter

pytestmark = pytest.mark.longer
INTERVALS = 12
FOUNDERS = ("ash", "birch", "cedar")
LATER = ("alder", "dogwood")
NAMES = (*FOUNDERS, *LATER)
START = pd.Timestamp("2024-03-01T10:00Z")
# Files that a power cut may empty, and whether the run goes on without them being mended.
FILES = {
    "run/status.json": True,
    "run/outcome.json": True,
    "run/intervals.jsonl": True,
    "run/config.yaml": True,
    "tariff.csv": False,
    "run/live.json": False,
    "members.json": False,
    "config.yaml": False,
    "server.yaml": False,
}
NIGHTLY = "FEDWATT_NIGHTLY" in os.environ
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _: b"",
    "zeroed": lambda content: bytes(len(content)),
    "cut": lambda content: content[: len(content) // 2],
}


class Community:
    """A coordinator's folder, its households, and what a faultless run of it must have booked."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="operations-"))
        self.stage, self.puppets = Stage(), {name: Puppet(name) for name in NAMES}
        self.nodes = itertools.count(7000)
        self.accounts: list[str] = []
        tariff = self.root / "prices.csv"
        self.write_tariff(tariff, 0.30)
        self.folder = Folder(self.root / "server")
        init_server(
            self.folder.root,
            ["127.0.0.1"],
            None,
            [
                f"run.days={INTERVALS / 48}",
                "fl.enabled=false",
                "run.node_deadline_s=0.01",
                "run.reply_deadline_s=0.01",
                "tariff.published_hours=3",
            ],
            str(tariff),
            len(FOUNDERS),
            Deployment(market_deadline_s=0.01, closing_deadline_s=20.0),
        )
        Live("run-1", START.isoformat(), 0.0, None).write(self.folder.live)
        # Who was in, by interval; None for what has not begun.
        self.members: dict[int, set[str]] = {}
        self.booked = -1
        for name in FOUNDERS:
            self.admit(name)

    def write_tariff(self, path: Path, price: float) -> None:
        times = pd.date_range(START, periods=INTERVALS + 6, freq="30min")
        rows = [f"{time.isoformat()},{price}" for time in times]
        path.write_text("\n".join(["time,retail", *rows]) + "\n")

    def admit(self, name: str) -> None:
        node = next(self.nodes)
        admit(self.folder.members, name, node, f"key {node}")
        self.stage.nodes[node] = self.puppets[name]
        if name not in self.accounts:
            self.accounts.append(name)

    def expel(self, name: str) -> None:
        del self.stage.nodes[expel(self.folder.members, name)]

    def admitted(self) -> list[str]:
        return admitted(read_members(self.folder.members))

    def run(self, until: int, *, before_commit: bool, meanwhile: Callable[[], None]) -> None:
        """Run until interval ``until`` is booked, and kill the coordinator there; before its commit
        or after it. ``meanwhile`` happens once, after the first interval that is booked."""
        if until <= self.booked:
            # All intervals are booked: the next to run is the end, which ``finish`` sees to.
            meanwhile()
            return
        record, todo = Ledger.record, [meanwhile]

        def recorded(ledger: Ledger, interval: int, *rest: object) -> bool:
            if interval >= until and before_commit:
                raise Killed
            done = record(ledger, interval, *rest)  # type: ignore[arg-type]
            state = json.loads(str(rest[2]))
            spans = state["spans"] or [[[0, -1]]] * len(state["heard"])
            present = [h for h, known in enumerate(spans) if known and known[-1][1] < 0]
            if interval < INTERVALS:
                self.members[interval] = {self.accounts[h] for h in present}
            self.booked = max(self.booked, interval)
            if todo:
                todo.pop()()
            if interval >= until:
                raise Killed
            return done

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "record", recorded)
            patch.setattr(live, "_RETRY_S", 0.01)
            patch.setattr(live, "_NODE_POLL_S", 0.002)
            server_context(1, {})
            try:
                live.run_live(self.stage, self.folder.root)
            except Killed:
                return

    def check(self) -> None:
        """Ledger and chain are right, and each household's energy of each interval is its meter's,
        if it was in then and has been heard since; otherwise only what it traded is booked."""
        with Ledger(f"sqlite:///{self.folder.run / 'ledger.sqlite'}") as ledger:
            ledger.attach()
            assert ledger.verify().error is None
            rows = list(ledger.rows())
            names = list(ledger.balances())[len(COMMUNITY) :]
        assert names == self.accounts[: len(names)]
        energy: dict[tuple[int, str], int] = {}
        late = [(r.interval, r.late_household) for r in rows if r.late_household >= 0]
        for row in rows:
            if row.account >= len(COMMUNITY) and row.kind != Kind.ADMISSION:
                key = row.interval, names[row.account - len(COMMUNITY)]
                energy[key] = energy.get(key, 0) + row.energy_in_milliwh - row.energy_out_milliwh
        assert set(energy) <= {(t, n) for t, who in self.members.items() for n in who}
        assert len({(r.interval, r.late_household, r.account) for r in rows if r.kind == 0}) == len(
            [r for r in rows if r.kind == 0]
        )
        state = self._owed()
        for t, who in self.members.items():
            for name in who:
                if (t, name) in state or t >= self.booked:
                    continue
                imported, exported = meter(name, t)
                assert energy.get((t, name), 0) == imported - exported, (t, name, late)

    def _owed(self) -> set[tuple[int, str]]:
        """(interval, household) that the coordinator still waits for."""
        with Ledger(f"sqlite:///{self.folder.run / 'ledger.sqlite'}") as ledger:
            ledger.attach()
            state = json.loads(ledger.state() or "{}")
        return {(int(t), self.accounts[h]) for t, who in state.get("open", {}).items() for h in who}

    def finish(self) -> None:
        """With everybody back the run ends, and every interval is settled once."""
        self.stage.away.clear()
        for puppet in self.puppets.values():
            puppet.claims = False
        for name in set(self.puppets) - set(self.admitted()):
            if name in self.accounts:
                self.admit(name)
        self.run(INTERVALS + 1, before_commit=False, meanwhile=lambda: None)
        assert json.loads(self.folder.outcome.read_text()) == {"state": "finished"}
        assert sorted(self.members) == list(range(INTERVALS))
        self.check()
        assert self._owed() == set()
        lines = (self.folder.run / "intervals.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["interval"] == INTERVALS - 1

    def close(self) -> None:
        shutil.rmtree(self.root)


class Operations(RuleBasedStateMachine):
    """Anything that operators, households and power cuts do, in any order, at any moment.

    A change is made while the coordinator is down, or (``live``) between two of its rounds.
    """

    @initialize()
    def begin(self) -> None:
        self.community = Community()
        self.pending: list[Callable[[], None]] = []
        self.will_be_in = set(FOUNDERS)

    def _do(self, change: Callable[[], None], live: bool) -> None:
        if live:
            self.pending.append(change)
        else:
            self._flush()
            change()

    def _flush(self) -> None:
        while self.pending:
            self.pending.pop(0)()

    @rule(intervals=st.integers(1, 3), before_commit=st.booleans())
    def run_and_die(self, intervals: int, before_commit: bool) -> None:
        """The coordinator runs some intervals and is killed around a commit."""
        until = min(self.community.booked + intervals, INTERVALS - 1)
        self.community.run(until, before_commit=before_commit, meanwhile=self._flush)
        self._flush()

    @precondition(lambda self: self.will_be_in != set(NAMES))
    @rule(data=st.data(), live=st.booleans())
    def admit(self, data: st.DataObject, live: bool) -> None:
        name = data.draw(st.sampled_from(sorted(set(NAMES) - self.will_be_in)))
        self.will_be_in.add(name)
        self._do(lambda: self.community.admit(name), live)

    @precondition(lambda self: len(self.will_be_in) > 1)
    @rule(data=st.data(), live=st.booleans())
    def expel(self, data: st.DataObject, live: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.will_be_in)))
        self.will_be_in.discard(name)
        self._do(lambda: self.community.expel(name), live)

    @rule(data=st.data(), live=st.booleans(), disk=st.booleans())
    def replace_key(self, data: st.DataObject, live: bool, disk: bool) -> None:
        """A new key for a household, whose disk is lost as well or not."""
        name = data.draw(st.sampled_from(sorted(self.will_be_in)))

        def change() -> None:
            self.community.expel(name)
            self.community.admit(name)
            if disk:
                self.community.puppets[name].lose_disk()

        self._do(change, live)

    @rule(name=st.sampled_from(NAMES), live=st.booleans())
    def lose_disk(self, name: str, live: bool) -> None:
        self._do(self.community.puppets[name].lose_disk, live)

    @rule(name=st.sampled_from(NAMES), live=st.booleans())
    def overclaim(self, name: str, live: bool) -> None:
        """It reports every interval there was, also those before it was in: as much as a fault."""

        def claims() -> None:
            self.community.puppets[name].claims = True

        self._do(claims, live)

    @rule(name=st.sampled_from(NAMES), live=st.booleans())
    def cut_off_or_back(self, name: str, live: bool) -> None:
        self._do(lambda: self.community.stage.away.symmetric_difference_update({name}), live)

    @rule(price=st.sampled_from((0.25, 0.0, -0.1, 0.4)), live=st.booleans())
    def edit_tariff(self, price: float, live: bool) -> None:
        community = self.community
        self._do(lambda: community.write_tariff(community.folder.tariff, price), live)

    @rule(
        file=st.sampled_from(sorted(FILES)),
        damage=st.sampled_from(sorted(DAMAGES)),
        live=st.booleans(),
    )
    def damage(self, file: str, damage: str, live: bool) -> None:
        """A file is emptied, zeroed or cut; where the run cannot go on it says so in one line, and
        goes on when the file is as it was."""
        self._flush()
        path = self.community.folder.root / file
        if not path.exists():
            return
        content = path.read_bytes()
        spoiled = DAMAGES[damage](content)
        if live:
            # Between two rounds, and mended before the next start.
            until = min(self.community.booked + 2, INTERVALS - 1)

            def strike() -> None:
                if path.exists():
                    path.write_bytes(spoiled)

            self.community.run(until, before_commit=False, meanwhile=strike)
        else:
            path.write_bytes(spoiled)
            until = min(self.community.booked + 1, INTERVALS - 1)
            try:
                self.community.run(until, before_commit=False, meanwhile=lambda: None)
            except InputError as error:
                said = str(error)
            else:
                said = path.name
            assert path.name in said
            assert "\n" not in said
        if not FILES[file]:
            path.write_bytes(content)

    @invariant()
    def books_are_right(self) -> None:
        if self.community.booked >= 0:
            self.community.check()

    def teardown(self) -> None:
        if not hasattr(self, "community"):
            return
        try:
            self._flush()
            self.community.finish()
        finally:
            self.community.close()


Operations.TestCase.settings = settings(
    max_examples=300 if NIGHTLY else 10,
    stateful_step_count=12,
    # The same lives in every run of `make test`; others each night.
    derandomize=not NIGHTLY,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TestOperations = Operations.TestCase
