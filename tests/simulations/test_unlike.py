"""Homes that differ, and prices of either sign: a run of them stands, and so does what it says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from common.config import Settings, load
from common.data.frame import EXPORT_PRICE
from common.data.store import read_household, write_household
from common.errors import InputError
from fl_server.bills import bill
from fl_server.checkpoint import Checkpoints
from fl_server.ledger import Ledger
from fl_server.run_files import ledger_url
from simulations import references
from simulations.preflight import preflight
from simulations.references import community_optimum
from simulations.simulate import simulate
from simulations.summary import case_of, summarise
from tests.support.reading import ledger_rows, summary
from tests.support.unlike import SHAPES, unlike_homes

Run = Callable[[Settings], Path]
BLOCKS = {
    0: {"battery": "none", "trader": {"kind": "greedy"}},
    1: {"battery": {"capacity_kwh": 5.0, "power_kw": 2.5, "soc_min": 0.2}},
    2: {"trader": {"kind": "rule"}, "connection": {"import_kwh": 6.0, "export_kwh": 2.0}},
    3: {"tariff": {"source": "flat", "retail": 0.31, "feed_in": -0.02}},
}


def _settings(folder: Path, households: int, *override: str, days: float = 1.0) -> Settings:
    pairs = [
        f"data.source={folder}", f"run.households={households}", f"run.days={days}",
        "run.history_days=7", "run.engine=loop", "run.checkpoint_hours=6", "fl.enabled=false",
    ]  # fmt: skip
    return load(None, [*pairs, *override])


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five homes: tariffs of a market that falls below zero, and blocks beside four of them."""
    folder = tmp_path_factory.mktemp("unlike")
    unlike_homes(folder, households=5, days=1, seed=4, blocks=BLOCKS, shape="reversed")
    return folder


@pytest.fixture(scope="module")
def lived(unlike: Path, run: Run) -> Path:
    return run(_settings(unlike, 5))


def test_books_and_references_of_unlike_homes(lived: Path) -> None:
    """Nothing is left over; the community pays no less than its optimum, which is no dearer than
    the houses' own; whoever has no battery has none in the references either."""
    found = summary(lived)
    checks, cost = found["checks"], found["cost"]
    assert checks["money_residual_max"] == 0
    assert checks["energy_residual_kwh_max"] < 1e-6
    assert checks["limit_violations"] == 0
    assert found["energy"]["p2p_delivered_kwh"] > 0
    slack = 1e-3 * abs(cost["community_optimum"]) + 1e-6
    assert cost["community_optimum"] <= cost["community"] + slack
    assert cost["community_optimum"] <= cost["own_optimum"] + slack
    bare = found["households_detail"][0]
    assert bare["own_optimum"] == pytest.approx(bare["greedy_battery"], abs=0.02) or (
        bare["own_optimum"] < bare["greedy_battery"]
    )
    assert bare["greedy_battery"] == pytest.approx(bare["no_battery_no_trade"])


def test_the_summary_says_how_often_homes_trade_when_the_optimum_does(
    lived: Path, unlike: Path
) -> None:
    """Counted again from the log and the optimum's own flows."""
    chosen = _settings(unlike, 5)
    reports = json.loads((lived / "reports.json").read_text())
    case, _ = case_of(chosen, sorted(reports["households"]), reports["tariffs"])
    best = community_optimum(case).delivered
    assert best is not None
    lines = [json.loads(line) for line in (lived / "intervals.jsonl").read_text().splitlines()]
    both = [line["delivered_kwh"] >= 0.001 for line, kwh in zip(lines, best, strict=True)
            if kwh >= 0.001]  # fmt: skip
    energy = summary(lived)["energy"]
    assert energy["traded_share_of_optimum"] == pytest.approx(sum(both) / len(both))
    assert energy["intervals_traded"] >= sum(both) > 0


def test_homes_of_several_zones_with_one_tariff(tmp_path: Path, run: Run) -> None:
    """Each home's local days are its own where all pay one price; the summary names every zone."""
    names = unlike_homes(tmp_path, households=3, days=1, tariffs=1, history_days=3)
    for name, zone in zip(names, ("Europe/London", "America/New_York", "Asia/Tokyo"), strict=True):
        home = read_household(tmp_path / f"{name}.parquet")
        frame = home.frame.drop(columns=EXPORT_PRICE)
        write_household(replace(home, frame=frame, timezone=zone), tmp_path)
    lived = run(_settings(tmp_path, 3, "run.history_days=1", days=0.1))
    found = summary(lived)
    assert found["data"]["timezone"] == "Europe/London, America/New_York, Asia/Tokyo"
    assert found["cost"]["community_optimum"] <= found["cost"]["own_optimum"] + 1e-9


