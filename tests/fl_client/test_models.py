"""The store of received models, shared by the processes of one simulation."""

import multiprocessing
from pathlib import Path
from threading import BrokenBarrierError

import numpy as np

from fl_client.models import ModelStore, Weights, digest


def _weights(i: int) -> Weights:
    return {f"layer{j}": np.full((100, 100), i + j, np.float32) for j in range(12)}


def _save_all(directory: Path, together, failed) -> None:  # type: ignore[no-untyped-def]
    store = ModelStore(directory, keep=8)
    try:
        for i in range(150):
            together.wait(timeout=60)
            weights = _weights(i)
            loaded = store.load(store.save(weights))
            assert loaded is not None
            assert digest(loaded) == digest(weights)
    except (OSError, AssertionError, BrokenBarrierError) as error:
        failed.put(repr(error))
        together.abort()


def test_processes_save_the_same_model_at_once(tmp_path: Path) -> None:
    """Two processes that receive each new model at the same moment both keep it, whole."""
    context = multiprocessing.get_context("spawn")
    together, failed = context.Barrier(2), context.SimpleQueue()
    both = [context.Process(target=_save_all, args=(tmp_path, together, failed)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert failed.empty(), failed.get()
    assert len(list(tmp_path.iterdir())) <= 9


def test_the_oldest_models_go(tmp_path: Path) -> None:
    """The newest ``keep`` stay; one that went is None, and nothing half written is left."""
    store = ModelStore(tmp_path, keep=3)
    names = [store.save(_weights(i)) for i in range(5)]
    assert store.load(names[0]) is None
    assert store.load(names[-1]) is not None
    assert len(list(tmp_path.iterdir())) == 3
