"""The page and the Markdown tables of a benchmark."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from simulations.benchmarks.strategies import certainty, figures, regimes, tables
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.setup import Setup
from simulations.report.page import Content, Section, page, paragraph, table

PAGE = "report.html"
MARKDOWN = "tables.md"


def _table(found: tables.Table | None) -> Content:
    if found is None:
        return ""
    body = table(found.columns, found.lines, caption=found.title)
    return Markup("{}{}").format(body, paragraph(found.note, "note") if found.note else "")


def write(
    rows: pd.DataFrame,
    costs: pd.DataFrame,
    setup: Setup,
    dials: dict[str, Dial],
    out: Path,
    tuned: tables.Table | None = None,
    base: str = tables.BASE,
) -> Path:
    """Write ``report.html`` and ``tables.md`` into ``out``; returns the page's path. ``base``: what
    is compared with in what is said of certainty, tuned strategies with a tuned one."""
    attacks = tables.attacks(rows, dials)
    found = [
        tables.overview(rows, costs),
        certainty.table(rows, base),
        tables.fairness(rows),
        tables.data_dials(rows, dials),
        tables.clock(rows, dials),
        tables.kinds(rows, dials),
        None if attacks is None else attacks.table,
        None if attacks is None else tables.breaks(attacks, dials),
        tables.hour(rows, dials),
        tables.attacked_money(rows, dials),
        tables.compression(rows, dials),
        tables.privacy(rows, dials),
    ]
    overview, sure, fair, data, time, kind, attack, broken, hour, money, small, private = found
    matters = regimes.table(rows, base)
    failed = tables.failed_rounds(rows)
    found += [matters, failed, tuned]
    timed = [name for name, dial in dials.items() if dial.of_time]
    compressed = [
        n for n, d in dials.items() if (d.compression, d.compression_down) != ("none", "none")
    ]
    sections = [
        Section(
            "Strategies",
            [figures.error_by_round(rows), _table(overview), figures.error_by_bytes(rows)],
            "Every strategy and the references, nothing in the way.",
        ),
        Section("Tuning", [_table(tuned)]),
        Section("How sure", [certainty.picture(rows), _table(sure)]),
        Section("Where the choice matters", [_table(matters)]),
        Section("Fairness", [figures.fairness(rows), _table(fair)]),
        Section("Data and participation", [_table(data)]),
        Section(
            "Simulated time",
            [*(figures.error_by_second(rows, name) for name in timed), _table(time)]
            if time
            else [],
        ),
        Section("Newcomers and climates", [_table(kind)]),
        Section(
            "Attacks",
            []
            if attacks is None
            else [figures.attack_grid(attacks), *map(_table, (attack, broken, hour, money))],
        ),
        Section(
            "Compression",
            [figures.compression_curves(rows, compressed, tables.BASE), _table(small)]
            if small
            else [],
        ),
        Section("Privacy", [_table(private)]),
        Section("Failed", [_table(failed)]),
    ]
    seeds = rows["seed"].nunique()
    subtitle = (
        f"{setup.households} homes of {setup.data}, preset {setup.preset}, {setup.rounds} rounds "
        f"of {setup.local_steps} steps of {setup.batch_size} windows, {seeds} seeds; "
        f"{setup.train_days} days to train on"
        + (f", {setup.check_days} to choose the round by" if setup.check_days else "")
        + f", {setup.test_days} held out, drawn by seed"
    )
    path = out / PAGE
    path.write_text(page("Aggregation strategies", sections, subtitle=subtitle), encoding="utf-8")
    text = "\n".join(one.markdown() for one in found if one is not None)
    (out / MARKDOWN).write_text(f"{subtitle}.\n\n{text}", encoding="utf-8")
    return path
