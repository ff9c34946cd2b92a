"""The Newton equations of the power flow: their derivatives, and their solution step by step.

power-grid-model's engine knows loads and sources only. Networks in which generators hold a
voltage (PV nodes, as in most MATPOWER cases) are solved here instead, one step after the other,
which is slower and as exact. Sensitivities use the same derivatives. Reference: MATPOWER
Technical Note 2 (Zimmerman, 2010), derivatives in polar form.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from grid.admittance import Admittance

_TOLERANCE_PU = 1e-10
_ITERATIONS = 30
_LIMIT_PU = 1e-7
"""Beyond a limit of reactive power, or off the voltage held, by no more than this is on it."""
_LONGEST_STEP = 0.6
"""Radians, or pu: a correction longer than this is cut, or a far start jumps out of reach."""


def derivatives(
    matrix: sparse.csr_matrix, voltage: np.ndarray
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Derivatives of the complex power fed into every node by all angles and all magnitudes.

    matrix: nodal admittances; voltage: complex, per unit, shape (node,). Sparse (node, node).
    """
    unit = voltage / np.abs(voltage)
    current = matrix @ voltage
    diagonal = sparse.diags_array
    by_magnitude = diagonal(voltage) @ (matrix @ diagonal(unit)).conjugate() + diagonal(
        np.conj(current) * unit
    )
    by_angle = 1j * diagonal(voltage) @ (diagonal(current) - matrix @ diagonal(voltage)).conjugate()
    return sparse.csr_matrix(by_angle), sparse.csr_matrix(by_magnitude)


def jacobian(
    angles: np.ndarray,
    sizes: np.ndarray,
    by_angle: sparse.csr_matrix,
    by_magnitude: sparse.csr_matrix,
) -> sparse.csc_matrix:
    """Active power at nodes ``angles`` and reactive at ``sizes``, by their angles and sizes."""
    return sparse.csc_matrix(
        sparse.block_array(
            [
                [by_angle[angles][:, angles].real, by_magnitude[angles][:, sizes].real],
                [by_angle[sizes][:, angles].imag, by_magnitude[sizes][:, sizes].imag],
            ]
        )
    )


def solve(model: Admittance, drawn_mva: np.ndarray) -> np.ndarray:
    """Complex voltages of each step, shape (time, node); a row of NaN where there is no solution.

    drawn_mva: complex power drawn at each node, (time, node). A step starts from the solution of
    the one before it. Where holding a voltage takes more reactive power than the generators of the
    node have, it stays at that limit and the voltage goes where it leads.
    """
    matrix = model.bus_matrix
    idle = _start(model)
    voltage = np.full(drawn_mva.shape, np.nan + 0j)
    before: np.ndarray | None = None
    for step, drawn in enumerate(drawn_mva / model.base_mva):
        found = None if before is None else _within_limits(model, matrix, drawn, before)
        if found is None:
            turned = _turned(model, matrix, drawn, idle)
            found = _within_limits(model, matrix, drawn, turned)
        if found is not None:
            voltage[step] = before = found
    return voltage


def _start(model: Admittance) -> np.ndarray:
    """Angles of the network without load (vector groups turn them), magnitudes of 1 or as held.

    Charging and shunts are left out: unloaded, they would turn the angles of long lines.
    """
    bare = replace(
        model, shunt=np.zeros_like(model.shunt), node_shunt=np.zeros_like(model.node_shunt)
    )
    matrix = bare.bus_matrix
    free, source = model.angle_nodes, model.source_nodes
    voltage = np.ones(model.nodes, dtype=complex)
    if len(free):
        columns = matrix.tocsc()[free]
        right = -(columns[:, source] @ model.source_pu)
        idle = splu(columns[:, free].tocsc()).solve(right)
        size = np.abs(idle)
        voltage[free] = np.where(size > 0, idle / np.where(size > 0, size, 1.0), 1.0)
    voltage[model.held_nodes] *= model.held_pu
    voltage[source] = model.source_pu
    return voltage


def _turned(
    model: Admittance, matrix: sparse.csr_matrix, drawn: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """``start`` with the angles that carry the active power, magnitudes unchanged (a DC step)."""
    angles = model.angle_nodes
    missing = (start * np.conj(matrix @ start) + drawn).real[angles]
    by_angle, _ = derivatives(matrix, start)
    try:
        turn = splu(by_angle[angles][:, angles].real.tocsc()).solve(missing)
    except RuntimeError:
        return start
    turned = start.copy()
    turned[angles] *= np.exp(-1j * turn)
    return turned


def _within_limits(
    model: Admittance, matrix: sparse.csr_matrix, drawn: np.ndarray, start: np.ndarray
) -> np.ndarray | None:
    """Newton's solution, repeated with generators at a limit of reactive power until none is
    beyond one.

    As in MATPOWER (runpf, ENFORCE_Q_LIMS = 1) all that are beyond are fixed at once. Unlike there,
    one that then turns out to be fixed for nothing (at its upper limit, and the voltage above what
    it holds) holds its voltage again, once in a step so that this ends.
    """
    held, least, most = (
        model.held_nodes,
        model.held_min_mvar / model.base_mva,
        model.held_max_mvar / model.base_mva,
    )
    at_most, at_least, again = (np.zeros(len(held), dtype=bool) for _ in range(3))
    voltage = start.copy()
    voltage[held] *= model.held_pu / np.abs(voltage[held])
    while True:
        fixed = at_most | at_least
        given = drawn.copy()
        given[held[fixed]] -= 1j * np.where(at_most, most, least)[fixed]
        sizes = np.union1d(model.size_nodes, held[fixed])
        found = _newton(model, matrix, given, voltage, sizes)
        if found is None:
            return None
        voltage = found
        fed = (voltage[held] * np.conj((matrix @ voltage)[held]) + drawn[held]).imag
        above = ~fixed & (fed > most + _LIMIT_PU)
        below = ~fixed & (fed < least - _LIMIT_PU)
        if above.any() or below.any():
            at_most, at_least = at_most | above, at_least | below
            continue
        apart = np.abs(voltage[held]) - model.held_pu
        needless = ((at_most & (apart > _LIMIT_PU)) | (at_least & (apart < -_LIMIT_PU))) & ~again
        if not needless.any():
            return voltage
        again |= needless
        at_most, at_least = at_most & ~needless, at_least & ~needless
        free = held[needless]
        voltage[free] *= model.held_pu[needless] / np.abs(voltage[free])


def _newton(
    model: Admittance,
    matrix: sparse.csr_matrix,
    drawn: np.ndarray,
    start: np.ndarray,
    sizes: np.ndarray,
) -> np.ndarray | None:
    angles = model.angle_nodes
    angle, size = np.angle(start), np.abs(start)
    for _ in range(_ITERATIONS):
        voltage = size * np.exp(1j * angle)
        missing = voltage * np.conj(matrix @ voltage) + drawn
        left = np.concatenate([missing.real[angles], missing.imag[sizes]])
        if not np.isfinite(left).all():
            return None
        if not len(left) or np.abs(left).max() < _TOLERANCE_PU:
            return np.asarray(voltage)
        try:
            step = -splu(jacobian(angles, sizes, *derivatives(matrix, voltage))).solve(left)
        except RuntimeError:  # scipy's word for a singular matrix
            return None
        longest = np.abs(step).max()
        if longest > _LONGEST_STEP:
            step *= _LONGEST_STEP / longest
        angle[angles] += step[: len(angles)]
        size[sizes] += step[len(angles) :]
    return None
