"""The numbers of a run as tables and tiles."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from fl_client.host.month_bill import MonthBill
from simulations.references import LOSER
from simulations.report import text
from simulations.report.household import HouseholdRecord
from simulations.report.page import Content, Tile, badge, details, join, paragraph, table, verdict
from simulations.report.run import Run, number

METRICS = ("mae", "rmse", "nrmse", "mase", "bias")
STREAMS = {
    "consumption_day": "Consumption",
    "price_day": "Retail price",
    "local_price_day": "Local price",
}
ENERGY_TOLERANCE = 1e-6


def headline(run: Run) -> list[Tile]:
    """The figures to see first, each beside what it is to be compared with."""
    cost, energy, fl = run.section("cost"), run.section("energy"), run.section("fl")
    community, base = number(cost, "community"), number(cost, "no_battery_no_trade")
    share, optimum = number(cost, "share_of_optimum"), number(cost, "community_optimum")
    losers, households = number(cost, "losers"), number(run.summary, "households")
    saving = None if community is None or base is None else base - community
    items = [
        Tile(
            "Cost of the community",
            text.money(community),
            f"{text.plural(households, 'household')}, {text.span(run.length, run.cadence)}",
        ),
        Tile(
            "Saving",
            text.money(saving),
            f"{text.percent(saving / base)} of {text.money(base)} without battery and trade"
            if saving is not None and base
            else "against no battery and no trade",
            tone="" if saving is None else "good" if saving > 0 else "bad",
        ),
        Tile(
            "Share of the optimum",
            text.percent(share),
            "the optimum was not computed"
            if optimum is None
            else f"of what perfect foresight could save; it would pay {text.money(optimum)}",
        ),
        Tile(
            "Households that lose",
            f"{text.count(losers)} of {text.count(households)}"
            if losers is not None
            else text.MISSING,
            f"pay over {LOSER} more than with the same trader and battery but no market"
            + _compensated(cost),
            tone="" if losers is None else "bad" if losers else "good",
        ),
        Tile(
            "Self-sufficiency",
            text.percent(number(energy, "self_sufficiency")),
            f"of consumption; self-consumption of solar "
            f"{text.percent(number(energy, 'self_consumption'))}",
        ),
        Tile(
            "Traded between neighbours",
            text.energy(number(energy, "p2p_delivered_kwh")),
            f"delivered, of {text.energy(number(energy, 'p2p_sent_kwh'))} sent; "
            f"{text.energy(number(energy, 'grid_import_kwh'))} came from the grid" + _when(run),
        ),
    ]
    cap = run.section("cap")
    if cap:
        above, kw = number(cap, "share_above"), number(cap, "import_cap_kw")
        items.append(
            Tile(
                f"{run.cadence.noun.capitalize()}s above the cap",
                text.percent(above),
                f"drew more than {text.decimal(kw)} kW, by "
                f"{text.decimal(number(cap, 'mean_above_kw'))} kW on average and "
                f"{text.decimal(number(cap, 'highest_above_kw'))} at most",
                tone="" if above is None else "bad" if above else "good",
            )
        )
    own, baseline = _nrmse(run)
    if own is not None:
        items.append(
            Tile(
                "Forecast error, day ahead",
                text.decimal(own),
                "nRMSE of consumption"
                + (f"; mean of 7 days {text.decimal(baseline)}" if baseline is not None else ""),
                tone="" if baseline is None else "good" if own <= baseline else "bad",
            )
        )
    rounds = number(fl, "rounds")
    if rounds:
        sent = (number(fl, "bytes_up") or 0.0) + (number(fl, "bytes_down") or 0.0)
        items.append(
            Tile(
                "Federated rounds",
                text.count(rounds),
                f"{fl.get('strategy') or 'strategy unknown'}, {text.size(sent)} on the wire",
            )
        )
    return items


def _compensated(cost: Mapping[str, Any]) -> str:
    """What the rule of compensation has done, where it is on and somebody would have lost."""
    before, moved = number(cost, "losers_before_compensation"), number(cost, "compensated")
    if not before:
        return ""
    return f"; {text.count(before)} did before those who gained gave them {text.money(moved)}"


def _when(run: Run) -> str:
    """In how many intervals energy is traded, beside the optimum's."""
    energy = run.section("energy")
    count = number(energy, "intervals_traded")
    if count is None:
        return ""
    said = f"; in {text.count(count)} of {text.count(run.length)} {run.cadence.noun}s"
    share = number(energy, "traded_share_of_optimum")
    return said if share is None else f"{said}, {text.percent(share)} of those of the optimum"


