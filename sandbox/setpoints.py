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
ANSWERS = "verdigrid/acknowledgements"
_LAST_STEP_US = timedelta(minutes=15) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Schedule:
    """Powers of one device from their times on, None where it is free; the last one holds for a
    quarter-hour. From ``valid_until_us`` on the device does ``fallback_mw`` (None: as it likes).
    """

    issued_us: int
    starts_us: tuple[int, ...]
    p_mw: tuple[float | None, ...]
    valid_until_us: int | None = None
    fallback_mw: float | None = None
    issued_at: str = ""
    """As it came, for the answer."""
    with_q: bool = False
    """Whether it asks for reactive power, which no device of the sandbox gives."""

    def at(self, ts_us: int) -> float | None:
        """The power asked for at ``ts_us``; None before the first step and after the last."""
        if self.valid_until_us is not None and ts_us >= self.valid_until_us:
            return self.fallback_mw
        step = bisect_right(self.starts_us, ts_us) - 1
        if step < 0 or ts_us >= self.starts_us[-1] + _LAST_STEP_US:
            return None
        return self.p_mw[step]


def decode(topic: str, payload: bytes) -> tuple[str, Schedule | None]:
    """The asset and its schedule; an empty payload, or no steps, takes the schedule back.

    Raises DecodeError for anything else than ``{"asset": id, "issued_at": iso, "valid_until": iso,
    "steps": [{"ts": iso, "p_mw": x or null}, ...], "fallback": {"p_mw": x or null}}``; valid_until
    and fallback may be missing.
    """
    asset = topic.rsplit("/", 1)[-1]
    if not payload:
        return asset, None
    try:
        message = json.loads(payload)
        if message["asset"] != asset:
            raise DecodeError(f"A set-point for {message['asset']!r} came on the topic {topic!r}.")
        steps = sorted(
            ((to_us(parse(s["ts"])), _power(s["p_mw"])) for s in message["steps"]),
            key=lambda step: step[0],
        )
        until = message.get("valid_until")
        schedule = Schedule(
            to_us(parse(message["issued_at"])),
            tuple(start for start, _ in steps),
            tuple(p_mw for _, p_mw in steps),
            None if until is None else to_us(parse(until)),
            _power((message.get("fallback") or {}).get("p_mw")),
            message["issued_at"],
            any(s.get("q_mvar") is not None for s in message["steps"]),
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        TimeError,
    ) as error:
        raise DecodeError(f"The set-point on {topic!r} cannot be read: {error}") from error
    if not all(p is None or math.isfinite(p) for p in (*schedule.p_mw, schedule.fallback_mw)):
        raise DecodeError(f"The set-point on {topic!r} holds a power that is no number.")
    return asset, schedule if steps else None


def _power(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def answer(
    asset: str, issued_at: str, reason: str = "", *, with_q: bool = False
) -> tuple[str, bytes]:
    """Topic and payload of what the device of ``asset`` answers; a reason refuses.

    with_q: reactive power was asked for, which is left out.
    """
    message = {
        "asset": asset,
        "issued_at": issued_at,
        "answer": "refused" if reason else "accepted",
        "by": f"sandbox {asset}",
        "reason": reason[:200],
        **({"q_mvar": "refused"} if with_q else {}),
    }
    return f"{ANSWERS}/{asset}", json.dumps(message).encode()


def refusal(topic: str, payload: bytes, reason: str) -> tuple[str, bytes] | None:
    """The answer to a set-point that cannot be followed; None where it names no time of issue."""
    try:
        issued_at = json.loads(payload)["issued_at"]
        parse(issued_at)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TimeError):
        return None
    return answer(topic.rsplit("/", 1)[-1], issued_at, reason)


@dataclass
class Setpoints:
    """The newest schedule of every asset that has one."""

    _schedules: dict[str, Schedule] = field(default_factory=dict)

    def take(self, topic: str, payload: bytes) -> tuple[str, bytes] | None:
        """Keeps what came; an older schedule than the one held is passed over.

        The topic and payload of the answer, None where there is nothing to answer.
        Raises DecodeError for a message that cannot be read; what was held stays.
        """
        asset, schedule = decode(topic, payload)
        if schedule is None:
            self._schedules.pop(asset, None)
            return None
        held = self._schedules.get(asset)
        if held is None or schedule.issued_us >= held.issued_us:
            self._schedules[asset] = schedule
        return answer(asset, schedule.issued_at, with_q=schedule.with_q)

    def at(self, asset: str, ts_us: int) -> float | None:
        """The power asked of ``asset`` at ``ts_us`` (microseconds UTC); None for no wish."""
        schedule = self._schedules.get(asset)
        return None if schedule is None else schedule.at(ts_us)

    def __len__(self) -> int:
        return len(self._schedules)
