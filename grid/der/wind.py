"""Wind turbines: produce what the wind allows, or less, and reactive power within the converter.

Parameters, profile and price: grid/der/_inverter.py.
"""

from __future__ import annotations

from core.sites import AssetKind
from grid.der._inverter import curtailable

KIND = AssetKind.WIND
PROFILES = ("p_mw",)

envelope = curtailable
