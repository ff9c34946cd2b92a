"""Batteries keep energy and their limits, devices follow set-points, and the city balances."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandapower
import pytest
import simbench
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import ConfigurationError, DecodeError
from core.sites import AssetKind, Site
from core.timeaxis import to_us
from sandbox import citytime, state
from sandbox.batteries import STEP_H, Fleet
from sandbox.citytime import CITY_START
from sandbox.energy import Energy
from sandbox.materials import Materials
from sandbox.profiles import LOAD_SPREAD, Profiles
from sandbox.setpoints import Setpoints, decode, refusal
from sandbox.state import Holding, State

FLEET = Fleet(
    p_max_mw=np.array([1.0, 5.8, 0.05]),
    e_max_mwh=np.array([2.0, 3.2, 0.1]),
    efficiency_charge=np.array([0.95, 0.9, 1.0]),
    efficiency_discharge=np.array([0.95, 0.92, 1.0]),
    soc_min=np.array([0.05, 0.0, 0.1]),
    soc_max=np.array([0.95, 1.0, 0.9]),
)

wishes = arrays(np.float64, (40, 3), elements=st.floats(-20.0, 20.0))
levels = arrays(np.float64, 3, elements=st.floats(0.1, 0.9))


@given(soc=levels, wanted=wishes)
def test_no_wish_moves_a_battery_out_of_its_limits(soc: np.ndarray, wanted: np.ndarray) -> None:
    for wish in wanted:
        p_mw, soc = FLEET.step(soc, wish)
        assert np.all(np.abs(p_mw) <= FLEET.p_max_mw)
        assert np.all((soc >= FLEET.soc_min) & (soc <= FLEET.soc_max))


@given(soc=levels, wanted=wishes)
def test_energy_is_kept_but_for_the_losses(soc: np.ndarray, wanted: np.ndarray) -> None:
    stored = soc * FLEET.e_max_mwh
    for wish in wanted:
        p_mw, after = FLEET.step(soc, wish)
        gain = np.where(p_mw > 0, p_mw * FLEET.efficiency_charge, p_mw / FLEET.efficiency_discharge)
        stored = stored + gain * STEP_H
        np.testing.assert_allclose(after * FLEET.e_max_mwh, stored, atol=1e-9)
        soc = after


def test_a_battery_outside_its_limits_is_led_back() -> None:
    soc = np.array([0.99, 0.5, 0.02])
    p_mw, after = FLEET.step(soc, np.array([5.0, 0.0, -5.0]))
    np.testing.assert_array_equal(p_mw, 0.0)
    np.testing.assert_array_equal(after, soc)
    _, after = FLEET.step(soc, np.array([-5.0, 0.0, 5.0]))
    assert after[0] < soc[0]
    assert after[2] > soc[2]


@pytest.fixture(scope="module")
def energy(source: Materials, site: Site) -> Energy:
    return Energy(source, site, seed=1)


DAY = np.arange(96)


def schedule(asset: str, start: datetime, powers: list[float]) -> tuple[str, bytes]:
    steps = [
        {"ts": (start + i * timedelta(minutes=15)).isoformat(), "p_mw": p}
        for i, p in enumerate(powers)
    ]
    message = {"asset": asset, "issued_at": start.isoformat(), "steps": steps}
    return f"verdigrid/setpoints/{asset}", json.dumps(message).encode()


def test_sun_goes_in_and_evening_comes_out(energy: Energy) -> None:
    week = np.arange(7 * 96)
    p_mw = np.array([s.battery_p_mw for s in energy.run(week, energy.settled(0), Setpoints())])
    hours = citytime.local_hours(citytime.seconds(week))
    assert np.all(p_mw[(hours >= 6) & (hours < 17)] >= 0.0)
    assert np.all(p_mw[hours >= 17] <= 0.0)
    used = (p_mw.max(axis=0) > 0.0) & (p_mw.min(axis=0) < 0.0)
    assert used.sum() >= 110  # a few have much load and little sun beside them


def test_the_city_balances_with_losses(energy: Energy) -> None:
    for step in energy.run(DAY, energy.settled(0), Setpoints()):
        used = step.load_p_mw.sum() + np.maximum(step.battery_p_mw, 0).sum()
        made = step.sgen_p_mw.sum() + np.maximum(-step.battery_p_mw, 0).sum()
        losses = step.import_mw - step.export_mw - (used - made)
        assert min(step.import_mw, step.export_mw) == 0.0
        assert losses == pytest.approx(0.015 * max(used, made))


def test_losses_are_about_those_of_a_power_flow(energy: Energy, site: Site) -> None:
    """The exchange that the sandbox meters is the one that pandapower finds, within 3 %."""
    net = pandapower.from_json_string(site.network_json)
    steps = energy.run(DAY, energy.settled(0), Setpoints())
    busiest = max(steps, key=lambda step: step.export_mw)
    net.load["p_mw"], net.load["q_mvar"] = busiest.load_p_mw, busiest.load_q_mvar
    net.sgen["p_mw"], net.storage["p_mw"] = busiest.sgen_p_mw, busiest.battery_p_mw
    pandapower.runpp(net)
    assert -net.res_ext_grid.p_mw.sum() == pytest.approx(busiest.export_mw, rel=0.03)


def test_the_first_day_breaks_the_export_limit_uncontrolled(energy: Energy, site: Site) -> None:
    limit = site.parameters["export_limit_mw"]
    exports = [s.export_mw for s in energy.run(DAY, energy.settled(0), Setpoints())]
    assert max(exports) > limit + 2.0


def test_set_points_are_followed_within_limits(energy: Energy, site: Site) -> None:
    setpoints = Setpoints()
    ev = next(i for i, a in enumerate(energy.loads) if a.kind is AssetKind.EV_CHARGER)
    pv = next(i for i, a in enumerate(energy.sgens) if a.kind is AssetKind.PV)
    wind = next(i for i, a in enumerate(energy.sgens) if a.kind is AssetKind.WIND)
    home = next(i for i, a in enumerate(energy.loads) if a.kind is AssetKind.METER)
    battery = energy.batteries[5]
    for asset, powers in (
        (battery.id, [0.1, -0.05, 99.0, -99.0]),
        (energy.loads[ev].id, [0.02, 99.0, -1.0, 0.0]),
        (energy.sgens[pv].id, [99.0] * 4),
        (energy.sgens[wind].id, [0.01] * 4),
        (energy.loads[home].id, [0.0] * 4),  # a household takes no orders
    ):
        setpoints.take(*schedule(asset, CITY_START + timedelta(hours=12), powers))
    noon = np.arange(48, 53)
    half = Holding(np.full(114, 0.5))
    asked, free = energy.run(noon, half, setpoints), energy.run(noon, half, Setpoints())
    p_max = battery.parameters["p_max_mw"]
    np.testing.assert_allclose(
        [s.battery_p_mw[5] for s in asked][:4], [0.1, -0.05, p_max, -p_max], atol=1e-12
    )
    ev_max = energy.loads[ev].parameters["p_max_mw"]
    np.testing.assert_allclose([s.load_p_mw[ev] for s in asked][:4], [0.02, ev_max, 0.0, 0.0])
    assert [s.sgen_p_mw[pv] for s in asked] == [s.sgen_p_mw[pv] for s in free]
    assert all(s.sgen_p_mw[wind] <= 0.01 for s in asked[:4])
    assert [s.load_p_mw[home] for s in asked] == [s.load_p_mw[home] for s in free]
    assert asked[4].sgen_p_mw[wind] == free[4].sgen_p_mw[wind], "after its last step it is over"


def test_profiles_are_simbench_s(source: Materials) -> None:
    """simbench's own absolute values as judge; loads differ by their own chance only."""
    net = simbench.get_simbench_net("1-MV-semiurb--2-sw")
    judge = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    rows = citytime.profile_rows(DAY)
    ours = Profiles(source, 1).at(DAY)
    sgen = judge["sgen", "p_mw"].to_numpy()[rows]
    np.testing.assert_allclose(ours.sgen_p_mw, np.maximum(sgen, 0.0), rtol=1e-5, atol=1e-9)
    load = judge["load", "p_mw"].to_numpy()[rows]
    ratio = ours.load_p_mw[load > 0] / load[load > 0]
    assert np.log(ratio).std() == pytest.approx(LOAD_SPREAD, rel=0.2)
    assert ours.load_p_mw.sum() == pytest.approx(load.sum(), rel=0.02)


