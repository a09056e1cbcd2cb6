"""Clear sky as pvlib has it, and kept by month so that the next process need not ask pvlib."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pvlib
import pytest

from common.energy import pv

LONDON, KATHMANDU = "Europe/London", "Asia/Kathmandu"
HERE = {
    LONDON: (51 + 30 / 60 + 30 / 3600, -(7 / 60 + 31 / 3600)),
    KATHMANDU: (27 + 43 / 60, 85 + 19 / 60),
}
"""zone.tab: +513030-0000731 and +2743+08519."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FEDWATT_CACHE", str(tmp_path / "cache"))
    pv._month.cache_clear()
    yield
    pv._month.cache_clear()


def by_pvlib(times: pd.DatetimeIndex, zone: str, minutes: int) -> np.ndarray:
    sun = pvlib.solarposition.get_solarposition(
        times + pd.Timedelta(minutes=minutes / 2), *HERE[zone]
    )
    sky = pvlib.clearsky.haurwitz(sun["apparent_zenith"])["ghi"]
    return np.asarray(sky, dtype=np.float64)


@pytest.mark.parametrize(
    ("zone", "first", "minutes", "count"),
    [
        (LONDON, "2024-01-30 13:30", 30, 2000),  # parts of three months, one of them whole
        (LONDON, "2023-12-31 23:45", 15, 10),  # over the end of a year
        (LONDON, "2024-05-06", 60, 1),
        (KATHMANDU, "2024-05-05 18:15", 30, 96),  # midnight there lies beside the half hours of UTC
    ],
)
def test_it_is_pvlibs_whatever_part_of_a_month(
    zone: str, first: str, minutes: int, count: int
) -> None:
    """Equal to 1e-9 W/m2 of what pvlib says of these times alone, once made and once kept."""
    times = pd.date_range(pd.Timestamp(first, tz="UTC"), periods=count, freq=f"{minutes}min")
    expected = by_pvlib(times, zone, minutes)
    made = pv.clear_sky(times, zone, minutes)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-9)
    pv._month.cache_clear()
    np.testing.assert_array_equal(pv.clear_sky(times, zone, minutes), made)


def test_another_process_reads_what_was_kept(tmp_path: Path) -> None:
    """Without pvlib, and to the same bytes; a month that was not asked for brings it in."""
    times = pd.date_range("2024-05-06", periods=48, freq="30min", tz="UTC")
    code = (
        "import sys; import pandas as pd; from common.energy.pv import clear_sky\n"
        "for month in (5, 6):\n"
        "    times = pd.date_range(f'2024-0{month}-06', periods=48, freq='30min', tz='UTC')\n"
        f"    sky = clear_sky(times, '{LONDON}')\n"
        "    print('pvlib' in sys.modules, sky.tobytes().hex())\n"
    )
    here = pv.clear_sky(times, LONDON).tobytes().hex()
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env
    ).stdout.splitlines()
    assert said[0] == f"False {here}"
    assert said[1].startswith("True ")
    kept = sorted(file.name for file in (tmp_path / "cache" / "clear-sky").iterdir())
    assert [name[:24] for name in kept] == [
        "Europe-London-2024-05-30", "Europe-London-2024-06-30",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_file_that_cannot_be_read_is_made_anew(content: bytes, tmp_path: Path) -> None:
    """A torn file costs time and nothing else, and so does a cache that cannot be written."""
    times = pd.date_range("2024-05-06", periods=48, freq="30min", tz="UTC")
    expected = pv.clear_sky(times, LONDON)
    [file] = (tmp_path / "cache" / "clear-sky").iterdir()
    file.write_bytes(content)
    pv._month.cache_clear()
    np.testing.assert_array_equal(pv.clear_sky(times, LONDON), expected)
    assert len(file.read_bytes()) > 31 * 48 * 8


def test_a_cache_that_cannot_be_written_is_only_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("FEDWATT_CACHE", str(tmp_path / "taken"))
    times = pd.date_range("2024-05-06", periods=48, freq="30min", tz="UTC")
    np.testing.assert_allclose(
        pv.clear_sky(times, LONDON), by_pvlib(times, LONDON, 30), rtol=0, atol=1e-9
    )
