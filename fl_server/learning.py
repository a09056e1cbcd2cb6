"""The federated rounds of a run, each with its line in the file of rounds."""

import pandas as pd

from common.config import Settings
from common.model_messages import instruction
from fl_server.rounds import Rounds, scalar
from fl_server.run_files import Lines
from fl_server.strategy.asynchronous import STALENESS


class Learning:
    """Runs model rounds of a run that began at ``start`` and writes what they did."""

    def __init__(
        self, rounds: Rounds, lines: Lines, settings: Settings, start: pd.Timestamp
    ) -> None:
        self.rounds, self.fl = rounds, settings.fl
        self.every, self._step = settings.round_every, settings.cadence.step
        self.lines, self._start = lines, start
        self._late = 0  # updates used since the last round

    def due(self, t: int) -> int:
        """Number of the newest round that is due once intervals 0 to ``t`` - 1 are over."""
        return t // self.every

    def broadcast(self, round_: int, t: int) -> None:
        """Send out the model of a round that is over: everyone forecasts with it from ``t`` on."""
        self.rounds.broadcast(round_, instruction(t))

    def take_late(self, round_: int) -> int:
        """Use the updates that have come since ``round_``, the newest; returns their number."""
        used = self.rounds.take_late(round_).accepted
        self._late += used
        return used

    def round(self, round_: int) -> None:
        """Run one round."""
        after = round_ * self.every
        result = self.rounds.run(round_, instruction(after - 1), instruction(after - 1))
        late, self._late = self._late + result.screening.late, 0
        staleness = scalar(result.train, STALENESS)
        dropped = {
            reason: count for reason, count in sorted(result.screening.dropped.items()) if count
        }
        self.lines.write(
            {
                "round": round_,
                "interval": after - 1,
                "time": (self._start + after * self._step).isoformat(),
                "strategy": self.fl.strategy,
                "sampled": result.sampled,
                "replies": result.screening.accepted,
                "dropped": sum(dropped.values()),
                "dropped_reasons": dropped,
                "unreached": result.unreached,
                "train_loss": scalar(result.train, "train_loss"),
                "val_loss": scalar(result.evaluate, "val_loss"),
                "val_consumption_day": scalar(result.evaluate, "val_consumption_day"),
                "val_price_day": scalar(result.evaluate, "val_price_day"),
                "bytes_up": result.screening.bytes_up,
                "bytes_down": result.bytes_down,
                "seconds": result.seconds,
                **({"clipped": result.screening.clipped} if result.screening.clipped else {}),
                **({"late": late} if late else {}),
                **({} if staleness is None else {STALENESS: staleness}),
                **({} if result.failed is None else {"failed": result.failed}),
                **({} if result.spent is None else {"privacy": vars(result.spent)}),
            }
        )
