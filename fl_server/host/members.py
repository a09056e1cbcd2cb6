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
    """A household. ``account``: its number from 0 on; ``node_id`` is None for one expelled."""

    name: str
    account: int
    node_id: int | None
    public_key: str


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


def admit(path: Path, name: str, node_id: int, public_key: str) -> Member:
    """Bind a name to the node that registration returned. Raises InputError for a name taken."""
    members = read_members(path)
    known = next((member for member in members if member.name == name), None)
    if known is None:
        known = Member(name, len(members), node_id, public_key)
        members.append(known)
    elif known.node_id is not None:
        raise InputError(f"household {name!r} is admitted already")
    known = replace(known, node_id=node_id, public_key=public_key)
    members[known.account] = known
    _write(path, members)
    return known


def expel(path: Path, name: str) -> int:
    """Bind a household to no node and return the one it had. Raises InputError for one unknown."""
    members = read_members(path)
    for member in members:
        if member.name == name and member.node_id is not None:
            members[member.account] = replace(member, node_id=None)
            _write(path, members)
            return member.node_id
    raise InputError(f"household {name!r}: not admitted")


def _write(path: Path, members: Sequence[Member]) -> None:
    entries = {
        member.name: {
            "account": member.account,
            "node_id": None if member.node_id is None else str(member.node_id),
            "public_key": member.public_key,
        }
        for member in members
    }
    write_json(path, entries)
