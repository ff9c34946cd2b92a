"""Rules: what raises an alert, how grave it is, and what it says in two languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.alerts import AlertSeverity, AlertState, advance
from core.errors import ConfigurationError
from environment.rules import (
    Thresholds,
    air,
    leak_rate,
    loading,
    night_flow,
    stale,
    voltage,
)

NAN = float("nan")
NOW = datetime(2026, 6, 22, 4, tzinfo=UTC)
NOTICE, WARNING, CRITICAL = AlertSeverity


@pytest.mark.parametrize(
    ("aqi", "severity"),
    [
        (100, None),
        (101, NOTICE),
        (150, NOTICE),
        (151, WARNING),
        (200, WARNING),
        (201, CRITICAL),
        (NAN, None),
    ],
)
def test_the_air_index(aqi: float, severity: AlertSeverity | None):
    found = air({"air-01": aqi})
    assert [c.severity for c in found] == ([severity] if severity else [])


def test_the_sentence_names_subject_number_cause_and_edition():
    (condition,) = air(
        {"air-01": 168.0}, primary={"air-01": ("pm2_5", "o3")}, standard="HJ 633-2026"
    )
    assert condition.text_en == (
        "The air quality index (HJ 633-2026) at air-01 is 168, primary pollutant PM2.5, O3."
    )
    assert condition.text_zh == "air-01 空气质量指数（HJ 633-2026）为 168，首要污染物PM2.5、O3。"


def test_the_leak_rate_says_which_rate_it_is():
    found = leak_rate({"dma-1": 12.0, "dma-2": 12.1, "dma-3": 25.0, "dma-4": NAN})
    assert [(c.subject, c.severity) for c in found] == [("dma-2", NOTICE), ("dma-3", WARNING)]
    assert "RWL" in found[0].text_en
    assert "12.1 %" in found[0].text_zh


def test_the_night_flow_is_judged_by_its_own_past():
    usual = {"big": 20.0, "small": 1.0, "new": NAN}
    assert night_flow({"big": 26.0, "small": 2.9, "new": 50.0, "other": 9.0}, usual) == []
    found = night_flow({"big": 26.1, "small": 3.1}, usual)
    assert [c.subject for c in found] == ["big", "small"]
    assert "26.1 m3/h" in found[0].text_en
    assert "20.0 m3/h" in found[0].text_zh


def test_voltages_below_and_above_their_own_limits():
    low, high = dict.fromkeys("abcde", 0.95), dict.fromkeys("abcde", 1.05)
    values = {"a": 0.949, "b": 1.05 + 1e-9, "c": 1.08, "d": 0.95, "e": NAN}
    found = voltage(values, vm_min_pu=low, vm_max_pu=high)
    assert [(c.subject, c.severity) for c in found] == [("a", WARNING), ("c", CRITICAL)]
    assert "below its limit 0.95 pu" in found[0].text_en
    assert "高于限值 1.05 pu" in found[1].text_zh


def test_loadings():
    found = loading({"line-1": 100.0, "line-2": 101.0, "trafo-0": 121.0})
    assert [(c.subject, c.severity) for c in found] == [("line-2", WARNING), ("trafo-0", CRITICAL)]
    assert "101 %" in found[0].text_en


def test_silence_is_counted_in_intervals_and_starts_after_the_running_one():
    quarter = timedelta(minutes=15)
    last = {
        "running": NOW - quarter,
        "late": NOW - 4 * quarter,  # three missed: not more than three
        "notice": NOW - 5 * quarter,
        "warning": NOW - 14 * quarter,
        "never": None,
        "instants": None,
    }
    resolution = {k: quarter for k in last if k != "instants"}
    found = stale(last, resolution, now=NOW)
    assert [(c.subject, c.severity) for c in found] == [
        ("notice", NOTICE),
        ("warning", WARNING),
        ("never", WARNING),
    ]
    assert "since 2026-06-22T02:45Z: 4 intervals" in found[0].text_en
    assert "尚无数据" in found[2].text_zh
    assert found[2].value == 0.0  # a number that JSON can carry


def test_thresholds_are_arguments_and_must_rise():
    assert air({"a": 60.0}, thresholds=Thresholds(aqi_notice=50.0))
    with pytest.raises(ConfigurationError):
        Thresholds(aqi_notice=160.0)
    with pytest.raises(ConfigurationError):
        Thresholds(night_flow_factor=0.9)


def test_conditions_live_as_alerts():
    opened = advance([], air({"city": 120.0}), NOW)
    assert [a.state for a in opened] == [AlertState.OPEN]
    worse = advance(opened, air({"city": 220.0}), NOW + timedelta(hours=1))
    assert worse[0].condition.severity is CRITICAL
    closed = advance(worse, air({"city": 80.0}), NOW + timedelta(hours=2))
    assert [a.state for a in closed] == [AlertState.CLOSED]