def test_a_schedule_can_be_taken_back_and_an_older_one_does_not_count() -> None:
    setpoints = Setpoints()
    new = schedule("battery-001", CITY_START + timedelta(hours=1), [1.0])
    old = schedule("battery-001", CITY_START, [2.0] * 96)
    at = to_us(CITY_START + timedelta(hours=1, minutes=14))
    setpoints.take(*new)
    setpoints.take(*old)
    assert setpoints.at("battery-001", at) == 1.0
    assert setpoints.at("battery-001", to_us(CITY_START)) is None
    assert setpoints.at("battery-002", at) is None
    setpoints.take(new[0], b"")
    assert setpoints.at("battery-001", at) is None


def test_a_device_without_news_falls_back_when_its_plan_is_over() -> None:
    setpoints = Setpoints()
    topic, payload = schedule("battery-001", CITY_START, [1.0, 2.0, 3.0, 4.0])
    until = CITY_START + timedelta(minutes=30)
    message = json.loads(payload) | {"valid_until": until.isoformat(), "fallback": {"p_mw": 0.0}}
    told = setpoints.take(topic, json.dumps(message).encode())
    assert setpoints.at("battery-001", to_us(CITY_START + timedelta(minutes=29))) == 2.0
    assert setpoints.at("battery-001", to_us(until)) == 0.0
    assert setpoints.at("battery-001", to_us(until + timedelta(days=9))) == 0.0
    # It says that it has it, by the time at which it was issued.
    assert told is not None
    assert told[0] == "verdigrid/acknowledgements/battery-001"
    said = json.loads(told[1])
    assert (said["answer"], said["issued_at"]) == ("accepted", message["issued_at"])
    # As it likes, where the fallback says so.
    message["fallback"] = {"p_mw": None}
    setpoints.take(topic, json.dumps(message).encode())
    assert setpoints.at("battery-001", to_us(until)) is None


