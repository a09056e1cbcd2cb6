"""Where a household keeps what it knows of secure sums: one file a session, and one of the last.

Apart from the protocol, for whoever only forgets needs no cryptography.
"""

from pathlib import Path

FOLDER = "secure"
SENT = "sent.json"
SESSIONS = "[0-9]*-*"


def forget_sessions(directory: Path) -> None:
    """Forget every session, and that rounds are over; keys of members stay pinned."""
    folder = directory / FOLDER
    if folder.is_dir():
        for file in [*folder.glob(SESSIONS), folder / SENT]:
            file.unlink(missing_ok=True)
