"""The pictures of a run as plotly specifications, each with its title, caption and numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from common.arrays import Floats
from common.cadence import Cadence
from simulations.report import homes, text
from simulations.report.household import HouseholdRecord
from simulations.report.page import Choices, figure, label, table
from simulations.report.run import Run, number
from simulations.report.thin import DAILY_H, bucket_mean, bucket_size, bucket_sum

LINE_POINTS = 1500
"""Points a line across the whole run is drawn with, at most."""
HEAT_CELLS = 300_000
"""Cells of the battery picture, at most."""
FEW_POINTS = 60
"""Points of a line up to which each is marked."""
FIRST_VIEW_DAYS = 14
"""Intervals of a long run that the picture of one household shows first."""
DOT_ROWS = 40
"""Households that get a row of their own in the picture of the bills."""


def thinned(size: int, cadence: Cadence) -> str:
    """A sentence that says so when a point stands for more than one interval."""
    return f" Each point is the mean of {text.span(size, cadence)}." if size > 1 else ""


def line(
    name: str, x: Any, y: Any, colour: str, dash: str = "solid", **more: Any
) -> dict[str, Any]:
    """A line trace in a theme colour; a few points are drawn as points too."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(x) <= FEW_POINTS else "lines",
        "marker": {"size": 4 if len(x) > 1 else 9},
        "name": name,
        "x": x,
        "y": rounded(y),
        "line": {"color": colour, "dash": dash, "width": 2, **more.pop("line", {})},
        **more,
    }


def time_axis(run: Run, **more: Any) -> dict[str, Any]:
    """A time axis from the start of the first interval to the end of the last."""
    times = pd.to_datetime([run.times()[0], run.times()[-1]])
    first, last = times[0], times[1] + run.cadence.step
    return {"range": [str(first), str(last)], **more}


def time_bars(name: str, run: Run, size: int, colour: str, shape: str = "") -> dict[str, Any]:
    """Bars without heights yet, each as wide as the ``size`` intervals from its time on."""
    return {
        "type": "bar",
        "name": name,
        "x": run.times(size),
        "offset": 0,
        "width": size * run.cadence.step / pd.Timedelta(milliseconds=1),
        "marker": {"color": colour, "pattern": {"shape": shape}, "line": {"width": 0}},
    }


def rounded(values: Any, digits: int = 4) -> list[float | None]:
    """Numbers short enough for a page; nan as None."""
    array = np.round(np.asarray(values, dtype=np.float64), digits) + 0.0
    return [float(v) if np.isfinite(v) else None for v in array]


def cost_bars(run: Run) -> Markup | str:
    """What the community paid beside what it would have paid otherwise."""
    cost = run.section("cost")
    shadows = [number(d, "shadow") for d in run.details]
    shadow = sum(s for s in shadows if s is not None) if None not in shadows and shadows else None
    rows = [
        ("No battery, no trade", number(cost, "no_battery_no_trade"), "@7", ""),
        ("Greedy battery", number(cost, "greedy_battery"), "@7", ""),
        ("Same traders, no market", shadow, "@7", ""),
        ("This run", number(cost, "community"), "@1", ""),
        ("Optimum, each house alone", number(cost, "own_optimum"), "@3", "/"),
        ("Optimum, whole community", number(cost, "community_optimum"), "@3", "/"),
    ]
    known = [row for row in rows if row[1] is not None]
    if not known:
        return ""
    names = [row[0] for row in known]
    values = [row[1] or 0.0 for row in known]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": values,
        "text": [text.money(v) for v in values],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "marker": {
            "color": [row[2] for row in known],
            "pattern": {
                "shape": [row[3] for row in known],
                "fillmode": "overlay",
                "fgcolor": "@paper",
                "fgopacity": 0.5,
                "size": 7,
            },
        },
    }
    low, high = min(0.0, *values), max(0.0, *values)
    layout = {
        "xaxis": {
            "title": {"text": "Cost of the run [currency]"},
            "range": [low * 1.2, (high or 1.0) * 1.05],
            "fixedrange": True,
        },
        "yaxis": {"autorange": "reversed", "fixedrange": True, "ticklabelstandoff": 6},
        "bargap": 0.3,
        "margin": {"r": 64},  # the figures beside the bars
        "showlegend": False,
        "hovermode": False,
    }
    base = number(cost, "no_battery_no_trade")
    numbers = table(
        ("Case", "Cost", "Saving", "Saving in %"),
        [
            (
                name,
                text.money(value),
                text.money(base - value) if base is not None else text.MISSING,
                text.percent((base - value) / base) if base else text.MISSING,
            )
            for name, value in zip(names, values, strict=True)
        ],
        caption="Cost of the run",
    )
    return figure(
        "Cost of the community against its references",
        [trace],
        layout,
        height=70 + 48 * len(known),
        caption="Lower is better. All cases cover the same days with the same limits, and value "
        "the energy left in the batteries the same way. The optima (hatched) know every "
        "reading and price in advance: the first without trading, the second with it. No run "
        "can cost less than the second.",
        table=numbers,
    )


