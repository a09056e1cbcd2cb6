"""``auto`` takes the loop for what is done before Ray would have started."""

import pytest

from common.config import load
from simulations.engine.choice import choose_engine


def _chosen(cores: int, *sets: str) -> str:
    return choose_engine(load(None, sets), cores)


def test_a_trial_takes_the_loop_and_long_work_the_actors() -> None:
    """A tenth of a day of ten homes stays in one process; a week, or a thousand, does not."""
    assert _chosen(2, "run.households=10", "run.days=0.1") == "loop"
    assert _chosen(2, "run.households=10", "run.days=7") == "batched"
    assert _chosen(2, "run.households=1000", "run.days=1") == "batched"


def test_without_a_second_core_actors_have_to_save_work() -> None:
    """The batched step halves nothing of training: a week of ten homes stays in one process."""
    assert _chosen(1, "run.households=10", "run.days=7") == "loop"
    assert _chosen(1, "run.households=1000", "run.days=1", "fl.enabled=false") == "batched"


@pytest.mark.parametrize("asked", ["run.ray_address=10.0.0.1:6379", "run.actors=2"])
def test_who_asks_for_ray_gets_it(asked: str) -> None:
    """Whatever the size."""
    assert _chosen(2, "run.households=2", "run.days=0.1", asked) == "batched"
