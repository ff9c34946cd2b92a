"""Set-points out: the schedule of each device as a retained MQTT message.

Topic ``verdigrid/setpoints/<asset>``, JSON ``{"asset", "issued_at", "steps": [{"ts", "p_mw"}]}``;
p_mw in the sign of the asset's pandapower element, ts the beginning of the step. Retained, so
that a device that connects later finds its newest schedule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import ServiceError
from core.timeaxis import from_datetime64

TOPIC = "verdigrid/setpoints"
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the MQTT broker listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Setpoint:
    """The schedule of one asset: times datetime64 (n,), UTC; p_mw (n,)."""

    asset: str
    times: np.ndarray
    p_mw: np.ndarray


def payload(setpoint: Setpoint, issued_at: datetime) -> bytes:
    """The message of one asset."""
    steps = [
        {"ts": from_datetime64(ts).isoformat(), "p_mw": round(float(p_mw), 6)}
        for ts, p_mw in zip(setpoint.times, setpoint.p_mw, strict=True)
    ]
    message = {"asset": setpoint.asset, "issued_at": issued_at.isoformat(), "steps": steps}
    return json.dumps(message).encode()


def publish(broker: Broker, setpoints: Sequence[Setpoint], *, issued_at: datetime) -> None:
    """Send every schedule, QoS 1; returns when the broker has acknowledged all of them.

    Raises ServiceError when the broker cannot be reached or does not acknowledge in time.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.max_inflight_messages_set(1000)
    try:
        client.connect(broker.host, broker.port, keepalive=30)
    except OSError as error:
        raise ServiceError(
            f"The MQTT broker at {broker.host}:{broker.port} cannot be reached: {error}."
        ) from error
    client.loop_start()
    try:
        sent = [
            client.publish(f"{TOPIC}/{s.asset}", payload(s, issued_at), qos=1, retain=True)
            for s in setpoints
        ]
        for message in sent:
            message.wait_for_publish(TIMEOUT_S)
        if not all(message.is_published() for message in sent):
            raise ServiceError("The MQTT broker has not acknowledged every set-point in time.")
    finally:
        client.disconnect()
        client.loop_stop()
