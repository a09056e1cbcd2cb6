"""summary.json: what a run cost beside the references, and whether its books are in order."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import Floats
from common.config import Settings
from common.data.source import source_of
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import local_days
from common.files import write_json
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from fl_server.ledger import Ledger
from fl_server.run_files import INTERVALS, REPORTS, ROUNDS, SUMMARY, ledger_url, read_lines
from simulations import references
from simulations.references import LOSER

Report = Mapping[str, float]

# A programme of this many household intervals takes some 20 s; larger runs leave the optima out.
_AUTO_LIMIT = 40_000
# Less than this in an interval, all homes together, is no trade.
_TRADED_KWH = 0.001
# Of a saving of less, which no solver tells from nothing, no share can be told.
_LEAST_SAVING = 1e-6


def share_of_optimum(cost: float, base: float | None, best: float | None) -> float | None:
    """Of what perfect foresight (``best``) saves against ``base``, as a fraction; None where there
    is nothing to save, or either is unknown."""
    if base is None or best is None or base - best < _LEAST_SAVING:
        return None
    return (base - cost) / (base - best)


def summarise(directory: Path, settings: Settings, wall_s: float) -> dict[str, object]:
    """Compute and write ``summary.json``; returns it."""
    reports = json.loads((directory / REPORTS).read_text())
    households: Mapping[str, Report] = reports["households"]
    names = sorted(households)
    case, zones = case_of(settings, names, reports["tariffs"])
    lines = read_lines(directory / INTERVALS)
    rounds = read_lines(directory / ROUNDS)
    left = np.array([households[n]["soc_end"] for n in names]) * case.battery.capacity_kwh
    with Ledger(ledger_url(settings, directory)) as ledger:
        ledger.open_run(
            settings.digest(),
            names,
            start=reports["start"],
            interval_minutes=settings.cadence.minutes,
        )
        verdict = ledger.verify()
        balances = ledger.balances()
        compensated = ledger.compensated()
        standing = ledger.standing_charges()
    if verdict.error is not None:
        raise RuntimeError(f"the ledger does not verify: {verdict.error}")
    # Trading and storing change no standing charge: what is compared is without.
    paid = np.array([-(balances[name][1] + standing.get(name, 0)) / MICRO for name in names])
    money_residual = abs(sum(money for _, money in balances.values())) / MICRO
    costs = paid - case.end_value.value(left)
    detail: list[dict[str, object]] = [
        {"name": n, "cost": float(c)} for n, c in zip(names, costs, strict=True)
    ]
    for row, home in zip(detail, _homes(settings, names, case, zones, households), strict=True):
        row["home"] = home
    if settings.market.compensate_losers:
        for row, name in zip(detail, names, strict=True):
            row["compensation"] = compensated.get(name, 0) / MICRO
    total_standing = sum(standing.values()) / MICRO
    cost, notes, best = _costs(settings, case, costs, households, detail)
    summary: dict[str, object] = {
        "seed": settings.run.seed,
        "households": settings.run.households,
        "intervals": settings.intervals,
        "config_hash": settings.digest(),
        "data": {
            "source": "; ".join(sorted({one["source"] for one in reports["joined"].values()})),
            "real": all(one["real"] for one in reports["joined"].values()),
            "filled_values": sum(one["filled_values"] for one in reports["joined"].values()),
            "timezone": ", ".join(dict.fromkeys(zones)),
        },
        "cost": cost | notes | ({"standing_charges": total_standing} if total_standing else {}),
        "energy": _energy(households, lines, settings.cadence.hours) | _trading(lines, best),
        **_cap(settings, case, lines, cost),
        "forecast": _forecast(households),
        "fl": {
            "rounds": len(rounds),
            "strategy": settings.fl.strategy if settings.fl.enabled else None,
            "bytes_up": sum(int(line["bytes_up"]) for line in rounds),  # type: ignore[call-overload]
            "bytes_down": sum(int(line["bytes_down"]) for line in rounds),  # type: ignore[call-overload]
            "dropped_updates": sum(int(line["dropped"]) for line in rounds),  # type: ignore[call-overload]
            **({"privacy": rounds[-1]["privacy"]} if rounds and "privacy" in rounds[-1] else {}),
        },
        "timing": _timing(lines, rounds, wall_s),
        "checks": {
            "energy_residual_kwh_max": _energy_residual(households, lines, balances),
            "money_residual_max": money_residual,
            "limit_violations": int(sum(r["limit_violations"] for r in households.values())),
            "unserved_kwh": sum(r["unserved_kwh"] for r in households.values()),
            "faults": len(reports["faults"]),
        },
        "households_detail": detail,
    }
    write_json(directory / SUMMARY, summary, durable=False)
    return summary


def _costs(
    settings: Settings,
    case: references.Case,
    costs: Floats,
    households: Mapping[str, Report],
    detail: list[dict[str, object]],
) -> tuple[dict[str, float | None], dict[str, object], references.Outcome | None]:
    """Cost of the community beside the references of the same days, what is to be said of these,
    and the community's optimum; fills ``detail`` as well."""
    cost: dict[str, float | None] = {"community": float(costs.sum())}
    outcomes = {
        "no_battery_no_trade": references.no_battery_no_trade(case),
        "greedy_battery": references.greedy_battery(case),
    }
    notes: dict[str, object] = {}
    optima = {
        "own_optimum": references.own_optimum,
        "community_optimum": references.community_optimum,
    }
    for name, solve in optima.items() if _optima(settings) else ():
        try:
            outcomes[name] = solve(case)
        except references.NoOptimumError as error:
            notes[f"{name}_note"] = str(error)
            continue
        if outcomes[name].bound:
            notes[f"{name}_note"] = "a bound: no optimum was found in time, none can cost less"
        elif outcomes[name].gap:
            notes[f"{name}_gap"] = outcomes[name].gap
    for name in ("no_battery_no_trade", "greedy_battery", *optima):
        cost[name] = outcomes[name].total if name in outcomes else None
    for name, outcome in outcomes.items():
        for row, value in zip(detail, outcome.cost, strict=True):
            row[name] = float(value)
    cost["share_of_optimum"] = share_of_optimum(
        float(costs.sum()), cost["no_battery_no_trade"], cost["community_optimum"]
    )
    shadow = _shadow(settings, case, households, detail)
    cost["losers"] = _losers(costs, shadow)
    if settings.market.compensate_losers:
        moved = np.array([row["compensation"] for row in detail])
        cost["losers_before_compensation"] = _losers(costs + moved, shadow)
        cost["compensated"] = float(np.maximum(moved, 0.0).sum())
    return cost, notes, outcomes.get("community_optimum")


