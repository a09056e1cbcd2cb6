"""A household whose trader has to hold says why once, trades nothing, and keeps its limits."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from common.config import parse
from common.data.source import open_source
from common.messages import IntervalRequest, Join
from fl_client.household import Group
from fl_client.readings import Member


def test_a_missing_price_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Three intervals without a published price, then one with: one warning per household for the
    gap, no orders in it, orders after it, no limit violated by the battery."""
    settings = parse(
        {
            "run": {"households": 2, "days": 1, "history_days": 3, "shadow": False},
            "data": {"source": "synthetic"},
        }
    )
    source = open_source("synthetic", seed=1, households=2, start=None, days=1.0, history_days=3)
    members = [Member(partial(source.load, name), tmp_path / name) for name in source.names()]
    join = Join("run", source.start().isoformat(), 48, 0, True)
    group = Group(members, settings, join)
    orders = []
    with caplog.at_level(logging.WARNING):
        for t in range(6):
            retail = np.full(48 - t, 0.3 if t >= 3 else np.nan)
            request = IntervalRequest(
                run="run",
                t=t,
                retail=retail,
                feed_in=0.05,
                fills=np.zeros((0, 5), np.int64),
                signals_from=0,
                signals=np.zeros((0, 2)),
            )
            orders.append([len(reply.orders) for reply in group.advance([request, request])])
    said = [record.getMessage() for record in caplog.records if "holds" in record.getMessage()]
    assert len(said) == 2
    assert all("retail price is missing" in line for line in said)
    assert orders[:3] == [[0, 0]] * 3
    assert all(count > 0 for count in orders[5])
    assert np.nanmin(group.log["soc"]) >= 0.1 - 1e-12
    assert np.nanmax(group.log["soc"]) <= 0.8 + 1e-12
