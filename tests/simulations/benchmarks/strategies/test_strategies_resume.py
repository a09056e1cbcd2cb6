"""A run that was killed goes on as if it had not been, whatever the strategy remembers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import Settings
from fl_server.coordinator import Coordinator
from simulations.simulate import simulate
from tests.support.reading import model
from tests.support.runs import small

REMEMBERING = {
    "scaffold": ["fl.strategy=scaffold"],
    "compressed both ways": [
        "fl.strategy=ditto",
        "fl.strategy_options={ditto_steps: 1}",
        "fl.compression=top-k:0.1+int8",
        "fl.compression_down=top-k:0.2+int8",
    ],
    "clustered": ["fl.strategy=clustered", "fl.strategy_options={warmup: 2}"],
    "fedadam": ["fl.strategy=fedadam", "fl.strategy_options={eta: 0.001}"],
}


@pytest.mark.parametrize("kind", list(REMEMBERING))
def test_a_killed_run_ends_with_the_same_model(
    kind: str,
    homes: Path,
    run: Callable[[Settings], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounds after intervals 5, 11, ...; checkpoint before 24; killed before 31, one round later.

    Households have then seen a round that the server has not: its traces must not count.
    """
    settings = small(
        homes,
        *REMEMBERING[kind],
        "run.days=0.75",
        "fl.every_hours=3",
        "trader.kind=hold",
        "run.shadow=false",
        "run.references=none",
        "model.preset=slot-small",
    )
    straight = run(settings)
    ahead = Coordinator.interval

    def killed(self: Coordinator, t: int) -> None:
        if t == 31:
            raise KeyboardInterrupt
        ahead(self, t)

    with monkeypatch.context() as patch:
        patch.setattr(Coordinator, "interval", killed)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings, tmp_path)
    simulate(settings, tmp_path)
    assert model(tmp_path) == model(straight)
    lines = [(d / "rounds.jsonl").read_text().count("\n") for d in (tmp_path, straight)]
    assert lines == [6, 6]
