"""A federation of toys: real strategy, rounds, roster, grid and messages, households of one line.

Household k answers a model w (2,) with ``move(k, w)`` and counts ``examples[k]`` windows.
"""

from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.messages import (
    ARRAYS,
    NUM_EXAMPLES,
    decode_arrays,
    encode_arrays,
    encode_metrics,
)
from common.model_messages import TRAIN_STEPS, ModelReply, ModelRequest
from fl_server.privacy import Privacy
from fl_server.roster import Roster
from fl_server.rounds import RoundResult, Rounds
from fl_server.strategy import make_strategy
from simulations.engine.loop import LoopGrid, server_context

Move = Callable[[int, np.ndarray], Sequence[float] | np.ndarray]


class Toy:
    """The federation; ``reply`` may be replaced to answer with more than weights.

    ``line``: puts something between coordinator and households.
    """

    def __init__(
        self,
        strategy: Strategy | str,
        move: Move,
        examples: Sequence[int] = (10, 20, 30),
        start: Sequence[float] = (1.0, 2.0),
        options: dict[str, float | int | str | bool] | None = None,
        metrics: Sequence[dict[str, float | int]] | None = None,
        compression: str = "none",
        privacy: Privacy | None = None,
        min_replies: int = 1,
        line: Callable[[Grid], Grid] = lambda grid: grid,
    ) -> None:
        if isinstance(strategy, str):
            strategy = make_strategy(
                strategy, options or {}, fraction_train=1.0, fraction_evaluate=1.0, seed=3
            )
        self.strategy = strategy
        self._move, self._examples = move, examples
        self._metrics = metrics or [{} for _ in examples]
        self.told = privacy is None
        self.requests: dict[int, ModelRequest] = {}
        self.received: dict[int, np.ndarray] = {}
        self._number = 0
        server_context(1, {})
        grid = LoopGrid(self._app(), len(examples), {}, 1)
        names = {node: f"H{i}" for i, node in enumerate(grid.get_node_ids())}
        self.rounds = Rounds(
            strategy,
            Roster(line(grid), names),
            encode_arrays({"w": np.array(start, np.float32)}),
            seed=3,
            max_update_bytes=10**6,
            deadline_s=60.0,
            compression=compression,
            privacy=privacy,
            min_replies=min_replies,
        )

    def round(self) -> RoundResult:
        """Run one round."""
        self._number += 1
        return self.rounds.run(self._number, ConfigRecord(), ConfigRecord())

    @property
    def model(self) -> np.ndarray:
        """The global model."""
        return decode_arrays(self.rounds.arrays)["w"].astype(np.float64)

    def reply(self, k: int, request: ModelRequest) -> ModelReply:
        """What household k sends back."""
        trained = np.asarray(self._move(k, request.weights["w"].astype(np.float64)), np.float32)
        told = {"train_loss": 1.0, TRAIN_STEPS: 1} if self.told else {}
        examples = self._examples[k] if self.told else 1
        return ModelReply({NUM_EXAMPLES: examples, **told, **self._metrics[k]}, {"w": trained})

    def _app(self) -> ClientApp:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            k = int(context.node_config["partition-id"])
            self.requests[k] = ModelRequest.decode(message.content)
            return Message(self.reply(k, self.requests[k]).encode(), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            k = int(context.node_config["partition-id"])
            self.received[k] = message.content.array_records[ARRAYS]["w"].numpy()
            return Message(encode_metrics({NUM_EXAMPLES: 1, "val_loss": 1.0}), reply_to=message)

        return app
