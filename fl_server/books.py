"""What the coordinator writes down of each interval: postings, its line, and who did not answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from common.arrays import Ints
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from fl_server.checkpoint import Checkpoint
from fl_server.ledger import Ledger
from fl_server.market import Fills
from fl_server.price_lists import PriceList
from fl_server.run_files import Lines
from fl_server.settlement import Settlement

_KEPT_FAULTS = 10_000


class Books:
    """The ledger and the file of intervals of one run, kept in step.

    ``state_with_postings``: where the run stands is committed with what it has booked, so that a
    coordinator that dies goes on where its last transaction ends. A simulation keeps checkpoints
    instead, and plays again what came after the newest.
    """

    def __init__(
        self, ledger: Ledger, intervals: Lines, state: Checkpoint, *, state_with_postings: bool
    ) -> None:
        self.ledger = ledger
        self.intervals = intervals
        self._state = state
        self._with_postings = state_with_postings

    def book(
        self,
        t: int,
        fills: Fills | None,
        settled: Settlement | None,
        *,
        cap: int | None = None,
        compensation: tuple[int, Ints] | None = None,
        standing: Ints | None = None,
        prices: tuple[Sequence[PriceList], Ints] | None = None,
    ) -> None:
        """Book the fills of interval t and the settlement of t - 1, and write the latter's line.

        ``standing`` (H,) [micro]: for the day that begins with t; ``prices``: as ``Ledger.record``.

        Without fills the run is over, and moves on all the same: it is not closed again. ``cap``
        [mWh]: of the community's import, where there is one.
        """
        state = self._state
        if settled is not None:
            _complete(state.lines[t - 1], settled, cap)
        del state.faults[:-_KEPT_FAULTS]
        after = None
        if self._with_postings:
            after = replace(state, t=t + 1, over=fills is None).to_json()
        self.ledger.record(t, fills, settled, after, compensation, standing, prices)
        if self._with_postings:
            state.t = t + 1
        if settled is not None:
            self.intervals.write(state.lines.pop(t - 1))

    def note(self, t: int, names: Sequence[str], faults: Mapping[int, str]) -> None:
        """Remember who gave no usable answer, and why."""
        self._state.faults.extend((t, names[h], why) for h, why in faults.items())


def _complete(line: dict[str, object], settled: Settlement, cap: int | None) -> None:
    """Add to an interval's line what its settlement has shown."""
    drawn = int(settled.grid_import.sum())
    line["grid_import_kwh"] = drawn / MILLI_WH_PER_KWH
    line["grid_export_kwh"] = int(settled.grid_export.sum()) / MILLI_WH_PER_KWH
    if cap is not None and settled.surcharge is not None:
        line["above_cap_kwh"] = max(drawn - cap, 0) / MILLI_WH_PER_KWH
        line["beyond_allowance_kwh"] = int(settled.surcharge.excess.sum()) / MILLI_WH_PER_KWH
        line["surcharged"] = int(settled.surcharge.charged.sum()) / MICRO
