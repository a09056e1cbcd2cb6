"""Client-level differential privacy: what a run has told of any one household, as epsilon.

Each household clips its update to norm C and adds Gaussian noise of standard deviation
z C / sqrt(n) to each value, n being the households asked in the round; all count the same, and
they send no losses. The sum of m updates then carries noise z C sqrt(m/n): a Gaussian mechanism of
multiplier z sqrt(m/n) against whoever sees the models, for the addition or removal of one
household (McMahan et al. 2018, arXiv:1710.06963; noise shared among the households as in Kairouz
et al. 2021, arXiv:2102.06387). Rounds compose by Renyi divergence (Mironov 2017,
arXiv:1702.07476). Sampling of households is not counted as protection.

Against the server itself, which sees each update, only the household's own noise protects:
multiplier z / sqrt(n). With secure aggregation it sees the sum alone, and both figures are equal.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flwr.app import Message

from common.messages import CONFIG
from common.model_messages import PRIVACY_CLIP, PRIVACY_NOISE


@dataclass(frozen=True)
class Spent:
    """Epsilon so far at ``delta``, for the household that took part most.

    ``epsilon``: against those who see the models. ``epsilon_server``: against the server.
    """

    epsilon: float
    epsilon_server: float
    delta: float


@dataclass
class Privacy:
    """Clip norm, noise multiplier z and delta of a run.

    ``memory``: by household, the sum of 1/z^2 over its rounds for both views; Renyi divergences
    of Gaussian mechanisms add up in just this number.
    """

    clip: float
    noise_multiplier: float
    delta: float = 1e-5
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.clip <= 0 or self.noise_multiplier < 0 or not 0 < self.delta < 1:
            raise ValueError("privacy: clip > 0, noise_multiplier >= 0 and 0 < delta < 1 must hold")

    def instruct(self, messages: Sequence[Message]) -> None:
        """Tell the households of a round how to protect their updates."""
        for message in messages:
            config = message.content.config_records[CONFIG]
            config[PRIVACY_CLIP] = self.clip
            config[PRIVACY_NOISE] = self.noise_multiplier * self.clip / math.sqrt(len(messages))

    def spend(self, asked: Sequence[str], counted: Iterable[str], *, summed: bool = False) -> Spent:
        """Count a round: the households asked, and those whose update went into the model.

        ``summed``: the server has seen the sum of the latter alone (secure aggregation).
        """
        names = set(counted)
        z = self.noise_multiplier
        bare = _inverse_square(z / math.sqrt(len(asked))) if asked else 0.0
        seen = _inverse_square(z * math.sqrt(len(names) / len(asked))) if names else 0.0
        for name in sorted(asked):
            models, server = self.memory.get(name, (0.0, 0.0))
            told = seen if name in names else 0.0
            # What was sent but not counted, the server may have seen all the same.
            self.memory[name] = models + told, server + (told if summed else bare)
        return self.spent()

    def spent(self) -> Spent:
        """Epsilon of all rounds so far."""
        models = max((m for m, _ in self.memory.values()), default=0.0)
        server = max((s for _, s in self.memory.values()), default=0.0)
        return Spent(epsilon(models, self.delta), epsilon(server, self.delta), self.delta)


def _inverse_square(multiplier: float) -> float:
    return math.inf if multiplier == 0 else multiplier**-2


def epsilon(inverse_squares: float, delta: float) -> float:
    """Epsilon at ``delta`` of Gaussian mechanisms whose 1/z^2 add up to ``inverse_squares``."""
    from dp_accounting import GaussianDpEvent, rdp  # slow to import, and rarely used

    if inverse_squares == 0:
        return 0.0
    if math.isinf(inverse_squares):
        return math.inf
    accountant = rdp.RdpAccountant()
    accountant.compose(GaussianDpEvent(inverse_squares**-0.5))
    return float(accountant.get_epsilon(delta))
