"""What is uncertain about a problem: quantile forecasts of the powers nobody decides.

A problem stands on one expectation. An Outlook says how far loads and generators may lie from it,
and ``realised`` makes the problem that stands on another course of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from scipy.special import ndtri

from core.errors import ConfigurationError
from grid.envelope import Envelope
from grid.powerflow import values as powers_of
from optimization.devices import curtails
from optimization.fleet import TABLES
from optimization.problem import DispatchProblem

MEMORY_H = 6.0
"""Time after which the correlation of errors has fallen to 1/e, where nothing is said."""
WITHIN = 0.7
"""Rank correlation of errors within a group, where nothing is said: one sky, one working day."""


@dataclass(frozen=True, eq=False)
class Dependence:
    """How forecast errors hang together; ranks, so that it holds for any distribution.

    memory_h: errors dt apart in time correlate with exp(-dt / memory_h). between: rank
    (Spearman) correlation of the groups, by pairs of names; 0 for pairs not named. within: rank
    correlation of two series of one group at one time, 0..1. Raises ConfigurationError for values
    out of range.
    """

    memory_h: float = MEMORY_H
    within: float = WITHIN
    between: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.memory_h > 0:
            raise ConfigurationError("The memory of forecast errors must be longer than 0 h.")
        if not 0 <= self.within <= 1:
            raise ConfigurationError("The correlation within a group must lie within 0..1.")
        if any(not -1 <= r <= 1 for r in self.between.values()):
            raise ConfigurationError("The correlations of groups must lie within -1..1.")

    def in_time(self, steps: int, dt_h: float) -> np.ndarray:
        """Correlation of the normal scores of one series at two steps, (time, time)."""
        at = np.arange(steps) * dt_h
        decay: np.ndarray = np.exp(-np.abs(at[:, None] - at[None, :]) / self.memory_h)
        return decay

    def of_groups(self, groups: Sequence[str]) -> np.ndarray:
        """Correlation of the normal scores of the groups, (group, group), positive semidefinite.

        Raises ConfigurationError when the pairs contradict each other.
        """
        matrix = np.eye(len(groups))
        for (a, b), rank in self.between.items():
            if a in groups and b in groups and a != b:
                i, j = groups.index(a), groups.index(b)
                matrix[i, j] = matrix[j, i] = normal_score_correlation(rank)
        if len(groups) and np.linalg.eigvalsh(matrix)[0] < -1e-9:
            raise ConfigurationError("The correlations of the groups contradict each other.")
        return matrix


def normal_score_correlation(rank: float) -> float:
    """Correlation of two normal variables whose ranks correlate with ``rank``.

    2 sin(pi rank / 6) (Pearson 1907; Kruskal, J. Am. Stat. Assoc. 53 (1958) 814).
    """
    return float(2.0 * np.sin(np.pi * rank / 6.0))


@dataclass(frozen=True, eq=False)
class Outlook:
    """Quantile forecasts of elements of the network, in MW and in the sign of their table.

    levels: within 0..1 and rising, (quantile,). values: (time, series, quantile); crossing
    quantiles are put in order (Chernozhukov et al., Econometrica 78 (2010) 1093). table, element:
    which load or sgen each series is, its pandapower index. group: the name of what its errors go
    with, such as ``pv``. lower, upper: what its power cannot leave, (series,).
    Raises ConfigurationError for shapes that do not fit, numbers that are none, bounds that cross.
    """

    levels: np.ndarray
    values: np.ndarray
    table: tuple[str, ...]
    element: tuple[int, ...]
    group: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    dependence: Dependence = field(default_factory=Dependence)

    def __post_init__(self) -> None:
        count = len(self.table)
        levels = np.asarray(self.levels, dtype=float)
        if levels.ndim != 1 or not len(levels) or np.any(np.diff(levels) <= 0):
            raise ConfigurationError("The levels of the quantiles must rise.")
        if levels[0] <= 0 or levels[-1] >= 1:
            raise ConfigurationError("The levels of the quantiles must lie within 0..1.")
        shape = np.shape(self.values)
        if len(shape) != 3 or shape[1:] != (count, len(levels)):
            raise ConfigurationError("The quantiles must have the shape (time, series, quantile).")
        if not np.isfinite(self.values).all():
            raise ConfigurationError("The quantiles hold values that are no numbers.")
        names = (self.element, self.group, self.lower, self.upper)
        if any(len(each) != count for each in names):
            raise ConfigurationError("Every series of an outlook needs element, group and bounds.")
        if set(self.table) - {"load", "sgen"}:
            raise ConfigurationError("Only loads and sgens are forecast.")
        if len(set(zip(self.table, self.element, strict=True))) < count:
            raise ConfigurationError("A load or sgen stands in the outlook twice.")
        if np.any(np.asarray(self.lower) > np.asarray(self.upper)):
            raise ConfigurationError("The bounds of a forecast series cross.")
        between = (np.asarray(self.lower)[:, None], np.asarray(self.upper)[:, None])
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "values", np.clip(np.sort(self.values, axis=-1), *between))

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(self.values.shape[0])

    @property
    def size(self) -> int:
        """The number of series."""
        return len(self.table)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, each once."""
        return tuple(dict.fromkeys(self.group))

    @property
    def group_of(self) -> np.ndarray:
        """The position of the group of each series, (series,)."""
        names = self.groups
        return np.array([names.index(g) for g in self.group], dtype=np.int64)

    def at_score(self, score: np.ndarray) -> np.ndarray:
        """Values at standard normal scores ``score`` (..., time, series), the same shape.

        Between the quantiles the value is linear in the score, beyond the outermost it goes on
        with the slope of the outer segment (normal tails) up to lower and upper; a single
        quantile is a forecast without error.
        """
        known = ndtri(self.levels)
        if len(known) == 1:
            return np.broadcast_to(self.values[..., 0], score.shape).copy()
        segment = np.clip(np.searchsorted(known, score, side="right") - 1, 0, len(known) - 2)
        t, s = np.ogrid[: self.steps, : self.size]
        low, high = self.values[t, s, segment], self.values[t, s, segment + 1]
        share = (score - known[segment]) / (known[segment + 1] - known[segment])
        value: np.ndarray = np.clip(low + share * (high - low), self.lower, self.upper)
        return value

    def at_level(self, level: float | np.ndarray) -> np.ndarray:
        """Quantiles at ``level``, a number or one for each series; (time, series)."""
        score = ndtri(np.broadcast_to(np.asarray(level, dtype=float), (self.steps, self.size)))
        return self.at_score(score)

    def sigma_mw(self) -> np.ndarray:
        """Standard deviation of the normal distribution with the outermost quantiles, (t, s)."""
        known = ndtri(self.levels)
        if len(known) == 1:
            return np.zeros((self.steps, self.size))
        spread: np.ndarray = (self.values[..., -1] - self.values[..., 0]) / (known[-1] - known[0])
        return spread


