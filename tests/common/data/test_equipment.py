"""Equipment of synthetic homes: its share, its sizes, and that it reaches the run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.config import Settings
from common.data.equipment import MEAN_KWH, draw_battery, draw_connection
from common.data.store import read_block
from common.data.synthetic import Community, generate, names
from simulations.commands.data import app

shares = st.floats(0, 1)


@given(shares, st.floats(0.05, 0.95), st.integers(0, 99))
def test_the_share_is_kept_and_panels_come_first(share: float, pv: float, seed: int) -> None:
    """Of 400 homes the share has a battery, to four deviations; none without panels while any with
    panels lacks one."""
    panels = np.random.default_rng(seed).random(400) < pv
    found = [
        draw_battery(name, seed=seed, panels=bool(p), share=share, pv=pv)["battery"]
        for name, p in zip(names(400), panels, strict=True)
    ]
    owns = np.array([block["capacity_kwh"] > 0 for block in found])
    expected = min(1, share / pv) * panels.mean() + max(0, share - pv) / (1 - pv) * (
        1 - panels.mean()
    )
    assert abs(owns.mean() - expected) <= 4 * 0.5 / np.sqrt(400)
    if share <= pv:
        assert not (owns & ~panels).any()


@given(shares, shares)
def test_a_larger_share_leaves_what_was_there(one: float, other: float) -> None:
    """A home with a battery keeps it, the same one, in a community with more of them."""
    small, large = sorted((one, other))
    for name in names(20):
        first = draw_battery(name, seed=1, panels=True, share=small, pv=0.5)
        if first["battery"]["capacity_kwh"] > 0:
            assert draw_battery(name, seed=1, panels=True, share=large, pv=0.5) == first


def test_sizes_have_the_mean_of_the_source() -> None:
    """2,000 batteries hold the cited mean to 3 %, and their power is 0.4 to 0.7 kW a kWh."""
    drawn = [
        draw_battery(name, seed=0, panels=True, share=1, pv=1)["battery"] for name in names(2000)
    ]
    capacity = np.array([d["capacity_kwh"] for d in drawn])
    power = np.array([d["power_kw"] for d in drawn])
    assert capacity.mean() == pytest.approx(MEAN_KWH, rel=0.03)
    assert np.all((power / capacity > 0.35) & (power / capacity < 0.75))


def test_generate_writes_what_a_run_reads(tmp_path: Path) -> None:
    """`data generate` leaves a block with battery and connection beside each home, which
    `Settings.home` takes."""
    words = ["generate", "--out", str(tmp_path / "h"), "--households", "4", "--days", "2"]
    done = CliRunner().invoke(app, [*words, "--batteries", "0.5", "--export-limited", "0.5"])
    assert done.exit_code == 0, done.output
    blocks = [read_block(tmp_path / "h" / f"{name}.yaml") for name in names(4)]
    homes = [Settings().home(name, block) for name, block in zip(names(4), blocks, strict=True)]
    capacities = [home.battery.capacity_kwh for home in homes]
    fuses = [home.connection.import_kwh for home in homes]
    assert fuses == [block["connection"]["import_kwh"] for block in blocks]
    assert capacities == [block["battery"]["capacity_kwh"] for block in blocks]
    assert len(set(capacities)) > 1
    done = CliRunner().invoke(app, [*words[:2], str(tmp_path / "plain"), *words[3:]])
    assert not list((tmp_path / "plain").glob("*.yaml"))


@given(shares, shares)
def test_a_connection_is_a_fuse_and_perhaps_a_limit(one: float, other: float) -> None:
    """Fuses of three sizes whatever the share; feeding in is limited to 16 A in the share, to four
    deviations, and who is limited stays so where the share is larger."""
    small, large = sorted((one, other))
    drawn = [
        [draw_connection(name, seed=3, limited=share)["connection"] for name in names(400)]
        for share in (small, large)
    ]
    fuses = [[connection["import_kwh"] for connection in homes] for homes in drawn]
    assert fuses[0] == fuses[1]
    assert set(fuses[0]) == {6.9, 9.2, 11.5}
    limited = [np.array([c["export_kwh"] == 1.84 for c in homes]) for homes in drawn]
    assert not (limited[0] & ~limited[1]).any()
    assert abs(limited[1].mean() - large) <= 4 * 0.5 / np.sqrt(400)
    for home, tight in zip(drawn[1], limited[1], strict=True):
        assert tight or home["export_kwh"] == home["import_kwh"]


def test_panels_grow_with_their_mean_power() -> None:
    """Twice the mean gives twice the energy of the same roof, and nothing else changes."""
    first = pd.Timestamp("2024-06-03", tz="UTC")
    made = [
        generate(
            "H0001", seed=1, first=first, intervals=96, community=Community(pv=1.0, pv_kw=mean)
        ).frame
        for mean in (4.25, 8.5)
    ]
    assert made[0]["pv"].sum() > 1
    np.testing.assert_allclose(made[1]["pv"], 2 * made[0]["pv"], atol=2e-6)
    assert made[0].drop(columns="pv").equals(made[1].drop(columns="pv"))
