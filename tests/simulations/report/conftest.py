"""Run directories written without a run, in the layout that ``fedwatt simulate`` leaves.

The numbers are drawn at random around daily shapes: input for the report, never results.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.config import Settings, dump

LEFT_EMPTY = ("curtailed", "unserved", "soh", "cycles", "local_buy", "local_sell", "cost", "score")


def made_run(
    path: Path,
    *,
    households: int = 3,
    intervals: int = 96,
    learning: bool = True,
    references: bool = True,
    trading: bool = True,
    databases: bool = True,
    names: list[str] | None = None,
    seed: int = 0,
) -> Path:
    """Write a run directory; the switches leave out the parts that a run may lack."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    names = names or [f"B{h + 1:02d}" for h in range(households)]
    time = pd.date_range("2016-10-01T07:00", periods=intervals, freq="30min", tz="UTC")
    hour = ((np.arange(intervals) / 2) % 24)[None, :]
    scale = rng.uniform(0.6, 1.6, (households, 1))
    load = scale * (0.25 + 0.5 * np.exp(-((hour - 19) ** 2) / 8) + 0.2 * np.exp(-((hour - 7) ** 2)))
    load = load * rng.gamma(6, 1 / 6, (households, intervals))
    pv = (rng.random((households, 1)) < 0.7) * scale * 1.5
    pv = pv * np.clip(np.cos((hour - 12.5) / 6 * np.pi / 2), 0, None) * (np.abs(hour - 12.5) < 6)
    forecast = load * rng.normal(1, 0.3, load.shape)
    soc = np.clip(0.45 + np.cumsum(np.clip(pv - load, -1, 1), axis=1) / 13.5, 0.1, 0.8)
    flow = np.diff(soc, axis=1, prepend=0.45) * 13.5
    net = load - pv + flow
    wanted, offered = np.clip(net, 0, None), np.clip(-net, 0, None)
    sent = np.minimum(wanted.sum(0), offered.sum(0)) * trading
    bought = 0.95 * sent * wanted / np.maximum(wanted.sum(0), 1e-9)
    sold = sent * offered / np.maximum(offered.sum(0), 1e-9)
    grid_import, grid_export = wanted - bought, offered - sold
    retail = np.where((hour[0] >= 16) & (hour[0] < 21), 0.54, 0.22)
    local = np.where(sent > 0, 0.5 * (retail + 0.05), np.nan)
    cost = (grid_import * retail - grid_export * 0.05).sum(1)
    plain = (np.clip(load - pv, 0, None) * retail - np.clip(pv - load, 0, None) * 0.05).sum(1)
    shadow = cost * rng.normal(1.02, 0.03, households)

    every, community, base = 6, float(cost.sum()), float(plain.sum())
    rounds = intervals // every if learning else 0
    metrics = {"mae": 0.21, "rmse": 0.34, "nrmse": 0.71, "mase": 0.93, "bias": -0.02}
    summary: dict[str, Any] = {
        "seed": seed,
        "households": households,
        "intervals": intervals,
        "config_hash": Settings().digest(),
        "data": {"source": "made for a test", "real": False, "filled_values": 7},
        "cost": {
            "community": community,
            "no_battery_no_trade": base,
            "greedy_battery": base * 0.7 if references else None,
            "own_optimum": base * 0.5 if references else None,
            "community_optimum": base * 0.4 if references else None,
            "share_of_optimum": (base - community) / (base * 0.6) if references else None,
            "losers": int((cost > shadow + 0.01).sum()) if references else None,
        },
        "energy": {
            "p2p_sent_kwh": float(sold.sum()),
            "p2p_delivered_kwh": float(bought.sum()),
            "grid_import_kwh": float(grid_import.sum()),
            "grid_export_kwh": float(grid_export.sum()),
            "self_sufficiency": 1 - float(grid_import.sum() / load.sum()),
            "self_consumption": float(1 - grid_export.sum() / pv.sum()) if pv.sum() else None,
            "peak_import_kw": float(2 * grid_import.sum(0).max()),
        },
        "forecast": {
            "consumption_day": metrics,
            "price_day": metrics,
            "baselines": {"mean_7_days": metrics, "weekly_naive": metrics},
        },
        "fl": {
            "rounds": rounds,
            "strategy": "fedavg",
            "bytes_up": rounds * households * 2_400_000,
            "bytes_down": rounds * households * 2_400_000,
            "dropped_updates": 0,
        },
        "timing": {
            "wall_s": 201.5,
            "interval_ms_p50": 80.1,
            "interval_ms_p95": 120.3,
            "clear_ms_p95": 0.61,
            "round_s_p50": 1.9,
        },
        "checks": {
            "energy_residual_kwh_max": 3.1e-12,
            "money_residual_max": 0,
            "limit_violations": 0,
        },
        "households_detail": [
            {
                "name": name,
                "cost": float(cost[h]),
                "no_battery_no_trade": float(plain[h]),
                "own_optimum": float(plain[h] * 0.5) if references else None,
                "shadow": float(shadow[h]) if references else None,
            }
            for h, name in enumerate(names)
        ],
    }
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "config.yaml").write_text(dump(Settings()))
    lines = [
        {
            "interval": t,
            "time": time[t].isoformat(),
            "retail": float(retail[t]),
            "feed_in": 0.05,
            "local_price": None if np.isnan(local[t]) else float(local[t]),
            "marginal_buy": None,
            "marginal_sell": None,
            "sent_kwh": float(sent[t]),
            "delivered_kwh": float(0.95 * sent[t]),
            "orders": households * 3,
            "refused": 0,
            "missing": ["B01"] if t == 1 else [],
            "grid_import_kwh": float(grid_import[:, t].sum()),
            "grid_export_kwh": float(grid_export[:, t].sum()),
            "load_kwh": float(load[:, t].sum()),
            "clear_ms": 0.4,
            "interval_ms": 80.0,
        }
        for t in range(intervals)
    ]
    (path / "intervals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    loss = 0.35 + 0.4 * np.exp(-np.arange(rounds) / 12) + rng.normal(0, 0.01, rounds)
    log = [
        {
            "round": r + 1,
            "interval": (r + 1) * every,
            "strategy": "fedavg",
            "sampled": households,
            "replies": households,
            "dropped": int(r == 3),
            "dropped_reasons": {"not finite": 1} if r == 3 else {},
            "unreached": 0,
            "train_loss": float(loss[r]),
            "val_loss": float(loss[r] * 1.1) if r % 4 == 0 else None,
            "val_consumption_day": float(loss[r] * 0.7) if r % 4 == 0 else None,
            "val_price_day": float(loss[r] * 0.4) if r % 4 == 0 else None,
            "bytes_up": households * 2_400_000,
            "bytes_down": households * 2_400_000,
            "seconds": 1.9,
        }
        for r in range(rounds)
    ]
    (path / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    if databases:
        values = {
            "load": load,
            "pv": pv,
            "charge": np.clip(flow, 0, None),
            "discharge": np.clip(-flow, 0, None),
            "bought": bought,
            "sold": sold,
            "grid_import": grid_import,
            "grid_export": grid_export,
            "soc": soc,
            "retail": np.broadcast_to(retail, load.shape),
        }
        if learning:
            values["forecast_load"] = forecast
        for h, name in enumerate(names):
            _database(path / "households" / name, h, values, time, forecast if learning else None)
    return path


def _database(
    directory: Path,
    h: int,
    values: dict[str, Any],
    time: pd.DatetimeIndex,
    forecast: Any,
) -> None:
    directory.mkdir(parents=True)
    with sqlite3.connect(directory / "household.sqlite") as database:
        columns = ", ".join(f"{name} REAL" for name in (*values, *LEFT_EMPTY))
        database.execute(
            "CREATE TABLE intervals (t INTEGER PRIMARY KEY, time TEXT NOT NULL, "
            f"settled INTEGER NOT NULL, {columns})"
        )
        database.execute(
            "CREATE TABLE forecasts "
            '(t INTEGER, stream TEXT, "values" BLOB, PRIMARY KEY (t, stream))'
        )
        names = list(values)
        rows = zip(*(values[name][h].tolist() for name in names), strict=True)
        database.executemany(
            f"INSERT INTO intervals (t, time, settled, {', '.join(names)}) "
            f"VALUES (?, ?, 1{', ?' * len(names)})",
            [(t, time[t].isoformat(), *row) for t, row in enumerate(rows)],
        )
        if forecast is not None:
            for t in range(0, len(time), 48):
                blob = np.resize(forecast[h, t : t + 48], 48).astype("<f4").tobytes()
                database.execute(
                    "INSERT INTO forecasts VALUES (?, 'consumption_day', ?)", (t, blob)
                )
    database.close()


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """The generator of run directories."""
    return made_run
