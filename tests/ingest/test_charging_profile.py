"""Schedules as charging profiles: never above what the plan asks, in what the charger can hold."""

from __future__ import annotations

import decimal
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocpp.messages import MessageType, get_validator

from core.errors import ConfigurationError
from ingest import ocpp_configuration
from ingest.charging_profile import Limits, Step, charging_profile, clear_profile
from ingest.ocpp_answers import VERSIONS
from ingest.protocols.ocpp_json import V16, V201

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def steps(*p_mw: float, start: datetime = NOON) -> list[Step]:
    return [(start + n * QUARTER, p) for n, p in enumerate(p_mw)]


def schedule_of(version: str, payload: dict[str, Any]) -> dict[str, Any]:
    if version == V16:
        found: dict[str, Any] = payload["csChargingProfiles"]["chargingSchedule"]
    else:
        (found,) = payload["chargingProfile"]["chargingSchedule"]
    return found


def validate(version: str, action: str, payload: dict[str, Any]) -> None:
    """Against the schema of the standard; limits of 1.6 have one decimal."""
    number = decimal.Decimal if action == "SetChargingProfile" and version == V16 else float
    validator = get_validator(MessageType.Call, action, version.removeprefix("ocpp"), number)
    validator.validate(json.loads(json.dumps(payload), parse_float=number))


def test_a_plan_becomes_a_profile_of_1_6() -> None:
    made = charging_profile(V16, steps(0.011, 0.011, 0.0, 0.0074), NOON, Limits())
    assert made is not None
    assert made.complete
    assert made.until == NOON + 4 * QUARTER
    assert made.payload == {
        "connectorId": 0,
        "csChargingProfiles": {
            "chargingProfileId": 1,
            "chargingProfilePurpose": "ChargePointMaxProfile",
            "stackLevel": 0,
            "chargingProfileKind": "Absolute",
            "validTo": "2026-06-22T05:00:00.000Z",
            "chargingSchedule": {
                "startSchedule": "2026-06-22T04:00:00.000Z",
                "duration": 3600,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [
                    {"startPeriod": 0, "limit": 11000},
                    {"startPeriod": 1800, "limit": 0},
                    {"startPeriod": 2700, "limit": 7400},
                ],
            },
        },
    }


def test_amperes_are_those_of_each_phase() -> None:
    made = charging_profile(V201, steps(0.011), NOON, Limits(unit="A"))
    assert made is not None
    (period,) = schedule_of(V201, made.payload)["chargingSchedulePeriod"]
    assert period == {"startPeriod": 0, "limit": 15.9, "numberPhases": 3}  # 11000 / 690 = 15.94


def test_the_step_in_force_begins_the_profile() -> None:
    made = charging_profile(V16, steps(0.001, 0.002, 0.003), NOON + 1.5 * QUARTER, Limits())
    assert made is not None
    schedule = schedule_of(V16, made.payload)
    assert schedule["startSchedule"] == "2026-06-22T04:15:00.000Z"
    assert [p["limit"] for p in schedule["chargingSchedulePeriod"]] == [2000, 3000]


@pytest.mark.parametrize("now", [NOON + 2 * QUARTER, NOON + timedelta(days=1)])
def test_a_plan_that_is_over_gives_none(now: datetime) -> None:
    assert charging_profile(V16, steps(0.001, 0.002), now, Limits()) is None


def test_a_charger_that_holds_few_periods_gets_the_rest_later() -> None:
    plan = steps(0.001, 0.002, 0.002, 0.003, 0.004)
    first = charging_profile(V16, plan, NOON, Limits(max_periods=2))
    assert first is not None
    assert (first.complete, first.until) == (False, NOON + 3 * QUARTER)
    assert schedule_of(V16, first.payload)["duration"] == 3 * 900
    rest = charging_profile(V16, plan, first.until, Limits(max_periods=2))
    assert rest is not None
    assert rest.complete
    limits = [p["limit"] for p in schedule_of(V16, rest.payload)["chargingSchedulePeriod"]]
    assert limits == [3000, 4000]


