"""Recourses of plans, powers and energies, drawn at random."""

from hypothesis import strategies as st

kw = st.floats(-10, 10)
kwh = st.floats(-5, 5)


class Planned:
    """The recourse of a plan: the battery absorbs the net load between two actions."""

    def __init__(self, low, high):
        self._low, self._high = sorted((low, high))

    def target(self, net_kwh):
        return min(max(-net_kwh, self._low), self._high)

    def bounds(self):
        return self._low, self._high


plans = st.builds(Planned, kwh, kwh)
