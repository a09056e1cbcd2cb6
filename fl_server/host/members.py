"""Who has been admitted: names with their accounts, and the node each registered key speaks for.

An account is given at admission and never to another name, so that households may come and go while
a run goes on: who is expelled keeps its account, and has it again when it is admitted anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import read_json, write_json


@dataclass(frozen=True)
class Member:
    """A household. ``account``: its number from 0 on; ``node_id`` is None for one expelled.

    ``leaving``: it trades no more, and is heard until its last readings are there.
    """

    name: str
    account: int
    node_id: int | None
    public_key: str
    leaving: bool = False


def read_members(path: Path) -> list[Member]:
    """Everybody who was ever admitted, by account. Raises InputError for a damaged file."""
    members = []
    # Files of releases without accounts: the ledger's order was that of the names.
    for number, (name, entry) in enumerate(sorted(read_json(path).items())):
        try:
            node = entry["node_id"]
            members.append(
                Member(
                    name,
                    int(entry.get("account", number)),
                    None if node is None else int(node),
                    str(entry["public_key"]),
                    bool(entry.get("leaving", False)),
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{path}: {name}: not as admission writes it") from None
    members.sort(key=lambda member: member.account)
    if [member.account for member in members] != list(range(len(members))):
        raise InputError(f"{path}: the accounts are not 0 to {len(members) - 1}, each once")
    return members


def admitted(members: Sequence[Member]) -> list[str]:
    """Names of those who are not expelled, sorted."""
    return sorted(member.name for member in members if member.node_id is not None)


def leaving(members: Sequence[Member]) -> list[int]:
    """Accounts of those who trade no more and may still be asked."""
    return [member.account for member in members if member.leaving]


def admit(path: Path, name: str, node_id: int, public_key: str) -> Member:
    """Bind a name to the node that registration returned. Raises InputError for a name taken."""
    members = read_members(path)
    known = next((member for member in members if member.name == name), None)
    if known is None:
        known = Member(name, len(members), node_id, public_key)
        members.append(known)
    elif known.node_id is not None:
        raise InputError(f"household {name!r} is admitted already")
    known = replace(known, node_id=node_id, public_key=public_key, leaving=False)
    members[known.account] = known
    _write(path, members)
    return known


def leave(path: Path, name: str, *, leaving: bool = True) -> None:
    """Let a household trade no more from the next interval on, or again. Raises InputError."""
    members = read_members(path)
    member = _admitted(members, name)
    if member.leaving == leaving:
        now = "leaving already" if leaving else "not leaving"
        raise InputError(f"household {name!r}: {now}")
    members[member.account] = replace(member, leaving=leaving)
    _write(path, members)


def expel(path: Path, name: str) -> int:
    """Bind a household to no node and return the one it had. Raises InputError for one unknown."""
    members = read_members(path)
    member = _admitted(members, name)
    members[member.account] = replace(member, node_id=None, leaving=False)
    _write(path, members)
    assert member.node_id is not None
    return member.node_id


def _admitted(members: Sequence[Member], name: str) -> Member:
    for member in members:
        if member.name == name and member.node_id is not None:
            return member
    raise InputError(f"household {name!r}: not admitted")


def _write(path: Path, members: Sequence[Member]) -> None:
    entries = {
        member.name: {
            "account": member.account,
            "node_id": None if member.node_id is None else str(member.node_id),
            "public_key": member.public_key,
            **({"leaving": True} if member.leaving else {}),
        }
        for member in members
    }
    write_json(path, entries)
