"""Model weights on the household's disk, one file per content: equal weights are kept once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from common.files import whole

Weights = dict[str, NDArray[np.float32]]


def digest(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Name of these weights: a hash of names, shapes and values."""
    hashed = hashlib.blake2b(digest_size=12)
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        hashed.update(f"{name}{array.shape}{array.dtype}".encode())
        hashed.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return hashed.hexdigest()


def _age(path: Path) -> float:
    """When a file was written; long ago where another process has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


class ModelStore:
    """Weights by digest in a folder, the newest ``keep``, or all where it is None.

    Households of one simulation share the folder.
    """

    def __init__(self, directory: Path, keep: int | None = 4) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._keep = keep

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.safetensors"

    def save(self, weights: Mapping[str, NDArray[np.float32]]) -> str:
        """Keep weights and return their digest; the oldest beyond ``keep`` are removed."""
        name = digest(weights)
        path = self._path(name)
        if not path.exists():
            # Processes of one simulation save the same model at the same moment.
            with whole(path, durable=False) as part:
                save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, part)
            self._prune()
        return name

    def _prune(self) -> None:
        if self._keep is not None:
            files = sorted(self._directory.glob("*.safetensors"), key=_age)
            for old in files[: -self._keep]:
                old.unlink(missing_ok=True)

    def load(self, name: str) -> Weights | None:
        """Return the weights, None where they are not kept any more."""
        path = self._path(name)
        return dict(load_file(path)) if path.exists() else None
