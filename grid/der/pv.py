"""Photovoltaics: produces what the sun allows, or less, and reactive power within its inverter.

Parameters, profile and price: grid/der/_inverter.py. A reactive price stands for the inverter's
losses; at night an inverter that has sn_mva is taken to be able to give reactive power too.
"""

from __future__ import annotations

from core.sites import AssetKind
from grid.der._inverter import curtailable

KIND = AssetKind.PV
PROFILES = ("p_mw",)

envelope = curtailable
