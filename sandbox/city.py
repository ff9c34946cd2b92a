"""The description of the sandbox city: what a real city would write down about itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from core.series import Series
from core.sites import Asset, AssetKind, Enterprise, Site, Tag
from core.timeaxis import QUARTER_HOUR
from sandbox import air, equipment, materialcache, names
from sandbox.citytime import CITY_START, TIMEZONE
from sandbox.devices import (
    CHIRPSTACK_TAGS,
    ENERGY_TAGS,
    eui_of,
    urn_of,
)
from sandbox.materials import Elements, Materials

__all__ = ["CITY_START", "SITE_ID", "TIMEZONE", "build", "describe"]

SITE_ID = "demo"
AIR_RESOLUTION = timedelta(minutes=5)

_VALLEY, _FLAT, _PEAK = 220.0, 520.0, 860.0
_PRICE_BY_HOUR = (
    [_VALLEY] * 7  # 00-07
    + [_FLAT] * 1
    + [_PEAK] * 3  # 08-11
    + [_FLAT] * 1
    + [_VALLEY] * 3  # 12-15: the noon valley that regions with much solar power have
    + [_FLAT] * 2
    + [_PEAK] * 5  # 17-22
    + [_FLAT] * 1
    + [_VALLEY] * 1  # 23-24
)
"""An example of a time-of-use tariff; no utility's. CNY/MWh by local hour."""

_PARAMETERS = {
    "tariff_note_en": "Example of a time-of-use tariff for the sandbox; no utility's.",
    "tariff_note_zh": "沙盒用分时电价示例，并非任何电网公司的电价。",
    "import_cny_per_mwh_by_hour": _PRICE_BY_HOUR,
    # Below every import price: otherwise a plan could earn by importing what it exports.
    "export_cny_per_mwh": 200.0,
    # Mean price of national allowances over 2025, 235 Mt traded for 14.630 bn CNY.
    "carbon_cny_per_tco2e": 62.36,
    # A two-part tariff as Chinese utilities have it: about 40 CNY/kW of the month's highest demand.
    "peak_cny_per_mw_month": 40_000.0,
    # 40 % of the contracted demand is billed whatever is drawn.
    "peak_minimum_mw": 6.0,
    # The contracted maximum demand; the year's uncontrolled peak is 14.3 MW.
    "import_limit_mw": 15.0,
    # What the upstream operator accepts, half of one 40 MVA transformer; the wind reaches
    # 26 MW of uncontrolled export on the first day, so that the limit binds.
    "export_limit_mw": 20.0,
    "max_loading_percent": 100.0,
    "factor_region": names.PROVINCE,
    "energy_source": "Simulated: SimBench 1-MV-semiurb--2-sw, profiles of 2016.",
}

_RESERVE = {
    "name": "spinning",
    "direction": "up",
    "requirement_mw": 0.3,
    "activation_h": 0.25,
    "price_cny_per_mw_h": 10.0,
    # More than what is left in a battery for it would earn, or the last step held none.
    "breach_cny_per_mw_h": 300.0,
}
_PARK_MWH = 1.0
"""What is larger is a battery park, which the reserve is asked of; the others stand at houses."""

_DMA = {"pipe_length_km": 18.4, "connections": 2150}

_PV_MODULE = {"temp_coefficient_per_degc": -0.0038}
_ORIENTATION: dict[str, tuple[float, float, float]] = {
    "PV1": (45.0, 130.0, 0.54),
    "PV3": (45.0, 170.0, 0.55),
    "PV4": (45.0, 150.0, 0.56),
    "lv_rural1": (45.0, 170.0, 0.51),
    "lv_rural2": (45.0, 180.0, 0.53),
    "lv_rural3": (40.0, 160.0, 0.51),
    "lv_semiurb4": (45.0, 150.0, 0.55),
    "lv_semiurb5": (45.0, 150.0, 0.53),
    "lv_urban6": (40.0, 170.0, 0.50),
}
"""SimBench PV profile -> (tilt_degree, azimuth_degree, DC peak power per unit of sn_mva).

SimBench does not tell them. These fit pvlib's chain (Erbs, Hay-Davies, Faiman, PVWatts) under
the sandbox's own weather best, April to September, in steps of 5 and 10 degrees; what remains
is 0.04 to 0.06 of sn_mva (root mean square), the clouds that one city-wide sky cannot know.
"""


def describe(seed: int = 1, *, cache: Path | None = None) -> Site:
    """The sandbox city as a Site.

    seed decides which distribution areas belong to which enterprise.
    cache: a folder in which what was read out of SimBench is kept; it saves ten seconds.
    """
    return build(materialcache.load(cache), seed)