def _nrmse(run: Run) -> tuple[float | None, float | None]:
    forecast = run.section("forecast")
    own, baselines = forecast.get("consumption_day"), forecast.get("baselines")
    mean = baselines.get("mean_7_days") if isinstance(baselines, Mapping) else None
    if isinstance(mean, Mapping) and isinstance(mean.get("consumption_day"), Mapping):
        mean = mean["consumption_day"]
    return (
        number(own, "nrmse") if isinstance(own, Mapping) else None,
        number(mean, "nrmse") if isinstance(mean, Mapping) else None,
    )


def forecasts(run: Run) -> Content:
    """Day-ahead forecasts beside the baselines."""
    section = run.section("forecast")
    rows = [
        (f"{STREAMS.get(name, name)}: shared model", metrics)
        for name, metrics in section.items()
        if name != "baselines" and isinstance(metrics, Mapping)
    ]
    baselines = section.get("baselines")
    if isinstance(baselines, Mapping):
        rows += list(_baselines(baselines))
    rows = [(name, m) for name, m in rows if any(number(m, key) is not None for key in METRICS)]
    if not rows:
        return paragraph("This run made no day-ahead forecasts.", "note")
    rows.sort(key=lambda row: row[0].split(":")[0])
    body = [(name, *(text.decimal(number(m, key), 4) for key in METRICS)) for name, m in rows]
    columns = ("Forecast", "MAE", "RMSE", "nRMSE", "MASE", "Bias")
    return table(columns, body, caption="Forecasts issued at midnight for the next 48 half hours")


