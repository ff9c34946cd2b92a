"""Forecast quantiles as scenarios: courses of all series together, and few that stand for many.

Pinson et al., "From probabilistic forecasts to statistical scenarios of short-term wind power
production", Wind Energy 12 (2009) 51: the ranks of the errors follow a Gaussian copula, here with
an exponential covariance in time, and each is read off the quantiles of its step. Across series
one factor for each group carries what its members share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import ConfigurationError
from optimization.outlook import Outlook, normal_score_correlation


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Courses with their probabilities: power_mw (scenario, time, series), probability sums to 1.

    spread_mw: mean distance of what was drawn from the courses that stand for it, root mean square
    over time and series; 0 where nothing was reduced.
    """

    power_mw: np.ndarray
    probability: np.ndarray
    spread_mw: float = 0.0

    def __len__(self) -> int:
        return len(self.probability)

    @property
    def mean_mw(self) -> np.ndarray:
        """Expected course, (time, series)."""
        mean: np.ndarray = np.einsum("k,kts->ts", self.probability, self.power_mw)
        return mean


def draw(outlook: Outlook, count: int, rng: np.random.Generator, *, dt_h: float) -> Scenarios:
    """``count`` equally likely courses. Raises ConfigurationError for a count below 1.

    score = sqrt(w) * factor of the group + sqrt(1 - w) * own, each with exp(-dt / memory) in time;
    the factors of the groups correlate as Dependence says.
    """
    if count < 1:
        raise ConfigurationError("At least one scenario must be drawn.")
    dependence = outlook.dependence
    in_time = _root(dependence.in_time(outlook.steps, dt_h))
    of_groups = _root(dependence.of_groups(outlook.groups))
    shape = (count, outlook.steps)
    factor = in_time @ rng.standard_normal((*shape, len(of_groups))) @ of_groups.T
    own = in_time @ rng.standard_normal((*shape, outlook.size))
    shared = normal_score_correlation(dependence.within)
    score = np.sqrt(shared) * factor[..., outlook.group_of] + np.sqrt(1.0 - shared) * own
    return Scenarios(outlook.at_score(score), np.full(count, 1.0 / count))


def reduce(drawn: Scenarios, count: int) -> Scenarios:
    """The ``count`` courses that stand best for all, with the probability of what each stands for.

    Fast forward selection (Heitsch and Roemisch, "Scenario reduction algorithms in stochastic
    programming", Comput. Optim. Appl. 24 (2003) 187): one course after the other is taken which
    leaves the least expected distance; what is left out goes to the nearest. The mean moves by no
    more than that distance, ``spread_mw``.
    """
    size = len(drawn)
    if not 0 < count <= size:
        raise ConfigurationError(f"{count} of {size} scenarios cannot be kept.")
    points = drawn.power_mw.reshape(size, -1)
    distance = _distances(points)
    nearest = np.full(size, np.inf)
    kept: list[int] = []
    for _ in range(count):
        left = drawn.probability @ np.minimum(nearest[:, None], distance)
        left[kept] = np.inf
        kept.append(int(left.argmin()))
        nearest = np.minimum(nearest, distance[:, kept[-1]])
    owner = distance[:, kept].argmin(axis=1)
    owner[kept] = np.arange(count)
    probability = np.bincount(owner, weights=drawn.probability, minlength=count)
    return Scenarios(
        drawn.power_mw[kept],
        probability / probability.sum(),
        float(drawn.probability @ nearest) / np.sqrt(max(points.shape[1], 1)),
    )


def scenarios(
    outlook: Outlook, count: int, rng: np.random.Generator, *, dt_h: float, drawn: int = 200
) -> Scenarios:
    """``count`` courses that stand for ``drawn`` drawn ones."""
    return reduce(draw(outlook, max(drawn, count), rng, dt_h=dt_h), count)


def _distances(points: np.ndarray) -> np.ndarray:
    """Euclidean distances of all pairs, (point, point)."""
    square = np.einsum("kn,kn->k", points, points)
    between = square[:, None] + square[None, :] - 2.0 * points @ points.T
    np.fill_diagonal(between, 0.0)
    distance: np.ndarray = np.sqrt(np.maximum(between, 0.0))
    return distance


def _root(covariance: np.ndarray) -> np.ndarray:
    """L with L @ L.T = covariance, which need only be semidefinite."""
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