def _optima(settings: Settings) -> bool:
    match settings.run.references:
        case "all":
            return True
        case "none":
            return False
    return settings.run.households * settings.intervals <= _AUTO_LIMIT


def case_of(
    settings: Settings, names: Sequence[str], tariffs: Mapping[str, Any]
) -> tuple[references.Case, list[str]]:
    """The days of a run, with each household's own prices, battery and connection; and its zone.

    ``tariffs``: as ``reports.json`` has them.
    """
    source = source_of(settings)
    begin = source.start()
    load = np.empty((len(names), settings.intervals))
    pv = np.empty_like(load)
    zones = []
    for h, name in enumerate(names):
        home = source.load(name).at(settings.cadence, begin)
        rows = slice(home.row(begin), home.row(begin) + settings.intervals)
        load[h] = home.consumption[rows]
        pv[h] = home.frame["pv"].to_numpy(np.float64)[rows]
        zones.append(home.timezone)
    homes = [settings.home(name, source.block(name)) for name in names]
    retail, feed_in = np.array(tariffs["retail"]), np.array(tariffs["feed_in"])
    of = np.array([tariffs["of"][name] for name in names]).T
    minutes = settings.cadence.minutes
    days = {zone: local_days(begin, settings.intervals, zone, minutes) for zone in set(zones)}
    case = references.Case(
        load=load,
        pv=pv,
        retail=retail[0] if len(retail) == 1 else retail[of[0]],
        feed_in=feed_in[0] if len(feed_in) == 1 else feed_in[of[1]],
        battery=BatterySpec.together([home.battery_spec for home in homes]),
        connection=ConnectionSpec.together([home.connection_spec for home in homes]),
        loss=settings.market.loss,
        fee=settings.tariff.local_fee,
        hours=settings.cadence.hours,
        days=days[zones[0]] if len(days) == 1 else np.stack([days[zone] for zone in zones]),
    )
    return case, zones