def build(source: Materials, seed: int = 1) -> Site:
    """The sandbox city made of ``source``; pure."""
    owners = _owners(source.loads, seed)
    described = (
        *_loads(source.loads, owners),
        *_sgens(source.sgens),
        *_batteries(source.storages),
        *_equipment(source.equipment),
        *_others(source),
    )
    assets = tuple(_in_district(asset, source.lat, source.lon) for asset in described)
    return Site(
        id=SITE_ID,
        name_en=names.CITY_EN,
        name_zh=names.CITY_ZH,
        timezone=TIMEZONE,
        lat=source.lat,
        lon=source.lon,
        simulated=True,
        network_json=source.network_json,
        assets=assets,
        enterprises=_enterprises(owners),
        series=tuple(_series(asset, variable) for asset in assets for variable in _meters(asset)),
        tags=tuple(_tags(assets)),
        parameters={**_PARAMETERS, "reserves": [_reserve(assets)], "seed": seed},
    )


def _reserve(assets: Sequence[Asset]) -> dict[str, Any]:
    """A small reserve of the battery parks, far from their every day's work."""
    parks = [
        a.id
        for a in assets
        if a.kind is AssetKind.BATTERY and a.parameters["e_max_mwh"] > _PARK_MWH
    ]
    return {**_RESERVE, "assets": parks}


def _owners(loads: Elements, seed: int) -> dict[int, str]:
    """Load row -> enterprise. Anchors are fixed; areas are dealt out by ``seed``."""
    owners = {row: b.id for b in names.BUSINESSES for row in b.anchors}
    areas = [i for i, p in enumerate(loads.profile) if p.startswith("lv_")]
    order = np.random.default_rng(seed).permutation(areas)
    dealt = iter(order.tolist())
    for business in names.BUSINESSES:
        for _ in range(business.size):
            owners[next(dealt)] = business.id
    return owners


def _enterprises(owners: dict[int, str]) -> tuple[Enterprise, ...]:
    return tuple(
        Enterprise(
            id=b.id,
            name_en=b.name_en,
            name_zh=b.name_zh,
            sector=b.sector,
            province=names.PROVINCE,
            assets=(
                *(f"load-{row:03d}" for row in sorted(owners) if owners[row] == b.id),
                *(item.id for item in equipment.EQUIPMENT if item.owner == b.id),
            ),
        )
        for b in names.BUSINESSES
    )


def _loads(loads: Elements, owners: dict[int, str]) -> Iterator[Asset]:
    for row, index in enumerate(loads.index.tolist()):
        profile = str(loads.profile[row])
        p_max_mw = round(float(loads.p_mw[row]), 6)
        if profile.startswith("APLS_"):
            kind, words = AssetKind.EV_CHARGER, ("Charging station", "充电站")
            parameters = {"p_max_mw": p_max_mw, "arrival_hour": 17, "departure_hour": 7}
        elif profile.startswith(("Soil_", "Air_")):
            kind, words = AssetKind.FLEXIBLE_LOAD, ("Heat pump", "热泵")
            parameters = {"p_max_mw": p_max_mw, "shift_hours": 2}
        else:
            kind, words = AssetKind.METER, names.AREAS[profile]
            parameters = {"p_max_mw": p_max_mw}
        yield _element_asset(
            loads, row, f"load-{index:03d}", kind, words, parameters, "load", owners.get(row, "")
        )


def _sgens(sgens: Elements) -> Iterator[Asset]:
    for row, index in enumerate(sgens.index.tolist()):
        sort, sn_mva = str(sgens.kind[row]), round(float(sgens.sn_mva[row]), 6)
        if sort in ("PV_MV", "lv_RES"):
            roof = sort == "lv_RES"
            words = ("Rooftop PV", "屋顶光伏") if roof else ("Solar farm", "光伏电站")
            yield _element_asset(
                sgens,
                row,
                f"pv-{index:03d}",
                AssetKind.PV,
                words,
                _pv_parameters(str(sgens.profile[row]), sn_mva),
                "sgen",
            )
            continue
        if sort == "Wind_MV":
            prefix, kind, words = "wind", AssetKind.WIND, ("Wind turbine", "风电机组")
        elif sort == "Biomass_MV":
            prefix, kind, words = "gen", AssetKind.GENERATOR, ("Biomass plant", "生物质电站")
        else:
            prefix, kind, words = "gen", AssetKind.GENERATOR, ("Hydro plant", "小水电站")
        yield _element_asset(
            sgens, row, f"{prefix}-{index:03d}", kind, words, {"p_max_mw": sn_mva}, "sgen"
        )


def _pv_parameters(profile: str, sn_mva: float) -> dict[str, float]:
    tilt, azimuth, dc_ratio = _ORIENTATION[profile]
    return {
        "pdc0_mw": round(sn_mva * dc_ratio, 6),
        "tilt_degree": tilt,
        "azimuth_degree": azimuth,
        **_PV_MODULE,
    }


