"""Smart charging: a dispatch schedule as the charging profile that a charger understands.

A schedule asks a charger for powers; a charging profile limits it to them. One profile for the
whole charger replaces the one before it, and ends with the schedule: a charger whose plan has run
out charges as it likes. Times are city times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from core.errors import ConfigurationError
from core.timeaxis import QUARTER_HOUR
from core.units import linear
from ingest.ocpp_answers import stamp
from ingest.protocols.ocpp_json import V16

PROFILE_ID = 1
"""Always the same, so that a new profile takes the place of the old one."""

WHOLE_CHARGER = 0
CHARGER = "charger"
TRANSACTION = "transaction"

Step = tuple[datetime, float]
"""From when on, and p_mw, positive when consuming."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a charger can be told.

    unit: ``W``, or ``A`` for each of ``phases`` phases of ``voltage_v``. max_periods: of one
    profile. purpose: ``charger`` for a limit of the whole charger, ``transaction`` where it knows
    default limits of transactions only; that one holds for each connector by itself.
    Raises ConfigurationError for anything else.
    """

    unit: str = "W"
    max_periods: int = 96
    voltage_v: float = 230.0
    phases: int = 3
    purpose: str = CHARGER

    def __post_init__(self) -> None:
        if (
            self.unit not in ("W", "A")
            or self.purpose not in (CHARGER, TRANSACTION)
            or self.max_periods < 1
            or not self.voltage_v > 0.0
            or self.phases not in (1, 2, 3)
        ):
            raise ConfigurationError(f"A charger cannot be limited like this: {self}.")

    def limit(self, p_mw: float) -> float:
        """``p_mw`` in the unit, never above it: whole W, or tenths of A. No car feeds back."""
        p_w = max(0.0, p_mw * linear("MW", "W")[0])
        if self.unit == "W":
            return math.floor(p_w + 1e-6)
        return math.floor(p_w / (self.voltage_v * self.phases) * 10.0 + 1e-6) / 10.0


@dataclass(frozen=True, slots=True)
class ProfileCall:
    """A call to make. until: when its profile ends. complete: whether that is all of the schedule;
    otherwise the charger holds no more periods, and the rest has to follow by then.
    """

    action: str
    payload: dict[str, Any]
    until: datetime
    complete: bool


def charging_profile(
    version: str,
    steps: Sequence[Step],
    now: datetime,
    limits: Limits,
    valid_until: datetime | None = None,
) -> ProfileCall | None:
    """SetChargingProfile for ``steps``, ordered by time; None when all of them are over at ``now``.

    Each step holds until the next, the last as long as the one before it (a quarter-hour where it
    is the only one). Neighbours with the same limit become one period. valid_until: when the
    profile ends at the latest: a charger without news charges as it likes.
    """
    coming = _coming(steps, now, valid_until)
    if not coming:
        return None
    periods: list[tuple[datetime, float]] = []
    until = coming[-1][1]
    complete = True
    for start, _, p_mw in coming:
        limit = limits.limit(p_mw)
        if periods and periods[-1][1] == limit:
            continue
        if len(periods) == limits.max_periods:
            until, complete = start, False
            break
        periods.append((start, limit))
    first = periods[0][0]
    schedule = {
        "startSchedule": stamp(first),
        "duration": round((until - first).total_seconds()),
        "chargingRateUnit": limits.unit,
        "chargingSchedulePeriod": [
            {"startPeriod": round((start - first).total_seconds()), "limit": limit}
            | ({"numberPhases": limits.phases} if limits.unit == "A" else {})
            for start, limit in periods
        ],
    }
    return ProfileCall(
        "SetChargingProfile", _set(version, limits, schedule, until), until, complete
    )


def clear_profile(version: str) -> dict[str, Any]:
    """The payload of ClearChargingProfile that takes our profile back."""
    return {"id" if version == V16 else "chargingProfileId": PROFILE_ID}


def _coming(
    steps: Sequence[Step], now: datetime, valid_until: datetime | None
) -> list[tuple[datetime, datetime, float]]:
    """Beginning, end and p_mw of the steps that are not over and still count."""
    if not steps:
        return []
    starts = [start for start, _ in steps]
    length = starts[-1] - starts[-2] if len(starts) > 1 else QUARTER_HOUR
    spans = pairwise([*starts, starts[-1] + length])
    until = valid_until or starts[-1] + length
    return [
        (start, min(end, until), p_mw)
        for (start, end), (_, p_mw) in zip(spans, steps, strict=True)
        if min(end, until) > max(now, start)
    ]


def _set(version: str, limits: Limits, schedule: dict[str, Any], until: datetime) -> dict[str, Any]:
    profile = {
        "stackLevel": 0,
        "chargingProfileKind": "Absolute",
        "validTo": stamp(until),
    }
    whole = limits.purpose == CHARGER
    if version == V16:
        return {
            "connectorId": WHOLE_CHARGER,
            "csChargingProfiles": {
                "chargingProfileId": PROFILE_ID,
                "chargingProfilePurpose": "ChargePointMaxProfile" if whole else "TxDefaultProfile",
                **profile,
                "chargingSchedule": schedule,
            },
        }
    return {
        "evseId": WHOLE_CHARGER,
        "chargingProfile": {
            "id": PROFILE_ID,
            "chargingProfilePurpose": "ChargingStationMaxProfile" if whole else "TxDefaultProfile",
            **profile,
            "chargingSchedule": [{"id": PROFILE_ID, **schedule}],
        },
    }