def realised(problem: DispatchProblem, outlook: Outlook, power_mw: np.ndarray) -> DispatchProblem:
    """The problem when the series of ``outlook`` take this course, (time, series).

    Loads keep their power factor. What can be curtailed has this much to curtail; where an
    envelope keeps a least power it stays. Other resources, whose envelopes were made of a forecast
    too (a car's demand), are as they were. Raises ConfigurationError where steps or elements do
    not fit the problem.
    """
    if outlook.steps != problem.steps or np.shape(power_mw) != (outlook.steps, outlook.size):
        raise ConfigurationError("The outlook has other steps or series than asked for.")
    powers = _powers(problem)
    for table in ("load", "sgen"):
        which = np.array([t == table for t in outlook.table], dtype=bool)
        wanted = [e for e, w in zip(outlook.element, which, strict=True) if w]
        at = _positions(problem.network.ids(table), wanted, table)
        active, reactive = powers[f"{table}_p_mw"], powers[f"{table}_q_mvar"]
        before, after = active[:, at], power_mw[:, which]
        ratio = np.divide(after, before, out=np.ones_like(after), where=np.abs(before) > 1e-9)
        reactive[:, at] *= ratio
        active[:, at] = after
    injections = xr.Dataset(
        {name: (("time", name.split("_")[0]), array) for name, array in powers.items()},
        coords={"time": problem.times, **{t: problem.network.ids(t) for t in TABLES}},
    )
    place = {key: i for i, key in enumerate(zip(outlook.table, outlook.element, strict=True))}
    envelopes = tuple(
        _available(e, power_mw[:, place[e.element, e.element_index]])
        if curtails(e) and (e.element, e.element_index) in place
        else e
        for e in problem.envelopes
    )
    return replace(problem, injections=injections, envelopes=envelopes)


def _powers(problem: DispatchProblem) -> dict[str, np.ndarray]:
    """All powers of the uncontrolled day, whole tables, (time, element); copies."""
    return {
        f"{table}_{column}": np.array(
            powers_of(problem.network, problem.injections, table, column), dtype=float
        )
        for table in TABLES
        for column in ("p_mw", "q_mvar")
    }


def _available(envelope: Envelope, power_mw: np.ndarray) -> Envelope:
    """A curtailable resource that could give ``power_mw``, (time,)."""
    least = np.minimum(envelope.p_min_mw, power_mw)
    return replace(envelope, base_mw=power_mw, down_mw=power_mw - least)


def _positions(ids: np.ndarray, wanted: list[int], table: str) -> np.ndarray:
    place = {int(index): i for i, index in enumerate(ids)}
    missing = [e for e in wanted if e not in place]
    if missing:
        raise ConfigurationError(f"The network has no {table} {missing[0]} of the outlook.")
    return np.array([place[e] for e in wanted], dtype=np.int64)
