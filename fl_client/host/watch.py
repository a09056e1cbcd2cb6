"""``fedwatt client meters``: a look at what a household's meters say."""

import contextlib
import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fl_client.control.settings import read_control
from fl_client.home import look
from fl_client.home.daemon import Busy, Meters
from fl_client.home.mapping import MAPPING, Channel, read_mapping
from fl_client.home.store import STORE, Store
from fl_client.host.meters import MINUTES, opened

_REFRESH_S = 1.0
_WIDTH = 160  # of a file or pipe, which has none


def watch(home: Path, seconds: float | None) -> bool:
    """Show what arrives for so long, or until interrupted; whether every meter has spoken.

    Where the household's daemon runs it is looked at; otherwise this process reads the meters
    meanwhile, into the same store. Raises InputError.
    """
    channels = [*read_mapping(home / MAPPING), *read_control(home).readback]
    try:
        meters: Meters | None = opened(home)
    except Busy:
        meters = None
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    end = None if seconds is None else time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        if meters is not None:
            meters.start()
            stack.callback(meters.close)
        store = Store(home / STORE)
        stack.callback(store.close)
        live = None
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
        with contextlib.suppress(KeyboardInterrupt):
            while end is None or time.monotonic() < end:
                if meters is not None:
                    meters.step(_REFRESH_S)
                else:
                    time.sleep(_REFRESH_S)
                if live is not None:
                    live.update(_picture(store, channels, reading=meters is not None), refresh=True)
        if live is None:
            console.print(_picture(store, channels, reading=meters is not None))
        return not look.silent(store, channels)


def _picture(store: Store, channels: list[Channel], *, reading: bool) -> Group:
    now = time.time()
    who = "read by this command" if reading else "read by the household's daemon"
    return Group(
        Text(who), look.sources(store, now), Text(), look.meters(store, channels, now), Text(),
        look.energies(store, MINUTES, now),
    )  # fmt: skip
