"""City time: real time for a real city, an adjustable pace for a simulated one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.errors import ConfigurationError
from core.timeaxis import utc


@dataclass(frozen=True, slots=True)
class CityClock:
    """Maps wall time to city time: ``origin_city`` at ``origin_wall``, then ``pace`` times as fast.

    A real city has ``pace`` 1 and both origins equal. Raises ConfigurationError for a pace
    that is not positive, TimeError for a naive origin.
    """

    origin_wall: datetime
    origin_city: datetime
    pace: float = 1.0

    def __post_init__(self) -> None:
        utc(self.origin_wall)
        utc(self.origin_city)
        if not 0.0 < self.pace <= 100_000.0:
            raise ConfigurationError(
                f"The pace of the city clock must be positive, not {self.pace}."
            )

    def at(self, wall: datetime) -> datetime:
        """City time at the wall time ``wall``."""
        return self.origin_city + (utc(wall) - self.origin_wall) * self.pace

    def wall(self, city: datetime) -> datetime:
        """Wall time at which the city's clocks show ``city``."""
        return self.origin_wall + (utc(city) - self.origin_city) / self.pace