def _homes(
    settings: Settings,
    names: Sequence[str],
    case: references.Case,
    zones: Sequence[str],
    households: Mapping[str, Report],
) -> list[dict[str, object]]:
    """What each home has; prices are means over the run."""
    source = source_of(settings)
    battery = case.battery.per_household(len(names))
    limits = (case.connection.import_kwh, case.connection.export_kwh)
    drawn, fed = (np.broadcast_to(np.asarray(limit), len(names)) for limit in limits)
    return [
        {
            "battery_kwh": float(np.asarray(battery.capacity_kwh)[h]),
            "battery_kw": float(np.asarray(battery.power_kw)[h]),
            "pv_kwh": households[name]["pv_kwh"],
            # Limits are given per half hour.
            "import_kw": 2.0 * float(drawn[h]),
            "export_kw": 2.0 * float(fed[h]),
            "trader": settings.home(name, source.block(name)).trader.kind,
            "import_price": float(case.imported[h].mean()),
            "export_price": float(case.exported[h].mean()),
            "timezone": zones[h],
        }
        for h, name in enumerate(names)
    ]


def _losers(costs: Floats, shadow: Floats | None) -> int | None:
    """Households that pay more than in their shadow run without a market."""
    return None if shadow is None else int(np.count_nonzero(costs > shadow + LOSER))


def _shadow(
    settings: Settings,
    case: references.Case,
    households: Mapping[str, Report],
    detail: list[dict[str, object]],
) -> Floats | None:
    """What each household pays in its shadow run; fills ``detail`` as well."""
    if not settings.run.shadow:
        return None
    reports = [households[name] for name in sorted(households)]
    left = np.array([report["shadow_soc_end"] for report in reports]) * case.battery.capacity_kwh
    shadow = np.array([report["shadow_cost"] for report in reports]) - case.end_value.value(left)
    for row, value in zip(detail, shadow, strict=True):
        row["shadow"] = float(value)
    return shadow


def _energy(
    households: Mapping[str, Report], lines: Sequence[Mapping[str, object]], hours: float
) -> dict[str, float | None]:
    """Energy of the community [kWh]; self-sufficiency and self-consumption as shares."""

    def total(name: str) -> float:
        return float(sum(report[f"{name}_kwh"] for report in households.values()))

    def column(name: str) -> Floats:
        return np.array([float(line[name]) for line in lines])  # type: ignore[arg-type]

    load, pv = total("load") - total("unserved"), total("pv")
    imported = float(column("grid_import_kwh").sum())
    exported = float(column("grid_export_kwh").sum())
    return {
        "p2p_sent_kwh": float(column("sent_kwh").sum()),
        "p2p_delivered_kwh": float(column("delivered_kwh").sum()),
        "grid_import_kwh": imported,
        "grid_export_kwh": exported,
        "load_kwh": total("load"),
        "pv_kwh": pv,
        "curtailed_kwh": total("curtailed"),
        "self_sufficiency": 1.0 - imported / load if load > 0 else None,
        "self_consumption": 1.0 - (exported + total("curtailed")) / pv if pv > 0 else None,
        "peak_import_kw": float(column("grid_import_kwh").max() / hours),
    }


def _trading(
    lines: Sequence[Mapping[str, object]], best: references.Outcome | None
) -> dict[str, float | None]:
    """In how many intervals energy is traded, and in what share of those in which the optimum
    trades; None where no optimum is known, or it does not trade."""
    traded = np.array([float(line["delivered_kwh"]) for line in lines]) >= _TRADED_KWH  # type: ignore[arg-type]
    found: dict[str, float | None] = {"intervals_traded": int(traded.sum())}
    found["traded_share_of_optimum"] = None
    if best is not None and best.delivered is not None and not best.bound:
        wanted = best.delivered >= _TRADED_KWH
        if wanted.any():
            found["traded_share_of_optimum"] = float(traded[wanted].mean())
    return found


