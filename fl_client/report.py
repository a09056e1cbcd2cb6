"""What a household tells of itself when a run closes: totals and errors, never a reading.

Config may forbid it (``run.metrics: none``); the run then has no figures of households.
"""

from collections.abc import Mapping

import numpy as np

from common.arrays import Floats
from common.cadence import HALF_HOUR
from common.config import Home, Settings
from common.data.regrid import regrid
from common.forecast.baselines import BASELINES
from common.forecast.metrics import bias, mae, mase, nrmse, rmse, weekly_naive_scale
from common.messages import MONTH_TOLD
from fl_client.household import Group

DAY = HALF_HOUR.per_day
_TOLERANCE_KWH = 1e-9
_COMPARED = ("mean_7_days", "weekly_naive")


def closing_report(group: Group, h: int, settings: Settings) -> dict[str, float]:
    """Figures of household ``h`` over the whole run, by name; what is not known is left out.

    Of a run without end over what is kept of it in memory, its last weeks; there is no end at which
    a store would have a value.
    """
    over = group.log.settled + 1 if group.window.endless else group.intervals
    span = slice(group.log.begins, over)
    log = {name: values[h, span] for name, values in group.log.values.items()}
    if not len(log["load"]):
        return {}
    report = {f"{name}_kwh": float(np.sum(log[name])) for name in _TOTALS}
    report |= {
        "cost": float(np.sum(log["cost"])),
        "soc_end": float(log["soc"][-1]),
        "soh_end": float(log["soh"][-1]),
        "cycles": float(log["cycles"][-1]),
        "energy_residual_kwh_max": float(np.abs(_residual(log)).max()),
        "limit_violations": float(_violations(log, group.homes[h], group.cadence.hours)),
        "unserved_intervals": float(np.count_nonzero(log["unserved"] > _TOLERANCE_KWH)),
        "held_for_a_reason": float(np.count_nonzero(log["reason"] > 0)),
    }
    if settings.run.shadow:
        report["shadow_cost"] = float(np.sum(log["shadow_cost"]))
        report["shadow_soc_end"] = float(log["shadow_soc"][-1])
    if settings.run.shadow and not group.window.endless:
        # With what a store is worth in its own battery, this tells who gained by the market.
        capacity, end = group.homes[h].battery.capacity_kwh, group.end_value(h)
        report["end_value"] = float(end.value(log["soc"][-1] * capacity).item())
        report["shadow_end_value"] = float(end.value(log["shadow_soc"][-1] * capacity).item())
    report |= _forecast_errors(group, h, over)
    # What waits for a meter's reading is not known.
    return {name: value for name, value in report.items() if np.isfinite(value)}


def month_report(group: Group, h: int, month: tuple[int, int]) -> dict[str, float]:
    """What household ``h`` would have paid without a market in the intervals of ``month``, the last
    left out [currency], and what the change of its store over them is worth, alone and with the
    market, by the prices of these intervals. From its first one on, which it tells.

    Nothing where it does not know: without a shadow run, or where not all of it is settled.
    """
    first, end = max(month[0], group.log.begins), month[1]
    if not group.physics.shadowed or not first < end <= group.log.settled + 1:
        return {}
    before, capacity = group.physics.before(first), group.homes[h].battery.capacity_kwh
    worth = group.worth(h, first, end)
    told = [float(first + group.window.base), float(np.sum(group.log["shadow_cost"][h, first:end]))]
    for name in ("shadow_soc", "soc"):
        change = (group.log[name][h, end - 1] - before[name][h]) * capacity
        told.append(float(worth.value(change).item()))
    return dict(zip(MONTH_TOLD, told, strict=True)) if np.isfinite(told).all() else {}


_TOTALS = (
    "load",
    "pv",
    "charge",
    "discharge",
    "bought",
    "sold",
    "grid_import",
    "grid_export",
    "curtailed",
    "unserved",
)


def _residual(log: Mapping[str, Floats]) -> Floats:
    """What comes into the house less what goes out or is used there, (T,) kWh: 0 to rounding."""
    out = log["load"] - log["unserved"] + log["charge"] + log["sold"] + log["grid_export"]
    came = log["pv"] - log["curtailed"] + log["discharge"] + log["bought"] + log["grid_import"]
    return came - out


def _violations(log: Mapping[str, Floats], home: Home, hours: float) -> int:
    """Intervals in which a battery or connection limit was passed."""
    battery = home.battery
    import_kwh, export_kwh = home.connection_spec.limits(hours)
    net = log["grid_import"] + log["bought"] - log["grid_export"] - log["sold"]
    passed = (
        (log["soc"] < battery.soc_min - 1e-9)
        | (log["soc"] > battery.soc_max + 1e-9)
        | (np.maximum(log["charge"], log["discharge"]) > battery.power_kw * hours + _TOLERANCE_KWH)
        | (net > import_kwh + _TOLERANCE_KWH)
        | (-net > export_kwh + _TOLERANCE_KWH)
    )
    return int(np.count_nonzero(passed))


def _forecast_errors(group: Group, h: int, intervals: int) -> dict[str, float]:
    """Errors of the day-ahead forecasts issued at midnight, beside those anyone could make, of the
    first ``intervals``."""
    made = group.log.midnight[h]
    over = group.tokens.over(intervals)
    days = [t for t in sorted(made) if group.tokens.at(t) + DAY <= over]
    report: dict[str, float] = {}
    if not days:
        return report
    row, _ = group.measured(h)
    origin = len(row) - group.tokens.count
    paid = regrid(group.log["retail"][h], group.cadence.minutes, HALF_HOUR.minutes, 0, "level")
    price = np.concatenate([group.histories[h].price(0, origin), paid])
    begins = [origin + group.tokens.at(t) for t in days]
    known = ~np.isnan(row[:origin])
    scale = weekly_naive_scale(row[:origin][known])
    for number, (stream, series) in enumerate((("consumption_day", row), ("price_day", price))):
        actual = np.stack([series[begin : begin + DAY] for begin in begins])
        report |= _errors(stream, np.stack([made[t][number] for t in days]), actual, scale)
        for name in _COMPARED:
            past = [series[:begin] for begin in begins]
            if min(np.count_nonzero(~np.isnan(p)) for p in past) < 7 * DAY:
                continue
            simple = np.stack([BASELINES[name](p, DAY) for p in past])
            report |= _errors(f"{name}.{stream}", simple, actual, scale)
    return report


def _errors(name: str, forecast: Floats, actual: Floats, scale: float) -> dict[str, float]:
    errors = {
        "mae": mae(forecast, actual),
        "rmse": rmse(forecast, actual),
        "nrmse": nrmse(forecast, actual),
        "bias": bias(forecast, actual),
    }
    if name.endswith("consumption_day"):
        errors["mase"] = mase(forecast, actual, scale)
    return {f"{name}.{key}": value for key, value in errors.items() if np.isfinite(value)}
