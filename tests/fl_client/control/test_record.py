"""What control has done, and what people ask of it, in a file that others read."""

from fl_client.control.record import (
    COMMAND,
    HAND_BACK,
    SETPOINT,
    STEERING,
    Override,
    Plan,
    Record,
    Snapshot,
)


def test_a_snapshot_is_read_as_it_was_written(tmp_path):
    """Another process reads the same; before the first there is none; the newest replaces."""
    mine, others = Record(tmp_path), Record(tmp_path)
    assert others.snapshot() is None
    plan = Plan(0.0, 1800.0, -1.5, -0.3, 0.4, 1.1, sold_kwh=0.2, retail=0.3)
    full = Snapshot(
        10.0, COMMAND, STEERING, "the plan", -2.0, 0.5, 9.0, -1.9, 0.1, 2.0, 0.55, 3.0, plan,
        Override(1.0, None, "page"), 5.0, 5.0, 0.1, 0.8, ("slow",),
    )  # fmt: skip
    for one in (Snapshot(5.0, COMMAND, STEERING, "first"), full):
        mine.put(one)
        assert others.snapshot() == one


def test_an_override_holds_until_it_ends(tmp_path):
    """With a time it ends by itself; without it lasts until it is ended; a newer one replaces."""
    mine, page = Record(tmp_path), Record(tmp_path)
    assert mine.override(0.0) is None
    page.set_override(100.0, 200.0, "page", "guests")
    assert mine.override(199.9) == Override(100.0, 200.0, "page", "guests")
    assert mine.override(200.0) is None
    page.set_override(300.0)
    assert mine.override(1e9) == Override(300.0, None, "")
    assert (page.clear_override(), page.clear_override(), mine.override(301.0)) == (
        True, False, None,
    )  # fmt: skip


def test_the_log_keeps_order_and_reasons(tmp_path):
    """Newest first, from a time on, at most so many; old ones are dropped in the end."""
    record = Record(tmp_path)
    for at in range(5):
        record.log(float(at), SETPOINT, f"reason {at}", -0.5 * at, sent=at > 0)
    record.log(5.0, HAND_BACK, "override", sent=True)
    newest = record.commands(most=2)
    assert [(c.command, c.kw, c.sent, c.reason) for c in newest] == [
        (HAND_BACK, None, True, "override"), (SETPOINT, -2.0, True, "reason 4"),
    ]  # fmt: skip
    assert len(record.commands(since=3.0)) == 3
    record.forget(400 * 86400.0 + 4.5)
    assert [c.at for c in record.commands()] == [5.0]