def bills(details: Sequence[Mapping[str, Any]]) -> Markup | str:
    """Every household's cost beside what it would have paid."""
    cases = (
        ("No battery, no trade", "no_battery_no_trade", "@7", "line-ns-open"),
        ("Same trader, no market", "shadow", "@2", "diamond-open"),
        ("Own optimum", "own_optimum", "@3", "triangle-left-open"),
        ("This run", "cost", "@1", "circle"),
    )
    ordered = sorted(details, key=lambda d: -(number(d, "cost") or 0.0))
    many = len(ordered) > DOT_ROWS
    names = [label(str(d.get("name", "?"))) for d in ordered]
    place: Any = list(range(1, len(ordered) + 1)) if many else names
    across, along = ("y", "x") if many else ("x", "y")
    traces = []
    for title, key, colour, symbol in cases:
        values = [number(d, key) for d in ordered]
        if all(v is None for v in values):
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": title,
                across: values,
                along: place,
                "text": names,
                "hovertemplate": f"%{{text}}: %{{{across}:,.2f}}<extra>{title}</extra>",
                "marker": {
                    "color": colour,
                    "symbol": symbol,
                    "size": (5 if many else 11),
                    "line": {"width": 2, "color": colour},
                },
            }
        )
    if not traces:
        return ""
    scale = {"title": {"text": "Cost of the run [currency]"}, "zeroline": True}
    if many:
        layout = {"xaxis": {"title": {"text": "Households, dearest first"}}, "yaxis": scale}
        height = 400
    else:
        rows = {"type": "category", "autorange": "reversed", "ticklabelstandoff": 6}
        layout = {"xaxis": scale, "yaxis": rows}
        height = 120 + 26 * len(ordered)
    return figure(
        "Cost of each household",
        traces,
        layout | {"hovermode": "closest"},
        height=height,
        caption="A household loses by the market where its circle lies "
        + ("above" if many else "to the right of")
        + " its diamond. Below zero it earned more than it paid.",
    )


def chosen_household(run: Run, records: Sequence[HouseholdRecord], size: int) -> Markup | str:
    """One household at a time: forecast and reading, where its energy came from, its battery."""
    if not records or run.intervals.empty:
        return ""
    x = run.times(size)
    power = {"hovertemplate": "%{y:.2f} kW"}

    def bar(name: str, colour: str, shape: str = "") -> dict[str, Any]:
        return time_bars(name, run, size, colour, shape) | power | {"yaxis": "y2"}

    traces = [
        line("Consumption", x, (), "@ink", **power),
        line("Day-ahead forecast", x, (), "@1", "dash", **power),
        line("Solar", x, (), "@6", line={"width": 1}, fill="tozeroy", fillcolor="@6/18", **power),
        bar("From neighbours", "@3"),
        bar("From the grid", "@7"),
        bar("To neighbours", "@3", "/"),
        bar("To the grid", "@7", "/"),
        line("State of charge", x, (), "@4", yaxis="y3", hovertemplate="%{y:.0%}"),
    ]
    details = {str(d.get("name")): d for d in run.details}
    choices = Choices(
        label="Household",
        names=[record.name for record in records],
        values=[_chosen_series(record) for record in records],
        notes=[_chosen_note(record, details.get(record.name, {})) for record in records],
        scale=0.001,
    )
    axis, shown = time_axis(run, anchor="y3"), ""
    view = FIRST_VIEW_DAYS * run.cadence.per_day
    if run.length > 2 * view:
        axis["range"][0] = run.times()[-view]
        shown = f" The last {text.span(view, run.cadence)} are shown first."
    layout = {
        "barmode": "relative",
        "xaxis": axis,
        "yaxis": {"domain": [0.56, 1], "title": {"text": "kW"}, "rangemode": "tozero"},
        "yaxis2": {"domain": [0.24, 0.5], "title": {"text": "kW"}, "zeroline": True},
        "yaxis3": {
            "domain": [0, 0.18],
            "title": {"text": "Battery"},
            "tickformat": ".0%",
            "range": [0, 1],
        },
    }
    return figure(
        "Forecast and what happened, house by house",
        traces,
        layout,
        height=620,
        choices=choices,
        caption="Top: consumption, the forecast issued at the midnight before, and solar power. "
        "Middle: what came in (up) and went out (down, hatched). Bottom: the battery. "
        "Drag to zoom, double-click for all." + shown + thinned(size, run.cadence),
    )


