"""Set-points out: the schedule of each device as a retained MQTT message.

Topic ``verdigrid/setpoints/<asset>``, JSON ``{"asset", "issued_at", "steps": [{"ts", "p_mw"}]}``;
p_mw in the sign of the asset's pandapower element, ts the beginning of the step. Retained, so
that a device that connects later finds its newest schedule.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import ServiceError
from core.timeaxis import from_datetime64
from ingest.mqtt_access import Access, failure

TOPIC = "verdigrid/setpoints"
TIMEOUT_S = 10.0


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


def client(access: Access) -> paho.Client:
    """A client that has been told user and TLS, and not yet to connect.

    Raises ConfigurationError for certificate files of no use.
    """
    made = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    if access.username:
        made.username_pw_set(access.username, access.password)
    context = access.context()
    if context:
        made.tls_set_context(context)
    return made


def publish(access: Access, setpoints: Sequence[Setpoint], *, issued_at: datetime) -> None:
    """Send every schedule, QoS 1; returns when the broker has acknowledged all of them.

    Raises ServiceError when the broker cannot be reached, refuses us or does not acknowledge in
    time, ConfigurationError for certificate files of no use.
    """
    sender = client(access)
    sender.max_inflight_messages_set(1000)
    welcome: queue.SimpleQueue[ReasonCode] = queue.SimpleQueue()
    sender.on_connect = lambda *call: welcome.put(call[3])
    try:
        sender.connect(access.host, access.port, keepalive=30)
    except OSError as error:
        raise ServiceError(failure(access, error)) from error
    sender.loop_start()
    try:
        _await(access, welcome)
        sent = [
            sender.publish(f"{TOPIC}/{s.asset}", payload(s, issued_at), qos=1, retain=True)
            for s in setpoints
        ]
        for message in sent:
            message.wait_for_publish(TIMEOUT_S)
        if not all(message.is_published() for message in sent):
            raise ServiceError("The MQTT broker has not acknowledged every set-point in time.")
    except RuntimeError as error:  # paho's word for a connection that was lost meanwhile
        raise ServiceError(f"Lost the MQTT broker at {access} while sending: {error}.") from error
    finally:
        sender.disconnect()
        sender.loop_stop()


def _await(access: Access, welcome: queue.SimpleQueue[ReasonCode]) -> None:
    try:
        reason = welcome.get(timeout=TIMEOUT_S)
    except queue.Empty:
        raise ServiceError(f"The MQTT broker at {access} does not answer.") from None
    if reason.is_failure:
        raise ServiceError(f"The MQTT broker at {access} refuses us: {reason}.")
