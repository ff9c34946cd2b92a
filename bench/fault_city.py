"""The small city of the fault harness: no device is described, all come in by their profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.sites import AssetKind, DeviceProfile, ProfileTag, Site

PASSWORD = "faults"  # six characters, as HJ 212 wants them; it guards nothing
ZONE = "Asia/Shanghai"
PLANT_TOPIC = "plant/{}/telemetry"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a device measures. factor: from the unit on the wire to that of the variable."""

    tag: str
    variable: str
    unit: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Wire:
    """One way in: the protocol of its devices, the stem of their names, and what they measure."""

    protocol: str
    stem: str
    kind: AssetKind
    measured: tuple[Measured, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """Their names on the wire."""
        return tuple(one.tag for one in self.measured)

    def profile(self) -> DeviceProfile:
        """What lets such devices in by themselves."""
        tags = tuple(ProfileTag(one.tag, one.variable, one.unit) for one in self.measured)
        return DeviceProfile(
            f"faults-{self.protocol}",
            self.protocol,
            f"{self.stem}*",
            self.kind,
            tags,
            register=True,
            parameters=dict(_PARAMETERS.get(self.protocol, {})),
        )


_PARAMETERS: dict[str, dict[str, Any]] = {
    "json": {"topic": PLANT_TOPIC.format("+"), "device": 2, "time": "at", "time_format": "unix_ms"},
    "hj212": {"password": PASSWORD, "timezone": ZONE},
    "ocpp": {"password": PASSWORD},
}

SENML = Wire("senml", "urn:dev:faults-", AssetKind.METER, (Measured("p", "p_mw", "kW", 1e-3),))
JSON = Wire(
    "json",
    "faults-plant-",
    AssetKind.PV,
    (Measured("p", "p_mw", "kW", 1e-3), Measured("t", "temp_air", "degC")),
)
HJ212 = Wire(
    "hj212",
    "99000000000000000000",
    AssetKind.AIR_STATION,
    (
        Measured("a34004-Rtd@2011", "pm2_5", "µg/m3"),
        Measured("a34002-Rtd@2011", "pm10", "µg/m3"),
        Measured("a21026-Rtd@2011", "so2", "µg/m3"),
        Measured("a21004-Rtd@2011", "no2", "µg/m3"),
        Measured("a05024-Rtd@2011", "o3", "µg/m3"),
        Measured("Leq-Rtd@2011", "laeq", "dB(A)"),
        Measured("a01001-Rtd@2011", "temp_air", "degC"),
        Measured("a01002-Rtd@2011", "relative_humidity", "%"),
    ),
)
OCPP = Wire(
    "ocpp",
    "faults-post-",
    AssetKind.EV_CHARGER,
    (
        Measured("1:Power.Active.Import", "p_mw", "W", 1e-6),
        Measured("1:SoC", "soc", "%", 1e-2),
    ),
)
HTTP = Wire(
    "readings",
    "faults-building-",
    AssetKind.BUILDING,
    (Measured("p", "p_mw", "kW", 1e-3), Measured("t", "temp_air", "degC")),
)
WIRES = (SENML, JSON, HJ212, OCPP, HTTP)


def factor_of(wires: Sequence[Wire] = WIRES) -> dict[tuple[str, str], float]:
    """What a number of a (protocol, tag) is multiplied by to be in the unit of its variable."""
    return {(wire.protocol, one.tag): one.factor for wire in wires for one in wire.measured}


def describe() -> Site:
    """The city: nothing stands in it yet."""
    return Site(
        id="faults",
        name_en="Fault harness",
        name_zh="故障测试",
        timezone=ZONE,
        lat=30.0,
        lon=120.0,
        simulated=True,
        network_json="",
        assets=(),
        enterprises=(),
        series=(),
        tags=(),
        profiles=tuple(wire.profile() for wire in WIRES),
    )
