"""How long a run's intervals are: said by a home's ClientApp, heard by its meters.

The two are processes of their own. Half hours are kept for every home, for models count in them;
the intervals of a run that are shorter are kept from the moment it has said so.
"""

from pathlib import Path

from common.cadence import HALF_HOUR, MINUTES, Cadence
from common.files import write_whole

_FILE = Path("state") / "interval_minutes"


def ask(home: Path, cadence: Cadence) -> None:
    """Say in a household's folder how long the intervals of its run are."""
    if asked(home) == cadence:
        return
    path = home / _FILE
    path.parent.mkdir(exist_ok=True)
    write_whole(path, f"{cadence.minutes}\n", durable=False)


def asked(home: Path) -> Cadence:
    """What was said last; half hours where nobody has said anything that can be read."""
    try:
        minutes = int((home / _FILE).read_text())
    except (OSError, ValueError):
        return HALF_HOUR
    return Cadence(minutes) if minutes in MINUTES else HALF_HOUR
