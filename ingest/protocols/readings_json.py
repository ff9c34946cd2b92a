"""Readings as JSON objects: what is kept of bad rows of files and HTTP requests, read once more.

An object is ``{"device", "tag", "unit"?, "ts", "value", "quality"?}``, or with ``"series"``, the
key, in place of device and tag; a payload is one of them or a list. ``ts`` is RFC 3339 and labels
the BEGINNING of an interval. Rows that could not be read are kept as ``{"cells": ...}`` or
``{"text": ...}``; they need the file's mapping (ingest/replay.py) and are refused here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from core.errors import DecodeError
from core.readings import Quality
from core.timeaxis import to_us
from ingest import wire
from ingest.columns import BY_KEY
from ingest.decoded import Decoded, Name

NAME = "readings"
SOURCES = ("file/#", "http/#")

_FLAGS = sum(Quality)


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:  # noqa: ARG001
    """The readings of a payload; raises DecodeError, also for one without any."""
    if not payload:
        raise DecodeError("The rows are not kept one by one; import them again.")
    document = wire.json_value(payload)
    rows = document if isinstance(document, list) else [document]
    if not rows:
        raise DecodeError("The payload holds no reading.")
    names, ts_us, value, quality = zip(*map(_reading, rows), strict=True)
    return Decoded(names, list(ts_us), list(value), list(quality) if any(quality) else None)


def _reading(row: Any) -> tuple[Name, int, float, int]:
    if not isinstance(row, dict):
        raise DecodeError("A reading is a JSON object.")
    if "cells" in row or "text" in row:
        raise DecodeError("The row as it stood cannot be read; a mapping may.")
    ts_us = to_us(wire.rfc3339(row.get("ts"), "ts"))
    return _name(row), ts_us, wire.number(row.get("value"), "value"), _quality(row)


def _name(row: dict[str, Any]) -> Name:
    unit = row.get("unit")
    if unit is not None:
        wire.name(unit, "unit")
    if "series" in row:
        return wire.name(row["series"], "series"), BY_KEY, unit
    return wire.name(row.get("device"), "device"), wire.name(row.get("tag"), "tag"), unit


def _quality(row: dict[str, Any]) -> int:
    flags = row.get("quality", 0)
    if isinstance(flags, bool) or not isinstance(flags, int) or flags & ~_FLAGS:
        raise DecodeError("quality is not a number of known flags.")
    return flags