def test_a_step_may_leave_a_device_free() -> None:
    setpoints = Setpoints()
    topic, payload = schedule("pv-001", CITY_START, [0.5, 9.0, 0.7])
    message = json.loads(payload)
    message["steps"][1]["p_mw"] = None
    setpoints.take(topic, json.dumps(message).encode())
    at = [to_us(CITY_START + timedelta(minutes=m)) for m in (0, 15, 30)]
    assert [setpoints.at("pv-001", ts) for ts in at] == [0.5, None, 0.7]


@pytest.mark.parametrize(
    "payload", [b"", b"x", b"[]", b'{"issued_at": 3}', b'{"issued_at": "noon"}']
)
def test_what_names_no_time_of_issue_cannot_be_answered(payload: bytes) -> None:
    assert refusal("verdigrid/setpoints/battery-001", payload, "unreadable") is None


@given(payload=st.one_of(st.binary(min_size=1), st.text(min_size=1).map(str.encode)))
def test_garbage_for_a_set_point_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode("verdigrid/setpoints/battery-001", payload)


@pytest.mark.parametrize(
    "change",
    [
        {"asset": "battery-002"},
        {"issued_at": "2026-06-22T00:00"},
        {"steps": [{"ts": "2026-06-22T00:00+08:00", "p_mw": float("nan")}]},
        {"steps": [{"ts": "2026-06-22T00:00+08:00"}]},
        {"steps": 3},
        {"fallback": 1},
        {"fallback": {"p_mw": float("inf")}},
        {"valid_until": "soon"},
    ],
)
def test_a_wrong_set_point_is_refused_and_the_held_one_stays(change: dict[str, object]) -> None:
    setpoints = Setpoints()
    topic, payload = schedule("battery-001", CITY_START, [1.0])
    setpoints.take(topic, payload)
    with pytest.raises(DecodeError):
        setpoints.take(topic, json.dumps({**json.loads(payload), **change}).encode())
    assert setpoints.at("battery-001", to_us(CITY_START)) == 1.0


def test_state_survives_exactly(tmp_path: Path) -> None:
    holding = Holding(
        np.random.default_rng(1).random(114), {"chp-1": {"p_mw": 0.1, "time_in_state_h": 0.25}}
    )
    path = tmp_path / "new folder" / "state.json"
    assert state.load(path, 1, 114) is None
    state.save(path, State(77, holding), 1)
    kept = state.load(path, 1, 114)
    assert kept is not None
    assert kept.quarter == 77
    np.testing.assert_array_equal(kept.holding.soc, holding.soc)
    assert kept.holding.plants == holding.plants
    assert [p.name for p in path.parent.iterdir()] == ["state.json"]


def test_a_state_from_before_there_were_plants_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state.save(path, State(1, Holding(np.full(114, 0.5))), 1)
    content = json.loads(path.read_text())
    del content["plants"]
    path.write_text(json.dumps({**content, "format": 1}))
    kept = state.load(path, 1, 114)
    assert kept is not None
    assert kept.quarter == 1
    assert not kept.holding.plants
    path.write_text(json.dumps({**content, "plants": [1]}))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        state.load(path, 1, 114)


def test_a_state_of_another_city_or_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state.save(path, State(1, Holding(np.full(114, 0.5))), 1)
    with pytest.raises(ConfigurationError, match="another city"):
        state.load(path, 2, 114)
    with pytest.raises(ConfigurationError, match="another city"):
        state.load(path, 1, 113)
    path.write_text(path.read_text()[:40])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        state.load(path, 1, 114)
