"""Messages as real gateways send them: SenML packs from meters, ChirpStack uplinks from LoRaWAN."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from core.sites import Asset, AssetKind, Site
from core.timeaxis import EPOCH, from_us
from sandbox import noise
from sandbox.devices import APPLICATIONS, CHIRPSTACK_TAGS, eui_of, urn_of
from sandbox.world import Panel

DEVICES_PER_GATEWAY = 40
URN_BASE = urn_of("")
_NAMESPACE = uuid.UUID("76657264-6967-5269-8000-73616e64626f")
"""For the ids of ours that ChirpStack wants as UUIDs."""


@dataclass(frozen=True)
class Message:
    """What goes to the broker, and how many city seconds after its interval's end."""

    delay_s: float
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Gateway:
    """A meter gateway: its name and the columns of the energy panel that it reports."""

    name: str
    delay_s: float
    columns: tuple[int, ...]


def gateways(site: Site, panel: Panel) -> tuple[Gateway, ...]:
    """One gateway a feeder, or more where a feeder has more than DEVICES_PER_GATEWAY devices.

    They report one after the other within the three city minutes that follow an interval.
    """
    feeder_of = {urn_of(a.id): str(a.parameters.get("feeder", "busbar")) for a in site.assets}
    columns_of: dict[str, dict[str, list[int]]] = {}
    for column, tag in enumerate(panel.tags):
        devices = columns_of.setdefault(feeder_of[tag.device], {})
        devices.setdefault(tag.device, []).append(column)
    found: list[tuple[str, tuple[int, ...]]] = []
    for feeder, devices in sorted(columns_of.items()):
        parts = -(-len(devices) // DEVICES_PER_GATEWAY)
        for part, names in enumerate(np.array_split(np.array(sorted(devices)), parts)):
            name = f"gw-{feeder}" + (f"-{'abcdefgh'[part]}" if parts > 1 else "")
            found.append((name, tuple(c for device in names for c in devices[str(device)])))
    return tuple(
        Gateway(name, 5.0 + 175.0 * i / len(found), columns)
        for i, (name, columns) in enumerate(found)
    )


def senml(site_id: str, gateway: Gateway, panel: Panel, row: int) -> Message:
    """The pack (RFC 8428) of one gateway for the moment ``row`` of the energy panel."""
    start_s = int(panel.ts_us[row]) // 1_000_000
    records: list[dict[str, Any]] = []
    for column in gateway.columns:
        tag = panel.tags[column]
        records.append(
            {
                "n": f"{tag.device.removeprefix(URN_BASE)}:{tag.tag}",
                "u": tag.unit,
                "v": float(panel.values[row, column]),
            }
        )
    records[0] = {"bn": URN_BASE, "bt": start_s, **records[0]}
    return Message(gateway.delay_s, f"senml/{site_id}/{gateway.name}", _json(records))


@dataclass(frozen=True)
class Sensor:
    """A LoRaWAN device and the columns of its panel."""

    asset: Asset
    eui: str
    columns: tuple[int, ...]


def sensors(site: Site, panel: Panel) -> tuple[Sensor, ...]:
    """The LoRaWAN devices of which ``panel`` has columns."""
    assets = {eui_of(a.id): a for a in site.assets if a.kind in CHIRPSTACK_TAGS}
    columns_of: dict[str, list[int]] = {}
    for column, tag in enumerate(panel.tags):
        columns_of.setdefault(tag.device, []).append(column)
    return tuple(Sensor(assets[eui], eui, tuple(c)) for eui, c in sorted(columns_of.items()))


def uplink(sensor: Sensor, panel: Panel, row: int) -> Message:
    """The uplink event (ChirpStack v4, JSON) of one sensor for the moment ``row``.

    ``time`` is the end of the interval, whose length stands in the object as interval_s.
    """
    end_us = int(panel.ts_us[row]) + panel.interval_s * 1_000_000
    values: dict[str, float] = {
        panel.tags[c].tag: float(panel.values[row, c]) for c in sensor.columns
    }
    application, name = APPLICATIONS[sensor.asset.kind]
    count = end_us // (panel.interval_s * 1_000_000)
    event = {
        "deduplicationId": str(uuid.uuid5(_NAMESPACE, f"{sensor.eui}/{end_us}")),
        "time": from_us(end_us).isoformat(),
        "deviceInfo": {
            "tenantId": str(_NAMESPACE),
            "tenantName": "verdigrid-sandbox",
            "applicationId": application,
            "applicationName": name,
            "deviceProfileId": str(uuid.uuid5(_NAMESPACE, name)),
            "deviceProfileName": f"simulated-{name}",
            "deviceName": sensor.asset.id,
            "devEui": sensor.eui,
            "deviceClassEnabled": "CLASS_A",
            "tags": {"simulated": "true"},
        },
        "devAddr": sensor.eui[-8:],
        "adr": True,
        "dr": 5,
        "fCnt": count & 0xFFFF,
        "fPort": 2,
        "confirmed": False,
        "object": {**values, "interval_s": panel.interval_s},
        "rxInfo": [
            {
                "gatewayId": "7665726400000001",
                "uplinkId": (count ^ noise.stream(sensor.eui)) & 0xFFFFFFFF,
                "rssi": -70 - int(sensor.eui[-1], 16),
                "snr": 8.5,
            }
        ],
        "txInfo": {"frequency": 471_300_000},
    }
    return Message(_delay_s(sensor), _topic(application, sensor.eui), _json(event))


_FIRST_DELAY_S: MappingProxyType[AssetKind, float] = MappingProxyType(
    {
        AssetKind.AIR_STATION: 3.0,
        AssetKind.WEATHER_STATION: 2.0,
        AssetKind.WATER_DISTRICT: 90.0,
    }
)


def _delay_s(sensor: Sensor) -> float:
    """Air stations report one after the other, twenty city seconds apart."""
    number = int(sensor.eui[-4:], 16)
    spread = 20.0 * (number - 1) if sensor.asset.kind is AssetKind.AIR_STATION else 0.0
    return _FIRST_DELAY_S[sensor.asset.kind] + spread


def _topic(application: str, eui: str) -> str:
    return f"application/{application}/device/{eui}/event/up"


def noise_of_the_hour(site_id: str, start_us: int) -> Iterator[Message]:
    """What goes wrong in a real city about once an hour: half a message, and a stranger.

    start_us: the beginning of the hour. Both belong into quarantine. The stranger is a meter
    that somebody installed and nobody registered; it speaks SenML in even hours and LoRaWAN in
    odd ones.
    """
    start = from_us(start_us)
    start_s = (start - EPOCH).total_seconds()
    cut = b'[{"bn":"urn:dev:verdigrid:load-0'
    yield Message(200.0, f"senml/{site_id}/gw-unstable", cut)
    if start.hour % 2 == 0:
        record = {
            "bn": urn_of("meter-unregistered:"),
            "bt": start_s,
            "n": "p",
            "u": "kW",
            "v": 12.5,
        }
        yield Message(215.0, f"senml/{site_id}/gw-unregistered", _json([record]))
        return
    eui = "76657264ffff0001"
    application, name = APPLICATIONS[AssetKind.AIR_STATION]
    event = {
        "time": start.isoformat(),
        "deviceInfo": {"applicationId": application, "applicationName": name, "devEui": eui},
        "object": {"pm2_5": 21.0},
    }
    yield Message(215.0, _topic(application, eui), _json(event))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
