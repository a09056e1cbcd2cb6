"""Files written whole, so that a reader sees the old one or the new one; and secrets."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from common.errors import InputError

PART = ".part"
"""How the name of a file ends that is being written."""


@contextmanager
def whole(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Let a file be written beside ``path``, and then be ``path``.

    ``durable``: it is on the disk when the block ends, so that a power cut leaves the old or the
    new one and never an empty one. Without, that takes the file system a while.
    """
    # Two processes may write the same file; a part that a killed one left is nobody's.
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        yield part
        if durable:
            _sync(part)
        part.replace(path)
        if durable:
            _sync(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def open_folder(path: Path, *, empty: bool = False) -> Path:
    """Make the folder that ``--out`` names, unless it is there, before the work and not after it.

    ``empty``: it must hold nothing yet. Raises InputError where it cannot be made or written to.
    """
    try:
        if empty and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"--out {path}: already holds something: choose a new folder")
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except FileExistsError:
        raise InputError(f"--out {path}: not a folder") from None
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from None
    return path


def look_at_folder(path: Path) -> None:
    """Raise InputError unless ``--out`` can become a folder, or is an empty one; leave no trace.

    For work that makes the folder when it has something to put there.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    open_folder(path, empty=True)
    for made in missing:
        made.rmdir()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace a file so that a reader sees the old or the new one, never a half."""
    with whole(path, durable=durable) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Mapping[str, object], *, durable: bool = True) -> None:
    """Write a JSON file whole."""
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    write_whole(path, text, durable=durable)


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
    """Return a JSON object written whole, {} where there is no file.

    Raises InputError for one that is empty or torn: a power cut may leave such.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if not text.strip(b"\0 \n"):
        raise InputError(f"{path}: empty, as after a power cut; restore it from a backup")
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not whole: {error}; restore it from a backup") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected a JSON object")
    return loaded


def read_passing(path: Path) -> dict[str, Any]:
    """Return a JSON file that is soon written anew: {} where it cannot be read."""
    try:
        return read_json(path)
    except InputError:
        return {}


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that nobody else may read, whole."""
    with whole(path) as part:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


def check_secret(path: Path) -> None:
    """Raise InputError where others than the owner may read a secret."""
    if path.exists() and path.stat().st_mode & 0o077:
        raise InputError(f"{path}: others may read this secret (chmod 600 {path})")
