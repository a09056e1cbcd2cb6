"""The benchmark's own market loop and a run of the product: the same days end the same."""

from pathlib import Path

import numpy as np
import pytest

from common.config import load
from common.data.source import source_of
from common.rng import generator
from fl_client.trader import make_trader
from fl_server.run_files import INTERVALS, read_lines
from simulations.benchmarks.traders import community as old
from simulations.benchmarks.traders import foresights, life
from simulations.benchmarks.traders import old_foresights as theirs

SET = [
    "run.households=3", "run.days=1", "run.history_days=20", "run.engine=loop", "fl.enabled=false",
    "data.source=synthetic", "run.start=2026-06-01",
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "foresee", "cap"),
    [
        ({"scenarios": "days"}, None, None),
        ({"scenarios": "point"}, "truth", None),
        ({"scenarios": "point"}, "week", None),
        ({"scenarios": "days"}, None, 1.0),
    ],
)
def test_both_loops_trade_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options, foresee, cap
) -> None:
    """Three homes, a day: equal fills, prices and cost, once equal orders at one price, which the
    old loop drew by the interval's number, are drawn as a run draws them."""
    for name in ("clear", "clear_under_cap"):
        real = getattr(old, name)

        def drawn(mechanism, book, rules, grid, t=None, *, seed=None, real=real, **more):
            t = seed if t is None else t
            return real(
                mechanism, book, rules, grid,
                int(generator(0, "", t, "ties").integers(2**63)), **more,
            )  # fmt: skip

        monkeypatch.setattr(old, name, drawn)
    pairs = [*SET, *(f"trader.options.{key}={value}" for key, value in options.items())]
    if cap:
        pairs.append(f"market.import_cap_kw={cap}")
    settings = load(None, pairs)
    source = source_of(settings)
    homes = [source.load(name).half_hours() for name in source.names()]
    c = old.gather(homes, source.start(), 1.0, 20, feed_in=settings.tariff.feed_in)
    ask, made = None, None
    if foresee == "truth":
        ask, made = foresights.truth, theirs.truth(c)
    if foresee == "week":
        ask, made = foresights.same_slots(7), theirs.same_slots(c, 7)
    limit = None if cap is None else old.Cap(cap, 1.2 * float(c.retail[c.first :].max()))
    then = old.live(c, make_trader("bid-curve", options), made, cap=limit)
    summary = life.live(settings, tmp_path, ask)
    log = life.logged(tmp_path, source.names())
    for name in ("bought", "sold", "grid_import", "grid_export", "soc"):
        assert log[name] == pytest.approx(getattr(then, name), abs=2e-6), name
    lines = read_lines(tmp_path / INTERVALS)
    price = np.array(
        [np.nan if x["local_price"] is None else x["local_price"] for x in lines], float
    )
    assert price == pytest.approx(then.price, abs=2e-6, nan_ok=True)
    assert summary["cost"]["community"] == pytest.approx(then.total, abs=2e-4)
