"""Homes whose readings arrive in their stores while a run goes on."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from common.data.store import read_household
from common.market_rules import MILLI_WH_PER_KWH
from fl_client.home.store import Store
from tests.support.live import NAMES

ROLES = ("import", "export", "pv")


class Meters:
    """The stores of all homes, filled as the run goes on: ``delay`` [intervals] by home and row."""

    def __init__(
        self, root: Path, homes: Path, start: pd.Timestamp, delay, intervals, names=NAMES
    ) -> None:
        self.frames, self._stores, self._delay, self._last = {}, {}, delay, intervals
        self.start = int(start.timestamp())
        for name in names:
            home = read_household(homes / f"{name}.parquet")
            net = home.consumption - home.frame["pv"].to_numpy()
            table = {"import": np.maximum(net, 0), "export": np.maximum(-net, 0)}
            table["pv"] = home.frame["pv"].to_numpy()
            first = int(home.frame.index[0].timestamp())
            self.frames[name] = (first, table)
            folder = root / name
            folder.mkdir(exist_ok=True)
            mapping = [{"role": role, "path": "none.csv", "json": role} for role in ROLES]
            (folder / "meters.yaml").write_text(yaml.safe_dump(mapping))
            store = Store(folder / "meters.sqlite", write=True)
            # Many small commits in a test: a power cut does not matter.
            store._db.execute("PRAGMA synchronous = OFF")
            self._stores[name] = store
            self._put(name, first, self.start)

    def _put(self, name: str, begin: int, end: int, add: float = 0.0) -> None:
        first, table = self.frames[name]
        for role in ROLES:
            told = [
                (s, float(table[role][(s - first) // 1800]) + add * (role == "import"), "measured")
                for s in range(begin, end, 1800)
            ]
            self._stores[name].put_intervals(role, 30, told, float(end), "corrected")

    def tell(self, name: str, t: int) -> None:
        """Let arrive what has arrived when ``t`` is decided."""
        for s in range(t):
            if self._delay(name, s) == t - s - 1 or (t == self._last and t - s - 1 < 40):
                at = self.start + 1800 * s
                self._put(name, at, at + 1800)

    def correct(self, name: str, s: int, add: float) -> None:
        """Say of an interval that is over that so much more was drawn."""
        first, table = self.frames[name]
        table["import"][(self.start + 1800 * s - first) // 1800] += add
        at = self.start + 1800 * s
        self._put(name, at, at + 1800)

    def milliwh(self, name: str, s: int) -> tuple[int, int]:
        first, table = self.frames[name]
        place = (self.start + 1800 * s - first) // 1800
        imported, exported = (
            round(float(table[r][place]) * MILLI_WH_PER_KWH) for r in ("import", "export")
        )
        return imported, exported
