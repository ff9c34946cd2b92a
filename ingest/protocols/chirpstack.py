"""ChirpStack v4 uplinks: LoRaWAN messages with the payload already decoded into ``object``.

Format: ChirpStack's integration.proto (UplinkEvent) in JSON, on
``application/<application id>/device/<devEui>/event/up``. The device is the devEui in lower
case; each number in ``object`` is a reading, its tag the path to it joined by dots. Texts,
booleans and nulls are no readings. There is no unit on this wire: the tag's declared one counts.

``time`` is when the uplink was received, the END of the measuring interval. A decoder that knows
the interval's length gives it as ``interval_s`` in ``object``: then the reading is labelled with
the beginning, ``time - interval_s``, else with ``time``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from core.errors import DecodeError
from core.timeaxis import to_us
from ingest import wire
from ingest.decoded import Decoded

NAME = "chirpstack"
TOPICS = ("application/+/device/+/event/up",)

INTERVAL = "interval_s"
_LONGEST_S = 366 * 86_400.0
_DEEPEST = 16
_EUI = re.compile(r"[0-9a-f]{16}")


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:  # noqa: ARG001
    """The readings of one uplink; raises DecodeError, also for an uplink without any number."""
    event = wire.json_value(payload)
    if not isinstance(event, dict):
        raise DecodeError("The uplink is not a JSON object.")
    device = _device(topic, event.get("deviceInfo"))
    values = event.get("object")
    if not isinstance(values, dict):
        raise DecodeError("The uplink has no decoded object; set a codec in its device profile.")
    ts = wire.rfc3339(event.get("time"), "The uplink's time")
    if INTERVAL in values:
        ts = _beginning(ts, values[INTERVAL])
    numbers = [
        (tag, wire.number(value, f"The value of {tag}"))
        for tag, value in _numbers(values)
        if tag != INTERVAL
    ]
    if not numbers:
        raise DecodeError("The uplink's object holds no number.")
    return Decoded(
        tuple((device, tag, None) for tag, _ in numbers),
        [to_us(ts)] * len(numbers),
        [value for _, value in numbers],
    )


def _device(topic: str, info: Any) -> str:
    eui = info.get("devEui") if isinstance(info, dict) else None
    if not isinstance(eui, str) or not _EUI.fullmatch(eui.lower()):
        raise DecodeError("The uplink has no devEui of 16 hexadecimal digits.")
    eui = eui.lower()
    if topic.split("/")[3:4] != [eui]:
        # Broker permissions are given by topic: a device must not speak for another one.
        raise DecodeError("The uplink's devEui is not the one of its topic.")
    return eui


def _beginning(end: datetime, interval: object) -> datetime:
    seconds = wire.number(interval, INTERVAL)
    if not 0.0 < seconds <= _LONGEST_S:
        raise DecodeError(f"{INTERVAL} must lie between 0 and a year.")
    return wire.bounded(end - timedelta(seconds=seconds))


def _numbers(values: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Tag and value of every number, in the order of the object; lists count from 0."""
    stack: list[tuple[str, Any, int]] = [("", values, 0)]
    while stack:
        path, value, depth = stack.pop()
        if depth > _DEEPEST:
            raise DecodeError("The uplink's object is nested too deeply.")
        children: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            children = list(value.items())
        elif isinstance(value, list):
            children = [(str(i), child) for i, child in enumerate(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield wire.name(path, "A key of the object"), value
        stack.extend(
            (f"{path}.{key}" if path else key, child, depth + 1)
            for key, child in reversed(children)
        )
