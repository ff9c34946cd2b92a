"""Set-points: what a plan asks of a device, until when it counts, and what holds after that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from core.timeaxis import QUARTER_HOUR, from_datetime64, to_datetime64


class Answer(StrEnum):
    """What a device says to its set-point."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Setpoint:
    """The schedule of one asset.

    times: beginnings of the steps, datetime64 (n,), UTC, rising; each holds until the next one,
    the last as long as the one before it (a quarter-hour where it is the only one).
    p_mw: (n,), in the sign of the asset's pandapower element; NaN where it is free.
    valid_until: from then on a device that has heard nothing newer does ``fallback_mw`` (None:
    as it likes). run_id: of the plan, None where no run stands behind it. issued_at: city time.
    """

    asset: str
    times: np.ndarray
    p_mw: np.ndarray
    valid_until: datetime | None = None
    fallback_mw: float | None = None
    run_id: int | None = None
    issued_at: datetime | None = None

    def at(self, ts: datetime) -> float | None:
        """The power asked for at ``ts``; None where the asset is free."""
        if self.valid_until is not None and ts >= self.valid_until:
            return self.fallback_mw
        at = to_datetime64(ts)
        place = int(np.searchsorted(self.times, at, side="right")) - 1
        if place < 0 or at >= self.end:
            return None
        p_mw = float(self.p_mw[place])
        return None if np.isnan(p_mw) else p_mw

    @property
    def end(self) -> np.datetime64:
        """When the last step is over; the first instant of all where there is no step."""
        if not self.times.size:
            return np.datetime64(0, "ns")
        return np.datetime64(self.times[-1] + last_step(self.times))


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer of a device to the set-point that was issued at ``issued_at``.

    by: the device, as it calls itself. reason: why it refuses, else empty.
    """

    asset: str
    issued_at: datetime
    answer: Answer
    by: str = ""
    reason: str = ""


def last_step(times: np.ndarray) -> np.timedelta64:
    """How long the last of rising ``times`` holds: as the one before it, else a quarter-hour."""
    if len(times) > 1:
        return np.timedelta64(times[-1] - times[-2])
    return np.timedelta64(QUARTER_HOUR)


def limited(setpoint: Setpoint, lifetime: timedelta) -> Setpoint:
    """``setpoint`` with a validity: ``lifetime`` from its first step on, and never beyond its last.

    Steps after that are cut off: nobody may follow them. One without steps is returned as it is.
    """
    if not setpoint.times.size:
        return setpoint
    until = min(
        from_datetime64(setpoint.times[0]) + lifetime,
        from_datetime64(setpoint.end),
    )
    kept = setpoint.times < to_datetime64(until)
    return replace(
        setpoint, times=setpoint.times[kept], p_mw=setpoint.p_mw[kept], valid_until=until
    )


def joined(before: Setpoint | None, after: Setpoint, now: datetime) -> Setpoint:
    """``after`` with what ``before`` asks until its first step.

    A device keeps one schedule only. The step under way at ``now``, and those until the new plan
    begins, would else be lost with the message that brings it; so would the step before, which a
    device that looks once a step may still be looking at. What ``before`` asks beyond its own
    validity is its fallback.
    """
    if before is None or not after.times.size:
        return after
    first = after.times[0]
    since = to_datetime64(now) - 2 * last_step(before.times)
    held: list[tuple[np.datetime64, float]] = []
    starts = [t for t in before.times if since < t < first]
    if before.valid_until is not None and to_datetime64(before.valid_until) < first:
        starts.append(to_datetime64(before.valid_until))
    for start in sorted(starts):
        asked = before.at(from_datetime64(start))
        held.append((start, np.nan if asked is None else asked))
    if not held:
        return after
    return replace(
        after,
        times=np.concatenate([np.array([t for t, _ in held], after.times.dtype), after.times]),
        p_mw=np.concatenate([np.array([p for _, p in held]), after.p_mw]),
    )
