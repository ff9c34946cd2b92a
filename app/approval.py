"""Which plans wait for an operator, and until when.

A plan with limits opened that no schedule could keep always waits: nobody but an operator may
decide that a limit of a device or of the grid gives. Site.parameters holds
- approval: ``none`` (the default), ``required`` for every plan that could be followed, or a list
  of kinds, such as ``["day_ahead"]``
- approval_minutes: how long after its first step begins a plan can still be approved (15)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from app.plankinds import FOLLOWED
from app.tariffs import number
from core.errors import ConfigurationError

MINUTES = 15.0


def needed(parameters: Mapping[str, Any], kind: str) -> bool:
    """Whether every plan of ``kind`` waits for approval; raises ConfigurationError."""
    asked = parameters.get("approval", "none")
    if asked == "none":
        return False
    kinds = FOLLOWED if asked == "required" else asked
    if not isinstance(kinds, list | tuple) or not set(kinds) <= set(FOLLOWED):
        raise ConfigurationError(
            "The city's parameter 'approval' must be none, required or a list of "
            f"{' and '.join(FOLLOWED)}."
        )
    return kind in kinds


def decide_by(parameters: Mapping[str, Any], first_step: datetime) -> datetime:
    """City time until which a plan can be approved; raises ConfigurationError."""
    minutes = number({"approval_minutes": MINUTES, **parameters}, "approval_minutes")
    return first_step + timedelta(minutes=minutes)
