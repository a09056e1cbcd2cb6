"""Prometheus text exposition of a coordinator (format 0.0.4)."""

from collections.abc import Mapping

from fl_server.host.tally import SUMS
from fl_server.host.view import View


def exposition(view: View) -> str:
    """Metrics of the run; labels name households, values never tell a reading or an order."""
    status = view.status
    lines: list[str] = []

    def add(name: str, kind: str, text: str, values: Mapping[str, float | None]) -> None:
        known = {labels: value for labels, value in values.items() if value is not None}
        if known:
            lines.append(f"# HELP fedwatt_{name} {text}")
            lines.append(f"# TYPE fedwatt_{name} {kind}")
            lines.extend(f"fedwatt_{name}{labels} {value:.15g}" for labels, value in known.items())

    add("up", "gauge", "1 while a coordinator runs", {"": float(view.alive)})
    if not status:
        return "\n".join(lines) + "\n"
    last = view.intervals[-1] if view.intervals else {}
    newest = view.rounds[-1] if view.rounds else {}
    total = dict.fromkeys(SUMS, 0.0) | status.get("totals", {})
    add("status_age_seconds", "gauge", "age of the coordinator's status", {"": view.age_s})
    add("interval", "gauge", "next interval to run", {"": status["interval"]})
    add("lag_seconds", "gauge", "behind the clock", {"": status.get("lag_s")})
    add("market_rounds_total", "counter", "intervals booked", {"": total["intervals"]})
    add("market_round_seconds", "gauge", "duration of the newest market round",
        {"": (last.get("interval_ms") or 0.0) / 1e3})  # fmt: skip
    add("clearing_price", "gauge", "price of the newest trade, per delivered kWh",
        {"": last.get("local_price")})  # fmt: skip
    add("traded_kwh_total", "counter", "energy delivered between households",
        {"": total["delivered_kwh"]})  # fmt: skip
    add("orders_total", "counter", "orders received", {"": total["orders"]})
    add("orders_refused_total", "counter", "orders refused", {"": total["refused"]})
    add("missing_replies_total", "counter", "market replies missing", {"": total["missing"]})
    add("market_bytes", "counter", "content of market messages since the start", {
        '{direction="down"}': status["market_bytes_down"],
        '{direction="up"}': status["market_bytes_up"],
    })  # fmt: skip
    add("model_rounds_total", "counter", "federated rounds", {"": total["rounds"]})
    add("model_round_seconds", "gauge", "duration of the newest federated round",
        {"": newest.get("seconds")})  # fmt: skip
    add("model_updates_total", "counter", "updates by what became of them", {
        '{result="accepted"}': total["replies"], '{result="dropped"}': total["dropped"],
    })  # fmt: skip
    add("model_bytes_total", "counter", "model weights exchanged", {
        '{direction="up"}': total["bytes_up"], '{direction="down"}': total["bytes_down"],
    })  # fmt: skip
    households = status["households"]
    for key, text in (("online", "connected"), ("joined", "has joined the run")):
        add(f"household_{key}", "gauge", f"1 if the household {text}" if key == "joined"
            else f"1 if the household is {text}",
            {f'{{household="{n}"}}': float(h[key]) for n, h in households.items()})  # fmt: skip
    add("household_owed_intervals", "gauge", "intervals the household has not settled",
        {f'{{household="{n}"}}': float(h["owed"]) for n, h in households.items()})  # fmt: skip
    return "\n".join(lines) + "\n"
