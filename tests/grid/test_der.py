"""Envelopes: found by folder, and meaning what they say."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import grid.der
from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.der import Conditions, envelope_of, found
from grid.envelope import EnergyAccount, Envelope

MIDNIGHT = np.datetime64("2026-06-21T16:00", "ns")  # 00:00 in UTC+8
TIMES = MIDNIGHT + np.arange(96) * np.timedelta64(15, "m")
HOURS = np.arange(96) / 4


def asset(kind: AssetKind, element: str, **parameters: float) -> Asset:
    return Asset("one", kind, "", "", element=element, element_index=0, parameters=parameters)


def envelope(kind, element, *, parameters=None, **given):
    """``soc`` is a state, everything else given is a profile."""
    states = {"soc": given.pop("soc")} if "soc" in given else {}
    conditions = Conditions(TIMES, 0.25, "Asia/Shanghai", profiles=given, states=states)
    return envelope_of(asset(kind, element, **(parameters or {})), conditions)


def test_the_folder_is_the_registry():
    assert set(found()) == {
        AssetKind.PV,
        AssetKind.WIND,
        AssetKind.BATTERY,
        AssetKind.EV_CHARGER,
        AssetKind.FLEXIBLE_LOAD,
    }


TOY = """
import numpy as np
from core.sites import AssetKind
from grid.envelope import Envelope

KIND = AssetKind.GENERATOR

def envelope(asset, conditions):
    power = np.full(conditions.steps, asset.parameters["p_max_mw"])
    return Envelope(
        asset.id, asset.kind, asset.element, asset.element_index, 0 * power, power, 0 * power
    )
