"""Registers to intervals: what went in comes out, and what is not known says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.readings import Quality
from core.timeaxis import from_us, to_us
from ingest.registers import Exchange, Register, intervals

QUARTER = timedelta(minutes=15)
START = datetime(2026, 6, 22, tzinfo=UTC)
MINUTE = 60_000_000
PLAIN = Register(QUARTER, most_per_s=1.0)
GOOD, ESTIMATED = int(Quality.GOOD), int(Quality.ESTIMATED)


def run(minutes, values, register=PLAIN, quality=None):
    ts_us = np.array([to_us(START) + round(m * MINUTE) for m in minutes], dtype=np.int64)
    flags = np.zeros(len(ts_us), dtype=np.int16) if quality is None else np.array(quality, np.int16)
    return intervals(ts_us, np.array(values, dtype=float), flags, register)


def shown(found):
    minutes = ((found.ts_us - to_us(START)) / MINUTE).tolist()
    return list(zip(minutes, found.energy.round(9).tolist(), found.quality.tolist(), strict=True))


def test_readings_on_the_bounds_are_plain_differences():
    found = run([0, 15, 30, 45], [100.0, 101.0, 103.5, 103.5])
    assert shown(found) == [(0, 1.0, GOOD), (15, 2.5, GOOD), (30, 0.0, GOOD)]


def test_readings_beside_the_bounds_are_interpolated():
    """10 minutes of 1 a minute, then 2 a minute; the first and last interval are not whole."""
    found = run([5, 20, 35, 50], [0.0, 15.0, 45.0, 75.0])
    assert shown(found) == [(15, 25.0, GOOD), (30, 30.0, GOOD)]


def test_a_gap_is_spread_and_flagged():
    found = run([0, 15, 60, 75], [0.0, 1.0, 4.0, 5.0])
    flags = [GOOD, ESTIMATED, ESTIMATED, ESTIMATED, GOOD]
    assert found.quality.tolist() == flags
    np.testing.assert_allclose(found.energy, 1.0)


def test_hourly_readings_of_a_quarter_hourly_grid_are_estimates():
    assert set(run([0, 60], [0.0, 4.0]).quality.tolist()) == {ESTIMATED}


def test_a_register_that_rolls_over_goes_on_counting():
    """Five digits of kWh in MWh: 99.999 is followed by 0."""
    register = Register(QUARTER, most_per_s=0.01, modulus=100.0)
    found = run([0, 15, 30], [99.5, 0.25, 1.0], register)
    assert shown(found) == [(0, 0.75, GOOD), (15, 0.75, GOOD)]


def test_a_drop_that_no_power_explains_is_another_meter():
    """From 60 to 0.5 would be 40.5 in a quarter-hour; at most 9 can pass."""
    register = Register(QUARTER, most_per_s=0.01, modulus=100.0)
    found = run([0, 15, 30], [60.0, 0.5, 1.0], register)
    assert shown(found) == [(0, 0.5, ESTIMATED), (15, 0.5, GOOD)]


def test_another_meter_that_did_not_begin_at_zero():
    """Nobody can know; power is taken to have gone on as before."""
    register = Register(QUARTER, most_per_s=0.01)
    found = run([0, 15, 30, 45], [60.0, 62.0, 4_000.0, 4_001.0], register)
    assert shown(found) == [(0, 2.0, GOOD), (15, 2.0, ESTIMATED), (30, 1.0, GOOD)]
    down = run([0, 15, 30, 45], [60.0, 62.0, 20.0, 21.0], register)
    assert shown(down) == shown(found)


def test_an_exchange_that_was_written_down_is_no_estimate():
    exchange = Exchange(START + timedelta(minutes=20), final=101.5, initial=7.0)
    register = Register(QUARTER, most_per_s=1.0, exchanges=(exchange,))
    found = run([0, 15, 30, 45], [100.0, 101.0, 8.0, 9.0], register)
    assert shown(found) == [(0, 1.0, GOOD), (15, 1.5, GOOD), (30, 1.0, GOOD)]
    at_a_reading = Register(
        QUARTER, 1.0, exchanges=(Exchange(START + QUARTER, final=101.0, initial=7.0),)
    )
    assert shown(run([0, 15, 30], [100.0, 7.0, 8.0], at_a_reading)) == [
        (0, 1.0, GOOD),
        (15, 1.0, GOOD),
    ]


def test_flags_of_readings_are_passed_on_and_unusable_ones_left_out():
    flags = [0, Quality.DEVICE_FLAG, 0, Quality.OUT_OF_RANGE, 0, 0]
    found = run([0, 15, 30, 45, 60, 75], [0, 1, 2, 1e9, 4, 5], quality=[int(f) for f in flags])
    device = int(Quality.DEVICE_FLAG)
    assert found.quality.tolist() == [device, device, ESTIMATED, ESTIMATED, GOOD]
    np.testing.assert_allclose(found.energy, 1.0)


def test_the_hour_that_clocks_show_twice_is_an_hour_like_any_other():
    """25 October 2026, 00:00 to 03:00 UTC: in Berlin it is 02:00 twice."""
    start = to_us(datetime(2026, 10, 25, tzinfo=UTC))
    ts_us = start + np.arange(13, dtype=np.int64) * 15 * MINUTE
    found = intervals(ts_us, np.arange(13.0), np.zeros(13, np.int16), PLAIN)
    assert len(found.energy) == 12
    np.testing.assert_allclose(found.energy, 1.0)
    assert from_us(int(found.ts_us[-1])) == datetime(2026, 10, 25, 2, 45, tzinfo=UTC)


@pytest.mark.parametrize("minutes", [[], [0], [1, 14], [15]])
def test_without_a_whole_interval_there_is_nothing(minutes):
    assert shown(run(minutes, range(len(minutes)))) == []


@pytest.mark.parametrize("wrong", [{"step": timedelta(0)}, {"most_per_s": 0.0}, {"modulus": -1.0}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        Register(**({"step": QUARTER, "most_per_s": 1.0} | wrong))


steps = st.lists(st.tuples(st.integers(1, 50), st.floats(0.0, 20.0)), min_size=2, max_size=30)


@given(steps, st.floats(0.0, 99.9), st.booleans())
def test_the_intervals_add_up_to_what_the_register_rose(pieces, begin, rolls):
    """Whatever the times: the sum is last minus first, roll-overs included, at whole bounds."""
    minutes = np.cumsum([0, *(m for m, _ in pieces)])
    total = begin + np.cumsum([0.0, *(min(e, 0.3 * m) for m, e in pieces)])
    assume(minutes[-1] >= 15)
    register = Register(QUARTER, most_per_s=0.02, modulus=100.0 if rolls else 0.0)
    found = run(minutes, total % 100.0 if rolls else total, register)
    bounds = np.append(found.ts_us, found.ts_us[-1] + 15 * MINUTE) if len(found.ts_us) else []
    assume(len(bounds))
    at = np.interp((np.array(bounds) - to_us(START)) / MINUTE, minutes, total)
    np.testing.assert_allclose(found.energy, np.diff(at), atol=1e-7)
    assert found.energy.sum() == pytest.approx(at[-1] - at[0], abs=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(1, 90), st.floats(0, 1e6), st.sampled_from([0, 1, 8, 16, 32])),
        min_size=2,
        max_size=20,
    ),
    st.sampled_from([0.0, 100.0]),
)
def test_nothing_makes_energy_that_cannot_have_passed(rows, modulus):
    register = Register(QUARTER, most_per_s=0.02, modulus=modulus)
    minutes = np.cumsum([m for m, _, _ in rows])
    found = run(minutes, [v for _, v, _ in rows], register, [q for *_, q in rows])
    assert (found.energy >= -1e-9).all()
    assert (found.energy <= 0.02 * 900 + 1e-6).all()
    assert np.isfinite(found.energy).all()
    assert (np.diff(found.ts_us) == 15 * MINUTE).all()
