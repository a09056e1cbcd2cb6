"""Who has been admitted: the household that each registered key, and so each node, speaks for."""

import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import InputError
from common.files import write_whole


def read_members(path: Path) -> dict[int, str]:
    """Return household names by node id."""
    if not path.exists():
        return {}
    return {int(m["node_id"]): name for name, m in json.loads(path.read_text()).items()}


def admit(path: Path, name: str, node_id: int, public_key: str) -> None:
    """Bind a name to the node that registration returned. Raises InputError for a name taken."""
    members: dict[str, Mapping[str, object]] = json.loads(path.read_text()) if path.exists() else {}
    if name in members:
        raise InputError(f"household {name!r} is admitted already")
    members[name] = {"node_id": str(node_id), "public_key": public_key}
    write_whole(path, json.dumps(dict(sorted(members.items())), indent=2) + "\n")


def expel(path: Path, name: str) -> int:
    """Forget a household and return its node id. Raises InputError for one unknown."""
    members = json.loads(path.read_text()) if path.exists() else {}
    if name not in members:
        raise InputError(f"household {name!r}: not admitted")
    node_id = int(members.pop(name)["node_id"])
    write_whole(path, json.dumps(members, indent=2) + "\n")
    return node_id