def _cap(
    settings: Settings,
    case: references.Case,
    lines: Sequence[Mapping[str, object]],
    cost: Mapping[str, float | None],
) -> dict[str, object]:
    """How well the community's import cap held; nothing without one.

    ``capped_optimum`` holds the cap with perfect foresight; None where that cannot be done.
    """
    cap = settings.market.import_cap_kw
    if cap is None:
        return {}

    def column(name: str) -> Floats:
        return np.array([float(line[name]) for line in lines])  # type: ignore[arg-type]

    above = column("above_cap_kwh") / case.hours
    scarce = column("allowance_price") > column("retail") + 0.5 / MICRO
    capped = None
    if _optima(settings):
        with suppress(references.NoOptimumError):
            capped = references.community_optimum(case, import_cap_kw=cap).total
    base, best = cost["no_battery_no_trade"], cost["community_optimum"]
    known = capped is not None and base is not None and best is not None and base != best
    return {
        "cap": {
            "import_cap_kw": cap,
            "intervals_above": int(np.count_nonzero(above)),
            "share_above": float(np.mean(above > 0)),
            "mean_above_kw": float(above[above > 0].mean()) if above.any() else 0.0,
            "highest_above_kw": float(above.max()),
            "intervals_scarce": int(np.count_nonzero(scarce)),
            "beyond_allowance_kwh": float(column("beyond_allowance_kwh").sum()),
            "surcharged": float(column("surcharged").sum()),
            "capped_optimum": capped,
            "capped_share": (base - capped) / (base - best) if known else None,  # type: ignore[operator]
        }
    }


def _forecast(households: Mapping[str, Report]) -> dict[str, object]:
    """Mean over households of each error, the model's and the baselines'."""
    table: dict[str, dict[str, list[float]]] = {}
    for report in households.values():
        for key, value in report.items():
            stream, dot, metric = key.rpartition(".")
            if dot:
                table.setdefault(stream, {}).setdefault(metric, []).append(value)
    means = {
        stream: {metric: float(np.mean(values)) for metric, values in metrics.items()}
        for stream, metrics in table.items()
    }
    baselines: dict[str, dict[str, dict[str, float]]] = {}
    for stream in [name for name in means if "." in name]:
        baseline, _, of = stream.partition(".")
        baselines.setdefault(baseline, {})[of] = means.pop(stream)
    return {
        "consumption_day": means.get("consumption_day"),
        "price_day": means.get("price_day"),
        "baselines": baselines,
    }


def _timing(
    lines: Sequence[Mapping[str, object]], rounds: Sequence[Mapping[str, object]], wall_s: float
) -> dict[str, float | None]:
    def quantile(rows: Sequence[Mapping[str, object]], key: str, q: float) -> float | None:
        values = [float(row[key]) for row in rows]  # type: ignore[arg-type]
        return float(np.quantile(values, q)) if values else None

    return {
        "wall_s": wall_s,
        "interval_ms_p50": quantile(lines, "interval_ms", 0.5),
        "interval_ms_p95": quantile(lines, "interval_ms", 0.95),
        "clear_ms_p95": quantile(lines, "clear_ms", 0.95),
        "round_s_p50": quantile(rounds, "seconds", 0.5),
    }


def _energy_residual(
    households: Mapping[str, Report],
    lines: Sequence[Mapping[str, object]],
    balances: Mapping[str, tuple[int, int]],
) -> float:
    """Largest energy gap [kWh]: in any household's interval, and between meters and ledger.

    The households' own sums of what they drew from and fed to the grid must be what the ledger
    booked, up to the rounding of each reading to a mWh.
    """
    own = max(report["energy_residual_kwh_max"] for report in households.values())
    gaps = []
    for name, report in households.items():
        net = report["grid_import_kwh"] + report["bought_kwh"]
        net -= report["grid_export_kwh"] + report["sold_kwh"]
        gaps.append(abs(net - balances[name][0] / MILLI_WH_PER_KWH) / max(1, len(lines)))
    return float(max(own, *gaps))
