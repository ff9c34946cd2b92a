"""Modbus devices without SunSpec, as ingest/sunspec_poller.py asks them, on ``modbus/<device>``.

For simple meters: the link lists the registers as the handbook of the meter has them::

    "links": [{"protocol": "modbus", "device": "meter-12", "host": "10.0.7.31", "port": 502,
               "interval_s": 60, "parameters": {"unit": 5, "registers": [
        {"tag": "p", "address": 12, "type": "float32", "unit": "W", "table": "input"},
        {"tag": "e_import", "address": 342, "type": "float32", "unit": "kWh", "table": "input"},
        {"tag": "u1", "address": 0, "type": "uint16", "scale": 0.1, "unit": "V"}]}}]

The keys of a register are the fields of ``ingest.register_map.Register``: addresses count from 0,
``type`` is int16, uint16, int32, uint32, int64, uint64, float32 or float64, ``word_order`` little
for devices that put the low word first, ``absent`` the raw value that says "no value". A negative
scale turns the sign. ``unit``, ``timeout_s`` and ``most_registers`` are as for SunSpec.

The document is JSON and repeats the description beside the registers as read, so that it can be
decoded without the site::

    {"modbus": 1, "ts": "2026-06-22T04:00:00Z", "unit": 5, "refused": ["u1"], "registers": [
        {"tag": "p", "address": 12, "type": "float32", "unit": "W", "words": "447a0000", ...}]}
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from core.errors import ConfigurationError, DecodeError
from core.timeaxis import to_us
from ingest import wire
from ingest.decoded import Decoded, Name
from ingest.register_map import Register

NAME = "modbus"
SOURCES = ("modbus/+",)
VERSION = 1

_MOST_REGISTERS = 10_000


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:  # noqa: ARG001
    """The readings of one poll, none where no register holds a value; raises DecodeError."""
    document = wire.json_value(payload)
    if not isinstance(document, dict) or document.get("modbus") != VERSION:
        raise DecodeError(f"The document is not a Modbus poll of version {VERSION}.")
    device = wire.name(topic.rpartition("/")[2], "The device's name")
    ts_us = to_us(wire.rfc3339(document.get("ts"), "ts"))
    entries = document.get("registers")
    if not isinstance(entries, list) or len(entries) > _MOST_REGISTERS:
        raise DecodeError("registers is not a list, or too long a one.")
    names: list[Name] = []
    values: list[float] = []
    for entry in entries:
        register, words = _entry(entry)
        value = register.value(words)
        if value is not None:
            unit = wire.name(register.unit, "unit") if register.unit else None
            names.append((device, wire.name(register.tag, "tag"), unit))
            values.append(value)
    return Decoded(tuple(names), [ts_us] * len(values), values)


def _entry(entry: Any) -> tuple[Register, bytes]:
    if not isinstance(entry, dict):
        raise DecodeError("A register is a JSON object.")
    fields = dict(entry)
    words = fields.pop("words", None)
    try:
        return Register(**fields), bytes.fromhex(words)
    except (ConfigurationError, TypeError, ValueError) as error:
        raise DecodeError(f"A register cannot be read: {error}") from error