def _batteries(storages: Elements) -> Iterator[Asset]:
    for row, index in enumerate(storages.index.tolist()):
        big = storages.e_mwh[row] > _PARK_MWH
        efficiency = round(float(storages.efficiency[row]), 4)
        parameters = {
            "p_max_mw": round(float(storages.sn_mva[row]), 6),
            "e_max_mwh": round(float(storages.e_mwh[row]), 6),
            "efficiency_charge": efficiency,
            "efficiency_discharge": efficiency,
            "cycle_cost_cny_per_mwh": 60.0,
            "soc_min": 0.05,
            "soc_max": 0.95,
        }
        words = ("Battery park", "储能电站") if big else ("Community battery", "社区储能")
        yield _element_asset(
            storages, row, f"battery-{index:03d}", AssetKind.BATTERY, words, parameters, "storage"
        )


def _equipment(places: Elements) -> Iterator[Asset]:
    for row, item in enumerate(equipment.EQUIPMENT):
        drawing = {equipment.TAN_PHI: item.tan_phi} if item.element == "load" else {}
        yield Asset(
            id=item.id,
            kind=item.kind,
            name_en=item.name_en,
            name_zh=item.name_zh,
            lat=round(float(places.lat[row]), 5),
            lon=round(float(places.lon[row]), 5),
            owner=item.owner,
            element=item.element,
            element_index=int(places.index[row]),
            parameters={**item.parameters, **drawing, "feeder": str(places.feeder[row])},
        )


def _element_asset(
    table: Elements,
    row: int,
    asset_id: str,
    kind: AssetKind,
    words: tuple[str, str],
    parameters: dict[str, float],
    element: str,
    owner: str = "",
) -> Asset:
    index = int(table.index[row])
    return Asset(
        id=asset_id,
        kind=kind,
        name_en=f"{words[0]} {index:03d}",
        name_zh=f"{index:03d}号{words[1]}",
        lat=round(float(table.lat[row]), 5),
        lon=round(float(table.lon[row]), 5),
        owner=owner,
        element=element,
        element_index=index,
        parameters={**parameters, "feeder": str(table.feeder[row])},
    )


def _in_district(asset: Asset, lat: float, lon: float) -> Asset:
    """``asset`` in its quarter of the city, as seen from the middle."""
    if asset.lat is None or asset.lon is None:
        return asset
    side = f"{'North' if asset.lat >= lat else 'South'}-{'east' if asset.lon >= lon else 'west'}"
    return replace(asset, district=side)


def _others(source: Materials) -> Iterator[Asset]:
    lat, lon = source.lat, source.lon
    yield Asset(
        "substation",
        AssetKind.SUBSTATION,
        "Main substation 110/20 kV",
        "110/20千伏主变电站",
        lat,
        lon,
    )
    yield Asset(
        "weather", AssetKind.WEATHER_STATION, "City weather station", "城市气象站", lat, lon
    )
    for number, station in enumerate(air.STATIONS, start=1):
        where = air.position(station, lat, lon)
        yield Asset(
            f"air-{number:02d}",
            AssetKind.AIR_STATION,
            f"{station.name_en} air station",
            f"{station.name_zh}空气站",
            *where,
            parameters={"surroundings": station.surroundings},
        )
    yield Asset(
        "dma-1",
        AssetKind.WATER_DISTRICT,
        "Water district 1, Riverside",
        "一号供水分区（滨河）",
        round(lat - 0.012, 5),
        round(lon + 0.015, 5),
        parameters=dict(_DMA),
    )


def _meters(asset: Asset) -> Sequence[str]:
    """The variables metered at ``asset``."""
    if asset.kind in CHIRPSTACK_TAGS:
        return [variable for _, variable, _ in CHIRPSTACK_TAGS[asset.kind]]
    return [variable for _, variable, _ in ENERGY_TAGS[asset.kind]]


def _series(asset: Asset, variable: str) -> Series:
    return Series(
        site=SITE_ID,
        asset=asset.id,
        variable=variable,
        resolution=AIR_RESOLUTION if asset.kind is AssetKind.AIR_STATION else QUARTER_HOUR,
        owner=asset.owner,
        timezone=TIMEZONE,
        simulated=True,
    )


def _tags(assets: Sequence[Asset]) -> Iterator[Tag]:
    for asset in assets:
        wireless = asset.kind in CHIRPSTACK_TAGS
        device = eui_of(asset.id) if wireless else urn_of(asset.id)
        table = CHIRPSTACK_TAGS if wireless else ENERGY_TAGS
        for tag, variable, unit in table[asset.kind]:
            yield Tag(device, tag, unit, f"{SITE_ID}/{asset.id}/{variable}")
