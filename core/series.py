"""Series: where readings belong. The key is ``site/asset/variable``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from core.errors import ConfigurationError
from core.timeaxis import zone
from core.variables import VARIABLES, variable

_PART = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")


class SeriesKind(StrEnum):
    """How the values of a series come about."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    FORECAST = "forecast"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Series:
    """A series of one variable at one asset.

    resolution: the length of the interval a value stands for; None for instants.
    owner: who may see it beyond the operator; empty for the city.
    simulated: whether the values come from a sandbox; shown wherever they are shown.
    Raises ConfigurationError for an unknown variable, a malformed key part or an unknown zone.
    """

    site: str
    asset: str
    variable: str
    resolution: timedelta | None = None
    kind: SeriesKind = SeriesKind.MEASURED
    owner: str = ""
    timezone: str = "UTC"
    simulated: bool = False

    def __post_init__(self) -> None:
        variable(self.variable)
        zone(self.timezone)
        for part in (self.site, self.asset):
            if not _PART.match(part):
                raise ConfigurationError(
                    f"{part!r} cannot be part of a series key: only a-z, 0-9, '_', '-' and '.'."
                )

    @property
    def key(self) -> str:
        """``site/asset/variable``; forecast and schedule series carry their kind behind it."""
        plain = f"{self.site}/{self.asset}/{self.variable}"
        return plain if self.kind is SeriesKind.MEASURED else f"{plain}@{self.kind}"

    @property
    def unit(self) -> str:
        """The unit of every value of the series."""
        return VARIABLES[self.variable].unit
