"""What the devices really do: follow set-points as far as their own limits allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grid.envelope import Envelope

_NOT_HELD_BACK_MW = 1e-6


class Devices:
    """The fleet over a period, from its true envelopes; remembers what each has stored or taken.

    A charger or a flexible load begins, by itself, in time to serve what it must; a store stops
    when it is full or empty. ``unserved_mwh`` counts what was not served all the same.
    """

    def __init__(self, envelopes: Sequence[Envelope], dt_h: float) -> None:
        self._dt_h = dt_h
        self._low = np.column_stack([e.p_min_mw for e in envelopes])
        self._high = np.column_stack([e.p_max_mw for e in envelopes])
        self._plant = np.array([e.energy is None for e in envelopes])
        accounts = [e.energy for e in envelopes]
        shape = self._low.shape
        self._into = np.array([a.efficiency_charge if a else 1.0 for a in accounts])
        self._out = np.array([1.0 / a.efficiency_discharge if a else 1.0 for a in accounts])
        self.content_mwh = np.array([a.initial_mwh if a else 0.0 for a in accounts])
        self.unserved_mwh = 0.0
        self._least = np.full(shape, -np.inf)
        self._most = np.full(shape, np.inf)
        for i, account in enumerate(accounts):
            if account is not None:
                self._least[:, i], self._most[:, i] = account.min_mwh, account.max_mwh
        self._must = self._least.copy()
        self._may = self._most.copy()
        for t in range(shape[0] - 2, -1, -1):
            up, down = self._gain_mwh(self._high[t + 1]), self._gain_mwh(self._low[t + 1])
            self._must[t] = np.maximum(self._must[t], self._must[t + 1] - up)
            self._may[t] = np.minimum(self._may[t], self._may[t + 1] - down)

    def step(self, t: int, planned_mw: np.ndarray, expected_mw: np.ndarray) -> np.ndarray:
        """Power in step ``t``, (asset,), when asked for ``planned_mw``.

        expected_mw: the most that was expected to be possible. A plant that was not to be held
        back below it has no set-point, and gives what there is.
        """
        free = self._plant & (planned_mw >= expected_mw - _NOT_HELD_BACK_MW)
        power = np.clip(np.where(free, np.inf, planned_mw), self._low[t], self._high[t])
        reached = self.content_mwh + self._gain_mwh(power)
        kept = np.clip(reached, self._must[t], np.maximum(self._may[t], self._must[t]))
        power = np.where(kept != reached, self._power_mw(kept - self.content_mwh), power)
        power = np.clip(power, self._low[t], self._high[t])
        self.content_mwh = np.where(self._plant, 0.0, self.content_mwh + self._gain_mwh(power))
        missing = np.where(self._plant, 0.0, self._least[t] - self.content_mwh)
        self.unserved_mwh = max(self.unserved_mwh, float(np.maximum(missing, 0.0).sum()))
        return power

    def _gain_mwh(self, p_mw: np.ndarray) -> np.ndarray:
        gain: np.ndarray = self._dt_h * np.where(p_mw > 0, p_mw * self._into, p_mw * self._out)
        return gain

    def _power_mw(self, gain_mwh: np.ndarray) -> np.ndarray:
        power: np.ndarray = (
            np.where(gain_mwh > 0, gain_mwh / self._into, gain_mwh / self._out) / self._dt_h
        )
        return power