def _chosen_series(record: HouseholdRecord) -> list[list[float | None]]:
    """In watts and thousandths, as integers: kWh over the hours of an interval are kW."""

    def thousandths(values: Floats, factor: float) -> list[float | None]:
        scaled = np.round(values * factor * 1000)
        return [int(v) if np.isfinite(v) else None for v in scaled]

    s = record.series
    flows = [s["load"], record.day_ahead, s["pv"], s["bought"], s["grid_import"]]
    out = [thousandths(flow, 1 / record.hours) for flow in flows]
    out += [thousandths(s[key], -1 / record.hours) for key in ("sold", "grid_export")]
    return [*out, thousandths(s["soc"], 1.0)]


def _chosen_note(record: HouseholdRecord, detail: Mapping[str, Any]) -> str:
    parts = [
        ("cost", number(detail, "cost"), text.money),
        ("without a market", number(detail, "shadow"), text.money),
        ("compensation received", number(detail, "compensation"), text.money),
        ("no battery, no trade", number(detail, "no_battery_no_trade"), text.money),
        ("day-ahead error (nRMSE)", record.day_ahead_nrmse, text.decimal),
    ]
    said = [f"{name} {show(value)}" for name, value, show in parts if value is not None]
    return " · ".join([*said, *homes.note(detail)])


def market(run: Run) -> Markup | str:
    """Prices and traded energy over time."""
    if run.intervals.empty:
        return ""
    size = bucket_size(run.length, LINE_POINTS, run.cadence, DAILY_H)
    x = run.times(size)
    local, volume = run.series("local_price"), run.series("delivered_kwh")
    # A mean price per point weighs each interval by what was traded in it.
    traded = np.where(np.isfinite(local), np.nan_to_num(volume), 0.0)
    weight = bucket_sum(traded, size)
    value = bucket_sum(np.nan_to_num(local) * traded, size)
    price = np.divide(value, weight, out=np.full(len(weight), np.nan), where=weight > 0)
    if size == 1:
        price = local
    money = {"hovertemplate": "%{y:.4f}"}
    unlike = len(_mean_prices(run)) > 1
    traces = [
        line(
            "Retail, mean of the homes" if unlike else "Retail",
            x,
            bucket_mean(run.series("retail"), size),
            "@2",
            line={"shape": "hv"},
            **money,
        ),
        line("Local market", x, price, "@1", mode="lines+markers", **money),
        line(
            "Feed-in, mean of the homes" if unlike else "Feed-in",
            x,
            bucket_mean(run.series("feed_in"), size),
            "@7",
            "dot",
            **money,
        ),
        time_bars("Traded", run, size, "@3")
        | {"y": rounded(bucket_sum(volume, size)), "yaxis": "y2"}
        | {"hovertemplate": "%{y:.3f} kWh"},
    ]
    layout = {
        "xaxis": time_axis(run, anchor="y2"),
        "yaxis": {
            "domain": [0.42, 1],
            "title": {"text": "Currency per kWh"},
            "rangemode": "tozero",
        },
        "yaxis2": {"domain": [0, 0.34], "title": {"text": "kWh traded"}, "rangemode": "tozero"},
    }
    caption = (
        f"A gap in the local price is one {run.cadence.noun} in which nobody traded."
        if size == 1
        else f"Prices are means of {text.span(size, run.cadence)}, the local one weighted by the "
        "energy traded; energy is the sum."
    )
    return figure(
        "Prices and energy traded between neighbours", traces, layout, height=460, caption=caption
    )


def _mean_prices(run: Run) -> set[tuple[Any, Any]]:
    """The different tariffs, by their means."""
    found = [homes.of(detail) for detail in run.details]
    return {(home.get("import_price"), home.get("export_price")) for home in found if home}


