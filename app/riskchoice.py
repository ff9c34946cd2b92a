"""How forecast errors count in a city's plans: the city's choice. Light: pages check it too.

Site.parameters may hold
- risk: ``none`` (plan on the medians), ``expected`` (least expected bill, for what the exchange may
  turn out to be), ``margin`` (limits held further inside) or ``cvar`` (several scenarios, with a
  price on the dear ones)
- risk_level: the probability with which limits hold (margin), or where the tail begins (cvar)
- risk_scenarios: how many scenarios stand for all (cvar)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.tariffs import number
from core.errors import ConfigurationError

LEVEL, SCENARIOS = 0.9, 6
DRAWN = 200
"""Scenarios drawn to be reduced."""


class RiskKind(StrEnum):
    """How forecast errors count."""

    NONE = "none"
    EXPECTED = "expected"
    MARGIN = "margin"
    CVAR = "cvar"


@dataclass(frozen=True, slots=True)
class Risk:
    """kind, and its numbers. Raises ConfigurationError for numbers out of range."""

    kind: RiskKind = RiskKind.NONE
    level: float = LEVEL
    scenarios: int = SCENARIOS

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1:
            raise ConfigurationError("The level of risk must lie within 0.5..1, 1 left out.")
        if not 1 <= self.scenarios <= DRAWN:
            raise ConfigurationError(f"A plan takes 1 to {DRAWN} scenarios.")


def chosen(name: str, level: float | None = None, scenarios: int | None = None) -> Risk:
    """The risk called ``name``; raises ConfigurationError where there is none."""
    try:
        kind = RiskKind(name)
    except ValueError as error:
        ways = ", ".join(RiskKind)
        raise ConfigurationError(f"{name!r} is no way to count risk; there are {ways}.") from error
    return Risk(
        kind, LEVEL if level is None else level, SCENARIOS if scenarios is None else scenarios
    )


def of_city(parameters: Mapping[str, Any]) -> Risk:
    """What the city's parameters ask for; the plain plan where they are silent."""
    level = number(parameters, "risk_level") if "risk_level" in parameters else None
    many = int(number(parameters, "risk_scenarios")) if "risk_scenarios" in parameters else None
    return chosen(str(parameters.get("risk", RiskKind.NONE)), level, many)