"""


def test_a_new_type_is_a_new_file(tmp_path, monkeypatch):
    (tmp_path / "toy_generator.py").write_text(TOY)
    monkeypatch.setattr(grid.der, "__path__", [*grid.der.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "grid.der.toy_generator", raising=False)
    toy = envelope(AssetKind.GENERATOR, "sgen", parameters={"p_max_mw": 3.0})
    assert toy.p_max_mw.tolist() == [3.0] * 96


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TOY.replace("GENERATOR", "PV"), "repeats the kind pv"),
        ("KIND = None", "lacks KIND"),
    ],
)
def test_a_file_that_is_no_new_type_stops_the_start(tmp_path, monkeypatch, text, says):
    (tmp_path / f"zz_{len(text)}.py").write_text(text)
    monkeypatch.setattr(grid.der, "__path__", [*grid.der.__path__, str(tmp_path)])
    with pytest.raises(ConfigurationError, match=says):
        found()


def test_an_asset_that_cannot_be_dispatched_is_refused():
    with pytest.raises(ConfigurationError, match="No type"):
        envelope(AssetKind.METER, "load")
    with pytest.raises(ConfigurationError, match="lacks the number e_max_mwh"):
        envelope(AssetKind.BATTERY, "storage", parameters={"p_max_mw": 1.0})
    with pytest.raises(ConfigurationError, match="needs p_mw"):
        envelope(AssetKind.PV, "sgen")


def test_sun_and_wind_are_curtailable():
    available = np.maximum(np.sin((HOURS - 6) / 12 * np.pi), -0.1)
    for kind in (AssetKind.PV, AssetKind.WIND):
        made = envelope(kind, "sgen", p_mw=available)
        assert not made.p_min_mw.any()
        np.testing.assert_array_equal(made.p_max_mw, np.maximum(available, 0))
        assert made.account is None


BATTERY = {"p_max_mw": 2.0, "e_max_mwh": 4.0, "soc_min": 0.1, "soc_max": 0.9}


def test_a_battery_ends_at_least_as_full_as_it_began():
    made = envelope(AssetKind.BATTERY, "storage", parameters=BATTERY, soc=0.6)
    assert made.account is not None
    assert made.account.initial_mwh == pytest.approx(2.4)
    assert made.account.min_mwh[-1] == pytest.approx(2.4)
    assert made.account.min_mwh[0] == pytest.approx(0.4)
    assert made.account.max_mwh.max() == pytest.approx(3.6)
    assert made.conflicts(0.25) == []


def test_a_battery_that_cannot_return_into_its_bounds_is_a_conflict():
    over = envelope(AssetKind.BATTERY, "storage", parameters=BATTERY, soc=1.0)
    assert over.conflicts(0.25) == []  # 0.4 MWh too much leave within the first step at 2 MW
    slow = {**BATTERY, "p_max_mw": 0.1}
    (finding,) = envelope(AssetKind.BATTERY, "storage", parameters=slow, soc=1.0).conflicts(0.25)
    assert (finding.component, finding.ids) == ("battery", ("one",))
    assert "above the most allowed" in finding.message
    (finding,) = envelope(AssetKind.BATTERY, "storage", parameters=slow, soc=0.0).conflicts(0.25)
    assert "below the least allowed" in finding.message


def content(made: Envelope, p_mw: np.ndarray) -> np.ndarray:
    assert made.account is not None
    return made.account.initial_mwh + np.cumsum(p_mw - made.base_mw) * 0.25


def assert_allowed(made: Envelope, p_mw: np.ndarray) -> None:
    assert made.account is not None
    assert np.all((p_mw >= made.p_min_mw - 1e-12) & (p_mw <= made.p_max_mw + 1e-12))
    energy = content(made, p_mw)
    assert np.all(energy >= made.account.min_mwh - 1e-9)
    assert np.all(energy <= made.account.max_mwh + 1e-9)


def test_what_happens_uncontrolled_is_always_allowed():
    demand = np.random.default_rng(7).uniform(0, 1.5, 96)
    night = {"p_max_mw": 1.0, "arrival_hour": 18, "departure_hour": 7}
    for parameters in (night, {**night, "arrival_hour": 8, "departure_hour": 17}):
        made = envelope(AssetKind.EV_CHARGER, "load", parameters=parameters, p_mw=demand)
        assert_allowed(made, demand)
    for shift in (0.0, 0.25, 2.0, 48.0):
        made = envelope(
            AssetKind.FLEXIBLE_LOAD,
            "load",
            parameters={"p_max_mw": 1.0, "shift_hours": shift},
            p_mw=demand,
        )
        assert_allowed(made, demand)


def test_a_car_charges_between_arrival_and_departure_only():
    demand = np.where(HOURS >= 18, 1.0, 0.0)
    made = envelope(
        AssetKind.EV_CHARGER,
        "load",
        parameters={"p_max_mw": 2.0, "arrival_hour": 18, "departure_hour": 7},
        p_mw=demand,
    )
    late = np.where(HOURS >= 21, 2.0, 0.0)
    assert_allowed(made, late)
    away = np.flatnonzero((HOURS >= 7) & (HOURS < 18))
    assert not made.p_max_mw[away].any()
    assert made.account is not None
    assert made.account.max_mwh[away].max() == 0.0  # not before the car came
    assert made.account.min_mwh[-1] == pytest.approx(6.0)


def test_the_horizon_cuts_a_stay_and_each_part_keeps_its_energy():
    demand = np.where(HOURS < 2, 1.0, 0.0)  # of a car that came yesterday
    made = envelope(
        AssetKind.EV_CHARGER,
        "load",
        parameters={"p_max_mw": 1.0, "arrival_hour": 18, "departure_hour": 7},
        p_mw=demand,
    )
    assert made.account is not None
    assert made.account.min_mwh[27] == pytest.approx(2.0)  # there when it leaves at 07:00
    assert made.account.min_mwh[26] == 0.0


def test_a_flexible_load_moves_by_its_hours_and_no_more():
    demand = np.where((HOURS >= 12) & (HOURS < 13), 1.0, 0.0)
    made = envelope(
        AssetKind.FLEXIBLE_LOAD,
        "load",
        parameters={"p_max_mw": 1.0, "shift_hours": 2},
        p_mw=demand,
    )
    assert_allowed(made, np.roll(demand, -8))
    assert_allowed(made, np.roll(demand, 8))
    for steps in (-9, 9):
        with pytest.raises(AssertionError):
            assert_allowed(made, np.roll(demand, steps))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"up_mw": np.full(3, -1.0)}, "cross"),
        ({"up_mw": np.ones(4)}, "length"),
        ({"up_mw": np.array([1, np.nan, 1.0])}, "no numbers"),
        ({"element": "trafo"}, "trafo"),
        ({"account": EnergyAccount(0.0, *[np.ones(3)] * 4, np.full(3, 1.2), np.ones(3))}, "keeps"),
    ],
)
def test_an_envelope_that_makes_no_sense_is_refused(changed, says):
    good = {
        "asset": "x",
        "kind": AssetKind.PV,
        "element": "sgen",
        "element_index": 0,
        "base_mw": np.zeros(3),
        "up_mw": np.ones(3),
        "down_mw": np.zeros(3),
    }
    Envelope(**good)
    with pytest.raises(ConfigurationError, match=says):
        Envelope(**{**good, **changed})