def _baselines(baselines: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Metrics may be those of consumption, or one set a stream."""
    for name, metrics in baselines.items():
        if not isinstance(metrics, Mapping):
            continue
        shown = name.replace("_", " ")
        if any(key in metrics for key in METRICS):
            yield f"Consumption: {shown}", metrics
        else:
            for stream, inner in metrics.items():
                if isinstance(inner, Mapping):
                    yield f"{STREAMS.get(stream, stream)}: {shown}", inner


def bills(rows: Sequence[Mapping[str, Any]]) -> Content:
    """Every household's cost; a name leads to the household's picture."""
    link = Markup('<a href="#Household={}">{}</a>')
    compensated = any(number(row, "compensation") is not None for row in rows)
    body = []
    for row in rows:
        name = str(row.get("name", "?"))
        cost, shadow = number(row, "cost"), number(row, "shadow")
        gain = None if cost is None or shadow is None else shadow - cost
        lost = gain is not None and gain < -LOSER
        body.append(
            (
                link.format(quote(name, safe=""), name),
                text.money(cost),
                text.money(shadow),
                join([badge("loses", "bad"), text.money(gain)]) if lost else text.money(gain),
                text.money(number(row, "no_battery_no_trade")),
                text.money(number(row, "own_optimum")),
                *([text.money(number(row, "compensation"))] if compensated else []),
            )
        )
    columns = (
        "Household",
        "Cost",
        "Without market",
        "Gain by the market",
        "No battery, no trade",
        "Own optimum",
        *(["Compensation received"] if compensated else []),
    )
    return table(columns, body, caption="Cost of each household", tall=len(body) > 15)


def months(made: Mapping[str, MonthBill]) -> Content:
    """What this month should cost each household; nothing where no model tells."""
    if not made:
        return ""
    body = [
        (
            name,
            f"{one.begins:%B}",
            text.money(one.booked.total),
            text.money(one.rest.total),
            text.money(one.total),
        )
        for name, one in made.items()
    ]
    found = table(
        ("Household", "Month", "Booked so far", "Expected rest", "Month, expected"),
        body,
        caption="What the month should cost",
        tall=len(body) > 15,
    )
    note = (
        "The rest goes by the use that the household's model expects, less what the sun gave at "
        "that time of day over the last week, at the prices that the model expects: nothing "
        "traded, and the battery at rest. So it is what the market and the battery have still to "
        "better."
    )
    return join([found, paragraph(note, "note")])


def checks(run: Run) -> Content:
    """What must hold in every run, and how much of the data was measured."""
    values = run.section("checks")
    energy = number(values, "energy_residual_kwh_max")
    money = number(values, "money_residual_max")
    violations = number(values, "limit_violations")
    body: list[tuple[Content, ...]] = [
        (
            "Energy balance, largest residual",
            text.MISSING if energy is None else f"{energy:.2g} kWh",
            f"at most {ENERGY_TOLERANCE:g} kWh",
            verdict(None if energy is None else energy <= ENERGY_TOLERANCE),
        ),
        (
            "Money balance, largest residual",
            text.MISSING if money is None else f"{money:g}",
            "exactly 0",
            verdict(None if money is None else money == 0),
        ),
        (
            "Connection and battery limits broken",
            text.count(violations),
            "0",
            verdict(None if violations is None else violations == 0),
        ),
    ]
    known = {"energy_residual_kwh_max", "money_residual_max", "limit_violations"}
    for key, value in values.items():
        if key not in known:
            name = CHECKS.get(key, key.replace("_", " ").capitalize())
            shown = value if isinstance(value, str) else _plain(value)
            ok = verdict(value) if isinstance(value, bool) else ""
            body.append((name, shown, "", ok))
    columns = ("Check", "Found", "Required", "Verdict")
    return table(columns, body, caption="Checks", text_columns=1)


def exceptions(run: Run) -> Content:
    """How much of the data was measured, and what did not go as asked."""
    data, fl = run.section("data"), run.section("fl")
    body = [
        ("Homes", _real(data.get("real"))),
        ("Source of the data", str(data.get("source") or "unknown")),
        ("Values filled in the data", text.count(number(data, "filled_values"))),
        ("Replies too late or missing", _missing(run)),
        ("Orders refused at intake", _total(run.series("refused"))),
        ("Model updates dropped", text.count(number(fl, "dropped_updates"))),
        *_dropped(run),
        ("New models that did not arrive", _total(run.by_round("unreached"))),
    ]
    return table(("What", "Found"), body, caption="Data and exceptions", text_columns=2)


def _missing(run: Run) -> str:
    """Replies that did not come, over all intervals; the log names the households."""
    if "missing" not in run.intervals:
        return text.MISSING
    names = [value for value in run.intervals["missing"] if isinstance(value, list)]
    return text.count(sum(map(len, names))) if names else text.MISSING


def _dropped(run: Run) -> list[tuple[str, str]]:
    """Why updates were dropped, with how many."""
    total: Counter[str] = Counter()
    for reasons in run.rounds.get("dropped_reasons", ()):
        if isinstance(reasons, Mapping):
            total.update({str(k): v for k, v in reasons.items() if isinstance(v, int)})
    return [(f"… {reason}", text.count(number)) for reason, number in sorted(total.items())]


def market(run: Run) -> Content:
    """How much of the market was used."""
    volume, orders = run.series("delivered_kwh"), run.series("orders")
    if not np.isfinite(volume).any():
        return ""
    trading = int(np.sum(np.nan_to_num(volume) > 0))
    if not trading:
        return paragraph(f"Nothing was traded in {text.plural(run.length, run.cadence.noun)}.")
    price = run.series("local_price")[np.nan_to_num(volume) > 0]
    parts = [f"Energy changed hands in {trading:,} of {run.length:,} {run.cadence.noun}s"]
    if np.isfinite(price).any():
        parts.append(f"at a median local price of {np.nanmedian(price):.3f}")
    if np.isfinite(orders).any():
        parts.append(f"out of {_total(orders)} order steps")
    return paragraph(", ".join(parts) + ".")


def cap(run: Run) -> Content:
    """How the community's import cap held, and what it cost."""
    values = run.section("cap")
    if not values:
        return ""
    share = number(run.section("cost"), "share_of_optimum")
    noun = run.cadence.noun.capitalize()
    body = [
        ("Cap [kW]", text.decimal(number(values, "import_cap_kw"))),
        (
            f"{noun}s above it",
            text.count(number(values, "intervals_above")),
        ),
        ("Their share", text.percent(number(values, "share_above"))),
        ("Above it then, on average [kW]", text.decimal(number(values, "mean_above_kw"))),
        ("Above it at most [kW]", text.decimal(number(values, "highest_above_kw"))),
        (
            f"{noun}s in which it bound",
            text.count(number(values, "intervals_scarce")),
        ),
        ("Drawn beyond allowances", text.energy(number(values, "beyond_allowance_kwh"))),
        ("Paid for that above retail, and returned", text.money(number(values, "surcharged"))),
        ("Share of the optimum, this run", text.percent(share)),
        ("… with perfect foresight and the cap", text.percent(number(values, "capped_share"))),
    ]
    return table(("What", "Found"), body, caption="Community cap", text_columns=1)


def checks_pass(run: Run) -> bool | None:
    """Whether every figure of the checks is as required; None when one is not known."""
    values = run.section("checks")
    energy = number(values, "energy_residual_kwh_max")
    money, limits = number(values, "money_residual_max"), number(values, "limit_violations")
    if energy is None or money is None or limits is None:
        return None
    return energy <= ENERGY_TOLERANCE and money == 0 and limits == 0


def _real(real: Any) -> str:
    return {True: "measured homes", False: "synthetic, not measured"}.get(real, "not known")


def _total(values: Any) -> str:
    return text.count(float(np.nansum(values))) if np.isfinite(values).any() else text.MISSING


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return text.MISSING if value is None else str(value)


CHECKS = {
    "unserved_kwh": "Load above the connection's limit, not served [kWh]",
    "faults": "Faults reported by households",
}
TIMING = {
    "wall_s": "Whole run",
    "interval_ms_p50": "Interval, median",
    "interval_ms_p95": "Interval, 95th percentile",
    "clear_ms_p95": "Clearing, 95th percentile",
    "round_s_p50": "Federated round, median",
}


def timing(run: Run) -> Content:
    """How long the parts took."""
    body = []
    for key, value in run.section("timing").items():
        name = TIMING.get(key, key.replace("_", " ").capitalize())
        figure = number(run.section("timing"), key)
        if "_s" in key and figure is not None:
            body.append((name, text.duration(figure)))
        elif "_ms" in key and figure is not None:
            body.append((name, f"{figure:,.2f} ms"))
        else:
            body.append((name, _plain(value)))
    if not body:
        return ""
    return table(("What", "Time"), body, caption="Timing")


def settings(run: Run) -> Content:
    """Every setting of the run, folded away."""
    body = [
        (f"{section}.{key}", _plain(value))
        for section, values in run.settings.items()
        for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
    ]
    if not body:
        return paragraph("The run left no config.yaml.", "note")
    return details(
        f"All {len(body)} settings",
        table(("Setting", "Value"), body, caption="Settings (config.yaml)", text_columns=2),
    )


def forecast_ranking(records: Sequence[HouseholdRecord]) -> Content:
    """Spread of the day-ahead error over the households."""
    errors = sorted(r.day_ahead_nrmse for r in records if r.day_ahead_nrmse is not None)
    if len(errors) < 2:
        return ""
    low, middle, high = np.quantile(errors, [0.1, 0.5, 0.9])
    return paragraph(
        f"Day-ahead nRMSE over the households: median {middle:.3f}, "
        f"10th percentile {low:.3f}, 90th {high:.3f}, worst {errors[-1]:.3f}.",
        "note",
    )
