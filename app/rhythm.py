"""How often plans are made, and from when on one is missing. Light: pages know it too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app.tariffs import number
from core.timeaxis import QUARTER_HOUR

FASTEST = timedelta(seconds=2)
"""However fast the city's clock, a job starts no more often than this in real time."""
REPLAN = QUARTER_HOUR
"""Every so often in city time the followed plan is made anew."""
_MISSED = 3
"""Plans in a row that have not come before anybody is told."""


def plan_late(parameters: Mapping[str, Any], pace: float) -> timedelta:
    """The age in city time from which on a newer plan is missing.

    The site's parameter plan_late_minutes, else three times what lies between two plans, which
    is more than ``REPLAN`` where the city's clock is fast. pace: city seconds in a real one. Raises
    ConfigurationError for a parameter that is no number.
    """
    usual = _MISSED * max(REPLAN, FASTEST * pace) / timedelta(minutes=1)
    given = {"plan_late_minutes": usual, **parameters}
    return timedelta(minutes=number(given, "plan_late_minutes"))
