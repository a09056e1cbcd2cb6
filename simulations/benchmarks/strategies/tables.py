"""The benchmark's results as tables: a title, columns, lines of text, and what to read in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies.dials import CLEAN, Dial
from simulations.benchmarks.strategies.setup import REFERENCES, UNTRAINED
from simulations.report import text

BASE = "fedavg"
TARGET = 0.9
"""Share of FedAvg's gain at which rounds and bytes are counted."""
BROKEN = 0.05
"""Relative rise of the honest homes' error from which on an attack has succeeded."""


@dataclass(frozen=True)
class Table:
    """A table for a page or a Markdown file."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown."""
        rows = [self.columns, ["---"] * len(self.columns), *self.lines]
        body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return f"### {self.title}\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")


def percent(mean: stat.Mean) -> str:
    """A relative change with its interval."""
    if mean.failed:
        return mean.failure
    if np.isnan(mean.value):
        return text.MISSING
    half = "" if np.isnan(mean.half) else f" ± {100 * mean.half:.1f}"
    return f"{100 * mean.value:+.1f}{half} %"


def share(mean: stat.Mean) -> str:
    """A share with its interval; where no seed has one it was not measured."""
    if 0 < mean.failed < mean.count:
        return mean.failure
    if np.isnan(mean.value):
        return text.MISSING
    half = "" if np.isnan(mean.half) else f" ± {100 * mean.half:.1f}"
    return f"{100 * mean.value:.1f}{half} %"


def probability(p: float) -> str:
    """A p value."""
    return text.MISSING if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _mean(values: pd.Series, form: str) -> str:
    """Their mean, where every one of them is there."""
    found = float(values.mean(skipna=False))
    return format(found, form) if np.isfinite(found) else text.MISSING


def _has(rows: pd.DataFrame, dial: str) -> bool:
    return bool((rows["dial"] == dial).any())


def overview(rows: pd.DataFrame, costs: pd.DataFrame) -> Table | None:
    """All strategies in the clean community, the references among them."""
    if not _has(rows, CLEAN):
        return None
    names = stat.strategies_of(rows, CLEAN)
    base = BASE if BASE in names else names[0]
    against = {n: stat.difference(rows, (n, CLEAN), (base, CLEAN)) for n in names}
    tested = [n for n in names if n != base]
    corrected = dict(zip(tested, stat.holm([against[n].p for n in tested]), strict=True))
    goals = stat.targets(rows, base, CLEAN, TARGET)
    reach = stat.to_target(rows, [CLEAN], goals).set_index("strategy")
    end = stat.final(rows[rows["dial"] == CLEAN])
    paid = costs[costs["dial"] == CLEAN].groupby("strategy")[["cpu_s", "wall_s", "peak_mb"]].mean()
    spending = [{str(k): float(v) for k, v in paid[c].items()} for c in paid.columns]
    lines = []
    for name in names:
        own = end[end["strategy"] == name]
        one = own.groupby("seed")[["bytes_up", "bytes_down", "messages"]].first().mean()
        money = stat.mean_of(own.groupby("seed")["share_of_optimum"].first().to_numpy())
        goal = reach.loc[[name]]
        hit = int(goal["rounds"].notna().sum())
        lines.append(
            [
                name + (" (reference)" if name in REFERENCES else ""),
                str(against[name].own),
                percent(stat.difference(rows, (name, CLEAN), ("mean-7-days", CLEAN)).change)
                if name != "mean-7-days"
                else text.MISSING,
                text.MISSING if name == base else percent(against[name].change),
                probability(corrected.get(name, float("nan"))),
                _mean(own["mae"], ".3f"),
                _mean(own["mase"], ".3f"),
                _mean(own["bias"], "+.3f"),
                _mean(own["kept_round"], ".1f") if name not in UNTRAINED else text.MISSING,
                _mean(own["rounds_run"], ".1f") if name not in UNTRAINED else text.MISSING,
                f"{goal['rounds'].mean():.1f} ({hit}/{len(goal)})" if hit else text.MISSING,
                text.size(goal["bytes"].mean()) if hit else text.MISSING,
                text.size(one["bytes_up"]),
                text.size(one["bytes_down"]),
                f"{one['messages']:.0f}",
                *(text.decimal(spent.get(name), 1) for spent in spending),
                share(money),
            ]
        )  # fmt: skip
    return Table(
        "Strategies in the clean community",
        (
            "strategy", "nRMSE", "against mean of 7 days", f"against {base}", "p (Holm)",
            "MAE [kWh]", "MASE", "bias", "round kept", "rounds run",
            "rounds to target", "bytes to target", "bytes up", "bytes down", "messages", "CPU [s]",
            "wall [s]", "peak [MB]", "share of optimum",
        ),
        lines,
        f"Errors of day-ahead consumption on held-out days, mean over homes, ± half of the 95 % "
        f"interval over seeds; failed: seeds in which a home has no error, as its model has "
        f"diverged. Round kept: whose model counts, by the days to choose by. Target: the error at "
        f"which {base} has made {100 * TARGET:.0f} % of its gain over the first weights, per seed; "
        "in brackets how many seeds reach it. Peak: memory of the process, model code included.",
    )  # fmt: skip


