"""What is wrong with the steering of devices: no new plan, no answer, a refusal, a deviation; and
a plan for an impossible day, which nobody follows before an operator has approved it.

Site.parameters may hold plan_late_minutes (app/rhythm.py), acknowledge_minutes (5), and the
tolerance that grid/tracking.py documents.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from app import keys
from app.plankinds import FOLLOWED, INTRADAY
from app.rhythm import plan_late
from app.tariffs import number
from app.wiring import City
from core.alerts import AlertSeverity, Condition
from core.series import SeriesKind
from core.timeaxis import floor_to, utc
from grid import tracking
from grid.tracking import Tolerance
from store import runs, setpoints
from store.database import Connection
from store.setpoints import Sent

LATE = "plan-late"
WAITING = "plan-waiting"
UNANSWERED = "setpoint-unanswered"
REFUSED = "setpoint-refused"
DEVIATION = "setpoint-deviation"

ANSWER_MINUTES = 5.0
NAMED = 5
"""Devices that a sentence names; the others it counts."""


def conditions(connection: Connection, city: City, now: datetime) -> list[Condition]:
    """Everything that holds at ``now``; raises ConfigurationError for parameters of no use."""
    sent = setpoints.newest(connection)
    return [
        *_late(connection, city, sent, now),
        *_waiting(connection, now),
        *_unanswered(city, sent, now),
        *(_refused(one) for one in sent if one.status == "refused"),
        *_deviations(connection, city, sent, now),
    ]


def answer_overdue(sent: Sent, patience: timedelta, now: datetime) -> bool:
    """Whether the device should have answered by ``now``."""
    return not sent.answered and sent.issued_at + patience <= now


def patience(city: City) -> timedelta:
    """How long a device may take to answer, in city time."""
    given = {"acknowledge_minutes": ANSWER_MINUTES, **city.site.parameters}
    return timedelta(minutes=number(given, "acknowledge_minutes"))


def _late(connection: Connection, city: City, sent: list[Sent], now: datetime) -> list[Condition]:
    newest = runs.latest(connection, INTRADAY)
    if newest is None:
        return []
    age = utc(now) - newest.city_at
    if age <= plan_late(city.site.parameters, city.clock.pace):
        return []
    until = max((s.setpoint.valid_until for s in sent if s.setpoint.valid_until), default=None)
    over = until is None or until <= now
    since = _clock(newest.city_at)
    then_en = (
        "Devices are on their safe default."
        if over or until is None
        else f"Devices follow it until {_clock(until)}, then their safe default."
    )
    then_zh = (
        "设备已转入安全默认状态。"
        if over or until is None
        else f"设备按其执行至 {_clock(until)}，之后转入安全默认状态。"
    )
    return [
        Condition(
            LATE,
            "dispatch",
            AlertSeverity.CRITICAL if over else AlertSeverity.WARNING,
            round(age.total_seconds() / 60.0),
            "min",
            f"No new plan since {since}. {then_en}",
            f"自 {since} 起没有新计划。{then_zh}",
        )
    ]


def _waiting(connection: Connection, now: datetime) -> list[Condition]:
    """That a plan with limits opened waits; plans that a city asks to see anyway raise no alert."""
    newest = (runs.latest(connection, kind, runs.PROPOSED) for kind in FOLLOWED)
    for run in newest:
        decision = runs.decision(connection, run.id) if run else None
        if run is None or decision is None or decision.decide_by < now or not runs.opened(run):
            continue
        count, until = len(runs.opened(run)), _clock(decision.decide_by)
        return [
            Condition(
                WAITING,
                "dispatch",
                AlertSeverity.WARNING,
                float(count),
                "1",
                f"No schedule keeps every limit: run {run.id} opens {count} and waits for approval "
                f"until {until}. The plan before it stays in force.",
                f"没有计划能守住全部限值：运行 {run.id} 放宽 {count} 项，等待批准，截止 {until}。"
                "此前的计划继续执行。",
            )
        ]
    return []


def _unanswered(city: City, sent: list[Sent], now: datetime) -> list[Condition]:
    overdue = [s.setpoint.asset for s in sent if answer_overdue(s, patience(city), now)]
    if not overdue:
        return []
    named = ", ".join(overdue[:NAMED]) + (" …" if len(overdue) > NAMED else "")
    return [
        Condition(
            UNANSWERED,
            "dispatch",
            AlertSeverity.WARNING,
            float(len(overdue)),
            "1",
            f"Set-points not acknowledged: {len(overdue)} ({named}).",
            f"未确认的设定值：{len(overdue)} 个（{named}）。",
        )
    ]


def _refused(sent: Sent) -> Condition:
    asset = sent.setpoint.asset
    return Condition(
        REFUSED,
        asset,
        AlertSeverity.WARNING,
        0.0,
        "1",
        f"{asset} refuses its set-point: {sent.reason or 'no reason given'}.",
        f"{asset} 拒绝设定值：{sent.reason or '未说明原因'}。",
    )


def _deviations(
    connection: Connection, city: City, sent: list[Sent], now: datetime
) -> list[Condition]:
    """Devices whose measured power is off what they were asked, in all of the last intervals."""
    step = city.site.plan_resolution
    tolerance = Tolerance.of(city.site.parameters)
    assets = {a.id: a for a in city.site.assets}
    metered = {
        s.asset for s in city.site.series if s.variable == "p_mw" and s.kind is SeriesKind.MEASURED
    }
    watched = [s.setpoint.asset for s in sent if s.setpoint.asset in assets.keys() & metered]
    if not watched:
        return []
    count = tolerance.steps(step) + 1
    end = floor_to(now, step)
    starts = [end - (count - i) * step for i in range(count)]
    series_keys = {asset: keys.of(city.site.id, asset, "p_mw") for asset in watched}
    asked, measured = setpoints.against_measured(connection, series_keys, starts, step)
    capped = np.array([assets[a].kind in tracking.CAPPED for a in watched])
    allowed = tolerance.allowed_mw(
        np.array([tracking.rated_mw(assets[a].parameters) for a in watched])
    )
    excess = tracking.excess(asked, measured, capped)
    found = []
    for column in np.flatnonzero(tracking.off_track(excess, allowed)):
        row = int(np.flatnonzero(~np.isnan(excess[:, column]))[-1])
        found.append(
            _deviation(
                watched[column],
                float(measured[row, column]),
                float(asked[row, column]),
                float(allowed[column]),
                tolerance.minutes,
            )
        )
    return found


def _deviation(
    asset: str, measured_mw: float, asked_mw: float, allowed_mw: float, minutes: float
) -> Condition:
    return Condition(
        DEVIATION,
        asset,
        AlertSeverity.WARNING,
        round(measured_mw - asked_mw, 4),
        "MW",
        f"{asset} is at {measured_mw:.3f} MW and was asked for {asked_mw:.3f} MW, for "
        f"{minutes:.0f} min; {allowed_mw:.3f} MW are tolerated.",
        f"{asset} 实测 {measured_mw:.3f} MW，设定值 {asked_mw:.3f} MW，"
        f"持续 {minutes:.0f} 分钟；允许偏差 {allowed_mw:.3f} MW。",
    )


def _clock(ts: datetime) -> str:
    """As the other alerts write times."""
    return utc(ts).isoformat(timespec="minutes").replace("+00:00", "Z")
