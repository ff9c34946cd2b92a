"""Set-points out: the schedule of each device as a retained MQTT message, and its answer.

Topic ``verdigrid/setpoints/<asset>``, JSON ``{"asset", "run", "issued_at", "valid_until", "steps":
[{"ts", "p_mw"}], "fallback": {"p_mw"}}``; p_mw in the sign of the asset's pandapower element, null
where it is free; ts the beginning of the step. Steps and fallback of an asset that can be asked for
reactive power have "q_mvar" too, in the same sign. From valid_until on a device that has heard
nothing newer does what ``fallback`` says. Retained, so that a device that connects later finds its
newest schedule.

A device answers on ``verdigrid/acknowledgements/<asset>``, QoS 1, not retained, with ``{"asset",
"issued_at", "answer": "accepted" | "refused", "by", "reason"}``, issued_at as it came. One that
follows the active power alone says so with ``"q_mvar": "refused"``.
"""

from __future__ import annotations

import json
import math
import queue
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import DecodeError, ServiceError
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.timeaxis import from_datetime64
from ingest import wire
from ingest.mqtt_access import Access, failure

TOPIC = "verdigrid/setpoints"
ANSWERS = "verdigrid/acknowledgements"
TIMEOUT_S = 10.0


def payload(setpoint: Setpoint, issued_at: datetime) -> bytes:
    """The message of one asset."""
    steps: list[dict[str, Any]] = [
        {"ts": from_datetime64(ts).isoformat(), "p_mw": _written(float(p_mw))}
        for ts, p_mw in zip(setpoint.times, setpoint.p_mw, strict=True)
    ]
    fallback = {"p_mw": setpoint.fallback_mw}
    if setpoint.q_mvar is not None:
        for step, q_mvar in zip(steps, setpoint.q_mvar, strict=True):
            step["q_mvar"] = _written(float(q_mvar))
        fallback["q_mvar"] = 0.0
    message = {
        "asset": setpoint.asset,
        "run": setpoint.run_id,
        "issued_at": issued_at.isoformat(),
        "valid_until": setpoint.valid_until.isoformat() if setpoint.valid_until else None,
        "steps": steps,
        "fallback": fallback,
    }
    return json.dumps(message).encode()


def _written(power: float) -> float | None:
    return None if math.isnan(power) else round(power, 6)


def answer_topic(asset: str) -> str:
    """Where the device of ``asset`` answers."""
    return f"{ANSWERS}/{asset}"


def answer_payload(answer: Acknowledgement) -> bytes:
    """What the device of an asset answers."""
    message = {
        "asset": answer.asset,
        "issued_at": answer.issued_at.isoformat(),
        "answer": answer.answer.value,
        "by": answer.by,
        "reason": answer.reason,
    }
    if answer.q_refused:
        message["q_mvar"] = Answer.REFUSED.value
    return json.dumps(message).encode()


def decode_answer(topic: str, body: bytes) -> Acknowledgement:
    """The answer on a topic below ``verdigrid/acknowledgements``; DecodeError for anything else."""
    message = wire.json_value(body)
    if not isinstance(message, dict):
        raise DecodeError("An acknowledgement is a JSON object.")
    asset = wire.name(message.get("asset"), "asset")
    if topic != answer_topic(asset):
        raise DecodeError("An acknowledgement came on the topic of another asset.")
    if message.get("answer") not in tuple(Answer):
        raise DecodeError("answer is neither accepted nor refused.")
    of_q = message.get("q_mvar", Answer.ACCEPTED)
    if of_q not in tuple(Answer):
        raise DecodeError("q_mvar of an answer is neither accepted nor refused.")
    return Acknowledgement(
        asset=asset,
        issued_at=wire.rfc3339(message.get("issued_at"), "issued_at"),
        answer=Answer(message["answer"]),
        by=_text(message, "by"),
        reason=_text(message, "reason"),
        q_refused=of_q == Answer.REFUSED,
    )


def _text(message: dict[str, object], name: str) -> str:
    value = message.get(name) or ""
    return wire.name(value, name) if value else ""


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
