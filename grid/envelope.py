"""What a distributed energy resource can do over a horizon, as arrays; one shape for every type.

Grid and optimisation read envelopes only, so neither changes when a type is added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import ConfigurationError
from core.findings import Finding
from core.sites import AssetKind

_ROUNDING_MWH = 1e-9


@dataclass(frozen=True, eq=False)
class EnergyAccount:
    """Energy that a resource holds or has taken, with bounds at the END of each step, in MWh.

    content[t] = content[t-1] + dt_h * (efficiency_charge * charge[t]
                                        - discharge[t] / efficiency_discharge)

    A battery's content is what it stores; that of a shiftable load is what it has consumed so
    far, between "as late as allowed" and "as early as allowed". capacity_mwh turns content into
    a state of charge and is 0 where there is none.
    """

    initial_mwh: float
    min_mwh: np.ndarray
    max_mwh: np.ndarray
    efficiency_charge: float = 1.0
    efficiency_discharge: float = 1.0
    capacity_mwh: float = 0.0


@dataclass(frozen=True, eq=False)
class Envelope:
    """The bounds of one resource, arrays of shape (time,).

    p_min_mw, p_max_mw: in the sign of the pandapower table ``element`` (sgen positive
    producing, load and storage positive consuming or charging).
    energy: None where power of one step does not bind another.
    cost_cny_per_mwh: wear per MWh discharged by a resource with an energy account, cost per MWh
    not produced (curtailed) by one without.
    Raises ConfigurationError for shapes that do not fit, bounds that cross or values that are no
    numbers.
    """

    asset: str
    kind: AssetKind
    element: str
    element_index: int
    p_min_mw: np.ndarray
    p_max_mw: np.ndarray
    energy: EnergyAccount | None = None
    cost_cny_per_mwh: float = 0.0

    def __post_init__(self) -> None:
        arrays = [self.p_min_mw, self.p_max_mw]
        if self.energy is not None:
            arrays += [self.energy.min_mwh, self.energy.max_mwh]
        if any(a.shape != self.p_min_mw.shape or a.ndim != 1 for a in arrays):
            raise ConfigurationError(f"The bounds of {self.asset} differ in length.")
        if not all(np.isfinite(a).all() for a in arrays):
            raise ConfigurationError(f"The bounds of {self.asset} hold values that are no numbers.")
        if np.any(self.p_min_mw > self.p_max_mw + 1e-12):
            raise ConfigurationError(f"The power bounds of {self.asset} cross.")
        if self.element not in ("sgen", "load", "storage"):
            raise ConfigurationError(
                f"{self.asset} stands in the table {self.element!r}; only sgen, load and storage "
                "can be dispatched."
            )
        if self.energy is not None and not (
            0 < self.energy.efficiency_charge <= 1 and 0 < self.energy.efficiency_discharge <= 1
        ):
            raise ConfigurationError(f"An efficiency of {self.asset} lies outside 0..1.")

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.p_min_mw)

    @property
    def fed_sign(self) -> int:
        """+1 when positive power is fed into the grid (sgen), -1 when it is drawn."""
        return 1 if self.element == "sgen" else -1

    def conflicts(self, dt_h: float) -> list[Finding]:
        """Findings when no schedule can keep the energy bounds; exact for one resource alone."""
        if self.energy is None:
            return []
        account = self.energy
        charge = np.maximum(self.p_max_mw, 0.0)
        lowest = np.where(self.p_min_mw < 0, self.p_min_mw / account.efficiency_discharge, 0.0)
        lowest = np.where(self.p_min_mw > 0, self.p_min_mw * account.efficiency_charge, lowest)
        highest = charge * account.efficiency_charge
        highest = np.where(self.p_max_mw < 0, self.p_max_mw / account.efficiency_discharge, highest)
        low = high = account.initial_mwh
        for t in range(self.steps):
            low, high = low + dt_h * lowest[t], high + dt_h * highest[t]
            if low > account.max_mwh[t] + _ROUNDING_MWH:
                return [self._conflict(t, low, account.max_mwh[t], "above", "most")]
            if high < account.min_mwh[t] - _ROUNDING_MWH:
                return [self._conflict(t, high, account.min_mwh[t], "below", "least")]
            if account.min_mwh[t] > account.max_mwh[t] + _ROUNDING_MWH:
                return [self._conflict(t, account.min_mwh[t], account.max_mwh[t], "above", "most")]
            low, high = max(low, account.min_mwh[t]), min(high, account.max_mwh[t])
        return []

    def _conflict(self, t: int, value: float, bound: float, side: str, which: str) -> Finding:
        return Finding(
            str(self.kind),
            "e_mwh",
            (self.asset,),
            f"Its energy cannot be kept: {value:.3f} MWh at the end of step {t} stays {side} the "
            f"{which} allowed there, {bound:.3f} MWh, at full power.",
        )
