"""Files written whole, so that a reader sees the old one or the new one; and secrets."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError


def write_whole(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new one, never a half."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON file whole."""
    write_whole(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: object) -> object:
    """JSON has no NaN: what is not a number is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Return a file written whole, {} where there is none."""
    if not path.exists():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read, whole."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def check_secret(path: Path) -> None:
    """Raise InputError where others than the owner may read a secret."""
    if path.exists() and path.stat().st_mode & 0o077:
        raise InputError(f"{path}: others may read this secret (chmod 600 {path})")
