"""The coordinator on the clock: the same ledger as a simulation, and nothing lost when it dies."""

from pathlib import Path

from flwr.app import Message

from fl_server.ledger import Ledger
from tests.deploy.community import Homes, community, contexts, run, simulated
from tests.simulations.conftest import HISTORY_DAYS

NAMES = ["H0001", "H0002", "H0003"]
SHORT = (
    "run.days=0.25",
    f"run.history_days={HISTORY_DAYS}",
    "model.preset=edge",
    "fl.local_steps=1",
    "fl.every_intervals=6",
)


def never(_: Message) -> bool:
    return False


def rows(directory: Path) -> list[tuple[int, ...]]:
    """Postings of a run's ledger in order, hashes aside: a run's own name is part of them."""
    with Ledger(f"sqlite:///{directory / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        assert ledger.verify().ok
        return [tuple(row)[1:-1] for row in ledger.rows()]


def test_parity_with_a_simulation(homes: Path, tmp_path: Path) -> None:
    """The same households, data, seed and days give the same ledger and model, row by row."""
    folder = community(tmp_path / "server", homes, NAMES, *SHORT)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    directory = simulated(homes, tmp_path / "simulated", folder, len(NAMES))
    assert rows(folder.run) == rows(directory)
    final = "model/final.safetensors"
    assert (folder.run / final).read_bytes() == (directory / final).read_bytes()
