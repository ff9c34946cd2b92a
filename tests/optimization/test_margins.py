"""Margins: limits are broken as rarely as was asked for when the forecast turns out wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from core.errors import ConfigurationError
from grid import powerflow
from grid.sensitivity import Quantity
from optimization import execution
from optimization.fleet import Fleet
from optimization.margins import margins, on_quantile, plan
from optimization.outlook import Dependence, Outlook, realised
from optimization.planner import plan as plain_plan
from optimization.result import Status
from optimization.scenarios import draw

LEVELS = np.array([0.1, 0.5, 0.9])
LEVEL = 0.9
COURSES = 150


def outlook(table, element, median, sigma, *, within=0.0):
    """Normal errors of some elements; median (time,), sigma (time,) in MW."""
    count = len(element)
    values = (
        np.asarray(median)[:, None, None]
        + np.multiply.outer(np.asarray(sigma), norm.ppf(LEVELS))[:, None, :]
    )
    return Outlook(
        LEVELS,
        np.repeat(values, count, axis=1),
        (table,) * count,
        tuple(element),
        (table,) * count,
        np.zeros(count),
        np.full(count, 100.0),
        Dependence(memory_h=1.0, within=within),
    )


def frequency(problem, forecast, found, *, seed=0):
    """How often some limit is broken at each step, (time,)."""
    drawn = draw(forecast, COURSES, np.random.default_rng(seed), dt_h=problem.dt_h)
    p_mw = found.schedule.p_mw.values
    return (execution.broken_steps(problem, forecast, p_mw, drawn) > 0).mean(axis=0)


def at_most(promised):
    """A frequency that a promise of ``promised`` does not exceed but once in 30,000 times."""
    return promised + 4 * np.sqrt(promised * (1 - promised) / COURSES)


@pytest.fixture
def evening(toy):
    """A battery covers what a load of 3 MW draws above 2.5 MW of import."""
    day = toy(3)
    battery = day.battery(
        soc=0.6, p_max_mw=2.0, e_max_mwh=6.0, efficiency_charge=1.0, efficiency_discharge=1.0
    )
    problem = day.problem(
        [battery], price=[300.0, 300.0, 300.0], load=[1.0, 3.0, 1.0], import_limit_mw=2.5
    )
    return problem, outlook("load", [0], [1.0, 3.0, 1.0], [0.05, 0.25, 0.05])


def test_an_import_limit_survives_the_forecast_error(evening):
    """Without a margin a limit that binds breaks every other time, with it one time in ten."""
    problem, forecast = evening
    found = plan(problem, forecast, LEVEL)
    assert found.plan.status is Status.OPTIMAL
    assert frequency(problem, forecast, found.plain)[1] > 0.4
    assert frequency(problem, forecast, found.plan).max() <= at_most(1 - LEVEL)
    # the margin is the quantile of the load's error itself, losses being next to nothing
    assert found.margins.exchange_mw[1] == pytest.approx(norm.ppf(LEVEL) * 0.25, rel=1e-3)
    assert found.plan.planned.import_mwh == pytest.approx(found.plain.planned.import_mwh, abs=1e-3)
    assert found.plan.violations == []


@pytest.mark.parametrize("quantity", [Quantity.VM_PU, Quantity.LINE_LOADING])
def test_a_network_limit_survives_the_forecast_error(toy, quantity):
    """PV that may be held back beside a load whose draw is unsure; voltage or line binds."""
    day = toy(2)
    sun = np.array([2.0, 5.0])
    limits = {"ohm": 8.0, "vm_max_pu": 1.06, "max_i_ka": 10.0}
    if quantity is Quantity.LINE_LOADING:
        limits = {"ohm": 0.5, "max_i_ka": 0.09}
    problem = day.problem(
        [day.plant(sun)], price=500.0, export=300.0, load=[1.5, 1.5], sgen=sun, **limits
    )
    forecast = outlook("load", [0], [1.5, 1.5], [0.2, 0.2])
    found = plan(problem, forecast, LEVEL)
    assert frequency(problem, forecast, found.plain)[1] > 0.4
    often = frequency(problem, forecast, found.plan)
    assert often.max() <= at_most(1 - LEVEL)
    assert often[1] > 0.5 * (1 - LEVEL)  # and no more is given away than was asked for
    assert found.plan.planned.curtailed_mwh > found.plain.planned.curtailed_mwh + 0.05


@pytest.mark.parametrize("within", [0.0, 0.8])
def test_margins_are_the_errors_seen_through_the_grid(toy, within):
    """By drawing: the deviation of the voltage itself, for errors alone and errors together.

    250 hours alike whose errors know nothing of each other stand for 250 draws of one.
    """
    hours = np.ones(250)
    problem = toy(250).problem([], price=300.0, load=2.0 * hours, sgen=1.0 * hours, ohm=2.0)
    load = outlook("load", [0], 2.0 * hours, 0.15 * hours)
    forecast = replace(
        load,
        values=np.concatenate([load.values, load.values - 1.0], axis=1),
        table=("load", "sgen"),
        element=(0, 0),
        group=("all", "all"),
        lower=np.zeros(2),
        upper=np.full(2, 10.0),
        dependence=Dependence(memory_h=0.01, within=within),
    )
    fleet = Fleet(problem)
    flow = powerflow.run(problem.network, fleet.injections(fleet.baseline_mw))
    found = margins(problem, forecast, flow, LEVEL).network[Quantity.VM_PU]
    (course,) = draw(forecast, 1, np.random.default_rng(1), dt_h=1.0).power_mw
    came = Fleet(realised(problem, forecast, course))
    flow = powerflow.run(problem.network, came.injections(came.baseline_mw))
    deviation = flow["vm_pu"].values[:, 1].std()
    assert found[0, 1] == pytest.approx(norm.ppf(LEVEL) * deviation, rel=0.15)
    assert found[0, 0] == pytest.approx(0.0, abs=1e-9)  # the source holds its own voltage


def test_more_certainty_costs_more_and_none_costs_nothing(evening):
    problem, forecast = evening
    by_level = {level: plan(problem, forecast, level).plan for level in (0.5, 0.9, 0.99)}
    delivered = [found.schedule.p_mw.values[1, 0] for found in by_level.values()]
    assert delivered[0] > delivered[1] > delivered[2]
    np.testing.assert_allclose(
        by_level[0.5].schedule.p_mw.values,
        plain_plan(problem).schedule.p_mw.values,
        atol=1e-3,
    )


def test_a_margin_that_cannot_be_kept_is_said_and_the_limit_itself_is_held(toy):
    """The battery can do 0.6 MW: the limit asks for 0.5, the margin for 0.82."""
    day = toy(3)
    battery = day.battery(soc=0.6, p_max_mw=0.6, e_max_mwh=6.0)
    problem = day.problem([battery], price=300.0, load=[1.0, 3.0, 1.0], import_limit_mw=2.5)
    forecast = outlook("load", [0], [1.0, 3.0, 1.0], [0.05, 0.25, 0.05])
    found = plan(problem, forecast, LEVEL).plan
    assert found.violations == []
    assert found.planned.violations == 0
    assert found.schedule.p_mw.values[1, 0] == pytest.approx(-0.6, abs=1e-6)
    assert [n.field for n in found.notes if n.field == "margins"] == ["margins"]


def test_a_quantile_of_the_net_load_is_a_day_to_plan_on(evening):
    """The day of the 0.9 quantile asks the battery for what the margin asks for."""
    problem, forecast = evening
    heavy = on_quantile(problem, forecast, LEVEL)
    found = plain_plan(heavy)
    drawn = 3.0 + found.schedule.p_mw.values[1, 0]
    assert drawn == pytest.approx(2.5 - norm.ppf(LEVEL) * 0.25, abs=0.01)
    assert frequency(problem, forecast, found).max() <= at_most(1 - LEVEL)


def test_levels_out_of_range_are_refused(evening):
    problem, forecast = evening
    for level in (0.4, 1.0):
        with pytest.raises(ConfigurationError, match="level"):
            plan(problem, forecast, level)
    with pytest.raises(ConfigurationError, match="quantile"):
        on_quantile(problem, forecast, 1.0)
