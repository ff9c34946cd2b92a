"""SunSpec devices over Modbus TCP, as ingest/sunspec_poller.py asks them, on ``sunspec/<device>``.

Describe a device in the site's JSON by a link, and what all devices of its make have by a profile::

    "links": [{"protocol": "sunspec", "device": "pv-roof-7", "host": "10.0.7.20", "port": 502,
               "interval_s": 10, "parameters": {"unit": 1}}],
    "profiles": [{"name": "sunspec inverter", "protocol": "sunspec", "pattern": "pv-*",
                  "kind": "pv", "register": true,
                  "tags": [{"tag": "103.W", "variable": "p_mw", "unit": "W"},
                           {"tag": "103.WH", "variable": "e_export_register_mwh", "unit": "Wh"}]}]

parameters of a link, all with a default: ``unit`` (1; the Modbus unit id), ``timeout_s`` (2; for
each reading), ``base`` (where the device begins, if not at 40000, 50000 or 0), ``models`` (the
ids to read, if not all that measure), ``tags`` (what is wanted of it, if not what is described),
``most_registers`` (125; in one reading, for devices that cannot do more). ``interval_s`` counts
wall seconds; see the poller.

Tags are ``<model>.<point>``, with the names of the SunSpec models: ``103.W``, ``203.TotWhImp``,
``160.module.2.DCW`` for the second of a repeated group, ``203#2.W`` for the second model 203 of
a device. The poller names in the document which tags are wanted: those of the link, else those
that the site describes for this device by tags or by a profile. A device of which nobody has
described anything gives all it has, so that the quarantine shows it. What a device does not
implement is no reading.

Signs. Inverters (101 to 103, 111 to 113, 701) say W positive for producing, as a pv or generator
asset does; model 701 of a battery is positive for discharging, an asset of kind battery for
charging. Meters (201 to 214) count energy as imported (Imp) and exported (Exp); the sign of
their W is the vendor's and the fitter's (most: positive for importing, some the other way). Where
the sign has to be turned, the tag is written with a minus: ``-203.W``, ``-701.W``.

A model whose own state says fault, or that misses a sensor, gives its values the DEVICE_FLAG;
ingest/sunspec_model.py lists which states and events say so. Other models of the device keep
theirs: a blown fuse in an inverter says nothing against the meter beside it.

The document is JSON and holds the registers as they were read, so that a better decoder can read
it again::

    {"sunspec": 1, "ts": "2026-06-22T04:00:00Z", "unit": 1, "tags": ["103.W"],
     "models": [{"address": 40070, "registers": "006700320123..."}], "refused": [203]}

ts: city time at which the poll began; every value is an instant of that time. registers: a whole
model with its header of id and length, four hexadecimal digits a register; the scale factors are
among them. refused: models that the device did not give this time. tags may be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from core.errors import DecodeError
from core.readings import Quality
from core.timeaxis import to_us
from ingest import sunspec_model, wire
from ingest.decoded import Decoded, Name

NAME = "sunspec"
SOURCES = ("sunspec/+",)
VERSION = 1

_MOST_MODELS = 200
_MOST_DIGITS = 4 * (sunspec_model.HEADER + 0xFFFF)


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:  # noqa: ARG001
    """The readings of one poll, none where nothing is implemented; raises DecodeError."""
    document = wire.json_value(payload)
    if not isinstance(document, dict) or document.get("sunspec") != VERSION:
        raise DecodeError(f"The document is not a SunSpec poll of version {VERSION}.")
    device = wire.name(topic.rpartition("/")[2], "The device's name")
    ts_us = to_us(wire.rfc3339(document.get("ts"), "ts"))
    wanted = _wanted(document.get("tags"))
    names: list[Name] = []
    value: list[float] = []
    quality: list[int] = []
    for prefix, registers in _models(document.get("models")):
        found = sunspec_model.values(registers)
        model = int.from_bytes(registers[:2], "big")
        flag = Quality.DEVICE_FLAG if sunspec_model.faulty(model, found) else Quality.GOOD
        for point in found:
            tag = f"{prefix}.{point.name}"
            for name, signed in ((tag, point.value), (f"-{tag}", -point.value)):
                if name in wanted if wanted is not None else name == tag:
                    names.append((device, name, point.unit))
                    value.append(signed)
                    quality.append(int(flag))
    return Decoded(tuple(names), [ts_us] * len(value), value, quality if any(quality) else None)


def _wanted(tags: object) -> frozenset[str] | None:
    if tags is None:
        return None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DecodeError("tags is not a list of texts.")
    return frozenset(tags)


def _models(models: object) -> Iterator[tuple[str, bytes]]:
    """The tags' prefix and the registers of every model."""
    if not isinstance(models, list) or len(models) > _MOST_MODELS:
        raise DecodeError("models is not a list, or too long a one.")
    seen: Counter[int] = Counter()
    for model in models:
        registers = _registers(model)
        number = int.from_bytes(registers[:2], "big")
        seen[number] += 1
        yield (str(number) if seen[number] == 1 else f"{number}#{seen[number]}"), registers


def _registers(model: Any) -> bytes:
    digits = model.get("registers") if isinstance(model, dict) else None
    if not isinstance(digits, str) or len(digits) > _MOST_DIGITS or not digits.isascii():
        raise DecodeError("A model has no registers.")
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise DecodeError("The registers of a model are not hexadecimal.") from error
