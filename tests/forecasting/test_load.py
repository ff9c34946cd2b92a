"""Load: last week's rule by hand, a model that beats it on a real year, and no look ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import simbench
import xarray as xr

from core.errors import ConfigurationError, TimeError
from core.timeaxis import DAY, QUARTER_HOUR, steps, to_datetime64
from forecasting import skill
from forecasting.load import GradientBoosted, seasonal_naive

BERLIN = "Europe/Berlin"
MONDAY = datetime(2026, 6, 22, tzinfo=UTC)


def axis(start: datetime, days: float) -> np.ndarray:
    return steps(start, start + timedelta(days=days), QUARTER_HOUR)


def history(values: np.ndarray, end: datetime) -> xr.DataArray:
    """values: (time, asset), the last one ending at ``end``."""
    times = steps(end - len(values) * QUARTER_HOUR, end, QUARTER_HOUR)
    names = [f"load-{i:03}" for i in range(values.shape[1])]
    return xr.DataArray(
        values,
        dims=("time", "asset"),
        coords={"time": times, "asset": names},
        attrs={"units": "MW"},
    )


def weeks(count: int, seed: int = 2) -> np.ndarray:
    """One asset whose every day of the week looks different, with a little noise."""
    rng = np.random.default_rng(seed)
    shape = np.repeat(1.0 + np.arange(7) / 10, 96) + 0.3 * np.sin(np.arange(672) * 2 * np.pi / 96)
    return np.tile(shape, count)[:, None] + rng.normal(0, 0.02, (672 * count, 1))


def test_the_rule_repeats_last_week():
    past = history(weeks(4), MONDAY)
    ahead = seasonal_naive(past, axis(MONDAY, 2), known_at=MONDAY)
    assert ahead.dims == ("time", "asset", "quantile")
    assert ahead.attrs["units"] == "MW"
    last_week = past.isel(time=slice(-672, -672 + 192)).values
    np.testing.assert_allclose(ahead.sel(quantile=0.5).values, last_week)
    assert (ahead.diff("quantile") > 0).all()
    # The noise of a difference of two weeks has 0.028; 80 % of a normal lie within 1.28 of it.
    half_width = float((ahead.sel(quantile=0.9) - ahead.sel(quantile=0.1)).mean()) / 2
    assert half_width == pytest.approx(1.28 * 0.02 * np.sqrt(2), rel=0.2)


def test_beyond_a_week_the_newest_known_week_is_repeated():
    past = history(weeks(4), MONDAY)
    ahead = seasonal_naive(past, axis(MONDAY + 8 * DAY, 1), known_at=MONDAY)
    same_weekday = past.sel(time=axis(MONDAY - 6 * DAY, 1)).values
    np.testing.assert_allclose(ahead.sel(quantile=0.5).values, same_weekday)


def test_with_little_history_yesterday_or_what_is_usual_stands_in():
    past = history(weeks(1)[:192], MONDAY)
    ahead = seasonal_naive(past, axis(MONDAY, 1), known_at=MONDAY)
    np.testing.assert_allclose(ahead.sel(quantile=0.5).values, past.values[-96:])
    hole = past.where(past.time < past.time.values[-20])
    filled = seasonal_naive(hole, axis(MONDAY, 1), known_at=MONDAY)
    assert np.isfinite(filled).all()
    none = seasonal_naive(past.isel(time=slice(0, 0)), axis(MONDAY, 1), known_at=MONDAY)
    assert none.shape == (96, 1, 3)
    assert np.isnan(none).all()


def test_the_model_refuses_what_it_cannot_learn_from():
    past = history(weeks(1), MONDAY)
    with pytest.raises(ConfigurationError, match="8 days"):
        GradientBoosted.fit(past, known_at=MONDAY, timezone=BERLIN, resolution=QUARTER_HOUR)
    with pytest.raises(TimeError, match="Mars"):
        GradientBoosted.fit(past, known_at=MONDAY, timezone="Mars/Phobos", resolution=QUARTER_HOUR)


# --- a real year ----------------------------------------------------------------------------

DAYS = [datetime(2016, m, d, tzinfo=UTC) for m, d in ((2, 10), (6, 20), (9, 14))]
ASSETS = slice(0, None, 6)


@pytest.fixture(scope="module")
def loads() -> xr.DataArray:
    """Every sixth load of SimBench's 1-MV-semiurb--2-sw: 2016, 15 min, MW."""
    net = simbench.get_simbench_net("1-MV-semiurb--2-sw")
    tables = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    values = tables["load", "p_mw"].to_numpy()[:, ASSETS]
    end = datetime(2016, 1, 1, tzinfo=UTC) + len(values) * QUARTER_HOUR
    return history(values, end)


