"""What raises an alert: conditions on air, water, voltages, loadings and silent devices.

Pure: values in, conditions out; core/alerts.py turns them into alerts that open and close. Values
come as plain mappings from a subject (station, bus, line, series) to its number; NaN holds no
condition, a device that says nothing has a rule of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isnan

from core.alerts import AlertSeverity, Condition
from core.errors import ConfigurationError
from core.timeaxis import utc

AIR = "air-index"
LEAK_RATE = "leak-rate"
NIGHT_FLOW = "night-flow"
VOLTAGE = "voltage"
LOADING = "loading"
STALE = "stale-data"

_NOISE_PU = 1e-6  # a plan rests on its limits; the solver ends within this of them

_POLLUTANT_NAMES = {
    "pm2_5": "PM2.5",
    "pm10": "PM10",
    "so2": "SO2",
    "no2": "NO2",
    "o3": "O3",
    "co": "CO",
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Above what (each unit in the name) a condition holds.

    Air index above notice, warning and critical; leak rate is RWL; night flow as a multiple of
    its baseline, and at least night_flow_rise_m3_per_h above it; stale after a number of missed
    intervals. Raises ConfigurationError when steps do not rise.
    """

    aqi_notice: float = 100.0
    aqi_warning: float = 150.0
    aqi_critical: float = 200.0
    leak_rate_notice_percent: float = 12.0
    leak_rate_warning_percent: float = 20.0
    night_flow_factor: float = 1.3
    night_flow_rise_m3_per_h: float = 2.0
    voltage_critical_excess_pu: float = 0.02
    loading_warning_percent: float = 100.0
    loading_critical_percent: float = 120.0
    stale_notice_intervals: float = 3.0
    stale_warning_intervals: float = 12.0

    def __post_init__(self) -> None:
        rising = (
            (self.aqi_notice, self.aqi_warning, self.aqi_critical),
            (self.leak_rate_notice_percent, self.leak_rate_warning_percent),
            (self.loading_warning_percent, self.loading_critical_percent),
            (self.stale_notice_intervals, self.stale_warning_intervals),
            (0.0, self.voltage_critical_excess_pu),
            (1.0, self.night_flow_factor),
        )
        if any(list(steps) != sorted(set(steps)) for steps in rising):
            raise ConfigurationError("The thresholds of an alert must rise with its severity.")


DEFAULTS = Thresholds()


def _severity(
    value: float,
    *,
    notice: float | None = None,
    warning: float | None = None,
    critical: float | None = None,
) -> AlertSeverity | None:
    """The gravest severity whose threshold lies below ``value``; None when there is none."""
    steps = (
        (critical, AlertSeverity.CRITICAL),
        (warning, AlertSeverity.WARNING),
        (notice, AlertSeverity.NOTICE),
    )
    for threshold, severity in steps:
        if threshold is not None and value > threshold:
            return severity
    return None


def air(
    aqi: Mapping[str, float],
    *,
    primary: Mapping[str, tuple[str, ...]] | None = None,
    standard: str = "",
    thresholds: Thresholds = DEFAULTS,
) -> list[Condition]:
    """Conditions on the air index of stations or the city.

    aqi: index by subject, NaN for "NA". primary: primary pollutants by subject, for the text.
    standard: the edition the index is by, such as ``HJ 633-2026``, for the text.
    """
    found = []
    by_en, by_zh = (f" ({standard})", f"（{standard}）") if standard else ("", "")
    for subject, value in aqi.items():
        severity = _severity(
            value,
            notice=thresholds.aqi_notice,
            warning=thresholds.aqi_warning,
            critical=thresholds.aqi_critical,
        )
        if severity is None:
            continue
        names = [_POLLUTANT_NAMES.get(p, p) for p in (primary or {}).get(subject, ())]
        because_en = f", primary pollutant {', '.join(names)}" if names else ""
        because_zh = f"，首要污染物{'、'.join(names)}" if names else ""
        found.append(
            Condition(
                AIR,
                subject,
                severity,
                value,
                "1",
                f"The air quality index{by_en} at {subject} is {value:.0f}{because_en}.",
                f"{subject} 空气质量指数{by_zh}为 {value:.0f}{because_zh}。",
            )
        )
    return found


def leak_rate(
    rwl_percent: Mapping[str, float], *, thresholds: Thresholds = DEFAULTS
) -> list[Condition]:
    """Conditions on the leak rate (RWL, %) of districts."""
    found = []
    for subject, value in rwl_percent.items():
        limit = thresholds.leak_rate_notice_percent
        severity = _severity(value, notice=limit, warning=thresholds.leak_rate_warning_percent)
        if severity is not None:
            found.append(
                Condition(
                    LEAK_RATE,
                    subject,
                    severity,
                    value,
                    "%",
                    f"The leak rate (RWL) of {subject} is {value:.1f} %, above {limit:g} %.",
                    f"{subject} 综合漏损率（RWL）为 {value:.1f} %，高于 {limit:g} %。",
                )
            )
    return found


