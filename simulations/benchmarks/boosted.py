"""LightGBM as the benchmarks set it: what a good library makes of readings in one place."""

from typing import Any

from common.errors import InputError


def regressor(**own: Any) -> Any:
    """A regressor that has not been fitted; ``own``: settings of one benchmark.

    Raises InputError where LightGBM is not installed.
    """
    try:
        from lightgbm import LGBMRegressor
    except ImportError:
        raise InputError("lightgbm is not installed: pip install 'fedwatt[benchmark]'") from None
    return LGBMRegressor(
        learning_rate=0.05,
        min_child_samples=200,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.6,
        n_jobs=1,
        random_state=0,
        deterministic=True,
        verbosity=-1,
        **own,
    )
