"""A basis carried over to a horizon that begins later: what was best stays the first guess."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optimization.program import Program
from optimization.solver import BASIC, LOWER

TIMELESS = frozenset(
    {"peak-valley", "starts", "highest exchange", "lowest exchange", "over peak-valley"}
)
"""Blocks whose first axis is not time, whatever their shape."""


def source_steps(by: int, old_steps: int, new_steps: int) -> np.ndarray:
    """For each step of the new horizon the step of the old one that it resembles, (time,).

    The last step stays the last, because end targets bind there; steps that are new before it
    resemble the last but one.
    """
    source = np.minimum(np.arange(new_steps) + by, max(old_steps - 2, 0))
    source[-1] = old_steps - 1
    return source


def carried(
    program: Program,
    old: Program,
    marks: tuple[np.ndarray, np.ndarray],
    steps: np.ndarray,
    assets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Marks of the columns and rows of ``program`` from those of ``old``.

    marks: of the old columns and rows. steps: ``source_steps``; assets: position of each new
    resource among the old ones, -1 where it is new. What is new stands at its lower bound, its
    rows are basic.
    """
    return (
        _carried(program.columns, old.columns, marks[0], program.shape[1], LOWER, steps, assets),
        _carried(program.rows, old.rows, marks[1], program.shape[0], BASIC, steps, assets),
    )


def _carried(
    blocks: Mapping[str, np.ndarray],
    old: Mapping[str, np.ndarray],
    marks: np.ndarray,
    size: int,
    default: int,
    steps: np.ndarray,
    assets: np.ndarray,
) -> np.ndarray:
    found = np.full(size, default, dtype=np.int8)
    for name, at in blocks.items():
        if name not in old or not at.size:
            continue
        before = old[name]
        timed = at.shape[0] == len(steps) and before.shape[0] == steps[-1] + 1
        if name in TIMELESS or not timed:
            if before.shape != at.shape:
                continue
        else:
            before = before[steps]
            if at.ndim > 1:
                if before.ndim != at.ndim or before.shape[1] <= assets.max(initial=-1):
                    continue
                before = np.where(_as(assets >= 0, at.ndim), before[:, assets], -1)
            if before.shape != at.shape:
                continue
        both = (at >= 0) & (before >= 0)
        found[at[both]] = marks[before[both]]
    return found


def _as(mask: np.ndarray, dims: int) -> np.ndarray:
    """A mask over the second axis of an array with so many dims."""
    return mask.reshape((1, -1) + (1,) * (dims - 2))
