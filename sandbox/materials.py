"""What the city is made of: a network as JSON, its elements, and profiles of a year."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Elements:
    """The rows of one pandapower table; all arrays have the shape (n,).

    p_mw, q_mvar: what the element does where its profile is 1, in the element's own sign.
    p_column, q_column: columns of Materials.profiles; -1 where there is none (q of a sgen).
    feeder: the name of the feeder of its bus, "busbar" at the substation.
    """

    index: np.ndarray
    bus: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    p_mw: np.ndarray
    q_mvar: np.ndarray
    sn_mva: np.ndarray
    e_mwh: np.ndarray
    efficiency: np.ndarray
    p_column: np.ndarray
    q_column: np.ndarray
    profile: np.ndarray
    kind: np.ndarray
    feeder: np.ndarray


@dataclass(frozen=True)
class Materials:
    """The raw city. profiles: shape (35136, columns), float32, rows in UTC+1 of 2016.

    equipment: where the items of sandbox/equipment stand, in their order; index is that of each
    in its own table, and they have no profile.
    """

    network_json: str
    lat: float
    lon: float
    loads: Elements
    sgens: Elements
    storages: Elements
    equipment: Elements
    profiles: np.ndarray
