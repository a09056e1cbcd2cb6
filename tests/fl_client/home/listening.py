"""A household's meters read in the test's own process."""

import contextlib
import time

import yaml

from fl_client.home.daemon import Meters


def write(home, *entries):
    """Write the mapping."""
    home.mkdir(exist_ok=True)
    (home / "meters.yaml").write_text(yaml.safe_dump(list(entries)))


@contextlib.contextmanager
def listening(home, secrets=None, **options):
    """Meters that are being read."""
    meters = Meters(home, "maple", secrets or {}, **options)
    meters.start()
    try:
        yield meters
    finally:
        meters.close()


def until(meters, happened, seconds=20.0):
    """Let the meters be read until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, (meters.store.states(), meters.store.doubts(0))
        meters.step(0.1)


def values(meters, channel=0):
    """What the store holds of one channel: (time, value) in order of time."""
    found = meters.store.series(meters.channels[channel].name, 0.0)
    return list(zip(found.measured.tolist(), found.value.tolist(), strict=True))


def said(meters, words):
    """Whether a state or doubt holds these words."""
    states = [state for state, _ in meters.store.states().values()]
    return any(words in one for one in [*states, *(d[2] for d in meters.store.doubts(0))])
