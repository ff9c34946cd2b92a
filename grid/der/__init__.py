"""Distributed energy resources: one file per type, found by this folder.

A type is a module with ``KIND`` (core.sites.AssetKind) and a function
``envelope(asset, conditions)`` that returns a grid.envelope.Envelope. What it has to be told is
named there too: ``PROFILES`` and ``STATES``, variables of core/variables.py that are looked up for
the asset (its own series, or the city's where it has none) and handed over in Conditions. States
that devices seldom report, because they are what a plan has moved, are named in ``CONTENT_OF``:
each is a factor times the content that the plan before expects. A new type is a new file here;
nothing else changes. Files that begin with ``_`` are no types: they hold what several types share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Protocol

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Stay:
    """A vehicle at a charger: aware UTC; energies in MWh.

    needed_mwh: what it must get until it leaves, counted from ``arrival`` on; charged_mwh: what of
    that it has got before the horizon begins. battery_mwh: the size of its battery, and
    arrival_mwh what was in it on arrival; None where nobody said (then it is only charged).
    max_p_mw: the most it takes; None for the charger's own limit.
    """

    arrival: datetime
    departure: datetime
    needed_mwh: float
    charged_mwh: float = 0.0
    max_p_mw: float | None = None
    battery_mwh: float | None = None
    arrival_mwh: float | None = None


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the horizon and the surroundings are, for one asset.

    times: beginnings of the steps, datetime64, UTC, (time,). dt_h: their length. timezone: of
    parameters given in local hours. profiles: expected values by variable, each (time,): p_mw is
    what the resource could produce or would draw uncontrolled. states: values at the beginning, by
    variable (soc, temp_indoor, p_mw, ...). stays: of vehicles, for chargers; None where the
    charger reports none (its demand is then all that is known of them).
    """

    times: np.ndarray
    dt_h: float
    timezone: str = "UTC"
    profiles: Mapping[str, np.ndarray] = field(default_factory=dict)
    states: Mapping[str, float] = field(default_factory=dict)
    stays: tuple[Stay, ...] | None = None

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.times)


class EnvelopeFunction(Protocol):
    """The one function of a DER type."""

    def __call__(self, asset: Asset, conditions: Conditions) -> Envelope: ...


@dataclass(frozen=True, slots=True)
class DerType:
    """A type as its file declares it."""

    kind: AssetKind
    envelope: EnvelopeFunction
    profiles: tuple[str, ...]
    states: tuple[str, ...]
    content_of: Mapping[str, float]
    """States that are so many times the content of the plan before, where nobody measures them."""


def envelope_of(asset: Asset, conditions: Conditions) -> Envelope:
    """The envelope of ``asset``.

    Raises ConfigurationError when no type handles the asset, or a parameter, profile or state
    is missing or wrong.
    """
    kinds = found()
    if asset.kind not in kinds:
        raise ConfigurationError(
            f"No type in grid/der handles {asset.kind} ({asset.id}); there are: "
            f"{', '.join(sorted(kinds))}."
        )
    return kinds[asset.kind].envelope(asset, conditions)


@cache
def _found(folders: tuple[str, ...]) -> Mapping[AssetKind, DerType]:
    kinds: dict[AssetKind, DerType] = {}
    for name in _names(folders):
        module = importlib.import_module(f"{__name__}.{name}")
        kind = getattr(module, "KIND", None)
        function = getattr(module, "envelope", None)
        if kind is None or function is None:
            raise ConfigurationError(f"grid/der/{name}.py lacks KIND or envelope().")
        if kind in kinds:
            raise ConfigurationError(f"grid/der/{name}.py repeats the kind {kind}.")
        kinds[kind] = DerType(
            kind,
            function,
            tuple(getattr(module, "PROFILES", ())),
            tuple(getattr(module, "STATES", ())),
            getattr(module, "CONTENT_OF", MappingProxyType({})),
        )
    return MappingProxyType(kinds)


def found() -> Mapping[AssetKind, DerType]:
    """All types by kind; ConfigurationError for a file that is no type or a repeated kind."""
    return _found(tuple(__path__))


def _names(folders: Iterable[str]) -> list[str]:
    return sorted({m.name for m in pkgutil.iter_modules(folders) if not m.name.startswith("_")})