def fitted(loads: xr.DataArray, known_at: datetime) -> GradientBoosted:
    return GradientBoosted.fit(
        loads,
        known_at=known_at,
        timezone=BERLIN,
        resolution=QUARTER_HOUR,
        maximum_rows=12_000,
        iterations=50,
    )


@pytest.fixture(scope="module")
def models(loads: xr.DataArray) -> dict[datetime, GradientBoosted]:
    return {known_at: fitted(loads, known_at) for known_at in DAYS}


@pytest.fixture(scope="module")
def predictions(
    loads: xr.DataArray, models: dict[datetime, GradientBoosted]
) -> list[tuple[xr.DataArray, xr.DataArray, xr.DataArray]]:
    """Forecast, last week's rule and what came, of three days in three seasons."""
    rows = []
    for known_at, model in models.items():
        times = axis(known_at, 1)
        ahead = model.predict(loads, times, known_at=known_at)
        rule = seasonal_naive(loads, times, known_at=known_at)
        rows.append((ahead, rule, loads.sel(time=times)))
    return rows


def test_the_model_beats_last_week(predictions: list):
    ahead, rule, came = (xr.concat(part, dim="time") for part in zip(*predictions, strict=True))
    better = float(skill.skill(skill.pinball(ahead, came), skill.pinball(rule, came)))
    assert better > 0.08, f"pinball skill against last week: {better:.3f}"
    median, last_week = ahead.sel(quantile=0.5), rule.sel(quantile=0.5)
    closer = float(skill.skill(skill.mae(median, came), skill.mae(last_week, came)))
    assert closer > 0.08, f"MAE skill against last week: {closer:.3f}"
    share = float(skill.coverage(ahead, came))
    assert 0.7 < share < 0.9, f"coverage {share:.3f}, meant 0.8"


def test_quantiles_never_cross_and_have_a_unit(predictions: list):
    for ahead, rule, _ in predictions:
        assert ahead.dims == ("time", "asset", "quantile")
        assert (ahead.diff("quantile") >= 0).all()
        assert (rule.diff("quantile") >= 0).all()
        assert ahead.attrs["units"] == "MW"
        assert np.isfinite(ahead).all()


def test_nothing_after_known_at_has_an_influence(loads: xr.DataArray, predictions: list):
    # Identical to the last bit, so the same knowledge also gives the same model twice.
    known_at = DAYS[0]
    spoiled = loads.where(loads.time < to_datetime64(known_at), 999.0)
    times = axis(known_at, 1)
    ahead = fitted(spoiled, known_at).predict(spoiled, times, known_at=known_at)
    xr.testing.assert_identical(ahead, predictions[0][0])
    rule = seasonal_naive(spoiled, times, known_at=known_at)
    xr.testing.assert_identical(rule, predictions[0][1])
    # The interval that is still running is not known either.
    running = known_at + timedelta(minutes=7)
    xr.testing.assert_identical(seasonal_naive(spoiled, times, known_at=running), rule)
    changed = loads.where(loads.time != to_datetime64(known_at - 7 * DAY), 9.0)
    assert not seasonal_naive(changed, times, known_at=known_at).equals(rule)


def test_two_days_ahead_and_gaps_are_bridged(loads: xr.DataArray):
    known_at = DAYS[1]
    gap = (loads.time >= to_datetime64(known_at - DAY)) & (loads.asset == "load-003")
    holed = loads.where(~gap)
    model = fitted(holed, known_at)
    ahead = model.predict(holed, axis(known_at, 2), known_at=known_at)
    assert np.isfinite(ahead).all()
    came = loads.sel(time=ahead.time)
    rule = seasonal_naive(loads, ahead.time.values, known_at=known_at)
    assert float(skill.pinball(ahead, came)) < 1.1 * float(skill.pinball(rule, came))
    with pytest.raises(ConfigurationError, match="resolution"):
        model.predict(holed, ahead.time.values[::4], known_at=known_at)


def test_an_asset_without_history_has_no_forecast(
    loads: xr.DataArray, models: dict[datetime, GradientBoosted]
):
    known_at, model = DAYS[1], models[DAYS[1]]
    silent = loads.where(loads.asset != "load-002")
    ahead = model.predict(silent, axis(known_at, 1), known_at=known_at)
    assert np.isnan(ahead.sel(asset="load-002")).all()
    assert np.isfinite(ahead.sel(asset="load-001")).all()
