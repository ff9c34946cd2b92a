"""Set-points in: the schedules that ingest/setpoints.py publishes, for devices that we steer.

Schedules are retained at the broker, so that following an asset brings its newest one at once.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho

from core.errors import DecodeError
from core.setpoints import Acknowledgement
from ingest import wire
from ingest.mqtt_access import Access
from ingest.setpoints import TOPIC, answer_payload, answer_topic
from ingest.setpoints import client as mqtt_client

_log = logging.getLogger(__name__)

_RECONNECT_MAX_S = 10
_MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a plan asks of one asset: from when on, and p_mw in the sign of its element.

    From valid_until on it does fallback_mw, or what it likes where that is None. A step in which
    the asset is free is left out, and those after it.
    """

    asset: str
    issued_at: datetime
    steps: tuple[tuple[datetime, float], ...]
    valid_until: datetime | None = None
    fallback_mw: float | None = None


OnSchedule = Callable[[str, Schedule | None], None]
"""The asset and its newest schedule, None where there is none any more."""

Follow = Callable[[str], None]
Acknowledge = Callable[[Acknowledgement], None]


@dataclass(frozen=True, slots=True)
class Line:
    """follow: an asset from now on. acknowledge: tells what its device answered; never waits."""

    follow: Follow
    acknowledge: Acknowledge


def decode(topic: str, payload: bytes) -> Schedule:
    """The schedule on a topic of ours; one without steps takes the earlier one back.

    Raises DecodeError when it cannot be read.
    """
    message = wire.json_value(payload)
    if not isinstance(message, dict) or not isinstance(message.get("steps"), list):
        raise DecodeError("A set-point is a JSON object with steps.")
    asset = wire.name(message.get("asset"), "asset")
    if topic != f"{TOPIC}/{asset}":
        raise DecodeError("A set-point came on the topic of another asset.")
    if len(message["steps"]) > _MOST_STEPS:
        raise DecodeError(f"A set-point has more than {_MOST_STEPS} steps.")
    steps = sorted((_step(step) for step in message["steps"]), key=lambda step: step[0])
    asked = itertools.takewhile(lambda step: step[1] is not None, steps)
    until, fallback = message.get("valid_until"), message.get("fallback") or {}
    if not isinstance(fallback, dict):
        raise DecodeError("The fallback of a set-point is a JSON object.")
    fallback_mw = fallback.get("p_mw")
    return Schedule(
        asset,
        wire.rfc3339(message.get("issued_at"), "issued_at"),
        tuple((ts, p_mw) for ts, p_mw in asked if p_mw is not None),
        None if until is None else wire.rfc3339(until, "valid_until"),
        None if fallback_mw is None else wire.number(fallback_mw, "fallback"),
    )


def _step(step: object) -> tuple[datetime, float | None]:
    if not isinstance(step, dict):
        raise DecodeError("A step of a set-point is a JSON object.")
    p_mw = step.get("p_mw")
    asked = None if p_mw is None and "p_mw" in step else wire.number(p_mw, "p_mw")
    return wire.rfc3339(step.get("ts"), "ts"), asked


@contextmanager
def listen(broker: Access, on_schedule: OnSchedule) -> Iterator[Line]:
    """A line to the broker: schedules of assets that are followed go to ``on_schedule``, from a
    thread of their own, now and after every reconnect. A broker that is away is waited for; what a
    device answered meanwhile is told then.
    """
    assets: set[str] = set()
    guard = threading.Lock()
    client = mqtt_client(broker)

    def follow(asset: str) -> None:
        if not asset or set(asset) & set("/+#\0"):
            _log.warning("no topic can be named like this asset", extra={"asset": asset})
            return
        with guard:
            assets.add(asset)
        client.subscribe(f"{TOPIC}/{asset}", qos=1)  # again brings the retained one again

    def acknowledge(answer: Acknowledgement) -> None:
        client.publish(answer_topic(answer.asset), answer_payload(answer), qos=1)

    def on_connect(_c: paho.Client, _d: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            _log.warning("the broker refuses", extra={"reason": str(reason)})
            return
        with guard:
            topics = [(f"{TOPIC}/{asset}", 1) for asset in sorted(assets)]
        if topics:
            client.subscribe(topics)

    def on_message(_c: paho.Client, _d: Any, message: paho.MQTTMessage) -> None:
        try:
            asset = message.topic.removeprefix(f"{TOPIC}/")
            schedule = decode(message.topic, bytes(message.payload)) if message.payload else None
            on_schedule(asset, schedule if schedule and schedule.steps else None)
        except DecodeError as error:
            _log.warning("a set-point cannot be read", extra={"reason": str(error)})

    client.on_connect = on_connect
    client.on_message = on_message
    client.reconnect_delay_set(1, _RECONNECT_MAX_S)
    client.connect_async(broker.host, broker.port, keepalive=30)
    client.loop_start()
    try:
        yield Line(follow, acknowledge)
    finally:
        client.disconnect()
        client.loop_stop()
