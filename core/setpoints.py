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
    q_mvar: (n,), in the same sign, NaN where it is free; None for an asset of whose reactive power
    nothing is asked. From ``valid_until`` on it is 0.
    """

    asset: str
    times: np.ndarray
    p_mw: np.ndarray
    valid_until: datetime | None = None
    fallback_mw: float | None = None
    run_id: int | None = None
    issued_at: datetime | None = None
    q_mvar: np.ndarray | None = None

    def at(self, ts: datetime) -> float | None:
        """The power asked for at ``ts``; None where the asset is free."""
        return self.fallback_mw if self._over(ts) else self._value(self.p_mw, ts)

    def q_at(self, ts: datetime) -> float | None:
        """The reactive power asked for at ``ts``; None where the asset is free."""
        if self.q_mvar is None:
            return None
        return 0.0 if self._over(ts) else self._value(self.q_mvar, ts)

    def _over(self, ts: datetime) -> bool:
        return self.valid_until is not None and ts >= self.valid_until

    def _value(self, values: np.ndarray, ts: datetime) -> float | None:
        at = to_datetime64(ts)
        place = int(np.searchsorted(self.times, at, side="right")) - 1
        if place < 0 or at >= self.end:
            return None
        value = float(values[place])
        return None if np.isnan(value) else value

    @property
    def end(self) -> np.datetime64:
        """When the last step is over; the first instant of all where there is no step."""
        if not self.times.size:
            return np.datetime64(0, "ns")
        return np.datetime64(self.times[-1] + last_step(self.times))


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer of a device to the set-point that was issued at ``issued_at``.

    by: the device, as it calls itself. reason: why it refuses, else empty. q_refused: whether it
    leaves the reactive power out, whatever it does about the active one.
    """

    asset: str
    issued_at: datetime
    answer: Answer
    by: str = ""
    reason: str = ""
    q_refused: bool = False


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
        setpoint,
        times=setpoint.times[kept],
        p_mw=setpoint.p_mw[kept],
        q_mvar=None if setpoint.q_mvar is None else setpoint.q_mvar[kept],
        valid_until=until,
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
    starts = [t for t in before.times if since < t < first]
    if before.valid_until is not None and to_datetime64(before.valid_until) < first:
        starts.append(to_datetime64(before.valid_until))
    if not starts:
        return after
    held = [from_datetime64(start) for start in sorted(starts)]
    times = np.array(sorted(starts), after.times.dtype)
    p_mw = np.array([_number(before.at(ts)) for ts in held])
    q_mvar = np.array([_number(before.q_at(ts)) for ts in held])
    return replace(
        after,
        times=np.concatenate([times, after.times]),
        p_mw=np.concatenate([p_mw, after.p_mw]),
        q_mvar=None if after.q_mvar is None else np.concatenate([q_mvar, after.q_mvar]),
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else value
