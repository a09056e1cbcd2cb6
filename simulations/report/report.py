"""Draw the report of a run: ``write_report(Path("runs/demo"))`` writes runs/demo/report.html."""

from pathlib import Path

from markupsafe import Markup

from common.files import write_whole
from simulations.progress import track
from simulations.report import figures, homes, tables, text
from simulations.report.household import HouseholdRecord, read_household
from simulations.report.outlooks import month_bills
from simulations.report.page import Section, badge, beside, join, page, paragraph, tiles
from simulations.report.run import Run, number, read_run
from simulations.report.thin import bucket_size

HOUSEHOLD_VALUES = 400_000
"""Points of all households' lines together, at most: keeps the page near ten megabytes."""
LINE_POINTS = 3000
LEAST_POINTS = 50
"""Points of one household's line, at most."""


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run directory and return its path.

    Raises InputError when the directory holds no finished run or a file of it is damaged; the
    report of an earlier call is then left as it is.
    """
    run = read_run(run_dir)
    content = _page(run)
    target = run_dir / "report.html"
    write_whole(target, content, durable=False)
    return target


def _page(run: Run) -> str:
    every = run.cadence.of_hours(float(run.setting("fl", "every_hours") or 3))
    points = min(LINE_POINTS, max(LEAST_POINTS, HOUSEHOLD_VALUES // max(1, len(run.households))))
    size = bucket_size(run.length, points, run.cadence)
    records = [
        read_household(
            name,
            path,
            origin=run.origin,
            length=run.length,
            size=size,
            window=every,
            cadence=run.cadence,
        )
        for name, path in track(run.households.items(), "households read")
    ]
    return page(
        _title(run),
        _sections(run, records, size, every),
        subtitle=_period(run),
        badges=_badges(run),
        footer=join(
            [
                paragraph(
                    "Written by fedwatt. Money is in the currency of the tariff, without battery "
                    f"wear. Times are {_clock(run)}. This page makes no request: it can be kept "
                    "and sent as one file."
                )
            ]
        ),
    )


def _sections(run: Run, records: list[HouseholdRecord], size: int, every: int) -> list[Section]:
    details = run.details
    households = [figures.bills(details), tables.bills(details)] if details else []
    households.append(homes.homes(details))
    return [
        Section("Result", [tiles(tables.headline(run)), figures.cost_bars(run)]),
        Section(
            "Households",
            [
                *households,
                tables.months(month_bills(run)),
                figures.chosen_household(run, records, size),
                _absent(run, records),
            ],
            lead="What each household pays, and what the market changed for it.",
        ),
        Section(
            "Market",
            [tables.market(run), figures.market(run), figures.grid(run), tables.cap(run)],
            lead=f"Every {run.cadence.noun} the households offer and bid; what the market does not "
            "cover flows from or to the grid at the retail and feed-in price.",
        ),
        Section("Batteries", [figures.batteries(run, records, size)]),
        Section(
            "Forecast and learning",
            [
                tables.forecasts(run),
                tables.forecast_ranking(records),
                beside(figures.learning_loss(run), figures.forecast_error(run, records, every)),
                beside(figures.traffic(run), figures.participation(run)),
            ],
            lead=_learning_lead(run, every),
        ),
        Section(
            "Checks and settings",
            [
                tables.checks(run),
                beside(tables.exceptions(run), tables.timing(run)),
                tables.settings(run),
            ],
            lead="What must hold in every run, whatever it earns.",
        ),
    ]


def _title(run: Run) -> str:
    households = number(run.summary, "households")
    who = "Energy community" if households is None else text.plural(households, "household")
    return f"{who}, {text.span(run.length, run.cadence)}"


def _period(run: Run) -> str:
    times = run.times()
    if not times:
        return "This run has no interval log."
    source = run.section("data").get("source") or "unknown"
    first, last = times[0].replace("T", " "), times[-1].replace("T", " ")
    return f"{first} to {last} ({_clock(run)}), data: {source}, trader: {_trader(run)}"


def _trader(run: Run) -> str:
    kinds = {str(kind) for detail in run.details if (kind := homes.of(detail).get("trader"))}
    return ", ".join(sorted(kinds)) or str(run.setting("trader", "kind") or "unknown")


def _clock(run: Run) -> str:
    """Of which zone the times are; that the homes have several."""
    zones = run.zones
    if len(zones) < 2:
        return run.timezone
    return f"{run.timezone}, the homes lie in {', '.join(zones[:-1])} and {zones[-1]}"


def _badges(run: Run) -> list[Markup]:
    real = run.section("data").get("real")
    passed = tables.checks_pass(run)
    return [
        badge("Real homes", "good") if real is True else badge("Synthetic homes, not measured"),
        badge("✓ Energy and money balance", "good")
        if passed
        else badge("✗ Checks fail: see below" if passed is False else "Checks not known", "bad"),
        badge(f"Seed {text.count(number(run.summary, 'seed')).replace(',', '')}"),
    ]


def _learning_lead(run: Run, every: int) -> str:
    rounds = number(run.section("fl"), "rounds")
    if not rounds:
        return "No federated round took place in this run."
    return (
        f"Every {text.span(every, run.cadence)} the households' model updates are averaged "
        f"({run.section('fl').get('strategy') or 'strategy unknown'}). Errors of consumption are "
        "in kWh per half hour. MASE below 1 beats the value of a week ago; bias is the mean error "
        "over the mean consumption."
    )


def _absent(run: Run, records: list[HouseholdRecord]) -> Markup | str:
    expected = number(run.summary, "households")
    if records and (expected is None or len(records) >= expected):
        return ""
    found = f"{len(records)} of {text.count(expected)}" if records else "None"
    return paragraph(
        f"{found} of the households' own databases are in this directory; the pictures of single "
        "households need them.",
        "note",
    )
