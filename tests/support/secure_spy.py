"""Looks over a real household's shoulder in a secure sum, from inside its processes.

    python -c "from tests.support.secure_spy import node; node()" ARGUMENTS of fl_client.host.node

Writes, beside its session files and never deleted: the words of each update before they are masked
(``ROUND-SESSION.npz`` with the model they were trained from), and a line of ``spied.jsonl`` for
each sharing of a secret and each telling of shares.
"""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import RecordDict

import fl_client.secure
from common.messages import ARRAYS, decode_arrays
from common.model_messages import ModelReply
from common.secure import shares
from common.secure.messages import Session, record_of
from fl_client.secure import SecureMember

FOLDER, LINES = "spied", "spied.jsonl"


def node() -> None:
    """Be a household's SuperNode that is watched."""
    watch()
    runpy.run_module("fl_client.host.node", run_name="__main__", alter_sys=True)


def watch() -> None:
    """Note what the member of this process does."""
    dealing, telling = SecureMember._shares, SecureMember._shares_told
    whole, words, split = SecureMember.masked, fl_client.secure.words, shares.split
    now: dict[str, Any] = {}

    def write(**line: object) -> None:
        with (now["folder"] / LINES).open("a") as file:
            file.write(json.dumps({"round": now["session"].round, **line}) + "\n")

    def begin(self: SecureMember, session: Session) -> None:
        folder: Path = self._directory.parent / FOLDER
        folder.mkdir(exist_ok=True)
        now.update(folder=folder, session=session)

    def deal(self: SecureMember, session: Session, record: Any) -> RecordDict:
        begin(self, session)
        now["kinds"] = ["pair key", "own mask"]
        return dealing(self, session, record)

    def shared(secret: bytes, *rest: Any) -> list[bytes]:
        parts = split(secret, *rest)
        write(dealt=now["kinds"].pop(), shares=[part.hex() for part in parts])
        return parts

    def tell(self: SecureMember, session: Session, kept: Any) -> list[bytes]:
        begin(self, session)
        told = telling(self, session, kept)
        write(told=[part.hex() for part in told])
        return told

    def masked(
        self: SecureMember, content: RecordDict, train: Callable[[], ModelReply]
    ) -> RecordDict:
        begin(self, self._session(record_of(content)))
        now["model"] = decode_arrays(content.array_records[ARRAYS])
        return whole(self, content, train)

    def worded(*given: Any) -> Any:
        found, session = words(*given), now["session"]
        arrays = {f"model {name}": array for name, array in now["model"].items()}
        file = now["folder"] / f"{session.round}-{session.number.hex()}.npz"
        with file.open("wb") as out:
            np.savez(out, words=found, **arrays)
        return found

    for name, spied in (("_shares", deal), ("_shares_told", tell), ("masked", masked)):
        setattr(SecureMember, name, spied)
    vars(shares)["split"] = shared
    vars(fl_client.secure)["words"] = worded