def test_each_home_pays_its_own_prices(lived: Path, unlike: Path) -> None:
    """Recomputed from each household's own file with the prices of its own tariff: what it owes the
    grid and the market is what the ledger says, to a rounded micro an interval."""
    import sqlite3

    reports = json.loads((lived / "reports.json").read_text())
    names = sorted(reports["households"])
    with Ledger(ledger_url(_settings(unlike, 5), lived)) as ledger:
        name = ledger.attach()
        for h, household in enumerate(names):
            told = bill(ledger, name, household, by="total").lines["total"].sum()
            db = sqlite3.connect(lived / "households" / household / "household.sqlite")
            rows = db.execute("select retail, feed_in, cost from intervals order by t").fetchall()
            retail, feed_in, cost = (np.array(column) for column in zip(*rows, strict=True))
            row = reports["tariffs"]["of"][household]
            assert retail.tolist() == reports["tariffs"]["retail"][row[0]]
            assert feed_in.tolist() == reports["tariffs"]["feed_in"][row[1]]
            if h == 3:
                assert set(retail) == {0.31}
            assert told == pytest.approx(cost.sum(), abs=len(rows) * 3e-6)


def _broken_off(settings: Settings, directory: Path, after: int) -> None:
    """Run to the checkpoint of this number, as if killed there, then to the end."""
    once, count = Checkpoints.save, 0

    class StopError(Exception):
        pass

    def save(self: Checkpoints, *args: object, **more: object) -> None:
        nonlocal count
        once(self, *args, **more)  # type: ignore[arg-type]
        count += 1
        if count == after:
            raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(StopError):
            simulate(settings, directory)
    simulate(settings, directory)


def test_a_run_broken_off_goes_on_as_if_it_had_not_been(
    unlike: Path, lived: Path, tmp_path: Path
) -> None:
    """Half a day, then the rest: the ledger is that of the whole run, row by row."""
    _broken_off(_settings(unlike, 5), tmp_path, 2)
    assert ledger_rows(tmp_path) == ledger_rows(lived)


