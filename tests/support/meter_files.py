"""Writers of small files as utilities, inverters and Home Assistant give them, and what they hold.

A writer takes a path and the first local day, writes three days, and returns the UTC times of the
readings and the kWh of each: ``load`` and, where the file tells, ``pv``.
"""

import sqlite3
from itertools import pairwise

import numpy as np
import pandas as pd


def values(size, seed=0, most=0.6):
    return np.round(np.random.default_rng(seed).uniform(0.05, most, size), 3)


def stamps(zone, freq, first="2025-06-02", days=3):
    """UTC times of whole local days."""
    step = pd.Timedelta(freq)
    begin = pd.Timestamp(first, tz=zone)
    end = pd.Timestamp(pd.Timestamp(first) + pd.Timedelta(days=days), tz=zone)
    return pd.date_range(begin.tz_convert("UTC"), end.tz_convert("UTC"), freq=step)[:-1]


def comma(value):
    return f"{value:.3f}".replace(".", ",")


def octopus(path, first):
    utc = stamps("Europe/London", "30min", first)
    kwh = values(len(utc))
    local = utc.tz_convert("Europe/London")
    rows = ["Consumption (kWh), Estimated Cost Inc. Tax (p), Start, End"]
    rows += [
        f"{v}, 3.1, {t.isoformat()}, {(t + pd.Timedelta('30min')).isoformat()}"
        for v, t in zip(kwh, local, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": kwh}


def enedis(path, first):
    utc = stamps("Europe/Paris", "30min", first)
    watt = np.round(values(len(utc), most=3000)) + 60
    ends = (utc + pd.Timedelta("30min")).tz_convert("Europe/Paris")
    rows = [
        "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;"
        "Grandeur metier;Etape metier;Unite;Pas en minutes",
        "0;Courbe de charge;01/06/2025;02/06/2025;Energie active;Consommation;Comptage Brut;W;",
        "Horodate;Valeur",
    ]
    rows += [f"{t.isoformat()};{w:.0f}" for t, w in zip(ends, watt, strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return utc, {"load": watt / 2000}


def enedis_2025(path, first):
    utc = stamps("Europe/Paris", "30min", first)
    kw = values(len(utc), most=4.0)
    local = utc.tz_convert("Europe/Paris")
    rows = ["Début;Fin;Valeur (en kW)"]
    rows += [
        f"{t:%d/%m/%Y %H:%M:%S};{t + pd.Timedelta('30min'):%d/%m/%Y %H:%M:%S};{comma(v)}"
        for t, v in zip(local, kw, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": kw / 2}


def datadis(path, first):
    utc = stamps("Europe/Madrid", "60min", first)
    kwh, given = values(len(utc)), values(len(utc), 1, 0.2)
    local = utc.tz_convert("Europe/Madrid")
    rows = ["cups;fecha;hora;consumo_kWh;metodoObtencion;energiaVertida_kWh"]
    rows += [
        f"ES00;{t:%Y/%m/%d};{t.hour + 1:02d}:00;{comma(v)};Real;{comma(g)}"
        for t, v, g in zip(local, kwh, given, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": kwh, "pv": given}


def e_distribuzione(path, first):
    utc = stamps("Europe/Rome", "15min", first)
    kwh = values(len(utc), most=0.3)
    times = [f"{m // 60:02d}:{m % 60:02d}" for m in range(0, 1441, 15)]
    rows = ["Giorno;" + ";".join(f"{a}-{b}" for a, b in pairwise(times))]
    for day in range(len(utc) // 96):
        when = utc[day * 96].tz_convert("Europe/Rome")
        cells = ";".join(f'"{comma(v)}"' for v in kwh[day * 96 : day * 96 + 96])
        rows.append(f'"{when:%d/%m/%Y}";{cells}')
    path.write_text("\n".join(rows))
    return utc, {"load": kwh}


def fluvius(path, first, words=("Afname", "Injectie", "Dag", "Nacht"), head=None, form="%d-%m-%Y"):
    utc = stamps("Europe/Brussels", "15min", first)
    used, given = values(len(utc)), values(len(utc), 1, 0.2)
    head = head or (
        "Van datum;Van tijdstip;Tot datum;Tot tijdstip;EAN;Meter;Metertype;Register;Volume;Eenheid;"
        "Validatiestatus"
    )
    rows = [head]
    for t, u, g in zip(utc.tz_convert("Europe/Brussels"), used, given, strict=True):
        until = t + pd.Timedelta("15min")
        part = words[2] if 7 <= t.hour < 22 else words[3]
        for flow, kwh in ((words[0], u), (words[1], g)):
            rows.append(
                f'{t.strftime(form)};{t:%H:%M:%S};{until.strftime(form)};{until:%H:%M:%S};="1";1SAG;'
                f"Digital;{flow} {part};{comma(kwh)};kWh;Read"
            )
    path.write_text("\ufeff" + "\n".join(rows), encoding="utf-8")
    return utc, {"load": used, "pv": given}


def fluvius_en(path, first):
    head = (
        "From (date);From (time);Until (date);Until (time);EAN code;Meter;Meter type;Register;"
        "Volume;Unit;Validation status"
    )
    words = ("Offtake", "Injection", "Day", "Night")
    return fluvius(path, first, words, head, "%d/%m/%Y")


def dsmr(path, first):
    utc = stamps("Europe/Amsterdam", "60min", first)
    low, high, back = (values(len(utc), s) for s in range(3))
    rows = [
        "Hour Start,Electricity 1 (Dutch Users: Low Tariff),Electricity 2 (Dutch Users: Normal "
        "Tariff),Electricity 1 Returned (Dutch Users: Low Tariff),Electricity 2 Returned (Dutch "
        "Users: Normal Tariff),Gas"
    ]
    rows += [
        f"{t.isoformat()},{a},{b},0,{c},0.03"
        for t, a, b, c in zip(utc.tz_convert("Europe/Amsterdam"), low, high, back, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": low + high, "pv": back}


def uk_half_hourly(path, first):
    utc = stamps("Europe/London", "30min", first)
    kwh = values(len(utc))
    rows = ["MPAN,Date," + ",".join(f"HH{i}" for i in range(1, 51))]
    local = utc.tz_convert("Europe/London")
    for day in sorted(set(local.date)):
        mine = [f"{v}" for v, t in zip(kwh, local, strict=True) if t.date() == day]
        rows.append(f"1200,{day:%d/%m/%Y}," + ",".join(mine + [""] * (50 - len(mine))))
    path.write_text("\n".join(rows))
    return utc, {"load": kwh}


def pge(path, first):
    utc = stamps("America/Los_Angeles", "60min", first)
    net = values(len(utc), most=2.0) - 0.5
    rows = ["Name,A USER", "Address,1 MAIN ST", "Account Number,000", "Service,Service 1", ""]
    rows += ["TYPE,DATE,START TIME,END TIME,USAGE (kWh),COST,NOTES"]
    rows += [
        f"Electric usage,{t:%Y-%m-%d},{t:%H:%M},{t:%H}:59,{v:.3f},$0.20,"
        for t, v in zip(utc.tz_convert("America/Los_Angeles"), net, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": np.clip(net, 0, None), "pv": np.clip(-net, 0, None)}


def ameren(path, first):
    utc = stamps("America/Chicago", "60min", first)
    kwh = values(len(utc), most=3.0)
    rows = ["Name,A USER,,,,,,", "Commodity,Electric,,,,,,", ",,,,,,,"]
    rows += ["Start Interval Date/Time,Meter Id,Usage,Units,Interval,Usage,Units,Interval"]
    rows += [
        f"{t:%m/%d/%Y %H:%M},7262,{v},kwh,60min,{v / 4:.3f},kwh,15min"
        for t, v in zip(utc.tz_convert("America/Chicago"), kwh, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": kwh}


def enphase(path, first):
    utc = stamps("America/New_York", "60min", first)
    sun, used = np.round(values(len(utc), 1, 1.0) * 1000), np.round(values(len(utc), 2, 2.0) * 1000)
    bought, sold = np.clip(used - sun, 0, None), np.clip(sun - used, 0, None)
    rows = [
        "Date/Time,Energy Produced (Wh),Energy Consumed (Wh),Exported to Grid (Wh),Imported from "
        "Grid (Wh)"
    ]
    rows += [
        f"{t:%m/%d/%Y %H:%M},{a:.0f},{b:.0f},{c:.0f},{d:.0f}"
        for t, a, b, c, d in zip(
            utc.tz_convert("America/New_York"), sun, used, sold, bought, strict=True
        )
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": used / 1000, "pv": sun / 1000}


def zappi(path, first):
    utc = stamps("UTC", "60min", first)
    kwh = values(len(utc), most=2.0)
    rows = [
        "Serial Number,Timestamp,Diverter Energy (L1) (Wh),Diverter Energy (L2) (Wh),Diverter "
        "Energy (L3) (Wh)"
    ]
    rows += [
        f"Z1,{t:%Y-%m-%dT%H:%M:%S}.000Z,{v * 500:.2f},{v * 300:.2f},{v * 200:.2f}"
        for t, v in zip(utc, kwh, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": kwh}


def esb(path, first, unit="kW"):
    utc = stamps("Europe/Dublin", "30min", first)
    used, given = values(len(utc)), values(len(utc), 1, 0.2)
    ends = (utc + pd.Timedelta("30min")).tz_convert("Europe/Dublin")
    factor = 2 if unit == "kW" else 1
    rows = []
    for t, u, g in zip(ends, used, given, strict=True):
        for flow, kwh in (("Import", u), ("Export", g)):
            rows.append(
                f"1,2,{kwh * factor:.4f},Active {flow} Interval ({unit}),{t:%d-%m-%Y %H:%M}"
            )
    head = "MPRN,Meter Serial Number,Read Value,Read Type,Read Date and End Time"
    path.write_text("\n".join([head, *rows[::-1]]))
    return utc, {"load": used, "pv": given}


def esb_kwh(path, first):
    return esb(path, first, "kWh")


def opsd(path, first):
    utc = stamps("UTC", "60min", first)
    used, sun = values(len(utc), 1), values(len(utc), 2)
    utc_and_end = utc.append(pd.DatetimeIndex([utc[-1] + pd.Timedelta("60min")]))
    register = [np.concatenate([[0.0], np.cumsum(v)]) + 120 for v in (used, sun)]
    rows = [
        "utc_timestamp,cet_cest_timestamp,DE_KN_residential1_grid_import,DE_KN_residential1_pv,"
        "interpolated"
    ]
    rows += [
        f"{t:%Y-%m-%dT%H:%M:%SZ},{t.tz_convert('Europe/Berlin').isoformat()},{a:.3f},{b:.3f},"
        for t, a, b in zip(utc_and_end, *register, strict=True)
    ]
    path.write_text("\n".join(rows))
    return utc, {"load": used + sun, "pv": sun}


def nem12(path, first):
    utc = stamps("Etc/GMT-10", "30min", first)
    used, given = values(len(utc)), values(len(utc), 1, 0.2)
    rows = ["100,NEM12,202506010000,MDP1,RET1"]
    for suffix, kwh in (("E1", used), ("B1", given)):
        rows.append(f"200,4000000000,B1E1,{suffix},{suffix},,METER1,kWh,30,")
        for day in range(len(utc) // 48):
            when = utc[48 * day].tz_convert("Etc/GMT-10")
            cells = ",".join(f"{v}" for v in kwh[48 * day : 48 * day + 48])
            quality = "V" if day == 1 else "A"
            rows.append(f"300,{when:%Y%m%d},{cells},{quality},,,20251009000000,")
            if day == 1:
                rows += ["400,1,40,A,,", "400,41,48,S14,,"]
    rows.append("200,4000000000,B1E1Q1,Q1,Q1,,METER1,kVArh,30,")
    rows.append("300,20250602," + ",".join(["9"] * 48) + ",A,,,20251009000000,")
    path.write_text("\n".join([*rows, "900"]) + "\n")
    return utc, {"load": used, "pv": given}


def recorder(path, first):
    utc = stamps("UTC", "60min", first)
    used, sun = values(len(utc), 1), values(len(utc), 2)
    with sqlite3.connect(path) as database:
        database.executescript(
            "create table statistics_meta (id integer primary key, statistic_id text, source text, "
            "unit_of_measurement text, has_mean boolean, has_sum boolean, name text);"
            "create table statistics (id integer primary key, metadata_id integer, start_ts float, "
            "mean float, min float, max float, state float, sum float);"
        )
        meters = (
            ("sensor.grid_import", "kWh", used, 1.0),
            ("sensor.solar_energy", "Wh", sun, 1000.0),
            ("sensor.washing_machine_energy", "kWh", used / 9, 1.0),
            ("sensor.outdoor_temperature", "°C", used, 1.0),
        )
        begin = int(utc[0].timestamp())
        for number, (entity, unit, kwh, factor) in enumerate(meters, 1):
            database.execute(
                "insert into statistics_meta values (?, ?, 'recorder', ?, 0, 1, null)",
                (number, entity, unit),
            )
            total = np.concatenate([[0.0], np.cumsum(kwh)]) * factor
            database.executemany(
                "insert into statistics (metadata_id, start_ts, state, sum) values (?, ?, ?, ?)",
                [
                    (number, begin + 3600.0 * (i - 1), 40 + s, float(s))
                    for i, s in enumerate(total.tolist())
                ],
            )
    return utc, {"load": used + sun, "pv": sun}


SAMPLES = {
    "octopus": (octopus, {}),
    "enedis": (enedis, {}),
    "enedis-2025": (enedis_2025, {}),
    "datadis": (datadis, {}),
    "e-distribuzione": (e_distribuzione, {}),
    "fluvius": (fluvius, {}),
    "fluvius-en": (fluvius_en, {}),
    "dsmr-reader": (dsmr, {}),
    "uk-half-hourly": (uk_half_hourly, {}),
    "pge": (pge, {"timezone": "America/Los_Angeles"}),
    "ameren": (ameren, {}),
    "enphase": (enphase, {"timezone": "America/New_York"}),
    "zappi": (zappi, {}),
    "esb": (esb, {}),
    "opsd-household": (opsd, {}),
    "nem12": (nem12, {}),
    "ha-recorder": (recorder, {}),
}
