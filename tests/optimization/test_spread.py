"""From forecast quantiles to the cases that the exchange may turn out as."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from core.errors import ConfigurationError
from optimization.outlook import Dependence, Outlook
from optimization.scenarios import draw
from optimization.spread import exchange_spread

LEVELS = np.array([0.1, 0.5, 0.9])
SIGMA_MW = 0.4


def _outlook(table, sigma_mw):
    """Normal forecasts around 2 MW, one series each, with this deviation at each step."""
    shape = (len(sigma_mw), len(table), 1)
    values = 2.0 + np.asarray(sigma_mw).reshape(-1, 1, 1) * norm.ppf(LEVELS)
    return Outlook(
        LEVELS, np.broadcast_to(values, (*shape[:2], 3)), table, (0,) * len(table), table,
        np.full(len(table), -9.0), np.full(len(table), 9.0), Dependence(),
    )  # fmt: skip


def test_the_cases_have_the_spread_of_load_less_plant(toy):
    """Independent errors of 0.4 MW each: a deviation of 0.4 * sqrt(2), and none when certain.

    Sevenths of a normal distribution, each at its mean, keep 95.8 % of its deviation.
    """
    day = toy(3)
    problem = day.problem([], price=300.0)
    both = _outlook(("load", "sgen"), [0.0, SIGMA_MW, SIGMA_MW])
    found = exchange_spread(problem, both, draw(both, 4000, np.random.default_rng(3), dt_h=1.0))
    assert found.offset_mw.shape == (3, 7)
    np.testing.assert_allclose(found.offset_mw[0], 0.0, atol=1e-12)
    mean = found.offset_mw @ found.share
    deviation = np.sqrt((found.offset_mw - mean[:, None]) ** 2 @ found.share)
    np.testing.assert_allclose(mean, 0.0, atol=0.04)
    np.testing.assert_allclose(deviation[1:], 0.958 * SIGMA_MW * np.sqrt(2), rtol=0.05)


def test_a_plant_that_may_give_much_more_lowers_the_exchange(toy):
    """A plant expected at 2 MW that may reach 6: the exchange is far below its course at times."""
    plant = Outlook(
        LEVELS,
        np.array([[[1.9, 2.0, 6.0]]]),
        ("sgen",),
        (0,),
        ("pv",),
        np.zeros(1),
        np.full(1, 7.0),
    )
    problem = toy(1).problem([], price=300.0)
    drawn = draw(plant, 1000, np.random.default_rng(4), dt_h=1.0)
    found = exchange_spread(problem, plant, drawn, cases=5)
    assert found.offset_mw[0, 0] < -3.0
    assert 0.0 <= found.offset_mw[0, -1] < 0.3
    assert found.offset_mw[0] @ found.share == pytest.approx(2.0 - drawn.mean_mw[0, 0])
    with pytest.raises(ConfigurationError, match="do not make"):
        exchange_spread(problem, plant, drawn, cases=1001)
