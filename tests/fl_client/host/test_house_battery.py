"""The battery on the page of the house: what it is told, in words."""

import time
from dataclasses import asdict
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from fl_client.control.record import COMMAND, FOLLOW, SETPOINT, STEERING, Record, Snapshot
from fl_client.host.client_file import ClientFile
from fl_client.host.window import serve


@pytest.mark.parametrize(
    ("setpoint_kw", "follow_kw", "words"),
    [
        (0.7, None, "0.70 kW into it"),
        (-0.7, None, "0.70 kW out of it"),
        (0.7, -0.4, "keep 0.40 kW to the grid"),
        (0.7, 0.4, "keep 0.40 kW from the grid"),
    ],
)
def test_what_it_is_told(
    tmp_path: Path, setpoint_kw: float, follow_kw: float | None, words: str
) -> None:
    """A power of the battery, or one that it keeps at the grid's connection; the log says the
    same."""
    file = asdict(ClientFile("maple", "synthetic", "127.0.0.1:9092", page_port=9481))
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(file))
    record, now = Record(tmp_path), time.time()
    record.put(Snapshot(now, COMMAND, STEERING, "the plan", setpoint_kw, follow_kw))
    command, kw = (SETPOINT, setpoint_kw) if follow_kw is None else (FOLLOW, follow_kw)
    record.log(now, command, "the plan", kw, sent=True)
    record.close()
    served = serve(tmp_path, "127.0.0.1", 0)
    try:
        with urlopen(f"http://127.0.0.1:{served.server_port}/") as page:
            text = page.read().decode()
    finally:
        served.shutdown()
        served.server_close()
    assert f"<td>Told</td><td>{words}</td>" in text
    assert f"<td>{command} {words.removeprefix('keep ')}</td>" in text
