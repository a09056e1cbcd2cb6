"""A block of households that keeps account of its CPU time."""

import importlib
import json
import os
from pathlib import Path

from common.config import from_run_config
from simulations.benchmarks.scale.parts import install
from simulations.engine.block import Block
from simulations.engine.loop import RunConfig
from simulations.engine.parcel import Model

FOLDER = ".parts"


class MeasuredBlock(Block):
    """Writes its CPU seconds by part to ``RUN/.parts/PID.json`` after every parcel."""

    def __init__(
        self, run_id: int, run_config: RunConfig, first: int, last: int, count: int
    ) -> None:
        self._parts = install()
        super().__init__(run_id, run_config, first, last, count)
        if from_run_config(run_config).fl.enabled:
            # An import that would otherwise count where it is first needed.
            importlib.import_module("fl_client.learner")
        folder = Path(str(run_config["out"])) / FOLDER
        folder.mkdir(exist_ok=True)
        self._file = folder / f"{os.getpid()}.json"
        self._parts.started()

    def answer(self, body: bytes, *models: Model) -> tuple[bytes, list[Model]]:
        """Answer as a block does."""
        answered = super().answer(body, *models)
        self._file.write_text(json.dumps(self._parts.totals()))
        return answered
