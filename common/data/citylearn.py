"""The real homes of the 2022 CityLearn challenge (Fontana, California), from the package index.

The package is downloaded as a wheel and never installed; only its data files are kept. The set has
no dates: its first row is 2016-08-01 00:00 wall clock. Load and PV follow the wall clock.

**Clock changes.** A UTC interval reads the row with its own wall-clock label. So in the night in
which the clock is set back, the row of the repeated hour is read twice, the second time counted as
filled; in the night in which it is set forward, the row of the hour that does not exist is never
read.

**Weather** is a typical year unrelated to load and PV: judge no weather feature on this set.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.config import cache_root
from common.data.frame import COLUMNS, IDLE_BATTERY, INTERVAL, Household
from common.errors import InputError
from common.files import write_whole

PACKAGE = "citylearn==2.0.0"
_WHEEL_SHA256 = "aef65c07922c7a609ca457fcb7d2abdcb156947e740bd55a408b37277023f47a"
_FOLDER = "citylearn/data/citylearn_challenge_2022_phase_all/"
TIMEZONE = "America/Los_Angeles"
FIRST = pd.Timestamp("2016-08-01 00:00")
HOURS = 8760
# Nearly half the hours of 12 and 15 repeat the hour before: no meter reads like that.
BUILDINGS = tuple(n for n in range(1, 18) if n not in (12, 15))
NAMES = tuple(f"B{n:02d}" for n in BUILDINGS)
SOURCE = "CityLearn challenge 2022, Fontana, California (citylearn 2.0.0, MIT)"
_LATITUDE, _LONGITUDE = 34.09, -117.43
_LOAD, _PV = "Equipment Electric Power [kWh]", "Solar Generation [W/kW]"
_WEATHER = (
    "Outdoor Drybulb Temperature [C]",
    "Diffuse Solar Radiation [W/m2]",
    "Direct Solar Radiation [W/m2]",
)
_FILES = (*(f"Building_{n}.csv" for n in BUILDINGS), "pricing.csv", "weather.csv", "schema.json")


class IndexUnreachableError(InputError):
    """The package index did not deliver: a caller may fall back to synthetic homes."""


def _folder() -> Path:
    return cache_root() / "citylearn-2.0.0"


def is_fetched() -> bool:
    """Whether every needed file lies in the cache."""
    return all((_folder() / name).is_file() for name in _FILES)


def fetch(timeout_s: float = 300.0) -> Path:
    """Bring the data files into the cache unless they are there, and return their folder.

    Raises IndexUnreachableError with one line when pip cannot download the package.
    """
    target = _folder()
    if is_fetched():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wheel = _download(Path(scratch), timeout_s)
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in _FILES:
                (unpacked / name).write_bytes(archive.read(_FOLDER + name))
        if target.exists():  # incomplete, or another process was faster with the same bytes
            shutil.rmtree(target, ignore_errors=True)
        try:
            os.replace(unpacked, target)
        except OSError:
            if not is_fetched():
                raise
    return target


def _download(folder: Path, timeout_s: float) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{_WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
    command += ["--requirement", str(requirement)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise IndexUnreachableError(
            f"cannot download {PACKAGE}: no answer within {timeout_s:g} s"
        ) from None
    except OSError as error:
        raise IndexUnreachableError(f"cannot download {PACKAGE}: {error}") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (errors or done.stderr.splitlines() or ["pip failed"])[-1].removeprefix("ERROR: ")
        raise IndexUnreachableError(f"cannot download {PACKAGE}: {reason}")
    return wheels[0]


@lru_cache(maxsize=len(_FILES))
def _columns(path: Path, *columns: str) -> NDArray[np.float64]:
    """Return columns (C, 8760) of a file, which is read once: a run asks for a home several times.

    Raises InputError.
    """
    try:
        values = pd.read_csv(path, usecols=list(columns))[list(columns)].to_numpy(np.float64).T
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; delete the folder and fetch again") from None
    if values.shape != (len(columns), HOURS):
        raise InputError(f"{path}: {values.shape[1]} rows instead of {HOURS}; fetch again")
    values.flags.writeable = False
    return values


@lru_cache(maxsize=1)
def _clock() -> tuple[pd.DatetimeIndex, NDArray[np.int64], NDArray[np.bool_]]:
    """Return the UTC index (T,), the wall-clock row each interval reads, and where it repeats."""
    first = FIRST.tz_localize(TIMEZONE).tz_convert("UTC")
    end = (FIRST + pd.Timedelta(hours=HOURS)).tz_localize(TIMEZONE).tz_convert("UTC")
    index = pd.date_range(first, end, freq=INTERVAL, inclusive="left", unit="us")
    wall = index.tz_convert(TIMEZONE).tz_localize(None)
    row = np.asarray((wall - FIRST) // pd.Timedelta(hours=1), dtype=np.int64)
    repeated = np.asarray(wall.duplicated(), dtype=np.bool_)
    return index, row, repeated


def _zenith() -> NDArray[np.float64]:
    """Return the sun's zenith angle [degrees], (8760,).

    Kept beside the data: pvlib takes a second to import, and a run needs it for nothing else.
    """
    kept = _folder() / f"zenith-pvlib-{version('pvlib')}.npy"
    if kept.is_file():
        zenith: NDArray[np.float64] = np.load(kept)
        return zenith
    import pvlib

    # The typical year keeps standard time and labels the hour's end.
    middle = pd.date_range(
        FIRST - pd.Timedelta(minutes=30), periods=HOURS, freq="h", tz="Etc/GMT+8"
    )
    sun = pvlib.solarposition.get_solarposition(middle, _LATITUDE, _LONGITUDE)
    zenith = sun["zenith"].to_numpy(np.float64)
    whole = io.BytesIO()
    np.save(whole, zenith)
    with suppress(OSError):  # a cache that cannot be written is only slower
        write_whole(kept, whole.getvalue())
    return zenith


@lru_cache(maxsize=1)
def _context() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return temperature [degC], global horizontal irradiance [W/m2] and price, each (8760,)."""
    temperature, diffuse, direct = _columns(_folder() / "weather.csv", *_WEATHER)
    irradiance = diffuse + direct * np.clip(np.cos(np.radians(_zenith())), 0.0, None)
    [price] = _columns(_folder() / "pricing.csv", "Electricity Pricing [$/kWh]")
    return temperature, irradiance, price


