"""Wind turbines: produce what the wind allows, or less."""

from __future__ import annotations

from core.sites import AssetKind
from grid.der import curtailable

KIND = AssetKind.WIND

envelope = curtailable