def failed_rounds(rows: pd.DataFrame) -> Table | None:
    """Strategies that made no model in some of their rounds, under any dial."""
    end = stat.final(rows).groupby([*stat.KEYS, "seed"])[["failed_rounds", "rounds_run"]].first()
    sums = end.groupby(level=[0, 1]).sum()
    some = sums[sums["failed_rounds"] > 0]
    if some.empty:
        return None
    lines = [
        [str(dial), str(strategy), str(int(failed)), str(int(rounds))]
        for (dial, strategy), failed, rounds in zip(
            some.index, some["failed_rounds"], some["rounds_run"], strict=True
        )
    ]
    return Table(
        "Rounds that failed",
        ("dial", "strategy", "failed", "of rounds"),
        lines,
        "Sums over seeds. A round has failed where the strategy raised, or made no new model of "
        "what came: the model stays as it was. Where no round of a seed made a model the seed has "
        "no result, and has failed in every table.",
    )


def fairness(rows: pd.DataFrame) -> Table | None:
    """How the error is spread over the homes."""
    if not _has(rows, CLEAN):
        return None
    found = stat.fairness(rows, CLEAN).sort_values("p90", ignore_index=True)
    spread = found[["p10", "median", "p90", "worst"]].to_numpy(np.float64)
    worse = found["worse"].to_numpy(np.float64)
    lost, count = found["failed"].tolist(), found["homes"].tolist()
    lines = [
        [
            str(name),
            *(
                (f"{value:.3f}" for value in spread[i])
                if not lost[i]
                else (f"failed {lost[i]} of {count[i]}", *[text.MISSING] * 3)
            ),
            text.MISSING if np.isnan(worse[i]) else f"{100 * worse[i]:.0f} %",
        ]
        for i, name in enumerate(found["strategy"])
    ]
    return Table(
        "Fairness over homes",
        ("strategy", "p10", "median", "p90", "worst home", "worse than local-only"),
        lines,
        "nRMSE of each home, mean over seeds. Last column: share of (home, seed) pairs with a "
        "larger error than a model trained on that home alone, or none.",
    )


