"""CityLearn folders whose schema leaves something open."""

import json

import pytest

from common.data.importing import import_files
from common.data.readings import Options


@pytest.mark.parametrize("nothing", [{}, {"pricing": None, "weather": None, "pv": None}])
def test_null_is_as_good_as_left_out(nothing, tmp_path):
    """A building without panels, prices or weather, said either way: read, and named as absent."""
    building = {"include": True, "energy_simulation": "b1.csv", **nothing}
    (tmp_path / "schema.json").write_text(json.dumps({"buildings": {"B1": building}}))
    hours = [f"8,{i % 24 + 1},{i // 24 % 7 + 1},{0.3 + i % 24 / 100},0" for i in range(240)]
    head = "month,hour,day_type,non_shiftable_load,solar_generation"
    (tmp_path / "b1.csv").write_text("\n".join([head, *hours]))
    report = import_files([tmp_path], tmp_path / "out", options=Options(timezone="America/Chicago"))
    account = report.accounts["B1"]
    assert {"price", "temperature"} <= set(account.absent)
    assert account.imported_kwh["consumption"] == pytest.approx(
        sum(0.3 + i % 24 / 100 for i in range(240))
    )
