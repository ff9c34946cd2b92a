"""Announcing calls of demand response: what makes one that plans can count with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite

from core.errors import ConfigurationError
from core.timeaxis import utc
from store import calls
from store.database import Connection

LONGEST_NAME = 100
LONGEST = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class NewCall:
    """Within [start, end) import less export shall stay at or below limit_mw (negative: export).

    breach_cny_per_mwh: what each MWh above it costs; a call that costs nothing is never kept.
    Raises ConfigurationError for one that makes no sense.
    """

    name: str
    start: datetime
    end: datetime
    limit_mw: float
    breach_cny_per_mwh: float

    def __post_init__(self) -> None:
        if not 0 < len(self.name.strip()) <= LONGEST_NAME:
            raise ConfigurationError(
                f"A call needs a name of at most {LONGEST_NAME} characters, not {self.name!r}."
            )
        if not timedelta(0) < utc(self.end) - utc(self.start) <= LONGEST:
            raise ConfigurationError(
                f"The call {self.name!r} must end after it begins, at most {LONGEST.days} days "
                f"later, not from {self.start} to {self.end}."
            )
        if not isfinite(self.limit_mw):
            raise ConfigurationError(f"The limit of a call cannot be {self.limit_mw!r} MW.")
        if not isfinite(self.breach_cny_per_mwh) or self.breach_cny_per_mwh <= 0:
            raise ConfigurationError(
                f"The price of breaking a call cannot be {self.breach_cny_per_mwh!r}: it is a "
                "number of CNY/MWh above 0."
            )


def add(connection: Connection, call: NewCall, by: str, now: datetime) -> int:
    """Keeps ``call``; its id. Raises ConfigurationError for one that is over at ``now``."""
    if utc(call.end) <= utc(now):
        raise ConfigurationError(f"The call {call.name!r} is over: it ends at {call.end}.")
    return calls.add(
        connection,
        name=call.name.strip(),
        start=call.start,
        end=call.end,
        limit_mw=call.limit_mw,
        breach_cny_per_mwh=call.breach_cny_per_mwh,
        by=by,
        at=now,
    )
