"""A household's bill worked out again, from its own readings, its trades and the settings alone."""

import json
from collections import Counter
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from common.config import Settings
from fl_server.audit import Kind
from tests.support.reading import intervals, ledger_rows


def micro(kwh: Decimal, price: float | Decimal) -> Decimal:
    """Micro for kWh at a price to the millionth, to the nearest, halves up."""
    return (kwh * millionths(price) + Decimal("0.5")).to_integral_value(ROUND_FLOOR)


def millionths(price: float | Decimal) -> Decimal:
    """A price in whole millionths."""
    return Decimal(round(float(price) * 1e6))


def again(run: Path, settings: Settings, household: str, zone: str) -> Counter[str]:
    """Micro by line of the whole run."""
    reports = json.loads((run / "reports.json").read_text())
    tariff = settings.tariff
    place = sorted(reports["households"]).index(household)
    row, _ = reports["tariffs"]["of"][household]
    all_in = reports["tariffs"]["retail"][row]
    vat, local = 1 + (tariff.vat or 0.0), tariff.local
    network = (local.network_share or 0) * tariff.network_fee + (local.network_fee or 0)
    levies = (local.levies_share or 0) * tariff.levies + (local.levies or 0)
    fee = (network + levies) * (1 + (local.vat or 0))
    rows = ledger_rows(run)
    first_account = 7 if fee else 4
    fills = {
        row[2]: tuple(Decimal(x) for x in row[6:10])
        for row in rows
        if row[3] == Kind.FILLS and row[5] == first_account + place
    }
    bill: Counter[str] = Counter()
    for one in intervals(run, household):
        t, mwh = one["t"], Decimal(10) ** 6
        bought, sold, received, paid = fills.get(t, (Decimal(0),) * 4)
        # The meter, to the mWh, and what of it is not traded.
        drawn = Decimal(round((one["grid_import"] + one["bought"]) * 1e6))
        sent = Decimal(round((one["grid_export"] + one["sold"]) * 1e6))
        drawn, sent = max(drawn - sent, Decimal(0)), max(sent - drawn, Decimal(0))
        grid = (max(drawn - bought, Decimal(0)) + max(sold - sent, Decimal(0))) / mwh
        fed = (max(sent - sold, Decimal(0)) + max(bought - drawn, Decimal(0))) / mwh
        price = all_in[t]
        energy = price / vat - tariff.markup - tariff.network_fee - tariff.levies
        parts = {
            "markup": micro(grid, tariff.markup),
            "network_fee": micro(grid, tariff.network_fee),
            "levies": micro(grid, tariff.levies),
        }
        before_vat = [energy, tariff.markup, tariff.network_fee, tariff.levies]
        tax = millionths(price) - sum(millionths(x) for x in before_vat)
        parts["vat"] = micro(grid, tax / mwh)
        parts["energy"] = micro(grid, price) - sum(parts.values())
        parts["feed_in"] = -micro(fed, one["feed_in"])
        kwh = bought / mwh
        parts["local_network_fee"] = micro(kwh, network)
        parts["local_levies"] = micro(kwh, levies)
        local_tax = millionths(fee) - millionths(network) - millionths(levies)
        parts["local_vat"] = micro(kwh, local_tax / mwh)
        parts["local_energy"] = paid - sum(
            parts[name] for name in ("local_network_fee", "local_levies", "local_vat")
        )
        parts["local_sales"] = -received
        bill.update(parts)
    start = datetime.fromisoformat(reports["start"])
    moments = (
        start + timedelta(minutes=settings.run.interval_minutes) * t for t in range(len(all_in))
    )
    days = len({moment.astimezone(ZoneInfo(zone)).date() for moment in moments})
    charge = tariff.standing_charge_per_day
    bill["standing_charge"] = days * int(millionths(charge))
    bill["vat"] += days * int(millionths(charge * vat) - millionths(charge))
    return bill
