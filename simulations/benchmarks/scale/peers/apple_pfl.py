"""Apple's pfl: its simulated backend, its FederatedAveraging, its torch model.

Needs ``fedwatt[peers]``. The algorithm trains by this project's training function, in the one
method that pfl has for it; cohorts, weighting, sums and the central optimiser are pfl's.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

from common.arrays import Floats32
from common.config import Settings
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.transformer import blank_model
from fl_client.training import learning_rate
from simulations.benchmarks.scale.peers.task import (
    START,
    RoundClock,
    one_thread,
    read_home,
    read_settings,
    read_weights,
    update,
)


class _Model(torch.nn.Module):
    """The model with the two methods that pfl looks for; its own training makes use of neither."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def loss(self, *_: Any) -> torch.Tensor:
        """Of pfl's own steps, which are not taken."""
        raise NotImplementedError

    def metrics(self, rows: torch.Tensor) -> dict[str, Any]:
        """What pfl must have for its first round, in which it measures; the others measure
        nothing."""
        return {"windows": Weighted.from_unweighted(len(rows))}


class _Averaging(FederatedAveraging):  # type: ignore[misc]
    """Federated averaging with this project's local training."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def train_one_user(
        self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any
    ) -> tuple[Any, Any]:
        """Train the model in place, return how it has changed."""
        home = user_dataset.metadata["home"]
        round_ = central_context.current_central_iteration + 1
        update(model.pytorch_model.network, home, self._settings, round_)
        return model.get_model_difference(initial_model_state), Metrics()


class _Marks(TrainingProcessCallback):  # type: ignore[misc]
    def __init__(self, clock: RoundClock, network: torch.nn.Module) -> None:
        self._clock, self._network = clock, network

    def on_train_begin(self, *, model: Any) -> Any:
        """The first round begins."""
        self._clock.mark(lambda: weights_of(self._network))
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Any]:
        """A round is over."""
        self._clock.mark(lambda: weights_of(self._network))
        return False, Metrics()


def carry(directory: Path, rounds: int, cores: int, clock: RoundClock) -> dict[str, Floats32]:
    """Run ``rounds`` rounds in this process, on one core; return the last model."""
    settings = read_settings(directory)
    one_thread(settings)
    # pfl seeds what it samples with numpy's global generator.
    np.random.seed(settings.run.seed)  # noqa: NPY002
    count = settings.run.households
    users = [
        Dataset((np.arange(len(home.windows)),), user_id=str(h), metadata={"home": home})
        for h in range(count)
        for home in (read_home(directory, h),)
    ]
    federated = FederatedDataset(
        users.__getitem__, get_user_sampler("minimize_reuse", list(range(count)))
    )
    network = blank_model(settings.model.preset)
    load_weights(network, read_weights(directory / START))
    whole = _Model(network)
    model = PyTorchModel(whole, torch.optim.SGD, torch.optim.SGD(whole.parameters(), lr=1.0))
    preset = users[0].metadata["home"].windows.preset
    _Averaging(settings).run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=count,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(federated, federated, [WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=settings.training.batch_size,
            local_num_epochs=None,
            local_num_steps=settings.fl.local_steps,
            local_learning_rate=learning_rate(settings.training, preset),
        ),
        callbacks=[_Marks(clock, network)],
        send_metrics_to_platform=False,
    )
    return weights_of(network)
