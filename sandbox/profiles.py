"""What every load and generator of the city does by itself, from SimBench's year.

The 122 loads share 17 profiles and the 123 generators 14, so that each asset gets a chance of
its own on top: without it a forecast would be right about all of a kind at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox import citytime, noise
from sandbox.materials import Materials

LOAD_SPREAD = 0.04
"""Standard deviation of a load's own factor, which changes over hours."""


@dataclass(frozen=True)
class Powers:
    """Means of quarter-hours: load_p_mw, load_q_mvar (n, loads), sgen_p_mw (n, sgens).

    Loads are positive when they consume, sgens when they produce.
    """

    load_p_mw: np.ndarray
    load_q_mvar: np.ndarray
    sgen_p_mw: np.ndarray


class Profiles:
    """The city's own will: what happens as long as nobody sends a set-point."""

    def __init__(self, source: Materials, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._streams = np.array([noise.stream("load", int(i)) for i in source.loads.index])

    def at(self, quarters: np.ndarray) -> Powers:
        """Powers in the quarter-hours ``quarters``, shape (n,)."""
        loads, sgens = self._source.loads, self._source.sgens
        table = self._source.profiles[citytime.profile_rows(quarters)].astype(np.float64)
        own = self._own(quarters)
        return Powers(
            load_p_mw=_scaled(table, loads.p_column, loads.p_mw) * own,
            load_q_mvar=_scaled(table, loads.q_column, loads.q_mvar) * own,
            # Some profiles dip a few watts below zero at night.
            sgen_p_mw=np.maximum(_scaled(table, sgens.p_column, sgens.p_mw), 0.0),
        )

    def _own(self, quarters: np.ndarray) -> np.ndarray:
        """Each load's own factor, shape (n, loads): it wanders over two hours and a day."""
        ts_s = citytime.seconds(quarters)[:, None]
        hours = noise.smooth(self._seed, self._streams[None, :], ts_s, 2 * 3600.0)
        days = noise.smooth(self._seed, self._streams[None, :] ^ 1, ts_s, 86_400.0)
        return np.asarray(np.exp(LOAD_SPREAD * (0.8 * hours + 0.6 * days)))


def _scaled(table: np.ndarray, columns: np.ndarray, rated: np.ndarray) -> np.ndarray:
    """Columns of the profile table times what each element is rated for, shape (n, elements)."""
    return np.asarray(table[:, columns] * rated)
