"""Recomputing a ledger: every hash, every balance, and the first row that is wrong."""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_ROW = struct.Struct(">8q")


def link(before: bytes, row: bytes) -> bytes:
    """The hash of a row: eight big-endian int64, after the hash of the row before it."""
    return hashlib.sha256(before + row).digest()


SETTLEMENT: Final = 0
FILLS: Final = 1
LATE: Final = 2
"""Entry of household h's settlement that came after its interval's: ``LATE + h``."""
SURCHARGE: Final = 1 << 30
"""Entry of what imports beyond allowances cost; ``SURCHARGE + 1 + h`` for a late settlement."""
COMPENSATION: Final = (1 << 31) - 1
"""Entry of what those who gained by the market gave to those who lost: once, when a run closes."""


def entry_name(entry: int) -> str:
    """What an entry's number means."""
    if entry in (SETTLEMENT, FILLS):
        return ("settlement", "fills")[entry]
    if entry == SURCHARGE:
        return "surcharge"
    if entry == COMPENSATION:
        return "compensation"
    return "late settlement" if entry < SURCHARGE else "late surcharge"


@dataclass(frozen=True)
class Verdict:
    """What an audit found: rows read, entries complete, and the first fault, None without one."""

    rows: int
    entries: int
    error: str | None

    @property
    def ok(self) -> bool:
        """Whether every row and every balance is right."""
        return self.error is None


def audit(
    rows: Iterable[Any], genesis: bytes, accounts: int, head_seq: int, head_hash: bytes
) -> Verdict:
    """Walk the postings of a run in order of ``seq``.

    ``genesis``: the hash row 0 follows; ``accounts``: how many there are; ``head_*``: the last row
    the run's own record tells of, so that a cut tail shows.
    """
    before, expected, entries = genesis, 0, 0
    entry: tuple[int, int] | None = None
    compensated = False
    first = energy = money = 0

    def fault(text: str) -> Verdict:
        return Verdict(expected, entries, text)

    def imbalance() -> str | None:
        if entry is None or not (energy or money):
            return None
        what = f"energy by {energy} mWh" if energy else f"money by {money} micro"
        where = f"{entry_name(entry[1])} of interval {entry[0]}"
        return f"row {first}: {where}, rows {first} to {expected - 1}, do not balance: {what}"

    for row in rows:
        _, seq, interval, kind, account, e_in, e_out, m_in, m_out, stored = row
        if seq != expected:
            return fault(f"row {expected} is missing: row {seq} follows row {expected - 1}")
        figures = (seq, interval, kind, account, e_in, e_out, m_in, m_out)
        if not all(isinstance(x, int) for x in figures):
            return fault(f"row {seq}: not whole numbers: {figures}")
        before = link(before, _ROW.pack(*figures))
        if before != bytes(stored):
            return fault(
                f"row {seq} (interval {interval}, account {account}): its hash is not that of its "
                "figures and the row before"
            )
        if not 0 <= account < accounts or kind < 0 or min(e_in, e_out, m_in, m_out) < 0:
            return fault(f"row {seq}: unknown account or entry, or a negative figure")
        if (interval, kind) != entry:
            if (text := imbalance()) is not None:
                return fault(text)
            entry, first, energy, money = (interval, kind), seq, 0, 0
            entries += 1
            if kind == COMPENSATION and compensated:
                return fault(f"row {seq}: a second compensation")
            compensated |= kind == COMPENSATION
        if kind == COMPENSATION and (e_in or e_out):
            return fault(f"row {seq}: a compensation that moves energy")
        energy += e_in - e_out
        money += m_in - m_out
        expected += 1
    if expected <= head_seq:
        return fault(f"row {expected} is missing: the run has {head_seq + 1} rows")
    if (text := imbalance()) is not None:
        return fault(text)
    if (expected - 1, before) != (head_seq, head_hash):
        return fault(f"row {head_seq + 1} was added: the run has {head_seq + 1} rows")
    return Verdict(expected, entries, None)
