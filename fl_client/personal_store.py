"""What a strategy leaves with the household between rounds, on the household's own disk."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from common.files import whole

Weights = dict[str, NDArray[np.float32]]


class PersonalStore:
    """Named arrays by kind ("layers", "control", "ditto", "residual", "global") and round.

    A round reads what rounds before it left and writes its own, so a round that is repeated,
    after a lost reply or a resumed run, reads the same again. The newest ``keep`` rounds stay.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def _rounds(self, kind: str) -> list[tuple[int, Path]]:
        files = self._directory.glob(f"{kind}-*.safetensors")
        return sorted((int(file.stem.rpartition("-")[2]), file) for file in files)

    def load(self, kind: str, before: int) -> Weights | None:
        """What the newest round before ``before`` left, None where there is nothing."""
        found = [file for round_, file in self._rounds(kind) if round_ < before]
        return dict(load_file(found[-1])) if found else None

    def exactly(self, kind: str, round_: int) -> Weights | None:
        """What this very round left, None where it is not kept."""
        path = self._path(kind, round_)
        return dict(load_file(path)) if path.exists() else None

    def _path(self, kind: str, round_: int) -> Path:
        return self._directory / f"{kind}-{round_:08d}.safetensors"

    def save(self, kind: str, round_: int, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Write the arrays of a round, whole."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(kind, round_)
        with whole(path, durable=False) as part:
            save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, part)
        # Rounds after this one belong to a future that is being run again.
        rounds = self._rounds(kind)
        for number, file in rounds:
            if number > round_:
                file.unlink(missing_ok=True)
        past = [file for number, file in rounds if number <= round_]
        for file in past[: -self._keep]:
            file.unlink(missing_ok=True)
