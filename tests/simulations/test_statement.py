"""Statements: every line worked out again from readings and trades, and the sums the ledger's."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from common import local_rules
from common.config import Settings
from common.errors import InputError
from common.market_rules import MICRO
from fl_server.ledger import LOCAL, Ledger
from fl_server.statement import TOTAL, statement
from simulations.commands.config import rules
from simulations.commands.ledger import statement as command
from tests.support.billing import again
from tests.support.runs import small

Run = Callable[[Settings], Path]
CHARGES = (
    "fl.enabled=false",
    "tariff.markup=0.015",
    "tariff.network_fee=0.0813",
    "tariff.levies=0.0171",
    "tariff.standing_charge_per_day=0.3333",
    "tariff.feed_in=0.061",
)


@pytest.fixture(scope="module", params=[("AT-local", 30), ("IT-cer", 15), ("DE-sharing", 60)])
def billed(request: pytest.FixtureRequest, homes: Path, run: Run) -> tuple[Path, Settings]:
    """A day of three homes under a country's rules, by intervals of so many minutes."""
    rules, minutes = request.param
    settings = small(homes, f"tariff.rules={rules}", f"run.interval_minutes={minutes}", *CHARGES)
    return run(settings), settings


def _names(directory: Path) -> list[str]:
    return sorted(json.loads((directory / "reports.json").read_text())["households"])


def _ledger(directory: Path) -> Ledger:
    ledger = Ledger(f"sqlite:///{directory / 'ledger.sqlite'}", create=False)
    ledger.attach()
    return ledger


def test_every_line_is_what_readings_and_trades_make_it(billed: tuple[Path, Settings]) -> None:
    """Worked out again in decimals from the household's own record, its fills and the settings:
    each line to the micro, and no line beside these. The total is the ledger's balance."""
    directory, settings = billed
    traded = 0.0
    with _ledger(directory) as ledger:
        balances = ledger.balances()
        for name in _names(directory):
            made = statement(ledger, "r", name, by="total", timezone="Europe/London")
            lines = made.of(TOTAL)
            got = {line: round(amount * MICRO) for line, amount in lines["amount"].items()}
            assert got.pop(TOTAL) == -balances[name][1] == sum(got.values())
            wanted = again(directory, settings, name, "Europe/London")
            assert got == {line: int(one) for line, one in wanted.items() if line in got}
            assert not any(wanted[line] for line in set(wanted) - set(got))
            traded += lines.reindex(["local_energy", "local_sales"])["quantity"].sum()
    assert traded > 0


def test_local_charges_have_accounts_of_their_own(billed: tuple[Path, Settings]) -> None:
    """Network fee, levies and VAT on local energy: each account holds just the sum of that line on
    all bills; everything together balances, and the books verify."""
    directory, _ = billed
    with _ledger(directory) as ledger:
        balances = ledger.balances()
        tables = [
            statement(ledger, "r", name, by="total").of(TOTAL)["amount"]
            for name in _names(directory)
        ]
        assert ledger.verify().error is None
    for account, line in zip(
        LOCAL, ("local_network_fee", "local_levies", "local_vat"), strict=True
    ):
        assert balances[account][1] == sum(round(t.get(line, 0.0) * MICRO) for t in tables)
    assert balances["network"][1] > 0
    assert sum(money for _, money in balances.values()) == 0
    assert abs(balances["market"][1]) <= 3 * 3 * 96


def test_alone_is_the_same_meter_at_its_own_tariff(billed: tuple[Path, Settings]) -> None:
    """What the household's record says it drew and sent, at the prices it was told: import x price
    less export x price, and the standing charge. Saved is the difference, line by line."""
    directory, settings = billed
    from tests.support.reading import intervals

    with _ledger(directory) as ledger:
        for name in _names(directory):
            lines = statement(ledger, "r", name, by="total", timezone="Europe/London").of(TOTAL)
            alone = 0.0
            for one in intervals(directory, name):
                net = one["grid_import"] + one["bought"] - one["grid_export"] - one["sold"]
                alone += max(net, 0) * one["retail"] - max(-net, 0) * one["feed_in"]
            day = settings.tariff.standing_charge_per_day * (1 + (settings.tariff.vat or 0))
            assert lines.loc[TOTAL, "alone"] == pytest.approx(alone + day, abs=1e-4)
            saved = lines["alone"] - lines["amount"]
            assert lines["saved"].to_numpy() == pytest.approx(saved.to_numpy(), abs=1e-9)
            assert not lines.loc[[x for x in lines.index if x.startswith("local")], "alone"].any()


