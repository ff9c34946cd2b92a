"""The description of a city: its assets, who owns them, and how its devices name their tags.

A real city is described in a file, the sandbox describes itself; both become the same value.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from core.series import Series


class AssetKind(StrEnum):
    """What stands in the field."""

    METER = "meter"  # a metered load
    PV = "pv"
    WIND = "wind"
    GENERATOR = "generator"  # biomass, hydro and other sgens that nobody steers
    BATTERY = "battery"
    EV_CHARGER = "ev_charger"
    FLEXIBLE_LOAD = "flexible_load"  # its demand can be moved
    INTERRUPTIBLE_LOAD = "interruptible_load"  # its demand can be cut, within limits
    HEAT_PUMP = "heat_pump"
    ELECTRIC_BOILER = "electric_boiler"
    CHP = "chp"  # combined heat and power
    GENSET = "genset"  # a generator that is started and stopped
    PUMP_STATION = "pump_station"
    STREET_LIGHTING = "street_lighting"
    BUILDING = "building"
    AIR_STATION = "air_station"
    NOISE_STATION = "noise_station"
    WEATHER_STATION = "weather_station"
    WATER_DISTRICT = "water_district"
    SUBSTATION = "substation"  # the exchange with the upstream grid


LOADS = (
    AssetKind.METER,
    AssetKind.EV_CHARGER,
    AssetKind.FLEXIBLE_LOAD,
    AssetKind.INTERRUPTIBLE_LOAD,
    AssetKind.HEAT_PUMP,
    AssetKind.ELECTRIC_BOILER,
    AssetKind.PUMP_STATION,
    AssetKind.STREET_LIGHTING,
)
"""What draws power and nothing else: together the load of a city."""
OTHER_PLANTS = (AssetKind.GENERATOR, AssetKind.CHP, AssetKind.GENSET)
PLANTS = (AssetKind.PV, AssetKind.WIND, *OTHER_PLANTS)
"""What feeds power in and nothing else."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset. ``element``/``element_index`` name its row in the pandapower network, if any.

    parameters carry the numbers of its kind, named with units (pdc0_mw, tilt_degree,
    e_max_mwh, efficiency_charge, pipe_length_km, ...).
    """

    id: str
    kind: AssetKind
    name_en: str
    name_zh: str
    lat: float | None = None
    lon: float | None = None
    owner: str = ""
    element: str = ""
    element_index: int = -1
    parameters: dict[str, Any] = field(default_factory=dict)
    district: str = ""
    """The part of the city it stands in, for rates and searches; empty where nobody said."""


@dataclass(frozen=True, slots=True)
class Enterprise:
    """An organisation whose footprint is kept: the assets whose meters are its own."""

    id: str
    name_en: str
    name_zh: str
    sector: str
    province: str
    assets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """A device's name for a value, mapped to a series: ``device`` and ``tag`` as on the wire."""

    device: str
    tag: str
    unit: str
    series_key: str


class Route(NamedTuple):
    """Where a device's value goes: a tag with what has to be known of its series.

    resolution_us: length of the interval a value stands for; 0 for instants.
    """

    device: str
    tag: str
    unit: str
    variable: str
    series_id: int
    resolution_us: int = 0


@dataclass(frozen=True, slots=True)
class ProfileTag:
    """A value that every device of a profile has: its name on the wire and what it measures.

    resolution_s: length of the interval a value stands for; 0 for instants.
    """

    tag: str
    variable: str
    unit: str
    resolution_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What all devices of one make have in common, so that a new one needs no description.

    protocol: NAME of the protocol file the devices speak. pattern: which device names it is for,
    with ``*`` and ``?`` as in a shell. register: whether an unknown device of this pattern becomes
    an asset of ``kind`` by itself; otherwise its messages wait in quarantine.
    parameters: what the protocol needs to know (timezone, password, interval_s, ...), as the
    protocol file documents it.
    """

    name: str
    protocol: str
    pattern: str
    kind: AssetKind
    tags: tuple[ProfileTag, ...]
    register: bool = False
    district: str = ""
    owner: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registration:
    """What a device becomes when it registers itself: an asset, its series, and its tags.

    profile: NAME of the DeviceProfile that made it. Every series belongs to the asset and every
    tag leads to one of the series.
    """

    device: str
    profile: str
    asset: Asset
    series: tuple[Series, ...]
    tags: tuple[Tag, ...]

    def under(self, asset_id: str) -> Registration:
        """The same with another id of the asset; series and tags follow."""
        renamed = {s.key: replace(s, asset=asset_id) for s in self.series}
        return Registration(
            self.device,
            self.profile,
            replace(self.asset, id=asset_id),
            tuple(renamed.values()),
            tuple(replace(t, series_key=renamed[t.series_key].key) for t in self.tags),
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A device that is asked instead of speaking by itself, as over Modbus.

    parameters: as the protocol file documents them (unit id, timeout_s, ...).
    """

    protocol: str
    device: str
    host: str
    port: int
    interval_s: float = 10.0
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that has to be known of a city before its first reading."""

    id: str
    name_en: str
    name_zh: str
    timezone: str
    lat: float
    lon: float
    simulated: bool
    network_json: str
    """The grid as pandapower JSON; empty where there is none."""
    assets: tuple[Asset, ...]
    enterprises: tuple[Enterprise, ...]
    series: tuple[Series, ...]
    tags: tuple[Tag, ...]
    plan_resolution: timedelta = timedelta(minutes=15)
    parameters: dict[str, Any] = field(default_factory=dict)
    """Tariff, limits and factor zone of the city, as app/tariffs.py documents them."""
    profiles: tuple[DeviceProfile, ...] = ()
    links: tuple[Link, ...] = ()
