"""A problem that is not quite this one: what changes, what stays, and what the plan makes of it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from core.errors import ConfigurationError, NetworkError
from core.sites import AssetKind
from grid.extension import with_storage
from optimization import whatif
from optimization.planner import plan


@pytest.fixture
def problem(toy):
    """Four hours from midnight in Shanghai: 2 MW of load, 1 MW of sun, a battery."""
    four = toy(4)
    envelopes = [four.battery(soc=0.5), four.plant(np.ones(4))]
    return four.problem(envelopes, price=[100, 100, 900, 900], export=50.0, load=2.0, sgen=1.0)


def test_a_tariff_times_a_factor_and_by_the_local_hour(problem) -> None:
    dearer = whatif.tariff_times(problem, import_factor=1.5, export_factor=0.0)
    assert list(dearer.import_cny_per_mwh) == [150, 150, 1350, 1350]
    assert list(dearer.export_cny_per_mwh) == [0.0] * 4
    by_hour = whatif.tariff_by_hour(problem, np.arange(24.0))
    assert list(by_hour.import_cny_per_mwh) == [0, 1, 2, 3]  # the day begins at 16:00 UTC
    assert list(by_hour.export_cny_per_mwh) == [50] * 4
    assert list(problem.import_cny_per_mwh) == [100, 100, 900, 900]  # a copy was changed


@pytest.mark.parametrize(
    "change",
    [
        lambda p: whatif.tariff_times(p, import_factor=-1.0),
        lambda p: whatif.tariff_times(p, import_factor=float("nan")),
        lambda p: whatif.tariff_by_hour(p, np.ones(23)),
        lambda p: whatif.tariff_by_hour(p, np.full(24, np.inf)),
        lambda p: whatif.carbon_price(p, -5.0),
        lambda p: whatif.grown(p, [AssetKind.PV], -1.0),
        lambda p: whatif.grown(p, [AssetKind.WIND], 2.0),
    ],
)
def test_a_change_of_no_use_is_named(problem, change) -> None:
    with pytest.raises(ConfigurationError):
        change(problem)


def test_what_grows_grows_with_all_its_powers_and_energies(problem) -> None:
    """Twice the PV is the plan of two plants; the battery, the prices and the loads stay."""
    grown = whatif.grown(problem, [AssetKind.PV], 2.0)
    assert grown.injections["sgen_p_mw"].values[:, 0].tolist() == [2.0] * 4
    assert grown.injections["load_p_mw"].equals(problem.injections["load_p_mw"])
    assert grown.envelopes[0] is problem.envelopes[0]
    assert problem.injections["sgen_p_mw"].values[:, 0].tolist() == [1.0] * 4
    before, after = plan(problem), plan(grown)
    assert before.baseline.import_mwh - after.baseline.import_mwh == pytest.approx(4.0, abs=1e-3)
    assert after.planned.cost_cny < before.planned.cost_cny


def _sizes(value, inside=""):
    """Every number and array of a dataclass, by its name."""
    for field in fields(value):
        held = getattr(value, field.name)
        if is_dataclass(held):
            yield from _sizes(held, f"{inside}{field.name}.")
        elif isinstance(held, np.ndarray | float):
            yield f"{inside}{field.name}", held


def test_scaling_touches_sizes_and_leaves_prices_and_shares(problem) -> None:
    battery = problem.envelopes[0]
    before, after = dict(_sizes(battery)), dict(_sizes(whatif.scaled(battery, 3.0)))
    for name, value in before.items():
        grows = name.endswith(("_mw", "_mwh")) and "_per_" not in name
        np.testing.assert_allclose(after[name], value * 3.0 if grows else value, err_msg=name)
    assert any(name.endswith("_mwh") and np.any(value) for name, value in before.items())


def test_half_a_battery_twice_is_a_battery(problem) -> None:
    halves = whatif.grown(whatif.grown(problem, [AssetKind.BATTERY], 0.5), [AssetKind.BATTERY], 2.0)
    assert plan(halves).planned.cost_cny == pytest.approx(plan(problem).planned.cost_cny, rel=1e-6)


def test_a_battery_more_makes_the_day_cheaper_and_stands_in_the_network(problem, toy) -> None:
    network, index = with_storage(problem.network, 1)
    assert index not in problem.network.storages
    more = whatif.with_resource(problem, network, toy(4).battery(index, soc=0.5))
    assert len(more.envelopes) == len(problem.envelopes) + 1
    assert plan(more).planned.cost_cny < plan(problem).planned.cost_cny - 100.0
    with pytest.raises(ConfigurationError):
        whatif.with_resource(problem, problem.network, toy(4).battery(index))
    with pytest.raises(NetworkError, match="no bus 77"):
        with_storage(problem.network, 77)


def test_the_same_day_on_another_grid(problem) -> None:
    network, _ = with_storage(problem.network, 1)
    moved = whatif.on_network(problem, network)
    assert moved.network is network
    assert plan(moved).planned.cost_cny == pytest.approx(plan(problem).planned.cost_cny, rel=1e-9)