def data_dials(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """Errors under dials of data and of answers."""
    names = [n for n, d in dials.items() if n == CLEAN or _of_data(d)]
    names = [n for n in names if _has(rows, n)]
    if len(names) < 2:
        return None
    changed = set(rows[rows["dial"].isin([n for n in names if n != CLEAN])]["strategy"])
    order = [s for s in stat.strategies_of(rows, CLEAN) if s in changed]
    lines = []
    for strategy in order:
        cells = []
        for name in names:
            one = rows[(rows["dial"] == name) & (rows["strategy"] == strategy)]
            if one.empty:
                cells.append(text.MISSING)
                continue
            cells.append(str(stat.difference(rows, (strategy, name), (strategy, name)).own))
        lines.append([strategy, *cells])
    return Table(
        "Dials of data and participation",
        ("strategy", *names),
        lines,
        "nRMSE, mean over homes, ± half of the 95 % interval over seeds. A dial that changes the "
        "data changes what can be reached: compare within a column.",
    )


def clock(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """Error against the time it takes, where homes differ in speed."""
    timed = [n for n, d in dials.items() if d.of_time and _has(rows, n)]
    if not timed or not _has(rows, CLEAN):
        return None
    lines = []
    for name in [CLEAN, *timed]:
        # Other data can be forecast better or worse: the clean community says nothing of them.
        same = name == CLEAN or dials[name].data_only() == Dial()
        goals = stat.targets(rows, BASE, CLEAN if same else name, TARGET)
        reach = stat.to_target(rows, [name], goals).set_index("strategy")
        for strategy in stat.strategies_of(rows, name):
            if strategy in REFERENCES:
                continue
            one = rows[(rows["dial"] == name) & (rows["strategy"] == strategy)]
            end = stat.final(one).groupby("seed").first()
            goal = reach.loc[[strategy]]
            hit = int(goal["seconds"].notna().sum())
            stale = float(end["staleness"].mean())
            lines.append(
                [
                    name,
                    strategy,
                    str(stat.difference(rows, (strategy, name), (strategy, name)).own),
                    f"{end['simulated_s'].mean():.1f}",
                    f"{goal['seconds'].mean():.1f} ({hit}/{len(goal)})" if hit else text.MISSING,
                    text.size(goal["bytes"].mean()) if hit else text.MISSING,
                    text.MISSING if np.isnan(stale) else f"{stale:.1f}",
                    f"{end['dropped'].mean():.1f}",
                ]
            )
    return Table(
        "Simulated time",
        (
            "dial", "strategy", "nRMSE", "run [s]", "to target [s]", "bytes to target",
            "mean staleness", "updates left out",
        ),
        lines,
        "Seconds of the simulated clock, means over seeds. A round of an asynchronous strategy is "
        "as many updates as a round of the others asks for. Staleness in steps of the model. "
        f"Target: the error at which {BASE} has made {100 * TARGET:.0f} % of its gain in the clean "
        "community, or under the dial itself where that changes the data; in brackets how many "
        "seeds reach it.",
    )  # fmt: skip


def kinds(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """Errors by kind of home: who has just begun to measure, and whose climate is another."""
    named = [n for n, d in dials.items() if d.of_kinds and _has(rows, n)]
    if not named:
        return None
    lines = []
    for name in named:
        own = stat.final(stat.honest(rows[rows["dial"] == name]))
        two, days = dials[name].climate_share > 0, dials[name].newcomer_days
        kind = [
            (source if two else "homes") + (f", newcomers of {days} d" if new else "")
            for source, new in zip(own["source"], own["newcomer"], strict=True)
        ]
        own = own.assign(kind=kind)
        for one in sorted(set(own["kind"])):
            of = own[own["kind"] == one]
            means = stat.means(of, ["strategy", "seed"], ["nrmse"])["nrmse"]
            found = {str(s): stat.mean_of(m.to_numpy()) for s, m in means.groupby(level=0)}
            for strategy in sorted(found, key=lambda s: (found[s].failed, found[s].value)):
                homes = of[of["strategy"] == strategy].groupby("seed").size().mean()
                label = strategy + (" (reference)" if strategy in REFERENCES else "")
                lines.append([name, one, f"{homes:.0f}", label, str(found[strategy])])
    return Table(
        "Newcomers and climates",
        ("dial", "kind", "homes", "strategy", "nRMSE"),
        lines,
        "nRMSE of the homes of one kind, mean over them, ± half of the 95 % interval over seeds; "
        "the best strategy of each kind first.",
    )


def _of_data(dial: Dial) -> bool:
    other = dial.model_dump(exclude_defaults=True)
    odd = {"attack", "attackers", "attack_scale", "attack_hour", "compression", "compression_down"}
    return bool(other) and not odd & other.keys() and "privacy_clip" not in other


@dataclass(frozen=True)
class AttackGrid:
    """Change of the honest homes' error against clean FedAvg, (strategies, attacks)."""

    strategies: list[str]
    attacks: list[str]
    change: np.ndarray
    half: np.ndarray
    table: Table


def attacks(rows: pd.DataFrame, dials: dict[str, Dial]) -> AttackGrid | None:
    """The attack x defence grid."""
    named = [n for n, d in dials.items() if d.attack != "none" and _has(rows, n)]
    if not named or not _has(rows, CLEAN):
        return None
    attacked = rows[rows["dial"].isin(named)]
    names = sorted(set(attacked["strategy"]) - set(REFERENCES))
    columns = [CLEAN, *named]
    found = np.full((2, len(names), len(columns)), np.nan)
    lines = []
    for i, strategy in enumerate(names):
        cells = []
        for j, name in enumerate(columns):
            one = stat.difference(rows, (strategy, name), (BASE, CLEAN))
            found[:, i, j] = one.change.value, one.change.half
            mark = "" if np.isnan(one.change.value) or one.change.value > BROKEN else " ✓"
            cells.append(percent(one.change) + mark)
        lines.append([strategy, *cells])
    seven = stat.difference(rows, ("mean-7-days", CLEAN), (BASE, CLEAN))
    note = (
        f"Error of the honest homes against {BASE} without attack, same homes and seeds, mean ± "
        f"half of the 95 % interval; ✓: within {BROKEN:.0%}; in brackets how many homes attack. "
        "The mean of the last 7 days, which no attack can reach, stands at "
        f"{percent(seven.change)}."
    )
    bad = rows[rows["malicious"]].groupby(["dial", "seed"])["household"].nunique()
    count = bad.groupby(level=0).max()
    homes = rows.groupby("dial")["household"].nunique()
    titles = [CLEAN, *(f"{n} ({count.get(n, 0)} of {homes[n]})" for n in named)]
    table = Table("Attacks and defences", ("strategy", *titles), lines, note)
    return AttackGrid(names, columns, found[0], found[1], table)


def breaks(grid: AttackGrid, dials: dict[str, Dial]) -> Table | None:
    """From which share of attackers on each strategy is broken, of attacks by several shares."""
    shares: dict[str, list[tuple[float, int]]] = {}
    for column, name in enumerate(grid.attacks):
        dial = dials[name]
        if dial.attack != "none":
            shares.setdefault(dial.attack, []).append((dial.attackers, column))
    several = {kind: sorted(of) for kind, of in shares.items() if len(of) > 1}
    if not several:
        return None
    lines = []
    for i, strategy in enumerate(grid.strategies):
        cells = []
        for of in several.values():
            change = np.array([grid.change[i, column] for _, column in of])
            # What has no value has diverged.
            broken = np.flatnonzero(~(change <= BROKEN))
            most = of[-1][0]
            cells.append(f"{of[broken[0]][0]:.0%}" if len(broken) else f"not at {most:.0%}")
        lines.append([strategy, *cells])
    tried = sorted({share for of in several.values() for share, _ in of})
    return Table(
        "Share of attackers that breaks it",
        ("strategy", *several),
        lines,
        f"The least share tried ({', '.join(f'{share:.0%}' for share in tried)}) at which the "
        f"honest homes' mean error is more than {BROKEN:.0%} above that of {BASE} without attack.",
    )


def _attacked(
    end: pd.DataFrame, named: Sequence[str], cell: Callable[[pd.DataFrame], str]
) -> list[list[str]]:
    """A line a strategy: what ``cell`` says of its last rows, clean and under each attack."""
    attacked = sorted(set(end[end["dial"].isin(named)]["strategy"]) - set(REFERENCES))
    return [
        [
            strategy,
            *(
                cell(end[(end["strategy"] == strategy) & (end["dial"] == name)])
                for name in (CLEAN, *named)
            ),
        ]
        for strategy in attacked
    ]


def hour(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """What a targeted attack has done to the hour it was meant for."""
    named = [n for n, d in dials.items() if d.attack == "hour-low" and _has(rows, n)]
    if not named or not _has(rows, CLEAN):
        return None
    end = stat.final(stat.honest(rows))
    hours = sorted({dials[name].attack_hour for name in named})
    if hours != [dials.get(CLEAN, Dial()).attack_hour]:
        end = end[end["dial"] != CLEAN]  # measured at another hour

    def cell(own: pd.DataFrame) -> str:
        means = stat.means(own, "seed", ["hour_bias"])["hour_bias"]
        return percent(stat.mean_of(means.to_numpy()))

    lines = _attacked(end, named, cell)
    at = ", ".join(f"{hour}:00" for hour in hours)
    return Table(
        "The hour that is made low",
        ("strategy", CLEAN, *named),
        lines,
        f"Mean error of the honest homes' forecasts of the hour from {at} on, in per cent of a "
        "home's mean load, mean over homes, ± half of the 95 % interval over seeds.",
    )


def attacked_money(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """What trading by an attacked model saves."""
    end = stat.final(rows)
    lived = end[end["share_of_optimum"].notna()]
    named = [n for n, d in dials.items() if d.attack != "none" and _has(lived, n)]
    if not named:
        return None

    def cell(own: pd.DataFrame) -> str:
        return share(stat.mean_of(own.groupby("seed")["share_of_optimum"].first().to_numpy()))

    lines = _attacked(end, named, cell)
    return Table(
        "What an attacked model is worth",
        ("strategy", CLEAN, *named),
        lines,
        "Share of the optimum, attackers' homes among the others, ± half of the 95 % interval over "
        "seeds. Each home trades by its own days as the model corrects them, where that was no "
        "worse in its last week. By own days alone it is "
        f"{cell(end[end['strategy'] == 'mean-7-days'])}.",
    )


def compression(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """What compression costs in error and saves in bytes."""
    named = [
        n
        for n, d in dials.items()
        if (d.compression, d.compression_down) != ("none", "none") and _has(rows, n)
    ]
    if not named or not _has(rows, CLEAN):
        return None
    pairs = [
        (s, n)
        for s in stat.strategies_of(rows, CLEAN)
        if s not in REFERENCES
        for n in named
        if ((rows["dial"] == n) & (rows["strategy"] == s)).any()
    ]
    tests = [stat.difference(rows, (s, n), (s, CLEAN)) for s, n in pairs]
    corrected = stat.holm([t.p for t in tests])
    lines = []
    for (strategy, name), test, p in zip(pairs, tests, corrected, strict=True):
        goals = stat.targets(rows, strategy, CLEAN, TARGET)
        both = stat.to_target(rows[rows["strategy"] == strategy], [CLEAN, name], goals)
        wide = both.pivot(index="seed", columns="dial", values="bytes").dropna(how="all")
        ratio = (wide[CLEAN] / wide[name]).dropna() if name in wide else pd.Series(dtype=float)
        end = stat.final(rows[rows["strategy"] == strategy])
        per = end.groupby("dial")[["bytes_up", "bytes_down", "rounds_run"]].mean()
        run = per["rounds_run"]
        up, down = per["bytes_up"] / run, per["bytes_down"] / (run + 0.5)
        lines.append(
            [
                strategy,
                name,
                percent(test.change),
                probability(p),
                f"{up[CLEAN] / up[name]:.2f}x",
                f"{(up + down)[CLEAN] / (up + down)[name]:.1f}x",
                f"{ratio.mean():.1f}x ({len(ratio)}/{len(wide)})" if len(ratio) else text.MISSING,
            ]
        )
    return Table(
        "Compression of updates",
        (
            "strategy", "dial", "error against uncompressed", "p (Holm)", "fewer bytes up",
            "fewer bytes in all", "fewer bytes to the same error",
        ),
        lines,
        "Bytes as sent, up and down, array headers included; the first model is sent whole in "
        f"every case. Same error: where the uncompressed strategy has made {100 * TARGET:.0f} % of "
        "its gain, per seed; mean of the seeds that reach it, their number in brackets.",
    )  # fmt: skip


def privacy(rows: pd.DataFrame, dials: dict[str, Dial]) -> Table | None:
    """Error and money against epsilon."""
    named = [n for n, d in dials.items() if d.privacy_clip is not None and _has(rows, n)]
    if not named or not _has(rows, CLEAN):
        return None
    lines = []
    for name in [CLEAN, *named]:
        for strategy in sorted(set(rows[rows["dial"] == named[0]]["strategy"]) - set(REFERENCES)):
            one = stat.difference(rows, (strategy, name), (strategy, CLEAN))
            end = stat.final(rows[(rows["strategy"] == strategy) & (rows["dial"] == name)])
            money = stat.mean_of(end.groupby("seed")["share_of_optimum"].first().to_numpy())
            lines.append(
                [
                    strategy,
                    name,
                    _epsilon(end["epsilon"].mean()),
                    _epsilon(end["epsilon_server"].mean()),
                    str(one.own),
                    text.MISSING if name == CLEAN else percent(one.change),
                    share(money),
                ]
            )
    return Table(
        "Privacy",
        (
            "strategy", "dial", "epsilon (models)", "epsilon (server)", "nRMSE",
            "against no privacy", "share of optimum",
        ),
        lines,
        "Client-level differential privacy at delta 1e-5 for the whole run: against those who see "
        "the models, and against the server, which sees each noised update.",
    )  # fmt: skip


def _epsilon(value: float) -> str:
    return "none" if np.isnan(value) else "infinite" if np.isinf(value) else f"{value:.1f}"
