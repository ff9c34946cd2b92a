"""Photovoltaics: produces what the sun allows, or less."""

from __future__ import annotations

from core.sites import AssetKind
from grid.der import curtailable

KIND = AssetKind.PV

envelope = curtailable
