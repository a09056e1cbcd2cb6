"""Processes that hear signals as those of a terminal do, though the tests run in the background."""

import signal


def as_at_a_terminal() -> None:
    """For ``preexec_fn``: ``nohup`` and ``&`` leave SIGHUP and SIGINT ignored, in all children."""
    for one in (signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_DFL)
