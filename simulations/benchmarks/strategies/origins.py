"""What a cell's rows depend on besides its settings: the user's own code, and readings."""

import hashlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from common.data.store import household_files


def source_of(path: str) -> str:
    """Hash of the file of the module that ``module:Name`` names; empty where there is none.

    What that module imports in its turn is not looked at.
    """
    module = path.partition(":")[0]
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            found = None
        file = None if found is None else found.origin
    if file is None or not Path(file).is_file():
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def data_of(source: str) -> str:
    """Hash of the readings of a folder or a file; empty for what comes with fedwatt or from a URL,
    whose readings are not looked at."""
    path = Path(source)
    if source in ("citylearn", "synthetic") or not path.exists():
        return ""
    files = [path] if path.is_file() else household_files(path)
    files += [beside for beside in (f.with_suffix(".yaml") for f in files) if beside.exists()]
    return _contents(tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files))


@lru_cache(maxsize=8)
def _contents(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Read once a process, as long as sizes and times of change stay what they are."""
    whole = hashlib.sha256()
    for file, size, _ in files:
        whole.update(f"{file.name} {size} ".encode())
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                whole.update(part)
    return whole.hexdigest()
