"""What one message says, as columns: the only thing a protocol hands on.

A gateway's message holds a hundred values of which only the numbers change from one message to
the next. Names stand apart as one tuple, so that mapping looks them up once and then works on
whole arrays; a reading never becomes an object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.readings import RawReading
from core.timeaxis import to_us

Name = tuple[str, str, str | None]
"""Device and tag as on the wire, and the unit if the wire names one."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """n readings of one message; all columns have n elements.

    ts_us: microseconds since 1970-01-01 UTC, the BEGINNING of the interval. value: finite, in the
    wire's unit. quality: flags the device gave, None when all are good.
    events: what the message says besides readings (charging sessions), each with its time ``ts``,
    for the sink.
    """

    names: tuple[Name, ...]
    ts_us: list[int]
    value: list[float]
    quality: list[int] | None = None
    events: tuple[Any, ...] = ()

    @classmethod
    def of(cls, readings: Iterable[RawReading], events: tuple[Any, ...] = ()) -> Decoded:
        """The columns of ``readings``; for protocols whose messages are few."""
        rows = list(readings)
        quality = [int(r.quality) for r in rows]
        return cls(
            tuple((r.device, r.tag, r.unit) for r in rows),
            [to_us(r.ts) for r in rows],
            [r.value for r in rows],
            quality if any(quality) else None,
            events,
        )
