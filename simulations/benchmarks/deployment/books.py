"""What the ledger of a finished run must hold, whatever happened to the processes meanwhile."""

from dataclasses import dataclass
from pathlib import Path

from fl_server.ledger import ON_TIME, Kind, Ledger


@dataclass(frozen=True)
class Books:
    """``why`` the hash chain or a balance is wrong, "" where the ledger verifies; ``settled``
    intervals of all households together; ``never`` those that were not.
    """

    why: str
    settled: int
    never: int

    def __str__(self) -> str:
        verified = f"ledger: {self.why}" if self.why else "ledger verified"
        return f"{verified}; {self.settled} settled once each, {self.never} never"


def audited(run: Path, intervals: int, households: int) -> Books:
    """Verify the ledger of a run folder and count the settlements: of all on time, or of one late.

    The ledger's own key refuses a second settlement of the same interval and household.
    """
    with Ledger(f"sqlite:///{run / 'ledger.sqlite'}", create=False) as ledger:
        ledger.attach()
        verdict = ledger.verify()
        entries = {
            (row.interval, row.late_household)
            for row in ledger.rows()
            if row.kind == Kind.SETTLEMENT
        }
    on_time = {interval for interval, late in entries if late == ON_TIME}
    # Who is late has an entry of its own beside that of the others.
    good = sum(
        interval in on_time or (interval, household) in entries
        for interval in range(intervals)
        for household in range(households)
    )
    return Books(verdict.error or "", good, intervals * households - good)
