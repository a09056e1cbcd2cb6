"""The household's trader: what it offers on the market and what its battery does."""

from collections.abc import Mapping

from common.errors import InputError
from common.named import is_named, made, require
from fl_client.trader.base import Actual, Decision, Situation, Trader, TraderForecast

_OF_A_TRADER = ("history", "uses_forecast", "uses_sun", "plan_width", "decide", "dispatch")
KINDS = ("bid-curve", "rule", "rule-literal", "greedy", "hold")

__all__ = ["KINDS", "Actual", "Decision", "Situation", "Trader", "TraderForecast", "make_trader"]


def make_trader(kind: str, options: Mapping[str, float | int | str | bool]) -> Trader:
    """Build a trader by name, or with ``module:Factory``, which the options go to.

    Raises InputError for an unknown kind or option.
    """
    if is_named(kind):
        return _own_trader(kind, options)
    # Imported here: compiled planning is not loaded for traders that do not plan.
    from fl_client.trader import rules

    if kind == "bid-curve":
        from fl_client.trader.bid_curve import BidCurve, Options

        return BidCurve(Options.of(options))
    known = {"threshold"} if kind.startswith("rule") else set()
    for name, value in options.items():
        if name not in known:
            raise InputError(f"trader.options.{name}: trader {kind!r} has no such option")
        if isinstance(value, bool | str) or not 0 <= value <= 100:
            raise InputError(f"trader.options.{name} = {value!r}: expected a number in 0..100")
    threshold = float(options.get("threshold", 75.0))
    match kind:
        case "rule":
            return rules.Rule(literal=False, threshold=threshold)
        case "rule-literal":
            return rules.Rule(literal=True, threshold=threshold)
        case "hold":
            return rules.Hold()
        case "greedy":
            return rules.Greedy()
    known_kinds = ", ".join(KINDS)
    raise InputError(f"trader.kind = {kind!r}: expected one of {known_kinds}, or module:Factory")


def _own_trader(path: str, options: Mapping[str, float | int | str | bool]) -> Trader:
    own: Trader = made(path, "trader.kind", **options)
    require(own, path, "trader.kind", *_OF_A_TRADER)
    return own