def night_flow(
    night_m3_per_h: Mapping[str, float],
    baseline_m3_per_h: Mapping[str, float],
    *,
    thresholds: Thresholds = DEFAULTS,
) -> list[Condition]:
    """Conditions on the night flow of districts against its baseline, both m3/h."""
    found = []
    for subject, value in night_m3_per_h.items():
        usual = baseline_m3_per_h.get(subject, float("nan"))
        limit = max(
            usual * thresholds.night_flow_factor, usual + thresholds.night_flow_rise_m3_per_h
        )
        if not isnan(usual) and value > limit:
            found.append(
                Condition(
                    NIGHT_FLOW,
                    subject,
                    AlertSeverity.WARNING,
                    value,
                    "m3/h",
                    f"The night flow of {subject} is {value:.1f} m3/h against a usual "
                    f"{usual:.1f} m3/h: a new leak is likely.",
                    f"{subject} 夜间流量为 {value:.1f} m3/h，平时为 {usual:.1f} m3/h，"
                    "可能出现新漏点。",
                )
            )
    return found


def voltage(
    vm_pu: Mapping[str, float],
    *,
    vm_min_pu: Mapping[str, float],
    vm_max_pu: Mapping[str, float],
    thresholds: Thresholds = DEFAULTS,
) -> list[Condition]:
    """Conditions on bus voltages (pu) outside their limits by bus; critical far outside."""
    found = []
    for subject, value in vm_pu.items():
        low, high = vm_min_pu[subject], vm_max_pu[subject]
        excess = max(value - high, low - value)
        severity = _severity(
            excess, warning=_NOISE_PU, critical=thresholds.voltage_critical_excess_pu
        )
        if severity is None:
            continue
        above = value > high
        limit = high if above else low
        side_en, side_zh = ("above", "高于") if above else ("below", "低于")
        found.append(
            Condition(
                VOLTAGE,
                subject,
                severity,
                value,
                "pu",
                f"The voltage at {subject} is {value:.4f} pu, {side_en} its limit {limit:g} pu.",
                f"{subject} 电压为 {value:.4f} pu，{side_zh}限值 {limit:g} pu。",
            )
        )
    return found


def loading(
    loading_percent: Mapping[str, float], *, thresholds: Thresholds = DEFAULTS
) -> list[Condition]:
    """Conditions on the loading (%) of lines and transformers."""
    found = []
    for subject, value in loading_percent.items():
        limit = thresholds.loading_warning_percent
        severity = _severity(value, warning=limit, critical=thresholds.loading_critical_percent)
        if severity is not None:
            found.append(
                Condition(
                    LOADING,
                    subject,
                    severity,
                    value,
                    "%",
                    f"{subject} is loaded with {value:.0f} %, above {limit:g} %.",
                    f"{subject} 负载率为 {value:.0f} %，高于 {limit:g} %。",
                )
            )
    return found


def stale(
    last_reading: Mapping[str, datetime | None],
    resolution: Mapping[str, timedelta],
    *,
    now: datetime,
    thresholds: Thresholds = DEFAULTS,
) -> list[Condition]:
    """Conditions on series that have said nothing for several of their intervals.

    last_reading: beginning of the newest interval by series, None where there never was one.
    resolution: length of the interval by series; series without one are not judged.
    now: aware. An interval is missed once it has ended, so the newest one counts as 0.
    """
    found = []
    for subject, last in last_reading.items():
        if subject not in resolution:
            continue
        missed = _missed(last, resolution[subject], utc(now))
        severity = _severity(
            missed,
            notice=thresholds.stale_notice_intervals,
            warning=thresholds.stale_warning_intervals,
        )
        if severity is not None:
            found.append(_stale(subject, last, missed, severity))
    return found


def _missed(last: datetime | None, resolution: timedelta, now: datetime) -> float:
    if last is None:
        return float("inf")
    return (now - utc(last)) / resolution - 1.0


def _stale(
    subject: str, last: datetime | None, missed: float, severity: AlertSeverity
) -> Condition:
    if last is None:
        text_en, text_zh = f"{subject} has sent no reading yet.", f"{subject} 尚无数据。"
        return Condition(STALE, subject, severity, 0.0, "1", text_en, text_zh)
    since = utc(last).isoformat(timespec="minutes").replace("+00:00", "Z")
    whole = float(int(missed))
    return Condition(
        STALE,
        subject,
        severity,
        whole,
        "1",
        f"{subject} has sent nothing since {since}: {whole:.0f} intervals are missing.",
        f"{subject} 自 {since} 起无数据，已缺 {whole:.0f} 个时段。",
    )
