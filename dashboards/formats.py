"""Numbers and times as people read them: sensible digits, thin spaces, the city's own clock."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

THIN = "\u2009"
MINUS = "\u2212"
NOTHING = "\u2013"


def number(value: float | None, digits: int | None = None) -> str:
    """``value`` with ``digits`` decimals, or as many as three significant figures ask for.

    Nothing known (None, NaN) is a dash; thousands are parted by thin spaces.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    text = f"{abs(value):,.{digits}f}".replace(",", THIN)
    negative = value < 0 and any(c not in f"0.{THIN}" for c in text)
    return f"{MINUS}{text}" if negative else text


UNITS = MappingProxyType(
    {"1": "", "degC": "°C", "m3": "m³", "m3/h": "m³/h", "W/m2": "W/m²", "deg": "°"}
    | {f"{part}/m3": f"{part}/m³" for part in ("µg", "mg")}
)
"""Units that people write in another way than our vocabulary spells them."""


def unit(name: str) -> str:
    """A unit of core/variables.py as it stands on a page; nothing for a pure number."""
    return UNITS.get(name, name)


def signed(value: float | None, digits: int | None = None) -> str:
    """A change: always with its sign."""
    text = number(value, digits)
    if text == NOTHING or text.startswith(MINUS) or not any(c in "123456789" for c in text):
        return text
    return f"+{text}"


def clock(ts: datetime, tz: ZoneInfo) -> str:
    """Hours and minutes in the city's zone."""
    return f"{ts.astimezone(tz):%H:%M}"


def moment(ts: datetime, tz: ZoneInfo) -> str:
    """Date and time in the city's zone, as tables show it."""
    return f"{ts.astimezone(tz):%Y-%m-%d %H:%M}"


def offset(ts: datetime, tz: ZoneInfo) -> str:
    """The zone as people write it: UTC+8, UTC+5:30."""
    delta = ts.astimezone(tz).utcoffset() or timedelta()
    minutes = int(delta.total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "+" if minutes >= 0 else MINUS
    return f"UTC{sign}{hours}" + (f":{rest:02d}" if rest else "")


def local_axis(times: np.ndarray, tz: ZoneInfo) -> np.ndarray:
    """UTC datetime64 labels as the city's wall-clock labels, for a chart's axis."""
    index = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(tz).tz_localize(None)
    return index.to_numpy()


def local_label(ts: datetime, tz: ZoneInfo) -> str:
    """One wall-clock label on the axis of ``local_axis``."""
    return ts.astimezone(tz).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
