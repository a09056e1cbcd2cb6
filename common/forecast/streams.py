"""What is forecast: two quantities at three horizons, and how much each counts in the loss."""

SLOTS = 48
"""Half hours in a day."""

KINDS = ("consumption", "price")
HORIZONS = {"day": 48, "week": 336, "month": 1440}
HORIZON_WEIGHT = {"day": 1.0, "week": 0.5, "month": 0.25}
TASK_WEIGHT = {"consumption": 0.6, "price": 0.4}

STREAMS = {f"{kind}_{name}": (kind, name) for kind in KINDS for name in HORIZONS}
"""Stream name -> (kind, horizon name); consumption in kWh per interval, price per kWh."""

QUANTILE_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
QUANTILES = "consumption_day_quantiles"
"""Optional extra output (H, Q, 48) of presets that forecast a distribution."""

NET = "net_day_quantiles"
"""Optional extra output (B, 14, K) of presets that correct own days: net load of K steps, in units
of the home's mean load (``net_inputs``). It is made for training; traders ask ``NetCorrector``."""


def horizon_of(stream: str) -> int:
    """Return the number of half-hour steps of a stream."""
    return HORIZONS[STREAMS[stream][1]]
