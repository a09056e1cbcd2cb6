"""The process that reads a household's meters. It stays in memory for months.

python -m fl_client.host.meters HOME
"""

import logging
import sys
from pathlib import Path

from common.errors import InputError
from common.processes import told_to_stop
from fl_client.control.settings import read_control
from fl_client.home.clock import read_clock
from fl_client.home.daemon import Meters, run
from fl_client.host.client_file import read_client, secrets

MINUTES = 30


def opened(home: Path) -> Meters:
    """The household's meters, to be read by this process alone. Raises InputError, Busy."""
    name, clock = read_client(home).name, read_clock(home)
    battery = read_control(home).readback
    return Meters(home, name, secrets(home), minutes=MINUTES, clock=clock, battery=battery)


def main() -> int:
    """Read the household's meters until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="fedwatt meters: %(message)s")
    stop = told_to_stop()
    try:
        meters = opened(Path(sys.argv[1]))
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        return 2
    run(meters, stop.is_set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
