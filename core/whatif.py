"""What a what-if run changes on its copy of the city, as somebody asks for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import ConfigurationError

_NUMBERS = ("tariff_factor", "carbon_cny_per_tco2e", "pv_factor", "ev_factor")
_ELEMENTS = ("lines", "trafos", "open_switches", "close_switches")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different; () and None leave it as it is.

    tariff_factor: the import tariff times this. pv_factor, ev_factor: so many times the PV, the
    charging of vehicles. lines, trafos: out of service; switches: turned; all by their number in
    the network model. Raises ConfigurationError naming a number that is of no use.
    """

    tariff_factor: float | None = None
    carbon_cny_per_tco2e: float | None = None
    pv_factor: float | None = None
    ev_factor: float | None = None
    lines: tuple[int, ...] = ()
    trafos: tuple[int, ...] = ()
    open_switches: tuple[int, ...] = ()
    close_switches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ConfigurationError(f"{name} must be a number from 0 on, not {value!r}.")
        for name in _ELEMENTS:
            numbers = getattr(self, name)
            if not isinstance(numbers, tuple) or not all(type(n) is int for n in numbers):
                raise ConfigurationError(f"{name} must be numbers of elements, not {numbers!r}.")

    def stored(self) -> dict[str, Any]:
        """Only what is different, as JSON."""
        return {name: value for name, value in asdict(self).items() if value not in ((), None)}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Changes:
        """What ``stored`` gave; raises ConfigurationError for what is no change."""
        named: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in stored.items()
        }
        try:
            return cls(**named)
        except TypeError as error:
            raise ConfigurationError(f"These are no changes: {dict(stored)!r}.") from error


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
