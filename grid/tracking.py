"""Does a device follow its set-point? Measured power against what was asked, by interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

import numpy as np

from core.errors import ConfigurationError
from core.sites import AssetKind

CAPPED = frozenset({AssetKind.PV, AssetKind.WIND})
"""What is asked of these is a cap: they may give less, and often must."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a device may be off: the larger of mw and a share of its rated power, and for how
    long. Raises ConfigurationError for what is no number or not positive.
    """

    mw: float = 0.005
    percent: float = 10.0
    minutes: float = 30.0

    def __post_init__(self) -> None:
        if not all(0.0 < value < float("inf") for value in (self.mw, self.percent, self.minutes)):
            raise ConfigurationError(
                "deviation_mw, deviation_percent and deviation_minutes must be positive numbers."
            )

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Tolerance:
        """From the parameters deviation_mw, deviation_percent, deviation_minutes of a site."""
        given = {
            name: parameters[f"deviation_{name}"]
            for name in ("mw", "percent", "minutes")
            if f"deviation_{name}" in parameters
        }
        try:
            return cls(**{name: float(value) for name, value in given.items()})
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"The tolerance of set-points is none: {dict(given)}."
            ) from error

    def steps(self, resolution: timedelta) -> int:
        """How many intervals in a row must be off."""
        return max(1, ceil(timedelta(minutes=self.minutes) / resolution))

    def allowed_mw(self, rated_mw: np.ndarray) -> np.ndarray:
        """How far devices of this rated power (NaN where nobody knows it) may be off, MW."""
        share = np.nan_to_num(rated_mw) * self.percent / 100.0
        return np.asarray(np.maximum(share, self.mw))


def rated_mw(parameters: Mapping[str, Any]) -> float:
    """The rated power that an asset's parameters name; NaN where they name none."""
    for name in ("p_max_mw", "pdc0_mw", "sn_mva"):
        if name in parameters:
            return float(parameters[name])
    return float("nan")


def excess(asked_mw: np.ndarray, measured_mw: np.ndarray, capped: np.ndarray) -> np.ndarray:
    """By how much power is off what was asked, MW, >= 0; (step, asset).

    capped (asset,): what was asked is a cap (see CAPPED), so that less is no deviation. NaN where
    nothing was asked or nothing measured.
    """
    off = measured_mw - asked_mw
    return np.asarray(np.where(capped, np.maximum(off, 0.0), np.abs(off)))


def off_track(excess_mw: np.ndarray, allowed_mw: np.ndarray) -> np.ndarray:
    """Which assets do not follow: beyond the tolerance in every step; (asset,).

    excess_mw (step, asset): one step more than have to be off, oldest first. The newest counts
    where it has been measured; a reading that has not come yet must not end a deviation.
    """
    beyond = excess_mw > allowed_mw
    pending = np.isnan(excess_mw[-1])
    return np.asarray(np.where(pending, beyond[:-1].all(axis=0), beyond[1:].all(axis=0)))
