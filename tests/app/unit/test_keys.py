"""Which kinds draw and which feed in: a city's totals must count each once."""

from __future__ import annotations

from app.keys import TOTALS
from core.sites import LOADS, PLANTS, AssetKind
from grid import der


def test_whatever_can_be_dispatched_is_counted_in_exactly_one_total() -> None:
    counted = [kind for kinds in TOTALS.values() for kind in kinds]
    assert len(counted) == len(set(counted))
    assert set(der.found()) <= set(counted)
    assert set(counted) == {*LOADS, *PLANTS, AssetKind.BATTERY}
