"""Water losses: the rate by hand, the night in local time, tanks, and steps against chance."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from environment.detection import DetectionScore, score
from environment.water import (
    FIGURE,
    baseline,
    leak_rate_percent,
    leak_rates,
    net_inflow,
    night_flow,
    night_steps,
)

QUARTER = timedelta(minutes=15)
FIVE_MINUTES = timedelta(minutes=5)
SHANGHAI = "Asia/Shanghai"
MIDNIGHT = "2026-06-21T16:00"  # 2026-06-22 00:00 in Shanghai
LTOWN = Path(__file__).parents[3] / "shared" / "data" / "water"


def series(values: np.ndarray | list, freq: str = "15min", start: str = MIDNIGHT) -> xr.DataArray:
    times = pd.date_range(start, periods=len(values), freq=freq).to_numpy()
    return xr.DataArray(np.asarray(values, dtype=float), dims="time", coords={"time": times})


def test_the_rate_by_hand():
    assert leak_rate_percent(1000.0, 820.0) == pytest.approx(18.0)
    assert np.isnan(leak_rate_percent(0.0, 0.0))


def test_the_rate_of_a_day_from_flow_and_billed_volume():
    # 40 m3/h for 24 h is 960 m3; 8 m3 billed in each of 96 quarter-hours is 768 m3: 20 %.
    rates = leak_rates(
        series(np.full(96, 40.0)), series(np.full(96, 8.0)), resolution=QUARTER, timezone=SHANGHAI
    )
    assert float(rates.input_m3[0]) == pytest.approx(960.0)
    assert float(rates.rwl_percent[0]) == pytest.approx(20.0)
    assert rates.rwl_percent.attrs["units"] == "%"
    assert rates.attrs["figure"] == FIGURE
    assert rates.time.values[0] == np.datetime64(MIDNIGHT)


def test_a_gap_in_one_of_the_two_is_no_leak():
    flow, billed = np.full(96, 40.0), np.full(96, 8.0)
    billed[:9] = np.nan  # 9.4 % missing: coverage 0.906
    flow[90:] = np.nan
    at_risk = leak_rates(series(flow), series(billed), resolution=QUARTER, timezone=SHANGHAI)
    assert np.isnan(at_risk.rwl_percent[0])  # 81 of 96 intervals are too few
    flow[90:] = 40.0
    rates = leak_rates(series(flow), series(billed), resolution=QUARTER, timezone=SHANGHAI)
    assert float(rates.coverage[0]) == pytest.approx(87 / 96)
    assert float(rates.rwl_percent[0]) == pytest.approx(20.0)


def test_days_without_input_have_no_rate_and_short_days_are_complete():
    zero = leak_rates(
        series(np.zeros(96)), series(np.ones(96)), resolution=QUARTER, timezone=SHANGHAI
    )
    assert np.isnan(zero.rwl_percent[0])
    spring = leak_rates(  # 2026-03-29 in Berlin has 23 hours
        series(np.full(92, 40.0), start="2026-03-28T23:00"),
        series(np.full(92, 8.0), start="2026-03-28T23:00"),
        resolution=QUARTER,
        timezone="Europe/Berlin",
    )
    assert spring.coverage.values.tolist() == [1.0]


def test_night_is_02_to_04_local_less_what_is_rightly_used():
    flow = np.full(96, 100.0)
    flow[8:16] = [20, 20, 20, 24, 20, 20, 20, 16]
    night = night_flow(series(flow), resolution=QUARTER, timezone=SHANGHAI, legitimate_m3_per_h=6.0)
    assert float(night.night_flow_m3_per_h[0]) == 20.0
    assert float(night.minimum_m3_per_h[0]) == 16.0
    assert float(night.net_m3_per_h[0]) == 14.0
    flow[8] = np.nan
    few = night_flow(series(flow), resolution=QUARTER, timezone=SHANGHAI)
    assert np.isnan(few.night_flow_m3_per_h[0])


def test_a_silent_day_is_shown_as_a_missing_night():
    flow = series(np.full(96 * 4, 20.0))
    gap = flow.isel(time=[*range(96), *range(192, 384)])
    night = night_flow(gap, resolution=QUARTER, timezone=SHANGHAI).night_flow_m3_per_h
    np.testing.assert_array_equal(night, [20.0, np.nan, 20.0, 20.0])


def test_a_filling_tank_is_no_leak():
    # 50 m3/h come in; 10 m3/h of it lift a tank of 200 m2 by 0.05 m/h.
    level = series(3.0 + 0.05 * np.arange(24), "h")
    net = net_inflow(
        series(np.full(24, 50.0), "h"), level, area_m2=200.0, resolution=timedelta(hours=1)
    )
    np.testing.assert_allclose(net[:-1], 40.0)
    assert np.isnan(net[-1])
    assert net.attrs["units"] == "m3/h"


def nights(values: list[float]) -> xr.DataArray:
    return series(values, "D")


def test_a_step_needs_two_nights_above_the_same_weekday_and_is_told_once():
    week = [20.0, 21, 20, 20, 20, 45, 44]
    leak = [v + 16 for v in week]
    night = nights(week + leak)
    assert night_steps(night).tolist() == night.time.values[[8]].astype("int64").tolist()
    assert not len(night_steps(nights(week + week)))  # weekends are no steps
    wild = [*week[:3], 60.0, *week[4:]]
    assert not len(night_steps(nights(week + wild)))  # one wild night
    assert not len(night_steps(nights(week + [v + 14 for v in week])))  # 14 m3/h
    assert not len(night_steps(nights([*week, np.nan, *leak[:1], np.nan])))
    assert len(night_steps(nights(week + leak + [v + 32 for v in week]))) == 2


def test_without_a_weekly_pattern_two_earlier_nights_will_do():
    night = nights([20, 21, 20, 20, 45, 44, 45, 44])
    alarms = night_steps(night, lag_nights=2, quiet_nights=3)
    assert alarms.tolist() == night.time.values[[5]].astype("int64").tolist()


def test_the_baseline_leaves_the_night_itself_out():
    night = nights([20.0] * 13 + [22.0] + [90.0])
    usual = baseline(night, nights=14)
    assert float(usual[-1]) == 20.0
    assert np.isnan(usual[:7]).all()
    assert not np.isnan(usual[7])


def test_a_weekly_baseline_knows_weekends():
    week = [20.0, 20, 20, 20, 20, 45, 50]
    usual = baseline(nights(week * 3), nights=2, every=7)
    assert usual[-7:].values.tolist() == week
    assert np.isnan(usual[:7]).all()


def test_chance_is_part_of_every_score():
    day = np.timedelta64(1, "D")
    start = np.datetime64("2019-01-01", "ns")
    starts = start + np.array([10, 50]) * day
    alarms = start + np.array([12, 30]) * day
    result = score(alarms, starts, window=7 * day, period=(start, start + 70 * day))
    # Two windows of a tenth of the period, two alarms: 2 x (1 - 0.9^2).
    assert result == DetectionScore(2, 2, 1, 1, pytest.approx(0.38))
    cut = score(alarms, starts[1:], window=30 * day, period=(start, start + 60 * day))
    assert cut.random_hits == pytest.approx(1 - (5 / 6) ** 2)
    none = score(alarms[:0], starts, window=7 * day, period=(start, start + 70 * day))
    assert (none.hits, none.random_hits) == (0, 0.0)


def test_the_control_agrees_with_alarms_really_thrown_at_random():
    rng = np.random.default_rng(3)
    minute = np.timedelta64(1, "m")
    start = np.datetime64("2019-01-01", "ns")
    period = (start, start + np.timedelta64(100, "D"))
    starts = start + np.sort(rng.integers(0, 90 * 1440, 8)) * minute
    window = np.timedelta64(5, "D")
    thrown = [
        score(
            start + rng.integers(0, 100 * 1440, 12) * minute, starts, window=window, period=period
        )
        for _ in range(400)
    ]
    hits = np.array([s.hits for s in thrown])
    error = 4 * hits.std() / np.sqrt(len(hits))
    assert abs(hits.mean() - thrown[0].random_hits) < error


def ltown_column(file: str, *columns: str) -> xr.DataArray:
    """Sum of the named columns (all without a name) of a file of L-TOWN, 5 min."""
    table = pd.read_parquet(LTOWN / file)
    total = table[list(columns) or list(table.columns)].sum(axis=1)
    times = total.index.to_numpy().astype("datetime64[ns]")
    return xr.DataArray(total.to_numpy(float), dims="time", coords={"time": times})


def ltown_net_inflow() -> xr.DataArray:
    scada = "ltown_scada_2019_h1.parquet"
    area = np.pi / 4 * 16.0**2  # T1 has a diameter of 16 m
    return net_inflow(
        ltown_column(scada, "p227", "p235"),
        ltown_column(scada, "T1"),
        area_m2=area,
        resolution=FIVE_MINUTES,
    )


@pytest.mark.skipif(not LTOWN.exists(), reason="the L-TOWN data set is not beside this checkout")
def test_night_steps_on_l_town_against_chance():
    # Published for the whole year: a plain two-night rule > 15 m3/h hits 13 of 19 starting leaks
    # within 7 days with 17 false alarms, where chance hits 8.8. The half year at hand has 10
    # starting leaks; the plain rule must do here what it is known to do, 1.5 times chance with
    # more than half of its alarms false, and the weekly rule must do better than that.
    net = ltown_net_inflow()
    leaks = pd.read_csv(LTOWN / "ltown_leaks_2019_h1.csv", parse_dates=["start"])
    night = night_flow(net, resolution=FIVE_MINUTES, timezone="UTC").night_flow_m3_per_h
    period = (net.time.values[0], net.time.values[-1])
    starts = leaks.start.to_numpy().astype("datetime64[ns]")
    starts = starts[starts >= period[0]]

    def scored(alarms: np.ndarray) -> DetectionScore:
        known_at = alarms + np.timedelta64(4, "h")
        return score(known_at, starts, window=np.timedelta64(7, "D"), period=period)

    plain = scored(night_steps(night, lag_nights=2, quiet_nights=3))
    weekly = scored(night_steps(night))
    assert plain.events == weekly.events == 10
    assert plain.hits / plain.random_hits == pytest.approx(13 / 8.8, abs=0.35), plain
    assert plain.false_alarms / plain.alarms == pytest.approx(17 / 30, abs=0.1), plain
    assert weekly.hits >= 2 * weekly.random_hits, weekly
    assert weekly.false_alarms <= 1, weekly


@pytest.mark.skipif(not LTOWN.exists(), reason="the L-TOWN data set is not beside this checkout")
def test_net_night_flow_follows_the_true_leaks_of_l_town():
    net, truth = ltown_net_inflow(), ltown_column("ltown_leak_truth_2019_h1_m3h.parquet")
    nightly = [
        night_flow(q, resolution=FIVE_MINUTES, timezone="UTC").night_flow_m3_per_h
        for q in (net, truth)
    ]
    known, true = (n.coarsen(time=7, boundary="trim").mean().to_numpy() for n in nightly)
    complete = np.isfinite(known)
    known, true = known[complete], true[complete]
    assert len(known) >= 24
    assert np.corrcoef(known, true)[0, 1] > 0.95
    # What is left is legitimate night use: steady, so that a rise of the night flow is a leak.
    assert (known - true).std() < 0.1 * true.max()
