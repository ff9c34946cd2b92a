"""Plants look after themselves, do what they are asked within what they can."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from core.sites import LOADS, OTHER_PLANTS, AssetKind, Site
from grid import der
from sandbox.citytime import CITY_START
from sandbox.energy import Energy, Quarter
from sandbox.equipment import EQUIPMENT
from sandbox.materials import Materials
from sandbox.setpoints import Setpoints
from sandbox.state import Holding

DAY = np.arange(96)
WINTER = np.arange(-150 * 96, -149 * 96)
SOC = np.full(114, 0.5)


@pytest.fixture(scope="module")
def energy(source: Materials, site: Site) -> Energy:
    return Energy(source, site, seed=1)


def shown(steps: Sequence[Quarter], asset: str, variable: str = "p_mw") -> np.ndarray:
    return np.array([step.holding.plants[asset][variable] for step in steps])


def asking(asset: str, p_mw: float, steps: int = 96) -> Setpoints:
    start, setpoints = CITY_START, Setpoints()
    message = {
        "asset": asset,
        "issued_at": start.isoformat(),
        "steps": [
            {"ts": (start + i * timedelta(minutes=15)).isoformat(), "p_mw": p_mw}
            for i in range(steps)
        ],
    }
    setpoints.take(f"verdigrid/setpoints/{asset}", json.dumps(message).encode())
    return setpoints


def test_the_city_has_one_of_every_kind_that_can_be_dispatched(site: Site) -> None:
    """But for what can be cut by contract, which is another load's second nature."""
    there = {a.kind for a in site.assets}
    assert set(der.found()) - there == {AssetKind.INTERRUPTIBLE_LOAD}
    for item in EQUIPMENT:
        assert item.kind in (OTHER_PLANTS if item.element == "sgen" else LOADS)


def test_by_themselves_they_keep_what_they_hold(energy: Energy) -> None:
    for quarters in (DAY, WINTER):
        steps = energy.run(quarters, Holding(SOC), Setpoints())
        assert np.ptp(shown(steps, "heat-pump-1", "temp_indoor")) < 1.0
        assert np.ptp(shown(steps, "boiler-1", "soc")) < 0.02
        assert np.ptp(shown(steps, "pumps-1", "volume_m3")) < 1.0
        assert not shown(steps, "genset-1").any()
        lit = shown(steps, "lights-1") > 0.0
        assert 0.1 < lit.mean() < 0.75
        running = shown(steps, "chp-1") > 0.0
        assert running.any()
        assert not running.all()


def test_their_meters_count_in_the_city_and_only_once(energy: Energy) -> None:
    """Each is an element of its own: SimBench's loads on the same bus stay what they were."""
    (step,) = energy.run(np.array([50]), Holding(SOC), asking("genset-1", 0.4))
    drawn = [a.id for a in energy.loads]
    told = step.holding.plants
    for item in EQUIPMENT:
        table, names = (
            (step.sgen_p_mw, [a.id for a in energy.sgens])
            if item.element == "sgen"
            else (step.load_p_mw, drawn)
        )
        assert table[names.index(item.id)] == told[item.id]["p_mw"]
    assert step.sgen_p_mw[-1] == 0.4
    (without,) = energy.run(np.array([50]), Holding(SOC), Setpoints())
    np.testing.assert_array_equal(step.load_p_mw, without.load_p_mw)
    assert without.export_mw < step.export_mw or without.import_mw > step.import_mw


@pytest.mark.parametrize(
    ("asset", "asked", "variable", "low", "high"),
    [
        ("heat-pump-1", 9.0, "temp_indoor", 27.0, 31.51),
        ("heat-pump-1", 0.0, "temp_indoor", 27.49, 31.5),
        ("boiler-1", 9.0, "soc", 0.04, 1.0),
        ("boiler-1", 0.0, "soc", 0.049, 1.0),
        ("pumps-1", 9.0, "volume_m3", 400.0, 3000.1),
        ("pumps-1", 0.0, "volume_m3", 479.9, 3000.0),
    ],
)
def test_no_set_point_empties_or_overfills_them(
    energy: Energy, asset: str, asked: float, variable: str, low: float, high: float
) -> None:
    steps = energy.run(DAY, Holding(SOC), asking(asset, asked))
    held, p_mw = shown(steps, asset, variable), shown(steps, asset)
    assert low <= held.min() <= held.max() <= high
    most = next(item for item in EQUIPMENT if item.id == asset).parameters["p_max_mw"]
    assert 0.0 <= p_mw.min() <= p_mw.max() <= most
    assert p_mw[0] == pytest.approx(min(asked, most))  # it is followed as long as there is room


@pytest.mark.parametrize(
    ("asset", "asked", "follows"),
    [
        ("chp-1", 0.15, 0.15),
        ("chp-1", 0.06, 0.1),  # its least power
        ("chp-1", 0.04, 0.0),
        ("genset-1", 0.4, 0.4),
        ("genset-1", 9.0, 0.4),
        ("lights-1", 0.06, 0.06),
        ("lights-1", 0.0, 0.06),  # dark it does not get
        ("lights-1", 9.0, 0.12),
    ],
)
def test_engines_and_lamps_do_what_they_are_asked(
    energy: Energy, asset: str, asked: float, follows: float
) -> None:
    steps = energy.run(DAY[:8], Holding(SOC), asking(asset, asked))
    np.testing.assert_allclose(shown(steps, asset), follows)


def test_an_engine_says_for_how_long_it_has_been_on_or_off(energy: Energy) -> None:
    steps = energy.run(DAY[:8], Holding(SOC), asking("genset-1", 0.4, steps=3))
    since = shown(steps, "genset-1", "time_in_state_h")
    np.testing.assert_allclose(since, [0.25, 0.5, 0.75, 0.25, 0.5, 0.75, 1.0, 1.25])
