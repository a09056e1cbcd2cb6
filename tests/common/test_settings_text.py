"""Settings can be read: the file of defaults is the code's, key by key and text by text."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from common.config import Settings, load
from common.errors import InputError
from common.settings_text import annotated, defaults, every, explain
from simulations.commands.config import app

FILE = Path(__file__).parents[2] / "configs" / "default.yaml"
EVERY = list(every(Settings()))
AGAIN = "run: fedwatt config show --defaults > configs/default.yaml"


def test_the_file_of_defaults_is_what_the_code_says() -> None:
    """Values, order and meanings; and read as a preset it changes nothing."""
    assert FILE.read_text() == defaults(), AGAIN
    assert load("default") == Settings()
    assert load("default").digest() == Settings().digest()


def test_every_key_is_in_the_file_with_its_default() -> None:
    """As YAML reads it, without this project's own reader."""
    found = yaml.safe_load(FILE.read_text())
    for key, _, value in EVERY:
        node = found
        for part in key.split("."):
            node = node[part]
        assert node == value or str(node) == str(value), key


@pytest.mark.parametrize("setting", EVERY, ids=lambda one: one.key)
def test_every_setting_says_what_it_means(setting) -> None:
    """One line of meaning; where it counts something, what: in brackets at its end."""
    meaning = setting.field.description
    assert meaning, f"{setting.key}: no description in common/config.py"
    assert "\n" not in meaning
    kinds = re.findall(r"\b(int|float)\b", str(setting.field.annotation))
    if kinds and "dict" not in str(setting.field.annotation):
        assert re.search(r"\[[^\]]+\]$", meaning), f"{setting.key}: no unit in brackets"


def test_show_prints_what_a_run_would_have() -> None:
    """Preset and --set are in it; read back it gives the same settings."""
    done = CliRunner().invoke(app, ["show", "--config", "demo", "--set", "fl.local_steps=3"])
    shown = load("demo", ["fl.local_steps=3"])
    assert done.output == annotated(shown).lstrip("\n")
    assert load(None, [], **yaml.safe_load(done.output)) == shown
    assert "start: '2016-10-01'" in done.output
    assert CliRunner().invoke(app, ["show", "--defaults"]).output == defaults()


def test_explain_tells_default_choices_bounds_and_unit() -> None:
    """Of a key, or of every key of a section; a mistyped one is told its neighbours."""
    assert explain("run.shadow").startswith("run.shadow (default true; true or false)\n")
    assert "(default 8; whole number at least 1)" in explain("fl.local_steps")
    assert "data, flat" in explain("tariff.source")
    assert "at least 0 and below 1" in explain("market.loss")
    assert "number above 0 or null" in explain("fl.privacy.clip")
    assert "number above 0 and at most 10,000,000, or null" in explain("market.import_cap_kw")
    section = explain("fl.privacy")
    assert section.count("fl.privacy.") == 4
    assert "[clip norms]" in section
    with pytest.raises(InputError, match=r"did you mean fl\.local_steps"):
        explain("fl.local_step")
    with pytest.raises(InputError, match=r"no such setting.*config show"):
        explain("run.")
