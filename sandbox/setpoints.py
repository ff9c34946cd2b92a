"""Set-points: what the city's plan asks of a device, as it comes in over MQTT."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import timedelta

from core.errors import DecodeError, TimeError
from core.timeaxis import parse, to_us

TOPIC = "verdigrid/setpoints/+"
_LAST_STEP_US = timedelta(minutes=15) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Schedule:
    """Powers of one device from their times on; the last one holds for a quarter-hour."""

    issued_us: int
    starts_us: tuple[int, ...]
    p_mw: tuple[float, ...]

    def at(self, ts_us: int) -> float | None:
        """The power asked for at ``ts_us``; None before the first step and after the last."""
        step = bisect_right(self.starts_us, ts_us) - 1
        if step < 0 or ts_us >= self.starts_us[-1] + _LAST_STEP_US:
            return None
        return self.p_mw[step]


def decode(topic: str, payload: bytes) -> tuple[str, Schedule | None]:
    """The asset and its schedule; an empty payload, or no steps, takes the schedule back.

    Raises DecodeError for anything else than
    ``{"asset": id, "issued_at": iso, "steps": [{"ts": iso, "p_mw": x}, ...]}``.
    """
    asset = topic.rsplit("/", 1)[-1]
    if not payload:
        return asset, None
    try:
        message = json.loads(payload)
        if message["asset"] != asset:
            raise DecodeError(f"A set-point for {message['asset']!r} came on the topic {topic!r}.")
        steps = sorted((to_us(parse(s["ts"])), float(s["p_mw"])) for s in message["steps"])
        issued_us = to_us(parse(message["issued_at"]))
    except (ValueError, KeyError, TypeError, RecursionError, TimeError) as error:
        raise DecodeError(f"The set-point on {topic!r} cannot be read: {error}") from error
    if not all(math.isfinite(p_mw) for _, p_mw in steps):
        raise DecodeError(f"The set-point on {topic!r} holds a power that is no number.")
    if not steps:
        return asset, None
    return asset, Schedule(issued_us, tuple(s for s, _ in steps), tuple(p for _, p in steps))


@dataclass
class Setpoints:
    """The newest schedule of every asset that has one."""

    _schedules: dict[str, Schedule] = field(default_factory=dict)

    def take(self, topic: str, payload: bytes) -> None:
        """Keeps what came; an older schedule than the one held is passed over.

        Raises DecodeError for a message that cannot be read; what was held stays.
        """
        asset, schedule = decode(topic, payload)
        if schedule is None:
            self._schedules.pop(asset, None)
            return
        held = self._schedules.get(asset)
        if held is None or schedule.issued_us >= held.issued_us:
            self._schedules[asset] = schedule

    def at(self, asset: str, ts_us: int) -> float | None:
        """The power asked of ``asset`` at ``ts_us`` (microseconds UTC); None for no wish."""
        schedule = self._schedules.get(asset)
        return None if schedule is None else schedule.at(ts_us)

    def __len__(self) -> int:
        return len(self._schedules)
