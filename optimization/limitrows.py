"""Rows of the operating point over the columns of a model: exchange tangents and network limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from grid.sensitivity import Quantity
from optimization.model import Model
from optimization.tangents import Tangents, none, together

_NEGLIGIBLE = 1e-4
"""Effects below this share of the largest one are left out of a network row."""
_NO_EFFECT = 1e-9


@dataclass(frozen=True, eq=False)
class Limits:
    """Tangents of quantities that shall stay on one side of an aim; all (row,).

    side: +1 for an upper limit, -1 for a lower one. element: position in its table, 0 for the
    exchange. activated: +1 where all up reserve is delivered on top of the plan, -1 where all down
    reserve is, 0 for the plan itself.
    """

    tangents: Tangents
    quantity: tuple[Quantity, ...]
    element: np.ndarray
    side: np.ndarray
    aim: np.ndarray
    activated: np.ndarray

    def __len__(self) -> int:
        return len(self.side)

    def take(self, which: np.ndarray) -> Limits:
        """Some of them, by positions."""
        return Limits(
            self.tangents.take(which),
            tuple(self.quantity[i] for i in which),
            self.element[which],
            self.side[which],
            self.aim[which],
            self.activated[which],
        )

    def at(self, steps: np.ndarray) -> Limits:
        """The same at other steps, (row,)."""
        return replace(self, tangents=self.tangents.at(steps))


def no_limits(buses: int) -> Limits:
    """No limits at all, of a network with so many buses."""
    nothing, nowhere = np.zeros(0), np.zeros(0, dtype=np.int64)
    return Limits(none(buses), (), nowhere, nothing, nothing, nowhere)


def all_limits(parts: list[Limits]) -> Limits:
    """Several as one."""
    return Limits(
        together([p.tangents for p in parts]),
        tuple(q for p in parts for q in p.quantity),
        np.concatenate([p.element for p in parts]),
        np.concatenate([p.side for p in parts]),
        np.concatenate([p.aim for p in parts]),
        np.concatenate([p.activated for p in parts]),
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows ready for the solver: matrix (row, column), sides, and who acts on them.

    effect_mw: coefficient of each resource's power as the row has it, (row, asset). factor: what
    the tangent was multiplied by to make the row, (row,).
    """

    matrix: sparse.csr_array
    lower: np.ndarray
    upper: np.ndarray
    effect_mw: np.ndarray
    factor: np.ndarray


def exchange_rows(model: Model, tangents: Tangents, exact: np.ndarray, width: int) -> Rows:
    """import - export - effect of what is moved >= exchange at rest; an equation where exact.

    Losses are convex, so a tangent bounds the exchange from below and tangents at several points
    together come close to it. That only holds while energy has a price; hence ``exact``.
    width: columns the solver holds.
    """
    active, reactive = tangents.effects(model.fleet)
    right = tangents.at_rest(model.fleet)
    moved = _moved(model, tangents.steps, -active, -reactive, width)
    row = np.arange(len(tangents))
    net = sparse.csr_array((len(tangents), width))
    for columns, value in model.exchange.net:
        at = columns[tangents.steps]
        net = net + sparse.csr_array(
            (np.full(len(row), value), (row, at)), shape=(len(tangents), width)
        )
    upper = np.where(exact, right, np.inf)
    return Rows(sparse.csr_array(moved + net), right, upper, active, np.ones(len(row)))


def limit_rows(model: Model, limits: Limits, width: int) -> tuple[Rows, np.ndarray]:
    """side * effect of what is moved <= side * (aim - value at rest), scaled; and which remain.

    Where reserve is activated, what is moved includes all of it that is held in that direction.
    Each row is scaled to MW of the resource with most effect, so that its slack is energy too.
    Limits on which no resource has an effect are left out: the second value has the positions of
    those that remain. The slack is added by the caller.
    """
    tangents, fleet = limits.tangents, model.fleet
    active, reactive = tangents.effects(fleet)
    largest = _largest(model, limits)
    remain = np.flatnonzero(largest > _NO_EFFECT)
    factor = limit_factors(model, limits)[:, None]
    active, reactive = active * factor, reactive * factor
    active[np.abs(active) < _NEGLIGIBLE] = 0.0
    reactive[np.abs(reactive) < _NEGLIGIBLE] = 0.0
    upper = factor[:, 0] * (limits.aim - tangents.at_rest(fleet))
    steps = tangents.steps[remain]
    matrix = _moved(model, steps, active[remain], reactive[remain], width)
    if limits.activated.any():
        matrix = matrix + _delivered(model, limits.take(remain), active[remain], width)
    lower = np.full(len(remain), -np.inf)
    return Rows(matrix, lower, upper[remain], active[remain], factor[remain, 0]), remain


def limit_factors(model: Model, limits: Limits) -> np.ndarray:
    """What each limit is multiplied with to become a row in MW, with the sign of its side; (row,).

    The side of a row moves by minus this times what moves the limited quantity from outside.
    """
    factor: np.ndarray = limits.side / np.maximum(_largest(model, limits), _NO_EFFECT)
    return factor


def _largest(model: Model, limits: Limits) -> np.ndarray:
    """The largest effect that a resource has on each limit, (row,)."""
    tangents, fleet = limits.tangents, model.fleet
    active, reactive = tangents.effects(fleet)
    free = (fleet.up_mw + fleet.down_mw)[tangents.steps] > 0
    chosen = np.broadcast_to(fleet.has_reactive, free.shape)
    strength = np.maximum(np.abs(active) * free, np.abs(reactive) * chosen)
    largest: np.ndarray = strength.max(axis=1, initial=0.0)
    return largest


def _moved(
    model: Model, steps: np.ndarray, active: np.ndarray, reactive: np.ndarray, width: int
) -> sparse.csr_array:
    """Effects (row, asset) as coefficients of the columns that move the resources."""
    devices = model.devices
    rows, columns, values = [], [], []
    for at, sign, effect in (
        (devices.raised, 1.0, active),
        (devices.lowered, -1.0, active),
        (devices.q_raised, 1.0, reactive),
        (devices.q_lowered, -1.0, reactive),
    ):
        here = at[steps]
        row, asset = np.nonzero((here >= 0) & (effect != 0))
        rows.append(row)
        columns.append(here[row, asset])
        values.append(sign * effect[row, asset])
    return sparse.csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(steps), width),
    )


def _delivered(model: Model, limits: Limits, active: np.ndarray, width: int) -> sparse.csr_array:
    """Effects (row, asset) as coefficients of the reserve that each row has activated.

    Up reserve raises what feeds in and lowers what draws, down reserve the other way round.
    """
    fed_sign, steps = model.fleet.fed_sign, limits.tangents.steps
    matrix = sparse.csr_array((len(limits), width))
    for reserve in model.problem.reserves:
        held, _ = model.reserves[reserve.name]
        sign = reserve.direction.sign
        here = np.where((limits.activated == sign)[:, None], held[steps], -1)
        row, asset = np.nonzero((here >= 0) & (active != 0))
        value = sign * fed_sign[asset] * active[row, asset]
        matrix = matrix + sparse.csr_array(
            (value, (row, here[row, asset])), shape=(len(limits), width)
        )
    return sparse.csr_array(matrix)
