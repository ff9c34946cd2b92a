"""The dispatch problem: everything a plan depends on, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from core.errors import ConfigurationError
from grid.envelope import ELEMENTS, Envelope
from grid.network import Network
from grid.sensitivity import Quantity
from optimization.terms import (
    ChangeCost,
    ExchangeSpread,
    FeederLimit,
    PeakCharge,
    PeakValley,
    Position,
    Reserve,
    Unserved,
    Weights,
)


@dataclass(frozen=True, eq=False)
class DispatchProblem:
    """One horizon of equal steps; arrays have the shape (time,).

    times: beginnings of the steps, datetime64, UTC. dt_h: their length in hours.
    injections: power of all loads, sgens and storages as in grid.powerflow.run; for the
    resources in ``envelopes`` it is their uncontrolled behaviour (the baseline).
    import_cny_per_mwh, export_cny_per_mwh: tariff at the substation. kgco2e_per_mwh: intensity
    of imports; exports are not credited. carbon_cny_per_tco2e: what an emitted tonne costs.
    import_limit_mw, export_limit_mw: at the substation, numbers or (time,); infinite for none.
    max_loading_percent: cap on the loading of lines and transformers, None for the network's own
    limits; voltage limits come from the network. timezone: of the times named in reasons.
    margins: by how much inside its limits the network is to be kept, (time, element) by quantity.
    The rest are terms (optimization/terms.py); None or empty for what is not asked for.
    Raises ConfigurationError for arrays that do not fit or resources the network lacks.
    """

    times: np.ndarray
    dt_h: float
    network: Network
    injections: xr.Dataset
    envelopes: tuple[Envelope, ...]
    import_cny_per_mwh: np.ndarray
    export_cny_per_mwh: np.ndarray
    kgco2e_per_mwh: np.ndarray
    carbon_cny_per_tco2e: float = 0.0
    import_limit_mw: np.ndarray | float = float("inf")
    export_limit_mw: np.ndarray | float = float("inf")
    max_loading_percent: float | None = None
    timezone: str = "UTC"
    peak: PeakCharge | None = None
    reserves: tuple[Reserve, ...] = ()
    peak_valley: PeakValley | None = None
    calls: tuple[FeederLimit, ...] = ()
    position: Position | None = None
    change: ChangeCost | None = None
    unserved: Unserved | None = None
    spread: ExchangeSpread | None = None
    weights: Weights = field(default_factory=Weights)
    margins: Mapping[Quantity, np.ndarray] | None = None

    def __post_init__(self) -> None:
        steps = len(self.times)
        if steps == 0 or not self.dt_h > 0:
            raise ConfigurationError("A dispatch problem needs at least one step of some length.")
        for name in ("import_cny_per_mwh", "export_cny_per_mwh", "kgco2e_per_mwh"):
            values = getattr(self, name)
            if np.shape(values) != (steps,) or not np.isfinite(values).all():
                raise ConfigurationError(f"{name} must hold one number for each of {steps} steps.")
        if self.injections.sizes.get("time") != steps:
            raise ConfigurationError(f"The injections must cover the {steps} steps of the problem.")
        self._check_limits(steps)
        self._check_envelopes(steps)
        self._check_terms(steps)

    def _check_limits(self, steps: int) -> None:
        for name in ("import_limit_mw", "export_limit_mw"):
            values = np.asarray(getattr(self, name), dtype=float)
            if values.shape not in ((), (steps,)) or np.isnan(values).any():
                raise ConfigurationError(f"{name} must be a number or one for each step.")
            if np.any(values < 0):
                raise ConfigurationError("The limits of import and export must not be negative.")

    def _check_envelopes(self, steps: int) -> None:
        seen: set[tuple[str, int]] = set()
        names: set[str] = set()
        ids = {table: set(self.network.ids(table).tolist()) for table in ELEMENTS}
        for envelope in self.envelopes:
            place = (envelope.element, envelope.element_index)
            if envelope.steps != steps:
                raise ConfigurationError(f"The envelope of {envelope.asset} has other steps.")
            if envelope.element_index not in ids[envelope.element]:
                raise ConfigurationError(
                    f"{envelope.asset} is {envelope.element} {envelope.element_index}, which the "
                    "network does not have."
                )
            if place in seen or envelope.asset in names:
                raise ConfigurationError(f"{envelope.asset} or its element appears twice.")
            seen.add(place)
            names.add(envelope.asset)

    def _check_terms(self, steps: int) -> None:
        names = {e.asset for e in self.envelopes}
        for reserve in self.reserves:
            if np.shape(reserve.requirement_mw) != (steps,):
                raise ConfigurationError(f"The reserve {reserve.name} has other steps.")
            unknown = set(reserve.assets or ()) - names
            if unknown:
                raise ConfigurationError(
                    f"The reserve {reserve.name} names {min(unknown)}, which is no resource here."
                )
        if len({r.name for r in self.reserves}) < len(self.reserves):
            raise ConfigurationError("Two reserves share a name.")
        if self.position is not None and np.shape(self.position.committed_mw) != (steps,):
            raise ConfigurationError("The promised exchange has other steps than the problem.")
        if self.spread is not None and len(self.spread.offset_mw) != steps:
            raise ConfigurationError("The spread of the exchange has other steps than the problem.")
        if self.change is not None and np.shape(self.change.p_mw) != (steps, len(self.envelopes)):
            raise ConfigurationError("The plan before has other steps or resources.")

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.times)

    @property
    def carbon_cny_per_kg(self) -> float:
        """What an emitted kilogram costs."""
        return self.carbon_cny_per_tco2e / 1000.0

    @property
    def import_total_cny_per_mwh(self) -> np.ndarray:
        """Tariff plus the carbon cost of an imported MWh, as weighted in the objective."""
        total: np.ndarray = (
            self.weights.money * self.import_cny_per_mwh
            + self.weights.carbon * self.carbon_cny_per_kg * self.kgco2e_per_mwh
        )
        return total

    @property
    def export_total_cny_per_mwh(self) -> np.ndarray:
        """What an exported MWh earns, as weighted in the objective."""
        total: np.ndarray = self.weights.money * self.export_cny_per_mwh
        return total

    def limit_mw(self, side: str) -> np.ndarray:
        """The limit of ``import`` or ``export`` at each step, (time,)."""
        return np.broadcast_to(
            np.asarray(getattr(self, f"{side}_limit_mw"), dtype=float), (self.steps,)
        )
