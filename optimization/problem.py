"""The dispatch problem: everything a plan depends on, as one value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.errors import ConfigurationError
from grid.envelope import Envelope
from grid.network import Network


@dataclass(frozen=True, eq=False)
class DispatchProblem:
    """One horizon of equal steps; arrays have the shape (time,).

    times: beginnings of the steps, datetime64, UTC. dt_h: their length in hours.
    injections: power of all loads, sgens and storages as in grid.powerflow.run; for the
    resources in ``envelopes`` it is their uncontrolled behaviour (the baseline).
    import_cny_per_mwh, export_cny_per_mwh: tariff at the substation. kgco2e_per_mwh: intensity
    of imports; exports are not credited. carbon_cny_per_tco2e: what an emitted tonne costs.
    import_limit_mw, export_limit_mw: at the substation; infinite for none.
    max_loading_percent: cap on the loading of lines and transformers, None for the network's own
    limits; voltage limits come from the network. timezone: of the times named in reasons.
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
    import_limit_mw: float = float("inf")
    export_limit_mw: float = float("inf")
    max_loading_percent: float | None = None
    timezone: str = "UTC"

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
        if self.import_limit_mw < 0 or self.export_limit_mw < 0:
            raise ConfigurationError("The limits of import and export must not be negative.")
        self._check_envelopes(steps)

    def _check_envelopes(self, steps: int) -> None:
        seen: set[tuple[str, int]] = set()
        names: set[str] = set()
        for envelope in self.envelopes:
            place = (envelope.element, envelope.element_index)
            if envelope.steps != steps:
                raise ConfigurationError(f"The envelope of {envelope.asset} has other steps.")
            if envelope.element_index not in self.network.ids(envelope.element):
                raise ConfigurationError(
                    f"{envelope.asset} is {envelope.element} {envelope.element_index}, which the "
                    "network does not have."
                )
            if place in seen or envelope.asset in names:
                raise ConfigurationError(f"{envelope.asset} or its element appears twice.")
            seen.add(place)
            names.add(envelope.asset)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.times)

    @property
    def import_total_cny_per_mwh(self) -> np.ndarray:
        """Tariff plus the carbon cost of an imported MWh."""
        total: np.ndarray = (
            self.import_cny_per_mwh + self.carbon_cny_per_tco2e * self.kgco2e_per_mwh / 1000.0
        )
        return total
