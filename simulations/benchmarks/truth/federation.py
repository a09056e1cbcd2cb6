"""A federation on a small convex problem: the product's own strategies, rounds and messages.

Server, messages and the household's side of a round are those of a deployment. The bound on what
one household may change is lifted: the papers' algorithms have none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from common.arrays import Floats32
from common.config import Training
from common.messages import ARRAYS, NUM_EXAMPLES, decode_arrays, encode_arrays, encode_metrics
from common.model_messages import CONTROL, Weights
from common.rng import generator
from fl_client.participant import Participant
from fl_client.personal_store import PersonalStore
from fl_server.roster import Roster
from fl_server.rounds import Rounds
from fl_server.strategy import Option, make_strategy
from fl_server.strategy.lengths import Lengths
from simulations.engine.loop import LoopGrid, server_context

Steps = Callable[[int, int], int | None]
"""Steps that household k takes in round r; None where it does not answer."""
Seen = Callable[[int, Weights], None]
"""Sees the model after a round."""


class Unbounded(Lengths):
    """No change is shortened."""

    def begin(self, model: Mapping[str, Floats32]) -> None:
        """Begin a round."""
        self._bound, self._round = float("inf"), []


@dataclass(frozen=True)
class Federation:
    """Households as participants of the product; ``data[k]`` is what the k-th trains on.

    ``start``: the first model. ``steps``: of local training, in a round. ``share``: of the
    households that are asked in a round.
    """

    participants: Sequence[Participant]
    data: Sequence[object]
    start: Weights
    steps: Steps
    share: float = 1.0
    seed: int = 0
    forecasting: dict[str, Weights] = field(default_factory=dict)

    def run(self, name: str, options: Mapping[str, Option], rounds: int, seen: Seen) -> Weights:
        """Run ``rounds`` of the strategy ``name``; returns the last model."""
        strategy = make_strategy(
            name, options, fraction_train=self.share, fraction_evaluate=1.0, seed=self.seed
        )
        server_context(1, {})
        grid = LoopGrid(self._app(), len(self.participants), {}, 1)
        names = [one.name for one in self.participants]
        run = Rounds(
            strategy,
            Roster(grid, dict(zip(grid.get_node_ids(), names, strict=True))),
            encode_arrays(self.start),
            seed=self.seed,
            max_update_bytes=2**31,
            deadline_s=3600.0,
        )
        run.lengths = {ARRAYS: Unbounded(), CONTROL: Unbounded()}
        for round_ in range(1, rounds + 1):
            result = run.run(round_, ConfigRecord(), ConfigRecord())
            lost = {reason: n for reason, n in result.screening.dropped.items() if n}
            if result.failed is not None or lost.keys() - {"error reply"}:
                raise RuntimeError(f"{name}, round {round_}: {result.failed or lost}")
            seen(round_, decode_arrays(run.arrays))
        return decode_arrays(run.arrays)

    def _app(self) -> ClientApp:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            k = int(context.node_config["partition-id"])
            request = self.participants[k].read(message.content)
            steps = self.steps(k, request.round)
            if steps is None:
                raise RuntimeError("dropped")
            reply = self.participants[k].train(
                replace(request, local_steps=steps),
                self.data[k],  # type: ignore[arg-type]
            )
            return Message(reply.encode(), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            k = int(context.node_config["partition-id"])
            one = self.participants[k]
            request = one.read(message.content)
            self.forecasting[one.name] = one.forecasting_weights(
                request,
                self.data[k],  # type: ignore[arg-type]
            )
            return Message(encode_metrics({NUM_EXAMPLES: 0}), reply_to=message)

        return app


def plain_training(rate: float) -> Training:
    """Plain gradient descent at ``rate``: no decay, and no gradient is too long."""
    return Training.model_validate(
        {
            "optimiser": "sgd",
            "learning_rate": rate,
            "weight_decay": 0.0,
            "clip_norm": 1e9,
            "device": "cpu",
        }
    )


def participants(
    kind: type[Participant],
    count: int,
    model: torch.nn.Module,
    rate: float,
    seed: int,
    directory: Path,
) -> list[Participant]:
    """``count`` participants named H00, H01, ...; what they keep goes below ``directory``."""
    return [
        kind(
            name=f"H{k:02d}",
            model=model,
            training=plain_training(rate),
            steps=1,
            seed=seed,
            store=PersonalStore(directory / f"H{k:02d}", keep=2),
        )
        for k in range(count)
    ]


def some(share: float, seed: int, k: int, round_: int, purpose: str) -> bool:
    """Whether household ``k`` is among a ``share`` drawn anew each round."""
    return float(generator(seed, f"H{k:02d}", round_, purpose).random()) < share
