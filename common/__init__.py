"""What both sides of fedwatt agree on: settings, messages, data, forecasts, market rules."""

__version__ = "0.1.0"
