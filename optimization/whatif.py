"""Another problem out of a problem: a tariff, a grid, a fleet that is not the city's own.

Each function takes a DispatchProblem and returns a changed copy; they can follow one another. The
copy is planned and checked as any other, and nobody follows it. Where its resources are others, no
plan came before it: the cost of changing one falls away.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from core.errors import ConfigurationError
from core.sites import AssetKind
from grid.envelope import Envelope
from grid.network import Network
from optimization.problem import DispatchProblem

HOURS = 24
_SIZES = ("_mw", "_mwh", "_mvar", "_mva", "_mw_per_h")
_PRICES = ("_per_mw", "_per_mwh", "_per_mvarh")

T = TypeVar("T")


def tariff_times(
    problem: DispatchProblem, *, import_factor: float = 1.0, export_factor: float = 1.0
) -> DispatchProblem:
    """The tariff times a factor; raises ConfigurationError for a factor that is none."""
    for factor in (import_factor, export_factor):
        _check_factor(factor, "of the tariff")
    return replace(
        problem,
        import_cny_per_mwh=problem.import_cny_per_mwh * import_factor,
        export_cny_per_mwh=problem.export_cny_per_mwh * export_factor,
    )


def tariff_by_hour(
    problem: DispatchProblem,
    import_cny_per_mwh: np.ndarray,
    export_cny_per_mwh: np.ndarray | None = None,
) -> DispatchProblem:
    """Another tariff, (24,) by the local hour of the problem's time zone; None leaves the export.

    Raises ConfigurationError for anything but 24 numbers.
    """
    return replace(
        problem,
        import_cny_per_mwh=_by_hour(problem, import_cny_per_mwh, "import"),
        export_cny_per_mwh=problem.export_cny_per_mwh
        if export_cny_per_mwh is None
        else _by_hour(problem, export_cny_per_mwh, "export"),
    )


def _by_hour(problem: DispatchProblem, values: np.ndarray, which: str) -> np.ndarray:
    table = np.asarray(values, dtype=float)
    if table.shape != (HOURS,) or not np.isfinite(table).all():
        raise ConfigurationError(f"The {which} tariff must hold 24 numbers, one for each hour.")
    local = pd.DatetimeIndex(problem.times).tz_localize("UTC").tz_convert(problem.timezone)
    prices: np.ndarray = table[np.asarray(local.hour)]
    return prices


def carbon_price(problem: DispatchProblem, cny_per_tco2e: float) -> DispatchProblem:
    """Another price of an emitted tonne; raises ConfigurationError for a negative one or none."""
    _check_factor(cny_per_tco2e, "of carbon")
    return replace(problem, carbon_cny_per_tco2e=float(cny_per_tco2e))


def grown(problem: DispatchProblem, kinds: Collection[AssetKind], factor: float) -> DispatchProblem:
    """``factor`` times as much of every resource of ``kinds``, where it stands.

    What it can do, what it holds and what it does uncontrolled grow together; prices stay. Raises
    ConfigurationError for a negative factor, or where the problem has no such resource.
    """
    _check_factor(factor, "of growth")
    mine = [e for e in problem.envelopes if e.kind in kinds]
    if not mine:
        named = " or ".join(sorted(str(kind) for kind in kinds))
        raise ConfigurationError(f"There is no {named} in this plan that could grow.")
    injections = problem.injections.copy(deep=True)
    for envelope in mine:
        table = envelope.element
        for name in (f"{table}_p_mw", f"{table}_q_mvar"):
            known = injections[name][table].values if name in injections else ()
            if envelope.element_index in known:
                injections[name].loc[{table: envelope.element_index}] *= factor
    return replace(
        problem,
        injections=injections,
        envelopes=tuple(scaled(e, factor) if e in mine else e for e in problem.envelopes),
        change=None,
    )


def scaled(value: T, factor: float) -> T:
    """A dataclass of arrays and numbers with every power and energy in it times ``factor``.

    The unit at the end of a field's name says what it is: powers, energies and ramps grow, prices,
    efficiencies and hours do not.
    """
    changed: dict[str, Any] = {}
    for field in fields(value):  # type: ignore[arg-type]
        held = getattr(value, field.name)
        if is_dataclass(held):
            changed[field.name] = scaled(held, factor)
        elif _is_size(field.name) and held is not None:
            changed[field.name] = held * factor
    return replace(value, **changed)  # type: ignore[type-var]


def _is_size(name: str) -> bool:
    return name.endswith(_SIZES) and not name.endswith(_PRICES)


def on_network(problem: DispatchProblem, network: Network) -> DispatchProblem:
    """The same day on another grid, such as one with a line out of service.

    Raises ConfigurationError for a network that lacks a resource of the problem.
    """
    return replace(problem, network=network)


def with_resource(
    problem: DispatchProblem, network: Network, envelope: Envelope
) -> DispatchProblem:
    """One resource more, standing in ``network``; raises ConfigurationError as the problem does."""
    envelopes = (*problem.envelopes, envelope)
    return replace(problem, network=network, envelopes=envelopes, change=None)


def _check_factor(factor: float, what: str) -> None:
    if not np.isfinite(factor) or factor < 0:
        raise ConfigurationError(f"The factor {what} must be a number from 0 on, not {factor}.")
