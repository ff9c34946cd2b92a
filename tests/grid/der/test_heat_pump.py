"""Heat pumps: the building's temperature by physics, its band held, its mass used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.der.heat_pump import carnot_cop, cop, temp_indoor_degc

BUILDING = {"p_max_mw": 0.02, "ua_mw_per_k": 0.002, "c_mwh_per_k": 0.08, "cop": 3.0}
FLAT = np.full(24, 300.0)


def house(make, parameters=None, temp_air=0.0, temp_indoor=21.0, **given_):
    states = {} if temp_indoor is None else {"temp_indoor": temp_indoor}
    merged = {**BUILDING, **(parameters or {})}
    return make(AssetKind.HEAT_PUMP, merged, states=states, temp_air=temp_air, **given_)


def path(made, p_mw, dt_h):
    a, content, held = made.account, made.account.initial_mwh, []
    for t in range(made.steps):
        content = a.keep[t] * content + a.inflow_mwh[t] + dt_h * a.gain_up[t] * p_mw[t]
        held.append(content)
    return temp_indoor_degc(made, np.array(held))


def test_a_building_without_heating_cools_by_its_time_constant(make):
    """T falls towards the outdoor air by exp(-t / tau), tau = C / UA = 40 h."""
    made = house(make, temp_air=-5.0, steps=96, dt_h=0.25)
    hours = (np.arange(96) + 1) / 4
    exact = -5.0 + 26.0 * np.exp(-hours / 40.0)
    np.testing.assert_allclose(path(made, np.zeros(96), 0.25), exact, atol=1e-9)


def test_steady_heat_holds_the_temperature_that_the_balance_says(make):
    """COP p = UA (T - T_out): 3 p = 0.002 * 21 MW."""
    held = path(house(make), np.full(24, 0.002 * 21 / 3), 1.0)
    np.testing.assert_allclose(held, 21.0, atol=1e-9)


def test_sun_people_and_heating_act_as_in_the_differential_equation(make):
    """A second program as judge: scipy integrates C dT/dt over steps that are constant in time."""
    rng = np.random.default_rng(3)
    outdoor, sun, power = (
        rng.uniform(-10, 15, 24),
        rng.uniform(0, 800, 24),
        rng.uniform(0, 0.02, 24),
    )
    gains = rng.uniform(0, 0.01, 24)
    parameters = {"solar_area_m2": 30.0, "internal_gain_mw": gains.tolist()}
    made = house(make, parameters, outdoor, ghi=sun)

    def slope(t, temp):
        step = min(int(t), 23)
        heat = gains[step] + 30.0 * sun[step] * 1e-6 + 3.0 * power[step]
        return (0.002 * (outdoor[step] - temp) + heat) / 0.08

    temp, found = 21.0, []
    for t in range(24):
        temp = solve_ivp(slope, (t, t + 1 - 1e-12), [temp], rtol=1e-9).y[0, -1]
        found.append(temp)
    np.testing.assert_allclose(path(made, power, 1.0), found, atol=1e-6)


def test_the_band_is_held_by_day_and_by_night(make, cheapest):
    band = {
        "temp_min_degc": [17.0] * 6 + [20.0] * 16 + [17.0] * 2,
        "temp_max_degc": 23.0,
        "p_max_mw": 0.04,
    }
    made = house(make, band)
    temp = temp_indoor_degc(made, cheapest(made, 1.0, FLAT).content)
    low = np.array(band["temp_min_degc"])
    assert np.all(temp >= low - 1e-6)
    assert np.all(temp <= 23.0 + 1e-6)
    assert temp[5] < 19.5  # it cools down at night
    assert temp[-1] < 20.0


def test_it_heats_ahead_of_the_dear_hours(make, cheapest):
    hours = np.arange(24)
    dear = (hours >= 17) & (hours < 21)
    made = house(make, {"p_max_mw": 0.03})
    flat = cheapest(made, 1.0, FLAT)
    plan = cheapest(made, 1.0, np.where(dear, 900.0, 200.0))
    temp = temp_indoor_degc(made, plan.content)
    assert plan.p_mw[dear].sum() < 0.2 * flat.p_mw[dear].sum()
    assert temp[16] > temp_indoor_degc(made, flat.content)[16] + 1.0
    assert temp.min() >= 20.0 - 1e-6
    assert temp.max() <= 24.0 + 1e-6


def test_discomfort_costs_by_kelvin_and_hour(make, cheapest):
    """Too weak for the frost: what is missing is priced, and nothing is infeasible."""
    weak = {"p_max_mw": 0.005, "discomfort_cny_per_k_h": 80.0}
    made = house(make, weak, temp_air=-10.0, temp_indoor=20.0)
    assert made.soft_kind == "comfort"
    assert made.conflicts(1.0) == []
    plan = cheapest(made, 1.0, FLAT)
    temp = temp_indoor_degc(made, plan.content)
    assert plan.p_mw == pytest.approx(0.005)
    below = np.maximum(20.0 - temp, 0.0).sum()
    assert below > 10.0
    assert plan.cost == pytest.approx(24 * 0.005 * 300.0 + 80.0 * below, rel=1e-6)


def test_no_price_of_energy_is_worth_a_cold_room_by_default(make, cheapest):
    made = house(make, {"p_max_mw": 0.04})
    temp = temp_indoor_degc(made, cheapest(made, 1.0, np.full(24, 3000.0)).content)
    assert temp.min() >= 20.0 - 1e-6


def test_a_warm_day_is_no_discomfort(make, cheapest):
    made = house(make, temp_air=35.0, temp_indoor=23.0)
    plan = cheapest(made, 1.0, FLAT)
    assert not plan.p_mw.any()
    assert plan.cost == pytest.approx(0.0, abs=1e-9)


def test_a_start_that_nobody_measured_is_the_middle_of_the_band(make):
    made = house(make, temp_indoor=None)
    assert temp_indoor_degc(made, made.account.initial_mwh) == pytest.approx(22.0)


def test_time_constant_and_capacity_say_the_same(make):
    by_hours = {"c_mwh_per_k": None, "time_constant_h": 40.0}
    np.testing.assert_allclose(house(make, by_hours).account.keep, house(make).account.keep)


def test_the_coefficient_of_performance_is_that_of_the_paper():
    """Staffell et al. 2012, the fits at lifts of 20, 40 and 60 K, by hand."""
    np.testing.assert_allclose(cop(np.array([15.0, -5.0, -25.0]), 35.0), [4.642, 2.978, 1.818])
    np.testing.assert_allclose(
        cop(np.array([15.0, -5.0, -25.0]), 35.0, ground=True), [6.0636, 3.9444, 2.4124]
    )
    # Held within what the fits were made of.
    assert cop(np.array([-40.0]), 35.0) == cop(np.array([-25.0]), 35.0)
    assert cop(np.array([34.0]), 35.0) == cop(np.array([20.0]), 35.0)


def test_no_share_of_carnot_exceeds_carnot():
    assert carnot_cop(np.array([0.0]), 35.0, 1.0) == pytest.approx(308.15 / 35.0)
    assert carnot_cop(np.array([0.0]), 35.0, 0.45) == pytest.approx(0.45 * 308.15 / 35.0)
    warm = carnot_cop(np.array([50.0]), 35.0, 0.5)
    assert warm == pytest.approx(0.5 * 308.15 / 5.0)


@given(st.floats(-25, 30), st.floats(25, 65))
def test_the_fits_respect_the_second_law(outdoor, flow):
    source = np.array([outdoor])
    for ground in (False, True):
        lift = max(flow - outdoor, 20.0)
        assert cop(source, flow, ground=ground) < (flow + 273.15) / lift
        assert cop(source, flow, ground=ground) > 1.0


def test_cold_air_makes_heat_dearer(make):
    parameters = {"cop": None, "flow_temp_degc": 45.0}
    outdoor = np.linspace(-15, 10, 24)
    gain = house(make, parameters, outdoor).account.gain_up
    assert np.all(np.diff(gain) > 0)
    ground = house(make, {**parameters, "ground_temp_degc": 10.0}, outdoor).account.gain_up
    assert np.ptp(ground) == pytest.approx(0.0)
    carnot = house(make, {"cop": None, "cop_carnot_share": 0.4}, outdoor).account.gain_up
    assert np.all(np.diff(carnot) > 0)


def test_a_pump_that_cannot_modulate_is_switched(make, cheapest):
    fixed = {"p_min_mw": 0.02, "min_up_h": 2, "min_down_h": 2}
    made = house(make, fixed, steps=10)
    on = cheapest(made, 1.0, FLAT[:10]).p_mw
    assert set(np.round(on, 6)) <= {0.0, 0.02}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"ua_mw_per_k": 0}, "ua_mw_per_k of one is 0, not above 0"),
        ({"c_mwh_per_k": None}, "one needs one of c_mwh_per_k and time_constant_h"),
        ({"time_constant_h": 40}, "one needs one of c_mwh_per_k and time_constant_h"),
        ({"temp_min_degc": 25}, "temp_min_degc of one is 25, above temp_max_degc, which is 24"),
        ({"temp_min_degc": [20.0, 21.0]}, "temp_min_degc of one is neither a number nor 24"),
        ({"temp_max_degc": "warm"}, "temp_max_degc of one is neither a number nor 24"),
        ({"p_min_mw": 0.03}, "p_min_mw of one is 0.03, above p_max_mw"),
        ({"cop_carnot_share": 0.4}, "one has cop and cop_carnot_share"),
        ({"cop": -1}, "cop of one is -1"),
        ({"solar_area_m2": 10}, "one needs ghi"),
        ({"discomfort_cny_per_k_h": -1}, "discomfort_cny_per_k_h of one is -1"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        house(make, parameters)


@given(
    outdoor=st.lists(st.floats(-30, 40), min_size=24, max_size=24),
    start=st.floats(-10, 40),
    tau=st.floats(0.1, 500),
    power=st.floats(0.001, 1),
)
def test_whatever_the_weather_a_thermostat_can_follow(make, outdoor, start, tau, power):
    parameters = {"c_mwh_per_k": None, "time_constant_h": tau, "p_max_mw": power}
    made = house(make, parameters, np.array(outdoor), start)
    assert made.conflicts(1.0) == []  # soft, so that no day is infeasible
    held = path(made, np.zeros(24), 1.0)
    assert held.min() >= min(start, *outdoor) - 1e-6
    assert held.max() <= max(start, *outdoor) + 1e-6
    assert np.all(held <= temp_indoor_degc(made, made.account.max_mwh) + 1e-6)