def test_a_statement_as_table_csv_and_page(
    billed: tuple[Path, Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CSV's lines add up to its total to the micro; the page has a sheet per month that a
    printer starts on paper of its own, and reaches for nothing elsewhere."""
    directory, _ = billed
    name = _names(directory)[0]
    out = tmp_path / "statement.csv"
    command(str(directory), name, form="csv", out=out)
    table = pd.read_csv(out)
    micro = (table["amount"] * MICRO).round().astype(int)
    total = table["line"] == TOTAL
    assert micro[total].sum() == micro[~total].sum()
    page = tmp_path / "statement.html"
    command(str(directory), name, form="page", out=page)
    html = page.read_text()
    assert html.count("<section>") == table["period"].nunique() == 1
    assert all(style in html for style in ("@media print", "break-after:page"))
    assert not any(outside in html for outside in ("http", "<script"))
    assert f"{table.loc[total, 'amount'].item():.2f}" in html
    capsys.readouterr()
    command(str(directory), name)
    shown = capsys.readouterr().out
    assert all(label in shown for label in ("Supplier's markup", "To pay"))
    command(str(directory), name, month=pd.Timestamp("2023-05-01"))
    assert capsys.readouterr().out == shown
    command(str(directory), name, month=pd.Timestamp("2023-06-01"))
    assert "To pay" not in capsys.readouterr().out


def test_the_wedge_has_the_local_fee(homes: Path, run: Run) -> None:
    """With a local fee above what trading can gain nobody trades; below it, they do, and every
    price leaves the seller more than the grid pays it."""
    high = run(small(homes, "fl.enabled=false", "tariff.local.network_fee=5"))
    with _ledger(high) as ledger:
        assert ledger.balances()["network"] == (0, 0)
    lines = [json.loads(x) for x in (high / "intervals.jsonl").read_text().splitlines()]
    assert all(line["delivered_kwh"] == 0 for line in lines)


def test_rules_are_listed_with_their_pages(capsys: pytest.CaptureFixture[str]) -> None:
    """All names with what they are; of one its shares, and each page with the day it was read."""
    rules(None)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == local_rules.names()
    rules("AT-local")
    said = capsys.readouterr().out
    assert "tariff.local.network_share: 0.43" in said
    assert said.count("https://") == len(local_rules.rules_of("AT-local").sources)
    with pytest.raises(InputError, match="expected one of AT-building"):
        rules("FR")


@pytest.mark.parametrize("name", local_rules.names())
def test_each_country_says_where_its_rules_are_from(name: str) -> None:
    """Every file of rules names pages and the days they were read, and fills a tariff."""
    rules = local_rules.rules_of(name)
    assert all(one.page.startswith("https://") and one.says for one in rules.sources)
    made = local_rules.filled({"network_fee": 0.08}, name)
    assert made["network_fee"] == 0.08
    assert set(made["local"]) >= {"network_share", "levies_share"}  # type: ignore[arg-type]


def test_models_learn_the_prices_that_households_pay(homes: Path, run: Run) -> None:
    """With charges a forecast of the price is as good as without: scaled alike, errors relative to
    the price are the same. What the naive forecast gets wrong is what the tariff multiplies."""
    plain = run(small(homes, "run.shadow=false"))
    charged = run(small(homes, "run.shadow=false", "tariff.markup=0.1", "tariff.vat=0.5"))
    errors = [
        json.loads((one / "summary.json").read_text())["forecast"]["baselines"]["mean_7_days"]
        for one in (plain, charged)
    ]
    assert errors[1]["price_day"]["mae"] == pytest.approx(1.5 * errors[0]["price_day"]["mae"])
