"""Asking a price service while the run goes on: no market round waits for a slow answer."""

import threading
import time

import pandas as pd

from common.errors import InputError
from fl_server.price_sources.pieces import Pieces, PriceSource

Answer = tuple[pd.Timestamp, Pieces, Pieces | None]
"""From when on it was asked, import prices, and export prices where the service has them."""
_AGAIN_S = 60.0
"""So long at least between two questions."""


class Asking:
    """Asks ``source`` in a thread of its own, one question at a time.

    ``patience_s``: how long ``answer`` waits where it is told to.
    """

    def __init__(
        self, source: PriceSource, patience_s: float = 20.0, again_s: float = _AGAIN_S
    ) -> None:
        self.source = source
        self._patience_s, self._again_s = patience_s, again_s
        self._thread: threading.Thread | None = None
        self._found: Answer | InputError | None = None
        self._asked = -float("inf")

    def answer(
        self, first: pd.Timestamp, last: pd.Timestamp, *, wait: bool, needed: bool
    ) -> Answer | None:
        """What has been answered since the last call; None: nothing new.

        ``needed``: prices from ``first`` to ``last`` are missing, so a question is on its way after
        the call, unless one was just asked; ``wait``: for its answer. Raises InputError where the
        service did not give one.
        """
        idle = self._thread is None or not self._thread.is_alive()
        if needed and idle and self._found is None and self._due(wait):
            self._asked = time.monotonic()
            self._thread = threading.Thread(target=self._ask, args=(first, last), daemon=True)
            self._thread.start()
        if wait and self._thread is not None:
            self._thread.join(self._patience_s)
        found, self._found = self._found, None
        if isinstance(found, InputError):
            raise found
        return found

    def _due(self, wait: bool) -> bool:
        return wait or time.monotonic() - self._asked >= self._again_s

    def _ask(self, first: pd.Timestamp, last: pd.Timestamp) -> None:
        try:
            imported = self.source.imported(first, last)
            self._found = first, imported, self.source.exported(first, last)
        except InputError as error:
            self._found = error
        except Exception as error:  # or the thread would die, and nobody would know
            why = f"{type(error).__name__}: {error}"
            self._found = InputError(f"prices of {self.source.name}: {why}")
