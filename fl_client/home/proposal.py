"""A mapping out of what Home Assistant knows already: its energy dashboard, and its past."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from common.errors import InputError
from fl_client.home.sources.homeassistant import Session

_DAYS = 400
_HISTORY_DAYS = 10


class Proposal(NamedTuple):
    """``entries`` of meters.yaml, and ``words`` on what was found."""

    entries: list[dict[str, str]]
    words: list[str]


def propose(url: str, token: str) -> Proposal:
    """Ask Home Assistant at ``url`` for its meters. Raises InputError and OSError."""
    session = Session(url, token)
    try:
        config = session.ask(type="get_config")
        try:
            prefs = session.ask(type="energy/get_prefs")
        except OSError:
            prefs = {}
        states = {state["entity_id"]: state for state in session.ask(type="get_states")}
        entries = [{"role": role, "source": url, "entity": entity} for role, entity in roles(prefs)]
        if not any(entry["role"] == "import" for entry in entries):
            raise InputError(
                f"Home Assistant at {url}: its energy dashboard names no grid meter; set it up "
                "under Settings, Dashboards, Energy, or write meters.yaml (docs/live.md)"
            )
        if any(entry["role"] == "charge" for entry in entries):
            entries += [
                {"role": "soc", "source": url, "entity": entity}
                for entity in _soc(states, [e["entity"] for e in entries if e["role"] == "charge"])
            ]
        gone = [entry["entity"] for entry in entries if entry["entity"] not in states]
        words = [f"{entity}: the energy dashboard names it, but there is no such entity"
                 for entity in gone]  # fmt: skip
        words += _past(session, entries, str(config.get("time_zone", "UTC")))
        return Proposal(entries, words)
    finally:
        session.close()


def roles(prefs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(Role, entity) of the energy dashboard's sources, in either of the shapes there have been.

    A battery's ``stat_energy_from`` is what it discharges.
    """
    sides = {
        "grid": (("import", "stat_energy_from"), ("export", "stat_energy_to")),
        "solar": (("pv", "stat_energy_from"),),
        "battery": (("discharge", "stat_energy_from"), ("charge", "stat_energy_to")),
    }
    for source in prefs.get("energy_sources", []):
        kind = source.get("type")
        flows = [source, *source.get("flow_from", []), *source.get("flow_to", [])]
        for flow in flows:
            for role, key in sides.get(kind, ()):
                if flow.get(key):
                    yield role, flow[key]
        if kind == "grid" and source.get("stat_rate"):
            yield "power", source["stat_rate"]


def _soc(states: Mapping[str, Any], batteries: list[str]) -> list[str]:
    """The one sensor of a battery's level in per cent, if it is plain which one that is."""
    levels = [
        entity
        for entity, state in states.items()
        if state["attributes"].get("device_class") == "battery"
        and state["attributes"].get("unit_of_measurement") == "%"
    ]
    words = {word for entity in batteries for word in entity.partition(".")[2].split("_")}
    alike = [e for e in levels if len(words & set(e.partition(".")[2].split("_"))) > 1]
    return alike if len(alike) == 1 else levels if len(levels) == 1 else []


def _past(session: Session, entries: list[dict[str, str]], zone: str) -> list[str]:
    """What the history allows: days, resolution, zone."""
    entities = sorted({entry["entity"] for entry in entries if entry["role"] != "soc"})
    now = datetime.now(UTC)
    found = session.ask(
        type="recorder/statistics_during_period",
        start_time=(now - timedelta(days=_DAYS)).isoformat(), statistic_ids=entities,
        period="hour", types=["state"], units={"energy": "kWh"},
    )  # fmt: skip
    words = []
    for entity in entities:
        rows = (found or {}).get(entity, [])
        if rows:
            days = (now.timestamp() - rows[0]["start"] / 1000) / 86400
            words.append(f"{entity}: {days:.0f} days by the hour")
        else:
            words.append(f"{entity}: no past yet; forecasts need about four weeks")
    words.append(
        f"the last {_HISTORY_DAYS} days to the half hour, as far as the recorder goes back"
    )
    words.append(f"time zone {zone}")
    return words