def test_a_default_of_transactions_where_a_charger_has_no_more() -> None:
    made = charging_profile(V201, steps(0.001), NOON, Limits(purpose="transaction"))
    assert made is not None
    assert made.payload["chargingProfile"]["chargingProfilePurpose"] == "TxDefaultProfile"


def test_the_profile_ends_when_the_plan_does_not_count_any_more() -> None:
    until = NOON + 1.5 * QUARTER
    made = charging_profile(V16, steps(0.001, 0.002, 0.003), NOON, Limits(), until)
    assert made is not None
    assert (made.until, made.complete) == (until, True)
    assert schedule_of(V16, made.payload)["duration"] == 1.5 * 900
    assert charging_profile(V16, steps(0.001), until, Limits(), until) is None


@pytest.mark.parametrize(
    "wrong", [{"unit": "kW"}, {"purpose": "x"}, {"max_periods": 0}, {"phases": 4}, {"voltage_v": 0}]
)
def test_limits_that_no_charger_knows_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Limits(**wrong)


powers = st.floats(-1.0, 1.0, allow_nan=False)


@given(
    st.sampled_from(VERSIONS),
    st.lists(powers, min_size=1, max_size=120),
    st.floats(-1.0, 40.0),
    st.builds(Limits, st.sampled_from("WA"), st.integers(1, 30)),
)
def test_at_any_time_the_limit_is_the_plan_rounded_down(
    version: str, p_mw: list[float], hours: float, limits: Limits
) -> None:
    plan = steps(*p_mw)
    now = NOON + timedelta(hours=hours)
    made = charging_profile(version, plan, now, limits)
    if made is None:
        assert now >= NOON + len(p_mw) * QUARTER
        return
    validate(version, made.action, made.payload)
    schedule = schedule_of(version, made.payload)
    start = datetime.fromisoformat(schedule["startSchedule"])
    periods = schedule["chargingSchedulePeriod"]
    assert len(periods) <= limits.max_periods
    assert all(a["limit"] != b["limit"] for a, b in pairwise(periods))
    assert start + timedelta(seconds=schedule["duration"]) == made.until
    per_unit_w = 1.0 if limits.unit == "W" else 690.0
    for ts, wanted in plan:
        if start <= ts < made.until:
            offset_s = (ts - start).total_seconds()
            limit = [p["limit"] for p in periods if p["startPeriod"] <= offset_s][-1]
            wanted_w = max(wanted, 0.0) * 1e6
            assert limit * per_unit_w <= wanted_w + 0.1
            assert limit * per_unit_w > wanted_w - per_unit_w - 0.1
    assert made.complete == (made.until == NOON + len(p_mw) * QUARTER)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_charger_is_told_and_asked_is_as_the_standard_wants(version: str) -> None:
    chosen = {"SampledDataCtrlr.TxUpdatedInterval": 60}
    calls = [*ocpp_configuration.settings(version, chosen), ocpp_configuration.question(version)]
    for action, payload in [*calls, ("ClearChargingProfile", clear_profile(version))]:
        validate(version, action, payload)
    assert "60" in json.dumps(calls)


def test_limits_follow_what_the_charger_says() -> None:
    keys = {"ChargingScheduleMaxPeriods": "6", "ChargingScheduleAllowedChargingRateUnit": "Current"}
    rows = [{"key": k, "readonly": True, "value": v} for k, v in keys.items()]
    found = ocpp_configuration.capable(Limits(), {"configurationKey": rows})
    assert (found.max_periods, found.unit) == (6, "A")


@pytest.mark.parametrize(
    "answer",
    [{}, {"configurationKey": None}, {"configurationKey": [7]}, {"getVariableResult": [{}, 3]}],
)
def test_a_charger_that_says_nothing_is_taken_as_described(answer: dict[str, Any]) -> None:
    assert ocpp_configuration.capable(Limits(), answer) == Limits()
