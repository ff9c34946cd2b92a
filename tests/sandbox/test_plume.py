"""The plume obeys what physics fixes: mass, symmetry, decay; and its class table is Turner's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import air, plume
from sandbox.air import AirModel
from sandbox.materials import Materials
from sandbox.plume import Points
from sandbox.weather import Climate


def places(x_m: np.ndarray, y_m: np.ndarray, height_m: float = 0.0) -> Points:
    x_m, y_m = np.broadcast_arrays(np.asarray(x_m, float), np.asarray(y_m, float))
    return Points(x_m, y_m, np.full(x_m.shape, height_m), np.zeros(x_m.shape))


STACK = places(np.zeros(1), np.zeros(1), height_m=40.0)


def reach(
    receptors: Points, speed: float, direction: float, group: int, source: Points = STACK
) -> np.ndarray:
    """Concentration per emission at the receptors, shape (r,)."""
    found = plume.dispersion(
        receptors, source, np.array([speed]), np.array([direction]), np.array([group])
    )
    return found[0, :, 0]


@pytest.mark.parametrize("group", [plume.AB, plume.C, plume.D, plume.EF])
@pytest.mark.parametrize("distance_m", [300.0, 1500.0])
def test_what_is_emitted_passes_every_plane_downwind(group: int, distance_m: float) -> None:
    """Wind speed times concentration, summed over a plane across the wind, is the emission."""
    spread_y = float(plume.sigma_y(np.array(distance_m), np.array(group)))
    spread_z = float(plume.sigma_z(np.array(distance_m), np.array(group)))
    across = np.linspace(-6.0, 6.0, 121) * spread_y
    heights = np.linspace(0.0, 40.0 + 6.0 * spread_z, 241)
    layers = np.array(
        [reach(places(np.full(121, distance_m), across, h), 4.0, 270.0, group) for h in heights]
    )
    flux = 4.0 * np.trapezoid(np.trapezoid(layers, across, axis=1), heights)
    assert flux == pytest.approx(1.0, rel=1e-3)


@given(direction=st.floats(0.0, 360.0), distance_m=st.floats(200.0, 5000.0))
def test_downwind_has_it_and_upwind_nothing(direction: float, distance_m: float) -> None:
    toward = np.radians(direction + 180.0)
    x_m, y_m = distance_m * np.sin(toward), distance_m * np.cos(toward)
    downwind, upwind = reach(
        places(np.array([x_m, -x_m]), np.array([y_m, -y_m])), 3.0, direction, plume.C
    )
    assert downwind > 0.0
    assert upwind == 0.0


@given(offset_m=st.floats(1.0, 400.0))
def test_both_sides_of_the_axis_get_the_same_and_less(offset_m: float) -> None:
    left, axis, right = reach(
        places(np.full(3, 1000.0), np.array([-offset_m, 0.0, offset_m])), 3.0, 270.0, plume.D
    )
    assert left == pytest.approx(right)
    assert left < axis


def test_twice_the_wind_halves_it() -> None:
    here = places(np.array([1500.0]), np.array([50.0]))
    slow, fast = reach(here, 3.0, 270.0, plume.D), reach(here, 6.0, 270.0, plume.D)
    np.testing.assert_allclose(slow, 2.0 * fast)


def test_briggs_urban_formulas() -> None:
    """Hanna, Briggs, Hosker 1982, table 4.5, computed by hand for 1 km."""
    groups = np.arange(4)
    np.testing.assert_allclose(
        plume.sigma_y(np.full(4, 1000.0), groups),
        np.array([320.0, 220.0, 160.0, 110.0]) / np.sqrt(1.4),
    )
    np.testing.assert_allclose(
        plume.sigma_z(np.full(4, 1000.0), groups),
        [240.0 * np.sqrt(2.0), 200.0, 140.0 / np.sqrt(1.3), 80.0 / np.sqrt(2.5)],
    )


def test_stability_by_turner() -> None:
    """Strong sun and little wind stir the air, a clear night with little wind stills it."""
    wind = np.array([1.0, 1.0, 4.0, 8.0, 8.0])
    sun = np.array([900.0, 0.0, 0.0, 0.0, 900.0])
    np.testing.assert_array_equal(
        plume.stability(wind, sun), [plume.AB, plume.EF, plume.D, plume.D, plume.C]
    )


@pytest.fixture(scope="module")
def levels(source: Materials) -> dict[str, np.ndarray]:
    """Hourly means, (hours, stations), of eight weeks."""
    quarters = np.arange(-28 * 96, 28 * 96)
    five = AirModel(Climate(source, 1), 1).at(quarters)
    return {name: v.reshape(-1, 12, len(air.STATIONS)).mean(axis=1) for name, v in five.items()}


def test_air_is_that_of_a_city_in_summer(levels: dict[str, np.ndarray]) -> None:
    """Medians of Chinese cities, and within what a sensor can report."""
    between = {
        "pm2_5": (10, 40),
        "pm10": (25, 80),
        "so2": (3, 15),
        "no2": (6, 40),
        "o3": (40, 110),
        "co": (0.2, 0.9),
    }
    for name, (low, high) in between.items():
        assert low < np.median(levels[name]) < high, name
        assert levels[name].min() > 0.0, name
    assert (levels["pm10"] > levels["pm2_5"]).mean() > 0.95


def test_some_days_are_bad_and_most_are_not(levels: dict[str, np.ndarray]) -> None:
    """Above AQI 100: hourly ozone over 200, or fine dust over 75 µg/m3."""
    bad = (levels["o3"] > 200.0) | (levels["pm2_5"] > 75.0)
    days = bad.reshape(-1, 24, bad.shape[1]).any(axis=(1, 2))
    assert 2 <= days.sum() <= 0.4 * len(days)


def test_ozone_has_its_day_and_traffic_its_rush(levels: dict[str, np.ndarray]) -> None:
    ozone = levels["o3"].reshape(-1, 24, len(air.STATIONS)).mean(axis=(0, 2))
    assert 12 <= ozone.argmax() <= 17
    traffic = [i for i, s in enumerate(air.STATIONS) if s.surroundings == "traffic"]
    park = [i for i, s in enumerate(air.STATIONS) if s.surroundings == "background"]
    no2 = levels["no2"]
    assert no2[:, traffic].mean() > 1.1 * no2[:, park].mean()
    rush = no2.reshape(-1, 24, no2.shape[1])[:, 7:9, traffic].mean()
    deep_night = no2.reshape(-1, 24, no2.shape[1])[:, 2:4, traffic].mean()
    assert rush > deep_night
