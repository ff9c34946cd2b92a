"""Scenarios out of quantiles: their marginals, how they hang together, and few for many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from core.errors import ConfigurationError
from optimization.outlook import Dependence, Outlook
from optimization.scenarios import Scenarios, draw, reduce, scenarios

LEVELS = np.array([0.1, 0.5, 0.9])


def outlook(median, spread=0.3, *, levels=LEVELS, groups=None, upper=100.0, **dependence):
    """Normal forecasts around ``median`` (time, series) with this standard deviation."""
    median = np.asarray(median, dtype=float)
    count = median.shape[1]
    return Outlook(
        levels=levels,
        values=median[..., None] + spread * norm.ppf(levels),
        table=("load",) * count,
        element=tuple(range(count)),
        group=groups or ("load",) * count,
        lower=np.zeros(count),
        upper=np.full(count, upper),
        dependence=Dependence(**dependence),
    )


def test_the_scenarios_have_the_quantiles_they_were_made_of():
    """Of n draws a share p lies below a quantile, with a deviation of sqrt(p (1 - p) / n)."""
    count = 4000
    forecast = outlook(np.linspace(3.0, 6.0, 8)[:, None] * np.ones((1, 3)))
    drawn = draw(forecast, count, np.random.default_rng(1), dt_h=0.25)
    for i, level in enumerate(LEVELS):
        below = (drawn.power_mw <= forecast.values[None, ..., i]).mean(axis=0)
        assert np.abs(below - level).max() < 4.5 * np.sqrt(level * (1 - level) / count)


def test_lopsided_quantiles_stay_lopsided():
    """Half lies between 1.9 and 2.0, a tenth above 5: no normal distribution does that."""
    count = 4000
    values = np.array([[[1.9, 2.0, 5.0]]])
    forecast = Outlook(
        LEVELS, values, ("sgen",), (0,), ("pv",), np.zeros(1), np.array([6.0]), Dependence()
    )
    drawn = draw(forecast, count, np.random.default_rng(2), dt_h=1.0).power_mw.ravel()
    assert np.quantile(drawn, LEVELS) == pytest.approx([1.9, 2.0, 5.0], abs=0.15)
    assert drawn.max() == 6.0  # the plant's own size, and no more
    assert drawn.min() > 1.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 15), min_size=5, max_size=5))
def test_the_quantile_function_rises_and_stays_within_bounds(quantiles):
    """Whatever was forecast, crossing quantiles and impossible ones included."""
    forecast = Outlook(
        np.array([0.05, 0.25, 0.5, 0.75, 0.95]),
        np.array([[quantiles]]),
        ("sgen",),
        (0,),
        ("pv",),
        np.zeros(1),
        np.array([10.0]),
    )
    levels = np.linspace(0.001, 0.999, 97)
    values = np.array([forecast.at_level(level)[0, 0] for level in levels])
    assert np.all(np.diff(values) >= -1e-12)
    assert np.all((values >= 0.0) & (values <= 10.0))
    inside = np.clip(np.sort(quantiles), 0.0, 10.0)
    np.testing.assert_allclose(
        [forecast.at_level(level)[0, 0] for level in forecast.levels], inside, atol=1e-9
    )


def test_errors_hang_together_as_asked():
    """In time exp(-dt / memory) of the scores; ranks between groups and within one as given."""
    count = 6000
    between = {("load", "pv"): -0.5}
    forecast = outlook(
        np.full((5, 3), 5.0),
        groups=("load", "load", "pv"),
        memory_h=2.0,
        within=0.6,
        between=between,
    )
    power = draw(forecast, count, np.random.default_rng(3), dt_h=1.0).power_mw
    scores = (power - 5.0) / 0.3  # normal marginals: the score itself
    near = 4.0 / np.sqrt(count)
    for lag in (1, 2, 4):
        found = np.corrcoef(scores[:, 0, 0], scores[:, lag, 0])[0, 1]
        assert found == pytest.approx(np.exp(-lag / 2.0), abs=near)
    within = spearmanr(power[:, 0, 0], power[:, 0, 1]).statistic
    assert within == pytest.approx(0.6, abs=near)
    # the groups' factors carry -0.5, of which single series show the share they have in them
    across = spearmanr(power[:, 0, 0], power[:, 0, 2]).statistic
    assert across == pytest.approx(-0.5 * 0.6, abs=near + 0.02)


def test_groups_without_own_errors_have_the_rank_correlation_itself():
    count = 6000
    forecast = outlook(
        np.full((2, 2), 5.0), groups=("a", "b"), within=1.0, between={("a", "b"): 0.7}
    )
    power = draw(forecast, count, np.random.default_rng(4), dt_h=1.0).power_mw
    found = spearmanr(power[:, 0, 0], power[:, 0, 1]).statistic
    assert found == pytest.approx(0.7, abs=4.0 / np.sqrt(count))


def test_the_same_seed_gives_the_same_scenarios():
    forecast = outlook(np.full((4, 2), 5.0))
    one, two = (scenarios(forecast, 5, np.random.default_rng(9), dt_h=1.0) for _ in range(2))
    np.testing.assert_array_equal(one.power_mw, two.power_mw)
    np.testing.assert_array_equal(one.probability, two.probability)


def test_few_scenarios_stand_for_many():
    """The mean moves by no more than the distance to what was left out (Kantorovich)."""
    drawn = draw(outlook(np.full((24, 4), 5.0)), 300, np.random.default_rng(5), dt_h=1.0)
    kept = reduce(drawn, 8)
    assert len(kept) == 8
    assert kept.probability.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.all(kept.probability > 0)
    moved = np.sqrt(np.mean((kept.mean_mw - drawn.mean_mw) ** 2))
    assert moved <= kept.spread_mw + 1e-12
    assert kept.spread_mw < 0.3  # less than one standard deviation
    assert reduce(drawn, 16).spread_mw < kept.spread_mw < reduce(drawn, 2).spread_mw


def test_reduction_finds_clusters_and_their_weight():
    """Three heaps of 50, 30 and 20 points: each is found, with its share."""
    rng = np.random.default_rng(6)
    heaps = np.repeat([0.0, 10.0, 25.0], [50, 30, 20])
    power = heaps[:, None, None] + 0.1 * rng.standard_normal((100, 3, 2))
    kept = reduce(Scenarios(power, np.full(100, 0.01)), 3)
    order = kept.power_mw.mean(axis=(1, 2)).argsort()
    np.testing.assert_allclose(kept.probability[order], [0.5, 0.3, 0.2])
    np.testing.assert_allclose(kept.power_mw[order].mean(axis=(1, 2)), [0.0, 10.0, 25.0], atol=0.3)


def test_all_kept_is_all_as_it_was():
    drawn = draw(outlook(np.full((3, 1), 5.0)), 6, np.random.default_rng(7), dt_h=1.0)
    kept = reduce(drawn, 6)
    assert kept.spread_mw == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(kept.mean_mw, drawn.mean_mw)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": np.array([0.5, 0.1, 0.9])}, "must rise"),
        ({"levels": np.array([0.0, 0.5, 0.9])}, "within 0..1"),
        ({"values": np.full((2, 1, 3), np.nan)}, "no numbers"),
        ({"values": np.zeros((2, 2, 3))}, "time, series, quantile"),
        ({"table": ("bus",)}, "Only loads and sgens"),
        ({"upper": np.array([-1.0])}, "cross"),
    ],
)
def test_what_cannot_be_a_forecast_is_refused_by_name(change, said):
    given_ = {
        "levels": LEVELS,
        "values": np.zeros((2, 1, 3)),
        "table": ("load",),
        "element": (0,),
        "group": ("load",),
        "lower": np.zeros(1),
        "upper": np.ones(1),
    }
    with pytest.raises(ConfigurationError, match=said):
        Outlook(**{**given_, **change})


def test_contradicting_correlations_are_refused():
    """a goes with b, b with c, a against c: no three variables do that."""
    between = {("a", "b"): 0.95, ("b", "c"): 0.95, ("a", "c"): -0.95}
    forecast = outlook(np.full((1, 3), 5.0), groups=("a", "b", "c"), between=between)
    with pytest.raises(ConfigurationError, match="contradict"):
        draw(forecast, 2, np.random.default_rng(0), dt_h=1.0)
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        reduce(Scenarios(np.zeros((2, 1, 1)), np.full(2, 0.5)), 3)
