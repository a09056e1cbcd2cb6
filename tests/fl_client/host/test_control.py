"""Three processes and a broker: each may die at any moment, and the house goes on by itself."""

import signal
import subprocess
import sys

import pytest
import yaml

from common.errors import InputError
from fl_client.control.record import COMMAND, HAND_BACK, NONE, OVERRIDDEN, OWN, SHADOW, TAKE
from fl_client.host.folder import start_client
from fl_client.host.override import begin_override, end_override
from fl_client.host.status import client_status
from tests.support.controlled import CLIENT, Controlled
from tests.support.mqtt_house import MqttHouse, control, meters


@pytest.fixture
def home(tmp_path, broker):
    house = MqttHouse(broker.port)
    made = Controlled(tmp_path / "home", broker, house)
    made.start("meters", "control")
    made.until(made.steered)
    yield made
    made.close()
    house.close()


def test_a_battery_is_steered_through_files_and_a_broker(home):
    """From messages to commands: the house's grid stands near still, nothing is retained, and each
    message that the inverter heard is a line of the log."""
    home.until(lambda: len([c for c in home.record.commands(most=99) if c.sent]) > 8)
    found = home.record.snapshot()
    assert found.mode == COMMAND
    assert found.age_s < 30
    assert found.plan.target_kwh != 0.0
    assert not any(retained for *_, retained in home.house.heard)
    told = [float(text) for topic, text, _ in home.house.heard if "setpoint" in topic]
    lines = [-1000 * c.kw for c in home.record.commands(most=999) if c.kw is not None and c.sent]
    assert lines[::-1][: len(told)] == pytest.approx(told[: len(lines)])
    command = [sys.executable, "-m", "fl_client.host.control", str(home.folder)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stderr.count("\n")) == (2, 1)
    assert "controlled by another process" in second.stderr


def test_killed_control_leaves_the_house_to_itself(home):
    """The broker hands back in its place; the next process hands back first, then takes again."""
    home.kill("control")
    home.until(lambda: home.house.house.mode == "auto", 5)
    assert home.house.heard[-1][:2] == ("house/mode/set", "auto")
    heard = len(home.house.heard)
    home.start("control")
    home.until(home.steered)
    modes = [text for topic, text, _ in home.house.heard[heard:] if "mode" in topic]
    assert modes[:2] == ["auto", "remote"]


@pytest.mark.parametrize("mode", [NONE, SHADOW])
def test_who_may_command_no_more_hands_back_what_was_taken(home, mode):
    """Killed while it steered, with a broker that forgets wills; then control.yaml says otherwise:
    the battery is handed back once, and nothing else is sent."""
    home.kill("control")
    home.until(lambda: home.house.house.mode == "auto", 5)
    settings = yaml.safe_load((home.folder / "control.yaml").read_text())
    (home.folder / "control.yaml").write_text(yaml.safe_dump(settings | {"mode": mode}))
    assert home.record.owed
    heard = len(home.house.heard)
    home.start("control")
    home.until(lambda: not home.record.owed)
    home.until(lambda: len(home.house.heard) > heard)
    assert [text for _, text, _ in home.house.heard[heard:]] == ["auto"]


def test_killed_meters_are_no_eyes(home):
    """Without readings for a minute of the house's clock the battery is handed back."""
    home.kill("meters")
    home.until(lambda: home.state(OWN, "readings are"))
    assert home.record.commands(most=9)[0].command in (HAND_BACK, "note")
    home.until(lambda: home.house.house.mode == "auto", 5)
    home.start("meters")
    home.until(home.steered)


def test_a_broker_that_dies_is_said(home, broker):
    """Nothing can be sent; the inverter forgets by itself. When it is back all goes on."""
    broker.stop()
    home.until(lambda: home.record.snapshot().state == OWN)
    home.until(lambda: home.house.house.mode == "auto", 15)
    broker.start()
    home.until(home.steered)
    assert any(c.command == HAND_BACK for c in home.record.commands(most=99))


def test_an_end_in_good_order_and_an_override(home):
    """SIGTERM hands back; so does an override, which holds for the process that comes next."""
    assert "--end" in begin_override(home.folder, None, "guests")
    home.until(lambda: home.state(OVERRIDDEN, "guests"))
    assert client_status(home.folder)["battery driven by"] == OVERRIDDEN
    home.until(lambda: home.house.house.mode == "auto", 5)
    assert end_override(home.folder) == "the plan may have it again"
    home.until(home.steered)
    assert home.kill("control", signal.SIGTERM) == 0
    assert home.house.heard[-1][:2] == ("house/mode/set", "auto")
    assert home.record.snapshot().state == OWN
    taken = [c for c in home.record.commands(most=999) if c.command == TAKE]
    assert len(taken) == 2


def test_a_folder_that_is_no_good_is_refused_before_anything_runs(tmp_path, broker):
    """One line, with the file and what to write."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "client.yaml").write_text(yaml.safe_dump(CLIENT))
    (folder / "meters.yaml").write_text(yaml.safe_dump(meters(broker.port)))
    wrong = control(broker.port)
    del wrong["hand_back"]
    (folder / "control.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(InputError, match=r"control\.yaml: hand_back: needed to command"):
        start_client(folder)
