"""Local times: the hour that was twice is told by the order of a device's rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.timeaxis import to_us, zone
from ingest.localtimes import Fold, LocalClock

BERLIN = zone("Europe/Berlin")
QUARTER_US = 900_000_000


def day_us(count: int = 100, start: str = "2026-10-24T22:00:00") -> np.ndarray:
    """The quarter-hours of Berlin's 25 October 2026 in UTC: there are a hundred."""
    first = to_us(datetime.fromisoformat(start).replace(tzinfo=UTC))
    return first + np.arange(count) * QUARTER_US


def shown(us: np.ndarray) -> np.ndarray:
    """What clocks in Berlin show at these instants."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    times = [(epoch + timedelta(microseconds=int(u))).astimezone(BERLIN) for u in us]
    return np.array([to_us(t.replace(tzinfo=UTC)) for t in times], dtype=np.int64)


def same(us: np.ndarray) -> np.ndarray:
    return np.zeros(len(us), dtype=np.int64)


@pytest.mark.parametrize("step", [1, -1], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("every", [1, 2, 4], ids=["15 min", "30 min", "1 h"])
def test_a_day_of_25_hours_comes_back_whole(step: int, every: int) -> None:
    us = day_us()[::every][::step]
    found, exists = LocalClock(BERLIN).utc(shown(us), same(us), ["meter"])
    assert found.tolist() == us.tolist()
    assert exists.all()


@given(st.integers(1, 99), st.sampled_from([1, -1]))
def test_the_hour_may_stand_in_two_pieces(cut: int, step: int) -> None:
    us = day_us()[::step]
    clock = LocalClock(BERLIN)
    pieces = [clock.utc(shown(p), same(p), ["meter"])[0] for p in (us[:cut], us[cut:])]
    if step == 1 or min(cut, 100 - cut) > 1:  # a single row has no direction
        assert np.concatenate(pieces).tolist() == us.tolist()


@pytest.mark.parametrize("by_time", [True, False], ids=["by time", "by device"])
def test_devices_have_an_order_each(by_time: bool) -> None:
    us = np.repeat(day_us(), 3) if by_time else np.tile(day_us(), 3)
    code = np.tile(np.arange(3), 100) if by_time else np.repeat(np.arange(3), 100)
    found, _ = LocalClock(BERLIN).utc(shown(us), code, ["a", "b", "c"])
    assert found.tolist() == us.tolist()


def test_what_order_does_not_tell_is_the_first_time_unless_said() -> None:
    """Only one of the two hours is in the file, or the rows have no order."""
    second = day_us(4, "2026-10-25T01:00:00")  # 02:00 to 02:45, after the change
    for fold, hours in ((Fold.ORDER, 1), (Fold.FIRST, 1), (Fold.SECOND, 0)):
        found, _ = LocalClock(BERLIN, fold).utc(shown(second), same(second), ["meter"])
        assert (second - found).tolist() == [hours * 4 * QUARTER_US] * 4, fold
    mixed = np.array([1, 0, 3, 2])
    found, _ = LocalClock(BERLIN).utc(shown(second)[mixed], same(second), ["meter"])
    assert (second[mixed] - found).tolist() == [4 * QUARTER_US] * 4


def test_the_hour_that_never_was_is_said_to_be_none() -> None:
    spring = to_us(datetime(2026, 3, 29, tzinfo=UTC)) + np.arange(24) * 4 * QUARTER_US
    _, exists = LocalClock(BERLIN).utc(spring, same(spring), ["meter"])
    assert np.flatnonzero(~exists).tolist() == [2]