def grid(run: Run) -> Markup | str:
    """What the community drew from and fed into the grid."""
    drawn, fed = run.series("grid_import_kwh"), run.series("grid_export_kwh")
    if not np.isfinite(drawn).any() and not np.isfinite(fed).any():
        return ""
    size = bucket_size(run.length, LINE_POINTS, run.cadence, DAILY_H)
    x = run.times(size)
    hours = run.cadence.hours
    step: dict[str, Any] = {"line": {"shape": "hv", "width": 1}, "fill": "tozeroy"}
    shown = {"hovertemplate": "%{y:.2f} kW"}
    traces = [
        line(
            "From the grid",
            x,
            bucket_mean(drawn, size) / hours,
            "@7",
            fillcolor="@7/35",
            **step,
            **shown,
        ),
        line(
            "To the grid",
            x,
            -bucket_mean(fed, size) / hours,
            "@6",
            fillcolor="@6/35",
            **step,
            **shown,
        ),
    ]
    peak = number(run.section("energy"), "peak_import_kw")
    highest = "" if peak is None else f" The highest {run.cadence.noun} drew {peak:,.1f} kW."
    cap = number(run.section("cap"), "import_cap_kw")
    if cap is not None:
        traces.append(line("Cap", x, [cap] * len(x), "@2", "dash", **shown))
    load = run.series("load_kwh")
    if np.isfinite(load).any():
        traces.append(
            line(
                "Consumption",
                x,
                bucket_mean(load, size) / hours,
                "@ink",
                "dot",
                **shown,
            )
        )
    return figure(
        "The community and the grid",
        traces,
        {"xaxis": time_axis(run), "yaxis": {"title": {"text": "kW"}, "zeroline": True}},
        caption=f"Above zero the community draws power, below it feeds in.{highest}"
        + thinned(size, run.cadence),
    )


