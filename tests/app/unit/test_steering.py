"""What a plan asks of its devices, and the safe default it leaves them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import xarray as xr

from app import steering
from app.planning import Horizon, assemble, network_of
from app.wiring import City
from core.errors import ConfigurationError
from core.setpoints import Setpoint
from core.timeaxis import HOUR, QUARTER_HOUR, from_datetime64
from grid.envelope import Reactive
from optimization.problem import DispatchProblem


@pytest.fixture
def problem(city: City, write: Callable[..., None], now: datetime) -> DispatchProblem:
    """Four steps with 1 MW of sun each, no load, and an export limit of 10 MW."""
    week = 7 * 24 * HOUR
    write({"tiny/pv-000/p_mw": 1.0}, now - week, now - week + 2 * HOUR, QUARTER_HOUR)
    with city.database.connection() as connection:
        return assemble(connection, city, network_of(city), Horizon(now, now + HOUR, now))


def schedule(problem: DispatchProblem, pv: list[float], battery: list[float]) -> xr.Dataset:
    return xr.Dataset(
        {"p_mw": (("time", "asset"), np.array([pv, battery]).T)},
        {"time": problem.times, "asset": ["pv-000", "battery-000"]},
    )


def asked(problem: DispatchProblem, pv: list[float], **parameters: float) -> dict[str, Setpoint]:
    found = steering.setpoints(problem, schedule(problem, pv, [0.1, 0.2, 0.0, -0.1]), parameters)
    return {setpoint.asset: setpoint for setpoint in found}


def test_a_generator_is_told_only_the_steps_in_which_it_is_held_back(
    problem: DispatchProblem,
) -> None:
    found = asked(problem, [1.0, 0.5, 0.99999, 1.0])
    # Held back in the second step only: solver noise is none.
    np.testing.assert_array_equal(found["pv-000"].p_mw, [np.nan, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(found["battery-000"].p_mw, [0.1, 0.2, 0.0, -0.1])


def test_reactive_power_is_asked_of_those_that_have_a_range_for_it(
    problem: DispatchProblem,
) -> None:
    ranged = tuple(
        replace(e, reactive=Reactive(0.6, 0.6, 1.0)) if e.asset == "battery-000" else e
        for e in problem.envelopes
    )
    planned = schedule(problem, [1.0] * 4, [0.1] * 4)
    q_mvar = xr.full_like(planned["p_mw"], 0.25)
    found = steering.setpoints(
        replace(problem, envelopes=ranged), planned.assign(q_mvar=q_mvar), {}
    )
    asked_of = {s.asset: None if s.q_mvar is None else s.q_mvar.tolist() for s in found}
    assert asked_of == {"battery-000": [0.25] * 4, "pv-000": None}


def test_without_a_plan_batteries_rest_and_the_sun_is_free(problem: DispatchProblem) -> None:
    found = asked(problem, [1.0, 0.5, 1.0, 1.0])
    assert found["battery-000"].fallback_mw == 0.0
    assert found["pv-000"].fallback_mw is None
    assert not steering.breaks_a_limit(problem)


def test_the_sun_keeps_its_last_cap_where_the_grid_could_not_take_it(
    problem: DispatchProblem,
) -> None:
    """Resting batteries and free sun would export 1 MW where 0.8 are allowed."""
    narrow = replace(problem, export_limit_mw=0.8)
    assert steering.breaks_a_limit(narrow)
    assert asked(narrow, [0.7, 0.6, 1.0, 1.0])["pv-000"].fallback_mw == 0.6
    # What was never held back has no cap to keep.
    assert asked(narrow, [1.0, 1.0, 1.0, 1.0])["pv-000"].fallback_mw is None


def test_a_limit_of_the_network_counts_as_one_of_the_exchange(problem: DispatchProblem) -> None:
    """1 MW over a 20 kV line of 1 kA loads it with 3 %."""
    assert steering.breaks_a_limit(replace(problem, max_loading_percent=2.0))


def test_how_long_a_plan_counts_is_a_parameter(problem: DispatchProblem) -> None:
    start = from_datetime64(problem.times[0])
    found = asked(problem, [1.0] * 4, plan_valid_hours=0.5)["battery-000"]
    assert found.valid_until == start + 2 * QUARTER_HOUR
    assert len(found.times) == 2
    assert asked(problem, [1.0] * 4)["battery-000"].valid_until == start + HOUR
    with pytest.raises(ConfigurationError, match="plan_valid_hours"):
        steering.setpoints(
            problem, schedule(problem, [1.0] * 4, [0.0] * 4), {"plan_valid_hours": ""}
        )
