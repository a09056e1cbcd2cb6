"""When a run ends, and which of its models counts: errors on days kept apart say so.

Early stopping (Prechelt 1998, "Early stopping - but when?"): the model of the round with the least
error on the days before the held-out ones is kept, and a run without a better one for some rounds
is over. Nothing of the held-out days is known to it.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass
class Keeper(Generic[State]):
    """Keeps what belongs to the best round so far.

    ``patience``: rounds without a better one after which it is over; None: the last round counts.
    Rounds before ``since`` are not compared with later ones, as homes have changed between them.
    """

    patience: int | None
    since: int = 0
    round: int = -1
    state: State | None = None
    _least: float = inf

    def see(self, round_: int, error: float, state: State) -> None:
        """A round's error on the days to choose by; one that is not finite is the largest."""
        error = error if isfinite(error) else inf
        if self.patience is None or self.round < self.since or error < self._least:
            self.round, self.state = round_, state
            self._least = error if round_ >= self.since else inf

    def over(self, round_: int) -> bool:
        """Whether nothing has got better for ``patience`` rounds."""
        return self.patience is not None and round_ - max(self.round, self.since) >= self.patience