def load(name: str) -> Household:
    """Return one home of the cache, for example "B01"; ``fetch`` must have run."""
    if name not in NAMES:
        raise InputError(f"citylearn has no household {name!r} ({NAMES[0]} to {NAMES[-1]})")
    number = int(name[1:])
    index, row, repeated = _clock()
    temperature, irradiance, price = _context()
    schema = json.loads((_folder() / "schema.json").read_text())
    nominal_kw = float(
        schema["buildings"][f"Building_{number}"]["pv"]["attributes"]["nominal_power"]
    )
    energy, per_kw = _columns(_folder() / f"Building_{number}.csv", _LOAD, _PV)
    pv = per_kw / 1000.0 * nominal_kw
    values = dict.fromkeys(COLUMNS, np.zeros(len(index)))
    values |= {key: np.full(len(index), idle) for key, idle in IDLE_BATTERY.items()}
    values |= {"misc": energy[row] / 2, "pv": pv[row] / 2, "price": price[row]}
    values |= {"temperature": temperature[row], "solar_irradiance": irradiance[row]}
    frame = pd.DataFrame(values, index=index.rename("timestamp"), columns=list(COLUMNS))
    return Household(
        name=name,
        frame=frame,
        timezone=TIMEZONE,
        resolution_minutes=60,
        source=SOURCE,
        real=True,
        filled_values=2 * int(repeated.sum()),
        filled_rows=repeated,
    )
