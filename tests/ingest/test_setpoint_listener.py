"""Schedules off the broker: what ingest/setpoints.py writes is read back, anything else refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.timeaxis import to_datetime64
from ingest import setpoints
from ingest.broker import Broker
from ingest.mqtt_access import Access
from ingest.setpoint_listener import Schedule, decode, listen

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def setpoint(*p_mw: float) -> Setpoint:
    times = np.array([to_datetime64(NOON + n * QUARTER) for n in range(len(p_mw))])
    return Setpoint("charger-1", times, np.array(p_mw))


def test_what_was_published_is_read_back() -> None:
    payload = setpoints.payload(setpoint(0.01, 0.02), NOON)
    assert decode("verdigrid/setpoints/charger-1", payload) == Schedule(
        "charger-1", NOON, ((NOON, 0.01), (NOON + QUARTER, 0.02))
    )


def test_validity_and_fallback_come_along_and_a_free_step_ends_what_is_asked() -> None:
    until = NOON + 2 * QUARTER
    asked = replace(setpoint(0.01, np.nan, 0.03), valid_until=until, fallback_mw=0.0, run_id=7)
    body = setpoints.payload(asked, NOON)
    assert json.loads(body)["run"] == 7
    assert [step["p_mw"] for step in json.loads(body)["steps"]] == [0.01, None, 0.03]
    assert decode("verdigrid/setpoints/charger-1", body) == Schedule(
        "charger-1", NOON, ((NOON, 0.01),), until, 0.0
    )


def test_reactive_power_goes_out_where_it_is_asked_and_0_after_the_plan() -> None:
    plain = json.loads(setpoints.payload(setpoint(0.01, 0.02), NOON))
    assert "q_mvar" not in json.dumps(plain)
    asked = replace(setpoint(0.01, 0.02), q_mvar=np.array([-0.005, np.nan]))
    body = setpoints.payload(asked, NOON)
    assert [step["q_mvar"] for step in json.loads(body)["steps"]] == [-0.005, None]
    assert json.loads(body)["fallback"]["q_mvar"] == 0.0
    assert decode("verdigrid/setpoints/charger-1", body).steps[1] == (NOON + QUARTER, 0.02)


def test_a_device_may_follow_the_active_power_alone() -> None:
    answer = Acknowledgement("pv-1", NOON, Answer.ACCEPTED, "inverter", q_refused=True)
    topic, body = setpoints.answer_topic("pv-1"), setpoints.answer_payload(answer)
    assert json.loads(body)["q_mvar"] == "refused"
    assert setpoints.decode_answer(topic, body) == answer


def test_an_answer_is_read_back_and_anything_else_is_refused() -> None:
    answer = Acknowledgement("charger-1", NOON, Answer.REFUSED, "post 1", "SetChargingProfile: No")
    topic, body = setpoints.answer_topic("charger-1"), setpoints.answer_payload(answer)
    assert setpoints.decode_answer(topic, body) == answer
    wrong = ({"asset": "x"}, {"answer": "yes"}, {"issued_at": "now"}, {"by": "a\n"})
    for change in (*wrong, {"answer": []}, {"q_mvar": "no"}, {"q_mvar": {}}):
        with pytest.raises(DecodeError):
            setpoints.decode_answer(topic, json.dumps(json.loads(body) | change).encode())


@given(st.binary())
def test_no_answer_makes_it_raise_anything_else(body: bytes) -> None:
    with pytest.raises(DecodeError):
        setpoints.decode_answer("verdigrid/acknowledgements/charger-1", body)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"asset": "other", "issued_at": "2026-06-22T04:00:00Z", "steps": []},
        {"asset": "charger-1", "issued_at": "today", "steps": []},
        {"asset": "charger-1", "issued_at": "2026-06-22T04:00:00Z", "steps": [1]},
        {"asset": "charger-1", "issued_at": "2026-06-22T04:00:00Z", "steps": [{"p_mw": 1}]},
        {
            "asset": "charger-1",
            "issued_at": "2026-06-22T04:00:00Z",
            "steps": [{"ts": "2026-06-22T04:00:00Z"}],
        },
        {"asset": "charger-1", "issued_at": "2026-06-22T04:00:00Z", "steps": [], "fallback": 1},
    ],
)
def test_anything_else_is_refused(message: Any) -> None:
    with pytest.raises(DecodeError):
        decode("verdigrid/setpoints/charger-1", json.dumps(message).encode())


@given(st.binary())
def test_no_payload_makes_it_raise_anything_else(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode("verdigrid/setpoints/charger-1", payload)


def test_an_asset_is_followed_from_its_newest_schedule_on(
    start_broker: Callable[..., Broker],
) -> None:
    where = Access("127.0.0.1", start_broker().port)
    setpoints.publish(where, [setpoint(0.01)], issued_at=NOON)
    came: Queue[tuple[str, Schedule | None]] = Queue()
    with listen(where, lambda asset, schedule: came.put((asset, schedule))) as line:
        line.follow("charger-1")
        line.follow("not/an/asset")
        asset, schedule = came.get(timeout=20)
        assert asset == "charger-1"
        assert schedule is not None
        assert schedule.steps == ((NOON, 0.01),)
        setpoints.publish(where, [setpoint(0.02)], issued_at=NOON)
        again = schedule  # a retained message comes once for each subscription
        while again == schedule:
            _, schedule = came.get(timeout=20)
        assert schedule is not None
        assert schedule.steps == ((NOON, 0.02),)
        setpoints.publish(where, [setpoint()], issued_at=NOON)
        assert came.get(timeout=20) == ("charger-1", None)
