"""What models are worth in the market: each home's own weights correct its days, in a run."""

from pathlib import Path

from safetensors.numpy import save_file

from common.data.store import write_household
from common.forecast.forecaster import weights_of
from common.forecast.transformer import build_model
from simulations.benchmarks.strategies import money
from simulations.benchmarks.strategies.money import share_of_optimum
from simulations.benchmarks.strategies.setup import Setup
from simulations.benchmarks.traders.life import live

SETUP = Setup(
    "synthetic", households=2, rounds=1, preset="slot-small", train_days=28, test_days=3,
    money_days=1.0,
)  # fmt: skip
NAMES = ("H0001", "H0002")


def test_a_model_is_worth_what_its_corrections_save() -> None:
    """A day of two homes by own days, which a fresh head leaves as they are, and by a head that
    each home finds to have been worse in its last week: all three are the same to the last bit.
    Another head changes what is traded."""
    fresh = weights_of(build_model("slot-small"))
    nonsense = {n: v * 30.0 + 1.0 if n.startswith("net.") else v for n, v in fresh.items()}
    slight = {n: v + 0.02 if n == "net.out.bias" else v for n, v in fresh.items()}
    own = share_of_optimum(SETUP, 0, None)
    assert 0.5 < own <= 1.000001
    for same in (fresh, nonsense):
        assert share_of_optimum(SETUP, 0, dict.fromkeys(NAMES, same)) == own
    assert share_of_optimum(SETUP, 0, {NAMES[0]: slight, NAMES[1]: fresh}) != own


def test_homes_trade_as_in_a_run_that_is_given_the_model(tmp_path: Path) -> None:
    """What a day costs with weights is to the last bit what a run costs that begins with them and
    has no further round: a household's own judgement of the model included."""
    weights = {
        n: v + 0.02 if n == "net.out.bias" else v
        for n, v in weights_of(build_model("slot-small")).items()
    }
    save_file(weights, tmp_path / "model.safetensors")
    for household in money._households(SETUP):
        write_household(household, tmp_path / "homes")
    given = f"model.init={tmp_path / 'model.safetensors'}"
    settings = money._settings(SETUP, 0, tmp_path / "homes", "none", given)
    small = settings.model.model_copy(update={"preset": SETUP.preset})
    never = settings.fl.model_copy(update={"enabled": True, "every_hours": 1000.0})
    (tmp_path / "run").mkdir()
    changed = settings.model_copy(update={"model": small, "fl": never})
    run = live(changed, tmp_path / "run")["cost"]
    correct = money._correct(dict.fromkeys(NAMES, weights))
    assert money._cost(SETUP, 0, "none", "trader.kind=bid-curve", correct) == run
