"""Series keys that more than one part of the application uses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from core.series import Series, SeriesKind
from core.sites import LOADS, OTHER_PLANTS, Asset, AssetKind, Site

TOTALS = {
    "load-total": LOADS,
    "pv-total": (AssetKind.PV,),
    "wind-total": (AssetKind.WIND,),
    "other-total": OTHER_PLANTS,
    "battery-total": (AssetKind.BATTERY,),
}
"""Sums over the city, kept as estimated series of their own so that pages need not add up."""


def of(site: str, asset: str, variable: str) -> str:
    """The key of a measured series."""
    return f"{site}/{asset}/{variable}"


def total(site: str, name: str) -> str:
    """The key of a city-wide sum, such as ``demo/load-total/p_mw@estimated``."""
    return Series(site, name, "p_mw", kind=SeriesKind.ESTIMATED).key


def members(site: Site, name: str) -> Sequence[Asset]:
    """The assets a city-wide sum adds up."""
    return [a for a in site.assets if a.kind in TOTALS[name]]


def total_series(site: Site) -> list[Series]:
    """The series of the city-wide sums."""
    return [
        Series(
            site.id,
            name,
            "p_mw",
            resolution=timedelta(minutes=15),
            kind=SeriesKind.ESTIMATED,
            timezone=site.timezone,
            simulated=site.simulated,
        )
        for name in TOTALS
    ]
