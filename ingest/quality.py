"""Quality flags: what the value and its time alone give away. The value is always kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from core.readings import Quality
from core.timeaxis import MICROSECOND


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far a reading's time may lie from the city time of its arrival.

    Devices without a good clock drift by minutes: more than ``ahead`` into the future is a wrong
    clock. A reading older than ``behind`` came late, after its hour was reported.
    """

    ahead: timedelta = timedelta(minutes=5)
    behind: timedelta = timedelta(hours=2)


STANDARD = Tolerances()


def flag(
    value: float, minimum: float, maximum: float, age_us: int, tolerances: Tolerances
) -> Quality:
    """Flags of one reading: OUT_OF_RANGE, CLOCK_SKEW, LATE.

    value, minimum, maximum: in the variable's unit; the bounds themselves are in range.
    age_us: city time of arrival minus the reading's time, in microseconds.
    """
    found = Quality.GOOD if minimum <= value <= maximum else Quality.OUT_OF_RANGE
    if age_us < -(tolerances.ahead // MICROSECOND):
        found |= Quality.CLOCK_SKEW
    elif age_us > tolerances.behind // MICROSECOND:
        found |= Quality.LATE
    return found


def flags(value: np.ndarray, minimum: np.ndarray, maximum: np.ndarray) -> np.ndarray:
    """OUT_OF_RANGE for n readings of a file, int16 (n,); a file has no time of arrival."""
    return np.where((value < minimum) | (value > maximum), Quality.OUT_OF_RANGE, 0).astype(np.int16)
