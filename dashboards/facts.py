"""What seldom changes about the city, kept in memory: its description and its network's shape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from core.sites import Asset, AssetKind, Enterprise, Site
from core.timeaxis import zone
from grid import network as network_model


@dataclass(frozen=True, slots=True)
class Bus:
    """A bus to draw, and the voltages it may have."""

    index: int
    name: str
    lat: float
    lon: float
    vm_min_pu: float
    vm_max_pu: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line or transformer to draw, between two buses, and how far it may be loaded."""

    index: int
    name: str
    from_bus: int
    to_bus: int
    max_loading_percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """The network's shape; empty where the city has no network model."""

    buses: Mapping[int, Bus] = field(default_factory=lambda: MappingProxyType({}))
    lines: tuple[Line, ...] = ()
    trafos: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class CityFacts:
    """A city as the pages need it: its description, its zone and its network's shape."""

    site: Site
    tz: ZoneInfo
    drawing: Drawing
    assets: Mapping[str, Asset]
    enterprises: Mapping[str, Enterprise]

    def of_kind(self, *kinds: AssetKind) -> tuple[Asset, ...]:
        """The assets of these kinds, in the site's order."""
        return tuple(a for a in self.site.assets if a.kind in kinds)

    def key(self, asset: str, variable: str) -> str:
        """The series key of a measured variable."""
        return f"{self.site.id}/{asset}/{variable}"


def describe(site: Site) -> CityFacts:
    """The facts of ``site``; raises NetworkError when its network cannot be read."""
    return CityFacts(
        site=site,
        tz=zone(site.timezone),
        drawing=_drawing(site.network_json),
        assets=MappingProxyType({a.id: a for a in site.assets}),
        enterprises=MappingProxyType({e.id: e for e in site.enterprises}),
    )


def _drawing(network_json: str) -> Drawing:
    """Buses that have a place, and the lines between them that are in service."""
    if not network_json:
        return Drawing()
    network = network_model.read(network_json)
    shape = network.geo()
    placed = shape["buses"].assign(low=network.vm_min_pu, high=network.vm_max_pu)
    placed = placed.dropna(subset=["lat", "lon"])
    buses = {
        int(index): Bus(int(index), str(name), float(lat), float(lon), float(low), float(high))
        for index, name, lat, lon, low, high in zip(
            placed.index, *(placed[c] for c in ("name", "lat", "lon", "low", "high")), strict=True
        )
    }
    return Drawing(
        MappingProxyType(buses),
        _branches(shape["lines"], network.line_max_loading_percent, buses),
        _branches(shape["trafos"], network.trafo_max_loading_percent, buses),
    )


def _branches(
    table: pd.DataFrame, limits: np.ndarray, buses: Mapping[int, Bus]
) -> tuple[Line, ...]:
    """Those that are in service and closed, between buses that have a place."""
    shown = table.assign(limit=limits)[table.in_service & table.closed]
    return tuple(
        Line(int(index), str(name), int(start), int(end), float(limit))
        for index, name, start, end, limit in zip(
            shown.index,
            *(shown[c] for c in ("name", "from_bus", "to_bus", "limit")),
            strict=True,
        )
        if start in buses and end in buses
    )


class FactsSource:
    """The facts of the city's description in force, made once for each, for all threads."""

    def __init__(self, site: Callable[[], Site | None]) -> None:
        """site: the description in force, the same object until another one is."""
        self._site = site
        self._lock = threading.Lock()
        self._facts: CityFacts | None = None

    def get(self) -> CityFacts | None:
        """The city's facts, None while no city is described yet."""
        site = self._site()
        if site is None:
            return None
        with self._lock:
            if self._facts is None or self._facts.site is not site:
                self._facts = describe(site)
            return self._facts