_PRICE = st.floats(-0.3, 1.0).map(lambda price: round(price, 4))
_BLOCK = st.fixed_dictionaries(
    {},
    optional={
        "battery": st.sampled_from(
            [
                "none", {"capacity_kwh": 4.0, "power_kw": 2.0}, {"round_trip_efficiency": 0.8},
                {"round_trip_efficiency": 1.0, "soc_min": 0.0, "soc_max": 1.0},
                {"soc_min": 0.45, "soc_max": 0.45}, {"power_kw": 0.0}, {"capacity_kwh": 0.01},
                {"wear_cost_per_kwh": 0.1},
            ]
        ),
        "trader": st.sampled_from([{"kind": kind} for kind in ("greedy", "rule", "hold")]),
        "tariff": st.builds(
            lambda retail, paid: {"source": "flat", "retail": retail, "feed_in": paid},
            _PRICE, _PRICE,
        ),
        "connection": st.sampled_from(
            [
                {"import_kwh": 2.0, "export_kwh": 1.0}, {"import_kwh": 0.0},
                {"export_kwh": 0.0}, {"import_kwh": 0.0, "export_kwh": 0.0},
            ]
        ),
    },
)  # fmt: skip
_ZONES = st.lists(
    st.sampled_from(
        ["Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
    ),
    max_size=3,
)
# A summer's day, and both changes of London's clocks within the quarter of a day.
_STARTS = st.sampled_from([date(2024, 6, 3), date(2024, 3, 31), date(2024, 10, 27)])


@settings(
    max_examples=max(12, settings().max_examples // 20),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a run takes seconds to shrink
)
@given(
    seed=st.integers(0, 2**20),
    blocks=st.dictionaries(st.integers(0, 3), _BLOCK),
    shape=st.sampled_from(sorted(SHAPES)),
    mechanism=st.sampled_from(["uniform", "mid-market", "bill-sharing", "pay-as-bid"]),
    zones=_ZONES,
    start=_STARTS,
    broken_after=st.sampled_from([None, None, 1, 2]),
)
def test_any_homes_and_prices(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    blocks: dict[int, dict[str, Any]],
    shape: str,
    mechanism: str,
    zones: list[str],
    start: date,
    broken_after: int | None,
) -> None:
    """Random prices, equipment, zones and traders for a quarter of a day: residuals are 0, no run
    costs less than the optimum, the community's is no dearer than the houses' own, the bills are
    the ledger's, and a run broken off goes on to the same ledger."""
    folder = tmp_path_factory.mktemp("any")
    unlike_homes(
        folder / "homes", households=4, days=2, seed=seed, blocks=blocks, shape=shape,
        history_days=1, zones=zones, start=start,
    )  # fmt: skip
    chosen = _settings(
        folder / "homes", 4, f"market.mechanism={mechanism}", "run.history_days=1",
        "run.checkpoint_hours=2", days=0.25,
    )  # fmt: skip
    (folder / "run").mkdir()
    simulate(chosen, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        # An optimum not found in this time is given as a bound, which none may be below either.
        patch.setattr(references, "_SECONDS", 3.0)
        found = summarise(folder / "run", chosen, 0.0)
    checks, cost = found["checks"], found["cost"]
    assert isinstance(checks, dict)
    assert isinstance(cost, dict)
    assert checks["money_residual_max"] == 0
    assert checks["energy_residual_kwh_max"] < 1e-6
    assert checks["limit_violations"] == 0
    slack = 2e-3 * (1 + abs(cost["community_optimum"]))
    # Who is not served pays nothing for it: no optimum leaves out what can be served.
    if checks["unserved_kwh"] == 0:
        assert cost["community_optimum"] <= cost["community"] + slack
        assert cost["community_optimum"] <= cost["own_optimum"] + slack
    with Ledger(ledger_url(chosen, folder / "run")) as ledger:
        name = ledger.attach()
        owed = -sum(money for who, (_, money) in ledger.balances().items() if who[0] == "H")
        names = [who for who in ledger.balances() if who[0] == "H"]
        told = sum(bill(ledger, name, who, by="total").lines["total"].sum() for who in names)
    assert told == pytest.approx(owed / 1e6, abs=1e-9)
    if broken_after is not None:
        (folder / "resumed").mkdir()
        _broken_off(chosen, folder / "resumed", broken_after)
        assert ledger_rows(folder / "resumed") == ledger_rows(folder / "run")
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("homes.H9999.battery.capacity_kwh=5", "'H9999' is no household of the run"),
        ("homes.Q*.battery.capacity_kwh=5", "'Q*' is no household of the run"),
        ("homes.H0001.batery.capacity_kwh=5", "unknown key 'batery'; known: battery, "),
        ("homes.H0001.battery.size=5", "unknown key 'battery.size'"),
        ("homes.H0001.battery.capacity=5", "did you mean battery.capacity_kwh?"),
        ("homes.H0001.battery.soc_min=0.9", "soc_min <= soc_initial"),
        ("homes.H0001.trader.kind=lucky", "household H0001: trader.kind = 'lucky'"),
        ("tariff.retail=.nan", "tariff.retail"),
        ("tariff.feed_in=-101", "tariff.feed_in"),
    ],
)
def test_a_bad_block_or_price_is_one_line_before_anything_runs(
    unlike: Path, pair: str, said: str
) -> None:
    """The line names the household or key, and nothing has been started."""
    with pytest.raises(InputError) as error:
        preflight(_settings(unlike, 5, pair))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("time,retail\n2024-06-02T23:00:00Z,nan\n", "row 2: retail = 'nan'"),
        ("time,retail\n2024-06-02T23:00:00Z,150\n", "price = 150: a price is a number within"),
        ("time,retail\n2024-06-02T23:00:00Z,0.3\n", "no price for 2024-06-02T23:30:00"),
    ],
)
def test_a_homes_price_file_is_read_before_anything_runs(
    unlike: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    """Missing, not a number, in another unit, too short: one line with the home and the file."""
    file = tmp_path / "own.csv"
    if content is not None:
        file.write_text(content)
    tariff = "homes.H0002.tariff"
    chosen = _settings(unlike, 5, f"{tariff}.source=file", f"{tariff}.source_options.path={file}")
    with pytest.raises(InputError) as error:
        preflight(chosen)
    assert str(error.value).startswith(f"household H0002: tariff {file}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_beside_no_household_are_said(unlike: Path, tmp_path: Path) -> None:
    """A block whose name is mistyped would change nothing: it is named before the run."""
    folder = tmp_path / "homes"
    shutil.copytree(unlike, folder)
    assert preflight(_settings(folder, 5)).said == preflight(_settings(unlike, 5)).said
    (folder / "H002.yaml").write_text("battery: none")
    said = preflight(_settings(folder, 5)).said
    assert f"doubt: H002.yaml in {folder}: no household of that name there" in said


def test_precedence_of_blocks(unlike: Path) -> None:
    """Config < the file beside the data < globs, the longer later < the exact name < --set."""
    chosen = load(None, [f"data.source={unlike}", 'homes."H000*".battery.power_kw=3'])
    base = chosen.model_dump(mode="json") | {
        "battery": {"power_kw": 1.0},
        "homes": {
            "*": {"battery": {"capacity_kwh": 8.0}},
            "H00*": {"battery": {"capacity_kwh": 9.0}},
            "H0002": {"battery": {"capacity_kwh": 10.0}},
        },
    }
    chosen = Settings.model_validate(base)
    own = {"battery": {"capacity_kwh": 1.0, "soc_max": 0.7}}
    assert chosen.home("Q", own).battery.capacity_kwh == 8.0
    assert chosen.home("H0001", own).battery.capacity_kwh == 9.0
    assert chosen.home("H0002", own).battery.capacity_kwh == 10.0
    assert chosen.home("H0002", own).battery.soc_max == 0.7
    assert (chosen.home("Q").battery.power_kw, chosen.home("H0002").battery.power_kw) == (1.0, 3.0)
