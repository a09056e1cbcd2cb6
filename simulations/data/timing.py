"""How fast household data moves: rows imported per second, milliseconds per household read."""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from common.cadence import HALF_HOUR
from common.data import synthetic
from common.data.importing import import_files
from common.data.sql import Readings
from common.errors import InputError
from simulations.progress import Counter, track

_FIRST = pd.Timestamp("2013-01-01", tz="UTC")
_PROFILES = 20  # generated homes that the file's homes repeat, shifted: only the size matters


def _write_lcl(path: Path, households: int, days: int) -> int:
    """Write a file in the layout of Low Carbon London and return its rows."""
    rows = days * HALF_HOUR.per_day
    loads = [
        pa.array(
            [
                f" {kwh:.3f} "
                for kwh in synthetic.generate(
                    name, seed=0, first=_FIRST, intervals=rows
                ).consumption.tolist()
            ]
        )
        for name in synthetic.names(min(households, _PROFILES))
    ]
    index = pd.date_range(_FIRST, periods=rows, freq="30min").strftime("%Y-%m-%d %H:%M:%S.0000000")
    stamps = pa.array(index)
    names = ["LCLid", "stdorToU", "DateTime", "KWH/hh (per half hour) "]
    schema = pa.schema([(name, pa.string()) for name in names])
    plain = pacsv.WriteOptions(include_header=True, quoting_style="none")
    with pacsv.CSVWriter(path, schema, write_options=plain) as writer:
        for home in track(range(households), "writing the file"):
            load = loads[home % len(loads)]
            shift = home % rows
            kwh = pa.concat_arrays([load.slice(shift), load.slice(0, shift)])
            name = pa.array([f"MAC{home:06d}"] * rows)
            writer.write(pa.table([name, pa.array(["Std"] * rows), stamps, kwh], schema=schema))
    return households * rows


def time_import(households: int, days: int) -> str:
    """Return one line: rows per second and the peak memory of this process."""
    with tempfile.TemporaryDirectory(prefix="fedwatt-") as folder:
        path = Path(folder) / "lcl.csv"
        rows = _write_lcl(path, households, days)
        size = path.stat().st_size
        start, worked = time.perf_counter(), time.process_time()
        with Counter() as progress:
            import_files([path], Path(folder) / "out", progress=progress)
        took, worked = time.perf_counter() - start, time.process_time() - worked
        written = sum(p.stat().st_size for p in (Path(folder) / "out").iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"import: {households} households x {days} days = {rows} rows, {size / 1e6:.0f} MB CSV "
        f"to {written / 1e6:.0f} MB Parquet in {took:.1f} s: {rows / took:,.0f} rows/s "
        f"({worked:.1f} s of processor time: {rows / worked:,.0f} rows/s), "
        f"peak memory {peak:.0f} MB"
    )


def time_reading(url: str, repeats: int = 9) -> str:
    """Return one line: milliseconds to read the longest household of a database, which keeps it.

    Raises InputError where it holds none.
    """
    readings = Readings(url)
    spans = readings.spans()
    if not spans:
        raise InputError(
            f"{readings.label} holds no household; bring some with 'fedwatt data push'"
        )
    name, _, _, rows = max(spans, key=lambda span: span[3])
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        readings.load(name)
        took.append(time.perf_counter() - start)
    readings.close()
    return (
        f"read: {name}, {rows} rows in {1e3 * float(np.median(took)):.0f} ms (median of "
        f"{repeats}, worst {1e3 * max(took):.0f}); {readings.label}"
    )
