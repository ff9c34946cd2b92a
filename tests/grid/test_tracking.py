"""A device follows its set-point, or it does not: beyond a tolerance, and for long enough."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.timeaxis import QUARTER_HOUR
from grid.tracking import Tolerance, excess, off_track, rated_mw

NAN = float("nan")


def off(asked: list[float], measured: list[float], *, capped: bool = False) -> bool:
    columns = [np.array(values)[:, np.newaxis] for values in (asked, measured)]
    found = off_track(excess(*columns, np.array([capped])), np.array([0.1]))
    return bool(found[0])


def test_it_is_off_when_every_interval_is() -> None:
    assert off([1, 1, 1], [0, 0.5, 0.5])
    assert off([1, 1, 1], [1, 0.5, 1.5])
    assert not off([1, 1, 1], [0, 0.5, 0.95])  # it follows again
    assert not off([1, 1, 1], [0, 1.0, 0.5])  # not for long enough


def test_a_reading_that_has_not_come_yet_ends_no_deviation_and_begins_none() -> None:
    assert off([1, 1, 1], [0.5, 0.5, NAN])
    assert not off([1, 1, 1], [1.0, 0.5, NAN])


def test_where_nothing_is_asked_or_measured_nothing_is_off() -> None:
    assert not off([NAN, NAN, NAN], [5, 5, 5])
    assert not off([1, 1, 1], [NAN, NAN, NAN])
    assert not off([1, NAN, 1], [0, 0, 0])


def test_a_cloud_is_no_disobedience() -> None:
    assert not off([1, 1, 1], [0, 0, 0], capped=True)
    assert off([1, 1, 1], [1.2, 1.2, 1.2], capped=True)


@given(
    st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.lists(st.floats(-0.1, 0.1), min_size=3)
)
def test_within_the_tolerance_nobody_is_off(asked: list[float], noise: list[float]) -> None:
    assert not off(asked, [a + 0.999 * n for a, n in zip(asked, noise, strict=False)])


def test_the_tolerance_is_the_larger_of_a_power_and_a_share() -> None:
    tolerance = Tolerance.of({"deviation_percent": 5, "deviation_mw": 0.02})
    rated = np.array([rated_mw({"p_max_mw": 1.0}), rated_mw({"pdc0_mw": 0.1}), rated_mw({})])
    assert tolerance.allowed_mw(rated) == pytest.approx([0.05, 0.02, 0.02])
    assert tolerance.steps(QUARTER_HOUR) == 2
    assert tolerance.steps(timedelta(hours=1)) == 1


@pytest.mark.parametrize("wrong", ["many", 0, -1, float("nan"), None])
def test_a_tolerance_of_no_use_is_named(wrong: object) -> None:
    with pytest.raises(ConfigurationError):
        Tolerance.of({"deviation_minutes": wrong})
