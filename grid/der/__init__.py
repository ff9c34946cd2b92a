"""Distributed energy resources: one file per type, found by this folder.

A type is a module with ``KIND`` (core.sites.AssetKind) and a function
``envelope(asset, *, times, dt_h, available_mw=None, demand_mw=None, soc=None, timezone="UTC")``
that returns a grid.envelope.Envelope. A new type is a new file here; nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Protocol

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from grid.envelope import Envelope


class EnvelopeFunction(Protocol):
    """The one function of a DER type."""

    def __call__(
        self,
        asset: Asset,
        *,
        times: np.ndarray,
        dt_h: float,
        available_mw: np.ndarray | None = None,
        demand_mw: np.ndarray | None = None,
        soc: float | None = None,
        timezone: str = "UTC",
    ) -> Envelope: ...


def envelope_of(
    asset: Asset,
    *,
    times: np.ndarray,
    dt_h: float,
    available_mw: np.ndarray | None = None,
    demand_mw: np.ndarray | None = None,
    soc: float | None = None,
    timezone: str = "UTC",
) -> Envelope:
    """The envelope of ``asset`` over ``times`` (datetime64, UTC, beginnings of steps; (time,)).

    available_mw: what a generator could produce; demand_mw: what a load would draw uncontrolled;
    soc: state of charge at the beginning, 0..1; timezone: of parameters given in local hours.
    Raises ConfigurationError when no type handles the asset or a parameter is missing.
    """
    kinds = found()
    if asset.kind not in kinds:
        raise ConfigurationError(
            f"No type in grid/der handles {asset.kind} ({asset.id}); there are: "
            f"{', '.join(sorted(kinds))}."
        )
    return kinds[asset.kind](
        asset,
        times=times,
        dt_h=dt_h,
        available_mw=available_mw,
        demand_mw=demand_mw,
        soc=soc,
        timezone=timezone,
    )


@cache
def _found(folders: tuple[str, ...]) -> Mapping[AssetKind, EnvelopeFunction]:
    kinds: dict[AssetKind, EnvelopeFunction] = {}
    for name in _names(folders):
        module = importlib.import_module(f"{__name__}.{name}")
        kind = getattr(module, "KIND", None)
        function = getattr(module, "envelope", None)
        if kind is None or function is None:
            raise ConfigurationError(f"grid/der/{name}.py lacks KIND or envelope().")
        if kind in kinds:
            raise ConfigurationError(f"grid/der/{name}.py repeats the kind {kind}.")
        kinds[kind] = function
    return MappingProxyType(kinds)


def found() -> Mapping[AssetKind, EnvelopeFunction]:
    """All types by kind; ConfigurationError for a file that is no type or a repeated kind."""
    return _found(tuple(__path__))


def _names(folders: Iterable[str]) -> list[str]:
    return sorted({m.name for m in pkgutil.iter_modules(folders) if not m.name.startswith("_")})


def parameter(asset: Asset, name: str, default: float | None = None) -> float:
    """A number among the asset's parameters; raises ConfigurationError when it is not there."""
    value = asset.parameters.get(name, default)
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise ConfigurationError(f"The asset {asset.id} lacks the number {name}.")
    return float(value)


def profile(asset: Asset, name: str, values: np.ndarray | None, steps: int) -> np.ndarray:
    """``values`` as an array of shape (time,), never negative; ConfigurationError without them."""
    if values is None or np.shape(values) != (steps,):
        raise ConfigurationError(
            f"The envelope of {asset.id} needs {name} for each of {steps} steps."
        )
    return np.asarray(np.maximum(np.asarray(values, dtype=float), 0.0))


def curtailable(
    asset: Asset,
    *,
    times: np.ndarray,
    dt_h: float,  # noqa: ARG001 - one signature for all types
    available_mw: np.ndarray | None = None,
    demand_mw: np.ndarray | None = None,  # noqa: ARG001
    soc: float | None = None,  # noqa: ARG001
    timezone: str = "UTC",  # noqa: ARG001
) -> Envelope:
    """The envelope of what follows sun or wind: between nothing and ``available_mw``.

    Parameter: curtailment_cost_cny_per_mwh (0), owed for each MWh not produced.
    """
    available = profile(asset, "available_mw", available_mw, len(times))
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        p_min_mw=np.zeros(len(times)),
        p_max_mw=available,
        cost_cny_per_mwh=parameter(asset, "curtailment_cost_cny_per_mwh", 0.0),
    )
