"""What the devices really do: follow set-points as far as their own limits allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grid.envelope import EnergyAccount, Envelope

_NOT_HELD_BACK_MW = 1e-6
_ROUNDING_MWH = 1e-9


class Devices:
    """The fleet over a period, from its true envelopes; remembers what each has stored or taken.

    A charger or a flexible load begins, by itself, in time to serve what it must; a store stops
    when it is full or empty. ``unserved_mwh`` counts what was not served all the same. Raises
    ValueError for envelopes with commitments or ramps, which are not followed here.
    """

    def __init__(self, envelopes: Sequence[Envelope], dt_h: float) -> None:
        if any(e.commitment is not None or e.ramp is not None for e in envelopes):
            raise ValueError("Commitments and ramps are not followed by bench/rolling/devices.")
        self._dt_h = dt_h
        self._base = np.column_stack([e.base_mw for e in envelopes])
        self._low = np.column_stack([e.p_min_mw for e in envelopes])
        self._high = np.column_stack([e.p_max_mw for e in envelopes])
        accounts = [e.account or _nothing(e.steps) for e in envelopes]
        self._free = np.array([e.account is None for e in envelopes])
        self._into = np.column_stack([a.gain_up for a in accounts])
        self._out = np.column_stack([a.gain_down for a in accounts])
        self._keep = np.column_stack([a.keep for a in accounts])
        self._inflow = np.column_stack([a.inflow_mwh for a in accounts])
        self._least = np.column_stack([a.min_mwh for a in accounts])
        self.content_mwh = np.array([a.initial_mwh for a in accounts])
        self.unserved_mwh = 0.0
        self._must = self._least.copy()
        self._may = np.column_stack([a.max_mwh for a in accounts])
        for t in range(len(self._base) - 2, -1, -1):
            up = self._gain_mwh(t + 1, self._high[t + 1])
            down = self._gain_mwh(t + 1, self._low[t + 1])
            self._must[t] = np.maximum(self._must[t], (self._must[t + 1] - up) / self._keep[t + 1])
            self._may[t] = np.minimum(self._may[t], (self._may[t + 1] - down) / self._keep[t + 1])

    def step(self, t: int, planned_mw: np.ndarray, expected_mw: np.ndarray) -> np.ndarray:
        """Power in step ``t``, (asset,), when asked for ``planned_mw``.

        expected_mw: the most that was expected to be possible. A plant that was not to be held
        back below it has no set-point, and gives what there is.
        """
        open_ended = self._free & (planned_mw >= expected_mw - _NOT_HELD_BACK_MW)
        power = np.clip(np.where(open_ended, np.inf, planned_mw), self._low[t], self._high[t])
        before = self._keep[t] * self.content_mwh
        reached = before + self._gain_mwh(t, power)
        kept = np.clip(reached, self._must[t], np.maximum(self._may[t], self._must[t]))
        moved = np.abs(kept - reached) > _ROUNDING_MWH
        power = np.where(moved & ~self._free, self._power_mw(t, kept - before), power)
        power = np.asarray(np.clip(power, self._low[t], self._high[t]))
        self.content_mwh = np.where(self._free, 0.0, before + self._gain_mwh(t, power))
        missing = np.where(self._free, 0.0, self._least[t] - self.content_mwh)
        self.unserved_mwh = max(
            self.unserved_mwh, float(missing[missing > _ROUNDING_MWH * 10].sum())
        )
        return power

    def _gain_mwh(self, t: int, p_mw: np.ndarray) -> np.ndarray:
        """What of ``p_mw`` arrives in the account in step ``t``, inflow included."""
        moved = p_mw - self._base[t]
        gain = np.where(moved > 0, self._into[t], self._out[t])
        total: np.ndarray = self._inflow[t] + self._dt_h * gain * moved
        return total

    def _power_mw(self, t: int, gain_mwh: np.ndarray) -> np.ndarray:
        """The power that makes up this gain; the base where nothing makes a difference."""
        wanted = gain_mwh - self._inflow[t]
        gain = self._dt_h * np.where(wanted > 0, self._into[t], self._out[t])
        power: np.ndarray = self._base[t] + np.divide(
            wanted, gain, out=np.zeros_like(wanted), where=gain > 0
        )
        return power


def _nothing(steps: int) -> EnergyAccount:
    """An account that binds nothing."""
    zero, one = np.zeros(steps), np.ones(steps)
    return EnergyAccount(
        initial_mwh=0.0,
        min_mwh=np.full(steps, -np.inf),
        max_mwh=np.full(steps, np.inf),
        gain_up=zero,
        gain_down=zero,
        keep=one,
        inflow_mwh=zero,
    )
