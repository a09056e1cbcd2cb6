"""What an import did with the energy of the files, as lines a person reads."""

from common.data.importing import Report
from common.data.ordering import Account

_MOST_SHOWN = 50
# Less than a watt hour is the rounding of sums.
_SHOWN_KWH = 0.0005


def lines(report: Report, out: str) -> list[str]:
    """Return the account of an import: per home and channel what was in the file and what became
    of it, what was assumed, and what is doubtful."""
    shown = list(report.accounts)[:_MOST_SHOWN]
    text = [line for name in shown for line in _home(report, name)]
    if len(shown) < len(report.accounts):
        text.append(f"... and {len(report.accounts) - len(shown)} more: see 'fedwatt data check'")
    hidden = list(report.accounts)[_MOST_SHOWN:]
    text += [f"doubt: {name}: {d}" for name in hidden for d in report.accounts[name].doubts]
    text += [f"note: {note}" for note in report.notes]
    refused = f", {len(report.refused)} refused" if report.refused else ""
    doubted = sum(bool(a.doubts) for a in report.accounts.values())
    text.append(
        f"{report.format}: {report.rows} readings, {len(report.accounts)} households in {out}"
        f"{refused}{f', {doubted} with doubts' if doubted else ''}"
    )
    return text


def _home(report: Report, name: str) -> list[str]:
    account = report.accounts[name]
    first, last, minutes, filled = report.spans[name]
    energy = ", ".join(
        f"{channel} {kept:.3f} of {account.file_kwh[channel]:.3f} kWh"
        for channel, kept in account.kept_kwh.items()
        if account.file_kwh.get(channel, 0.0) > 0
    )
    shares = [f"{minutes} min", f"{account.gap_share:.2%} missing", f"{filled} values filled"]
    if account.filled_share > 0:
        shares.append(f"{1 - account.filled_share:.2%} of the rows measured")
    if account.coarse_share > 0:
        shares.append(f"{account.coarse_share:.2%} of them by longer readings")
    if account.repeated_rows:
        shares.append(f"{account.repeated_rows} repeated rows dropped")
    if account.missing_hour_kwh > 0:
        shares.append(f"{account.missing_hour_kwh:.3f} kWh in an hour that does not exist")
    if account.resets:
        shares.append(f"{account.resets} resets")
    shares += [f"{level}: {n} values held" for level, n in account.held_levels.items()]
    if account.absent:
        shares.append(f"constant for want of data: {' '.join(account.absent)}")
    text = [
        f"{name}: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, zone "
        f"{report.zones[name]}; {energy}",
        f"  {'; '.join(shares)}",
    ]
    text += [f"  {line}" for line in _channels(account)]
    text += [f"  {note}" for note in account.notes]
    text += [f"  doubt: {doubt}" for doubt in account.doubts]
    return text


def _channels(account: Account) -> list[str]:
    """Return a line for each channel of which something is to be said."""
    text = []
    for channel, kept in account.kept_kwh.items():
        columns = [c for c in account.columns.get(channel, []) if c]
        imported = account.imported_kwh.get(channel, 0.0)
        reasons = [
            f"{kwh:.3f} left out: {why}"
            for why, kwh in account.left_out_kwh.get(channel, {}).items()
            if kwh > _SHOWN_KWH
        ]
        if imported - kept > _SHOWN_KWH:
            reasons.append(f"{imported - kept:.3f} filled in")
        if not columns and not reasons:
            continue
        origin = f" from {' + '.join(columns)}" if columns else ""
        text.append(
            f"{channel}{origin}: {account.file_kwh.get(channel, 0.0):.3f} kWh in the file, "
            f"{imported:.3f} imported{''.join('; ' + r for r in reasons)}"
        )
    return text