def batteries(run: Run, records: Sequence[HouseholdRecord], size: int) -> Markup | str:
    """State of charge of every battery over time."""
    without = _without_battery(run)
    shown = [
        record
        for record in records
        if np.isfinite(record.series["soc"]).any() and record.name not in without
    ]
    if not shown or run.intervals.empty:
        return ""
    cells = max(1, HEAT_CELLS // len(shown))
    fewer = bucket_size(len(shown[0].series["soc"]), cells, run.cadence)
    x = run.times(size * fewer)
    soc = [bucket_mean(record.series["soc"], fewer) for record in shown]
    if len(shown) == 1:
        traces = [line("State of charge", x, soc[0], "@4", hovertemplate="%{y:.0%}")]
        layout: dict[str, Any] = {
            "xaxis": time_axis(run),
            "yaxis": {"range": [0, 1], "tickformat": ".0%"},
        }
        return figure(f"Battery of {shown[0].name}", traces, layout, height=260)
    trace = {
        "type": "heatmap",
        "x": x,
        "y": [label(record.name) for record in shown],
        "z": [rounded(row, 2) for row in soc],
        "zmin": 0,
        "zmax": 1,
        # Cividis: even to the eye with and without colour blindness.
        "colorscale": "Cividis",
        "colorbar": {"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "%{y}, %{x}: %{z:.0%}<extra></extra>",
    }
    layout = {
        "hovermode": "closest",
        "yaxis": {"type": "category", "autorange": "reversed", "ticklabelstandoff": 6},
    }
    return figure(
        "State of charge",
        [trace],
        layout,
        height=110 + min(24 * len(shown), 560),
        caption="One row a household; bright is full, dark is empty."
        + (
            f" {text.plural(len(without), 'household')} without a battery left out."
            if without
            else ""
        )
        + thinned(size * fewer, run.cadence),
    )


def _without_battery(run: Run) -> set[str]:
    return {
        str(detail.get("name"))
        for detail in run.details
        if number(homes.of(detail), "battery_kwh") == 0
    }


def _rounds(run: Run) -> tuple[list[float | None], int]:
    """Rounds to draw, and how many rounds a point stands for."""
    size = max(1, -(-len(run.rounds) // LINE_POINTS))
    return rounded(run.by_round("round")[::size], 0), size


def learning_loss(run: Run) -> Markup | str:
    """Loss of the shared model by round."""
    x, size = _rounds(run)
    series = (
        ("Training", "train_loss", "@1", "solid"),
        ("Validation", "val_loss", "@2", "dash"),
        ("Validation, consumption", "val_consumption_day", "@3", "dot"),
        ("Validation, price", "val_price_day", "@4", "dashdot"),
    )
    traces = [
        line(name, x, bucket_mean(run.by_round(key), size), colour, dash, connectgaps=True)
        for name, key, colour, dash in series
        if np.isfinite(run.by_round(key)).any()
    ]
    if not traces:
        return ""
    layout = {"xaxis": {"title": {"text": "Federated round"}}, "yaxis": {"title": {"text": "Loss"}}}
    return figure(
        "Loss of the shared model",
        traces,
        layout,
        height=320,
        caption="Mean over the households that answered, weighted by their training windows."
        + (f" Each point is the mean of {size} rounds." if size > 1 else ""),
    )


def forecast_error(run: Run, records: Sequence[HouseholdRecord], window: int) -> Markup | str:
    """Error of the newest forecasts over the day before, by round, beside yesterday's reading."""
    usable = [r for r in records if r.mean_load > 0]
    if not usable:
        return ""
    day = max(1, run.cadence.per_day // window)

    def error(sums: Sequence[Floats]) -> Floats:
        """Mean over households of RMSE / mean load, each over a trailing day: (W,)."""
        total = np.stack([_trailing(s, day) for s in sums])
        counted = np.stack([_trailing(r.counted, day) for r in usable])
        mean = np.array([r.mean_load for r in usable])[:, None]
        full = counted >= day * window
        ratio = np.sqrt(np.divide(total, counted, out=np.full(total.shape, np.nan), where=full))
        present = full.sum(axis=0)
        sums_over = np.where(full, ratio / mean, 0.0).sum(axis=0)
        out = np.full(len(present), np.nan)
        np.divide(sums_over, present, out=out, where=present > 0)
        return out

    shared, yesterday = error([r.squared for r in usable]), error([r.yesterday for r in usable])
    if not np.isfinite(shared).any():
        return ""
    x = list(range(1, len(shared) + 1))
    traces = [
        line("Newest forecast", x, shared, "@1"),
        line(f"Same {run.cadence.noun} yesterday", x, yesterday, "@7", "dot"),
    ]
    layout = {
        "xaxis": {"title": {"text": f"Round (every {text.span(window, run.cadence)})"}},
        "yaxis": {"title": {"text": "nRMSE"}, "rangemode": "tozero"},
    }
    return figure(
        "Error of the consumption forecast by round",
        traces,
        layout,
        height=320,
        caption=f"For each {run.cadence.noun} the newest forecast issued before it: root mean "
        "square error of the last 24 hours over the household's mean load, mean over households. "
        "Days differ: compare the two lines.",
    )


def _trailing(values: Floats, n: int) -> Floats:
    """Sum of each value and the n - 1 before it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) + 1 - n, 0)
    trailing: Floats = total[1:] - total[first]
    return trailing


def traffic(run: Run) -> Markup | str:
    """Bytes on the wire by round."""
    x, size = _rounds(run)
    cases = (("To the server", "bytes_up", "@1", "solid"), ("Back", "bytes_down", "@2", "dash"))
    traces = [
        line(name, x, bucket_mean(run.by_round(key), size) / 1e6, colour, dash)
        for name, key, colour, dash in cases
        if np.isfinite(run.by_round(key)).any()
    ]
    if not traces:
        return ""
    layout = {
        "xaxis": {"title": {"text": "Federated round"}},
        "yaxis": {"title": {"text": "MB"}, "rangemode": "tozero"},
    }
    return figure("Model traffic by round, all households", traces, layout, height=260)


def participation(run: Run) -> Markup | str:
    """How many households were asked, answered, and were used."""
    x, size = _rounds(run)
    cases = (
        ("Asked", "sampled", "@7", "solid"),
        ("Answered", "replies", "@1", "dash"),
        ("Dropped", "dropped", "@2", "dot"),
    )
    traces = [
        line(name, x, bucket_mean(run.by_round(key), size), colour, dash)
        for name, key, colour, dash in cases
        if np.isfinite(run.by_round(key)).any()
    ]
    if not traces:
        return ""
    layout = {
        "xaxis": {"title": {"text": "Federated round"}},
        "yaxis": {"title": {"text": "Households"}, "rangemode": "tozero"},
    }
    return figure("Households in each round", traces, layout, height=260)
