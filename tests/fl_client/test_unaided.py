"""What a household would have done without the shared model, beside what it does with it."""

from functools import partial
from pathlib import Path

import numpy as np

from common.arrays import Floats, Ints
from common.config import parse
from common.data.source import open_source
from common.messages import IntervalRequest, Join
from fl_client.household import Group
from fl_client.readings import Member

INTERVALS, KNOWN = 48, 96
PRICE = np.where(np.arange(INTERVALS + KNOWN) % 48 < 24, 0.10, 0.50)


def heavy_evenings(households: Ints, unknown: int, lag: int) -> Floats:
    """A model that expects 2 kWh in every step to come, whatever the home's own days say."""
    return np.full((len(households), 14, 48), 2.0)


def lived(folder: Path, *, aided: bool) -> Group:
    """Two homes with batteries, half a day at low prices and then a dear one."""
    settings = parse(
        {
            "run": {"households": 2, "days": 1, "history_days": 9},
            "data": {"source": "synthetic"},
        }
    )
    source = open_source("synthetic", seed=1, households=2, start=None, days=1.0, history_days=9)
    members = [
        Member(partial(source.load, name), folder / name, durable=True) for name in source.names()
    ]
    group = Group(members, settings, Join("run", source.start().isoformat(), 48, 0, True))
    if aided:
        group.deciding.ask_net = heavy_evenings
    for t in range(30):
        requests = [
            IntervalRequest(
                run="run",
                t=t,
                retail=PRICE[t : t + KNOWN],
                feed_in=0.05,
                fills=np.array([[t - 1, 0, 0, 0, 0]] if t else np.zeros((0, 5)), np.int64),
                signals_from=max(t - 1, 0),
                signals=np.full((min(t, 1), 2), 0.2),
                undelivered=np.full((min(t, 1), 2), 0.1),
            )
            for _ in members
        ]
        group.advance(requests)
    group.log.close()
    return group


def test_unaided_is_the_same_house_without_a_model(tmp_path: Path) -> None:
    """To the last bit the life of another household that never had one; with it the same house goes
    another way; and where nobody has a model both of its lives are one. Read back, it goes on."""
    aided, plain = (lived(tmp_path / name, aided=name == "aided") for name in ("aided", "plain"))
    done = slice(0, 29)
    for quantity in ("soc", "cost"):
        without = plain.log[f"shadow_{quantity}"][:, done]
        assert np.isfinite(without).all()
        assert np.array_equal(aided.log[f"unaided_{quantity}"][:, done], without)
        assert np.array_equal(plain.log[f"unaided_{quantity}"][:, done], without)
        assert not np.array_equal(aided.log[f"shadow_{quantity}"][:, done], without)
    state = aided.log.states[0]
    kept = state.plan(29)
    assert kept is not None
    assert kept[2] is not None
    assert np.array_equal(kept[2], aided.log.unaided_plan[0])
    assert not np.array_equal(kept[2], kept[1])
    state.close()
