"""What forecasts are worth in the market: each home's own weights are asked, in a run."""

from common.forecast.forecaster import weights_of
from common.forecast.transformer import build_model
from simulations.benchmarks.strategies.money import share_of_optimum
from simulations.benchmarks.strategies.setup import Setup

SETUP = Setup(
    "synthetic", households=2, rounds=1, preset="slot-small", train_days=28, test_days=3,
    money_days=1.0,
)  # fmt: skip


def test_a_model_is_worth_what_its_forecasts_save() -> None:
    """A day of two homes with the mean of 7 days, with fresh weights, and with weights that
    forecast nonsense: the first two get most of the optimum, the last less than either."""
    fresh = weights_of(build_model("slot-small"))
    spoilt = {name: value * 30.0 + 1.0 for name, value in fresh.items()}
    plain, learned, nonsense = (
        share_of_optimum(SETUP, 0, made)
        for made in (None, *(dict.fromkeys(("H0001", "H0002"), w) for w in (fresh, spoilt)))
    )
    assert min(plain, learned) > 0.5
    assert max(plain, learned) <= 1.000001
    assert nonsense < min(plain, learned)
