"""The water district: nothing gets lost but by leaking, and the leak starts when it should."""

from __future__ import annotations

import numpy as np
import pytest

from sandbox import citytime, water
from sandbox.water import District


@pytest.fixture(scope="module")
def district() -> District:
    return District(seed=1)


@pytest.mark.parametrize("number", [-10, 0, 1, 2, 30])
def test_what_flows_in_is_billed_or_leaks(district: District, number: int) -> None:
    """EPANET's inflow against our own sum of demands and of leaks by Torricelli."""
    day = district.day(number)
    inflow_m3 = day.inflow_m3_per_h * 0.25
    np.testing.assert_allclose(inflow_m3, day.billed_m3 + day.leak_m3, rtol=1e-4)


def rate(district: District, number: int) -> float:
    day = district.day(number)
    inflow_m3 = day.inflow_m3_per_h.sum() * 0.25
    return float((inflow_m3 - day.billed_m3.sum()) / inflow_m3)


def test_the_leak_rate_rises_from_nine_to_eighteen_percent(district: District) -> None:
    before = [rate(district, number) for number in range(-7, 1)]
    after = [rate(district, number) for number in range(2, 9)]
    assert 0.08 < min(before) <= max(before) < 0.10
    assert 0.16 < min(after) <= max(after) < 0.20


def test_the_main_breaks_at_two_in_the_second_night(district: District) -> None:
    day = district.day(1)
    assert citytime.quarter(water.LEAK_START) == 96 + 8
    np.testing.assert_array_less(day.leak_m3[:8] * 1.5, day.leak_m3[8])
    assert day.leak_m3[8:].min() > day.leak_m3[:8].max()


def test_leaks_are_strongest_at_night_when_pressure_is(district: District) -> None:
    leak = district.day(5).leak_m3
    assert leak[12:16].mean() > leak[28:32].mean()


def test_any_slice_of_time_is_the_same_water(district: District) -> None:
    quarters = np.arange(90, 110)
    flow, billed = district.at(quarters)
    again_flow, again_billed = District(seed=1).at(quarters[7:12])
    np.testing.assert_array_equal(flow[7:12], again_flow)
    np.testing.assert_array_equal(billed[7:12], again_billed)


def test_customers_use_what_customers_use(district: District) -> None:
    litres_a_connection = district.day(0).billed_m3.sum() * 1000.0 / water.CONNECTIONS
    assert 200.0 < litres_a_connection < 600.0
    hourly = district.day(0).billed_m3.reshape(24, 4).sum(axis=1)
    assert hourly.argmin() in (1, 2, 3)
