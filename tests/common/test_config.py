"""Settings: what is accepted, what is refused, and that they survive being written."""

import json
from pathlib import Path

import pytest
import yaml

from common.config import Settings, dump, from_run_config, load, parse, presets
from common.errors import InputError


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        ("market.los=0.1", "market.los"),
        ("markt.loss=0.1", "markt"),
        ("battery.capacity_kwh=-1", "battery.capacity_kwh"),
        ("battery.capacity_kwh=many", "many"),
        ("battery.capacity_kwh=.nan", "battery.capacity_kwh"),
        ("run.households=0", "run.households"),
        ("run.days=0", "run.days"),
        ("run.days=.inf", "run.days"),
        ("battery.soc_min=0.9", "soc_min"),
        ("loss=1", "loss=1"),
        ("market.loss", "market.loss"),
        ("market.loss=[", "market.loss"),
        ("market.k=1.5", "market.k"),
        ("market.feeder_size=0", "market.feeder_size"),
        ("market.feeder_loss=1", "market.feeder_loss"),
        ("run.seed.x=1", "seed"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(pair: str, named: str) -> None:
    """Key or value is in the message, and the message is one line."""
    with pytest.raises(InputError, match=named.replace(".", r"\.").replace("[", r"\[")) as caught:
        load(None, [pair])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "run: 5\n", "run:\n  dayz: 3\n"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    """The file's path is in the message."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load(str(path))


def test_a_missing_file_lists_the_presets(tmp_path: Path) -> None:
    """What could have been meant is in the message."""
    with pytest.raises(InputError, match="demo"):
        load(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_valid_and_survives_being_written(name: str) -> None:
    """dump then parse gives equal settings and an equal digest."""
    settings = load(name)
    again = parse(yaml.safe_load(dump(settings)))
    assert again == settings
    assert again.digest() == settings.digest()


def test_flags_pass_over_files_and_pairs_over_flags(tmp_path: Path) -> None:
    """File 2, flag 3, pair 4: the last word is the pair's; options of a file are merged whole."""
    path = tmp_path / "a.yaml"
    path.write_text("base: demo\nrun: {households: 2, seed: 9}\n")
    settings = load(str(path), ["run.households=4"], run={"households": 3})
    assert (settings.run.households, settings.run.seed, settings.run.days) == (4, 9, 7)


def test_a_flower_run_config_gives_the_same_settings() -> None:
    """As whole JSON, or as preset and overrides."""
    settings = load("demo", ["run.days=1", "trader.kind=hold"])
    assert from_run_config({"settings": settings.model_dump_json()}) == settings
    assert from_run_config({"config": "demo", "set": "run.days=1 trader.kind=hold"}) == settings


def test_the_digest_tells_experiments_apart() -> None:
    """Any changed setting changes it."""
    assert load(None, ["run.seed=1"]).digest() != Settings().digest()
    assert json.loads(Settings().model_dump_json())["run"]["seed"] == 0


def test_settings_that_came_later_leave_a_run_its_name() -> None:
    """A run is named by a digest of its settings, and its ledger's chain begins with that name: at
    their defaults newer settings are not in it. The demo is named as in its first ledgers."""
    assert load("demo").digest() == "7c95ce68c2c46a8f"
    named = {load(None, [one]).digest() for one in ("tariff.vat=0.2", "tariff.markup=0.1")}
    assert len(named | {load().digest()}) == 3
