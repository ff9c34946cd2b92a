"""Mean and tail of costs over scenarios.

Rockafellar and Uryasev, "Optimization of conditional value-at-risk", Journal of Risk 2 (2000) 21.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RiskMeasure:
    """(1 - weight) * expected cost + weight * CVaR of the cost at ``level``.

    level: 0..1 without 1; CVaR is the mean of the dearest 1 - level, at 0 the expected cost.
    weight: 0 for the expected cost alone, 1 for the tail alone. Raises ConfigurationError.
    """

    level: float = 0.9
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.level < 1:
            raise ConfigurationError("The level of the tail must lie within 0..1, 1 left out.")
        if not 0 <= self.weight <= 1:
            raise ConfigurationError("The weight of the tail must lie within 0..1.")

    def of(self, cost: np.ndarray, probability: np.ndarray) -> float:
        """The measure of ``cost`` (scenario,) in CNY."""
        mean = float(cost @ probability)
        return (1 - self.weight) * mean + self.weight * cvar(cost, probability, self.level)


def cvar(cost: np.ndarray, probability: np.ndarray, level: float) -> float:
    """Mean of the dearest ``1 - level`` of the cases; a case at the edge counts in part."""
    order = np.argsort(-cost, kind="stable")
    tail = 1.0 - level
    before = np.cumsum(probability[order]) - probability[order]
    share = np.clip(tail - before, 0.0, probability[order])
    return float(cost[order] @ share / share.sum())
