"""Recomputing a ledger: every hash, every balance, and the first row that is wrong."""

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

PROTOCOL: Final = 2
"""How rows are hashed. 1: ledgers whose rows packed kind and late household into one number."""
_ROW, _NUMBER = struct.Struct(">9q"), struct.Struct(">q")


class Kind(IntEnum):
    """What an entry books, the ledger's ``kind``."""

    SETTLEMENT = 0
    FILLS = 1
    SURCHARGE = 2
    """What imports beyond allowances cost."""
    COMPENSATION = 3
    """What those who gained by the market gave to those who lost: once, when a run closes."""
    ADMISSION = 4
    """A household that joined a running ledger: no figures, its name is in the hash."""
    ESTIMATE = 5
    """A settlement without a reading, of a household that has been silent for too long."""
    REVISION = 6
    """What takes back the settlement of one household's interval and books another."""
    STANDING = 7
    """The standing charges of a local day that begins with the interval."""


ON_TIME: Final = -1
"""``late_household`` of an entry that is booked with its interval's."""


@dataclass(frozen=True)
class Account:
    """An account of a run; ``since``: the interval of its admission, -1 if it was there before."""

    number: int
    kind: str
    name: str
    since: int


def genesis(
    name: str, start: str, timezone: str, chart: Sequence[Account], interval_minutes: int = 30
) -> bytes:
    """What row 0 follows: the hash of the run and the accounts it began with.

    Runs of half hours have the hash they had before there were others.
    """
    founders = [(account.kind, account.name) for account in chart if account.since < 0]
    told: list[object] = [f"fedwatt ledger {PROTOCOL}", name, start, timezone, founders]
    if interval_minutes != 30:
        told.append(interval_minutes)
    return hashlib.sha256(json.dumps(told).encode()).digest()


def packed(row: Sequence[int]) -> bytes:
    """A row's nine numbers as hashed, big-endian int64; of a revision, its number after them."""
    *figures, revision = row
    return _ROW.pack(*figures) + (_NUMBER.pack(revision) if revision else b"")


def link(before: bytes, row: bytes, admitted: str = "") -> bytes:
    """The hash of a packed row, after the hash of the row before it.

    ``admitted``: the name that an admission's row gives an account to.
    """
    return hashlib.sha256(before + row + admitted.encode()).digest()


def entry_name(kind: int, late_household: int) -> str:
    """What an entry is called."""
    if kind not in set(Kind):
        return f"entry of kind {kind}"
    return ("late " if late_household != ON_TIME else "") + Kind(kind).name.lower()


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
    rows: Iterable[Any], origin: bytes, chart: Sequence[Account], head_seq: int, head_hash: bytes
) -> Verdict:
    """Walk the postings of a run in order of ``seq``.

    ``origin``: the hash row 0 follows; ``chart``: the run's accounts by number; ``head_*``: the
    last row the run's own record tells of, so that a cut tail shows.
    """
    before, expected, entries = origin, 0, 0
    entry: tuple[int, int, int, int] | None = None
    compensated: set[int] = set()
    open_accounts = sum(account.since < 0 for account in chart)
    first = energy = money = 0

    def fault(text: str) -> Verdict:
        return Verdict(expected, entries, text)

    def imbalance() -> str | None:
        if entry is None or not (energy or money):
            return None
        what = f"energy by {energy} mWh" if energy else f"money by {money} micro"
        where = f"{entry_name(*entry[1:3])} of interval {entry[0]}"
        return f"row {first}: {where}, rows {first} to {expected - 1}, do not balance: {what}"

    if [account.number for account in chart] != list(range(len(chart))):
        return fault(f"accounts are numbered {[account.number for account in chart]}")
    if [account.since for account in chart] != sorted(account.since for account in chart):
        return fault("accounts are not numbered in the order of their admission")
    for row in rows:
        _, *figures, stored = row
        if not all(isinstance(x, int) for x in figures):
            return fault(f"row {expected}: not whole numbers: {figures}")
        seq, interval, kind, late, account, e_in, e_out, m_in, m_out, revision = figures
        if seq != expected:
            return fault(f"row {expected} is missing: row {seq} follows row {expected - 1}")
        known = 0 <= account < len(chart)
        admitted = chart[account].name if known and kind == Kind.ADMISSION else ""
        before = link(before, packed(figures), admitted)
        if before != bytes(stored):
            return fault(
                f"row {seq} (interval {interval}, account {account}): its hash is not that of its "
                "figures and the row before"
            )
        if not known or kind not in set(Kind) or min(e_in, e_out, m_in, m_out) < 0:
            return fault(f"row {seq}: unknown account or entry, or a negative figure")
        if kind == Kind.ADMISSION:
            if account != open_accounts or chart[account].since != interval:
                return fault(
                    f"row {seq}: account {account} was not admitted in interval {interval}"
                )
            if any((e_in, e_out, m_in, m_out)):
                return fault(f"row {seq}: an admission with figures")
            open_accounts += 1
        elif account >= open_accounts:
            return fault(f"row {seq}: account {account} before its admission")
        if (revision > 0) != (kind == Kind.REVISION):
            return fault(f"row {seq}: revision {revision} of {entry_name(kind, late)}")
        if (interval, kind, late, revision) != entry:
            if (text := imbalance()) is not None:
                return fault(text)
            entry, first, energy, money = (interval, kind, late, revision), seq, 0, 0
            entries += 1
            if kind == Kind.COMPENSATION:
                # One at the end, or one a month.
                if interval in compensated:
                    return fault(f"row {seq}: a second compensation up to interval {interval}")
                compensated.add(interval)
        if kind in (Kind.COMPENSATION, Kind.STANDING) and (e_in or e_out):
            return fault(f"row {seq}: a {Kind(kind).name.lower()} that moves energy")
        energy += e_in - e_out
        money += m_in - m_out
        expected += 1
    if expected <= head_seq:
        return fault(f"row {expected} is missing: the run has {head_seq + 1} rows")
    if (text := imbalance()) is not None:
        return fault(text)
    if (expected - 1, before) != (head_seq, head_hash):
        return fault(f"row {head_seq + 1} was added: the run has {head_seq + 1} rows")
    if open_accounts != len(chart):
        return fault(f"account {open_accounts} has no admission")
    return Verdict(expected, entries, None)
