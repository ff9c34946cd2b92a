"""What a device does by its set-points: at any time the newest that counts, then its default."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.setpoints import Setpoint, joined, limited
from core.timeaxis import QUARTER_HOUR, to_datetime64

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)
powers = st.lists(st.floats(-1.0, 1.0) | st.just(float("nan")), min_size=1, max_size=40)


def setpoint(p_mw: list[float], start: datetime = NOON, **more: object) -> Setpoint:
    times = np.array([to_datetime64(start + n * QUARTER_HOUR) for n in range(len(p_mw))])
    return Setpoint("battery-1", times, np.array(p_mw), **more)  # type: ignore[arg-type]


def test_a_step_holds_until_the_next_and_the_last_as_long_as_the_one_before() -> None:
    asked = setpoint([0.1, float("nan"), 0.3])
    minutes = (-1, 0, 14, 15, 30, 44, 45)
    found = [asked.at(NOON + timedelta(minutes=m)) for m in minutes]
    assert found == [None, 0.1, 0.1, None, 0.3, 0.3, None]
    assert Setpoint("x", np.array([], "datetime64[ns]"), np.array([])).at(NOON) is None


def test_after_its_validity_a_device_does_its_safe_default() -> None:
    asked = limited(setpoint([0.1] * 8, fallback_mw=0.0), timedelta(hours=1))
    assert asked.valid_until == NOON + timedelta(hours=1)
    assert len(asked.times) == 4
    assert asked.at(NOON + timedelta(minutes=59)) == 0.1
    assert asked.at(NOON + timedelta(hours=1)) == 0.0
    assert asked.at(NOON + timedelta(days=30)) == 0.0
    # A plan shorter than the limit counts to its end.
    assert limited(setpoint([0.1]), timedelta(hours=1)).valid_until == NOON + QUARTER_HOUR


@given(
    before=powers,
    after=powers,
    first=st.integers(-4, 48),
    hours=st.integers(1, 12),
    minutes=st.integers(0, 12 * 60),
)
def test_a_newer_schedule_leaves_the_older_one_until_it_begins(
    before: list[float], after: list[float], first: int, hours: int, minutes: int
) -> None:
    """From now on the device does what it would have done with both in mind."""
    old = limited(
        setpoint(before, fallback_mw=0.5, q_mvar=-np.array(before)), timedelta(hours=hours)
    )
    new = setpoint(after, NOON + first * QUARTER_HOUR, q_mvar=np.array(after) / 2)
    now = NOON + timedelta(minutes=7)
    both = joined(old, new, now)
    assert (np.diff(both.times) > np.timedelta64(0)).all()
    at = now + timedelta(minutes=minutes)
    wanted = old if at < NOON + first * QUARTER_HOUR else new
    if to_datetime64(at) < new.end:
        assert both.at(at) == wanted.at(at)
        assert both.q_at(at) == wanted.q_at(at)


def test_reactive_power_ends_with_the_plan_and_is_asked_only_where_there_is_a_range() -> None:
    asked = limited(setpoint([0.1] * 8, q_mvar=np.full(8, -0.03)), timedelta(hours=1))
    minutes = (0, 59, 60, 600)
    assert [asked.q_at(NOON + timedelta(minutes=m)) for m in minutes] == [-0.03, -0.03, 0.0, 0.0]
    without = setpoint([0.2] * 8, NOON + QUARTER_HOUR)
    assert joined(asked, without, NOON).q_mvar is None
    assert without.q_at(NOON + QUARTER_HOUR) is None
    # A device that has just got its range is free until the plan that knows of it begins.
    after = joined(
        setpoint([0.1] * 8), setpoint([0.2], NOON + QUARTER_HOUR, q_mvar=np.ones(1)), NOON
    )
    assert (after.q_at(NOON), after.q_at(NOON + QUARTER_HOUR)) == (None, 1.0)


def test_without_an_older_one_the_newer_stands_alone() -> None:
    new = setpoint([0.1])
    assert joined(None, new, NOON) is new
