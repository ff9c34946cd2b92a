"""Linear and mixed-integer programs as arrays, put together in named blocks.

    min  cost @ x    s.t.  row_lower <= A x <= row_upper,  lower <= x <= upper,  some x integer

A block is a set of columns or rows of one meaning, such as ``raised`` or ``energy``. Its index map
has the shape of what it is about, (time, asset) for most, and holds the position of each column or
row in the program, -1 where there is none. Everything is added block by block in numpy; nothing
here walks over devices and steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from scipy import sparse

from core.errors import ConfigurationError

INFINITE = float("inf")
_Values = np.ndarray | float


@dataclass(frozen=True, eq=False)
class Program:
    """A program in minimisation form; arrays of shape (column,) and (row,).

    matrix: CSC, (row, column). columns, rows: index maps by the name of their block.
    """

    cost: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    integer: np.ndarray
    row_lower: np.ndarray
    row_upper: np.ndarray
    matrix: sparse.csc_array
    columns: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and of columns."""
        return len(self.row_lower), len(self.cost)


@dataclass(eq=False)
class Builder:
    """Collects blocks and entries; ``program()`` makes a Program of them.

    Places are numbered along the first axis last: all steps of one resource lie side by side.
    """

    offset: float = 0.0
    _columns: dict[str, np.ndarray] = field(default_factory=dict)
    _rows: dict[str, np.ndarray] = field(default_factory=dict)
    _column_parts: list[np.ndarray] = field(default_factory=list)
    _row_parts: list[np.ndarray] = field(default_factory=list)
    _entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    _more_cost: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _more_side: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _column_count: int = 0
    _row_count: int = 0

    def columns(
        self,
        name: str,
        exists: np.ndarray,
        *,
        lower: _Values = 0.0,
        upper: _Values = INFINITE,
        cost: _Values = 0.0,
        integer: bool = False,
    ) -> np.ndarray:
        """A block of columns where ``exists`` holds; the rest broadcasts. Returns the index map.

        Raises ConfigurationError when the name is taken.
        """
        self._free(name, self._columns)
        at = _numbered(exists, self._column_count)
        values = [_taken(v, exists) for v in (cost, lower, upper, float(integer))]
        self._column_parts.append(np.vstack(values))
        self._column_count += values[0].size
        self._columns[name] = at
        return at

    def rows(
        self,
        name: str,
        exists: np.ndarray,
        *,
        lower: _Values = -INFINITE,
        upper: _Values = INFINITE,
    ) -> np.ndarray:
        """A block of rows where ``exists`` holds; returns the index map, as ``columns`` does."""
        self._free(name, self._rows)
        at = _numbered(exists, self._row_count)
        values = [_taken(v, exists) for v in (lower, upper)]
        self._row_parts.append(np.vstack(values))
        self._row_count += values[0].size
        self._rows[name] = at
        return at

    def entries(self, rows: np.ndarray, columns: np.ndarray, values: _Values) -> None:
        """Coefficients at (rows, columns); all broadcast, index -1 on either side drops one.

        Entries at the same place add up.
        """
        rows, columns, filled = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=float))
        used = (rows >= 0) & (columns >= 0) & (filled != 0)
        self._entries.append((rows[used], columns[used], filled[used]))

    def add_cost(self, columns: np.ndarray, cost: _Values) -> None:
        """More cost on columns that exist already; -1 drops one."""
        columns, filled = np.broadcast_arrays(columns, np.asarray(cost, dtype=float))
        used = columns >= 0
        self._more_cost.append((columns[used], filled[used]))

    def add_side(self, rows: np.ndarray, more: _Values) -> None:
        """More on the upper side of rows that exist already; -1 drops one."""
        rows, filled = np.broadcast_arrays(rows, np.asarray(more, dtype=float))
        used = rows >= 0
        self._more_side.append((rows[used], filled[used]))

    def program(self) -> Program:
        """Everything collected so far as one program."""
        cost, lower, upper, integer = _side_by_side(self._column_parts, 4)
        for columns, more in self._more_cost:
            np.add.at(cost, columns, more)
        row_lower, row_upper = _side_by_side(self._row_parts, 2)
        for rows, more in self._more_side:
            np.add.at(row_upper, rows, more)
        empty = (np.zeros(0, dtype=np.int64),) * 2 + (np.zeros(0),)
        row, column, value = (
            np.concatenate(part) for part in zip(*(self._entries or [empty]), strict=True)
        )
        shape = (self._row_count, self._column_count)
        matrix = sparse.csc_array(sparse.coo_array((value, (row, column)), shape=shape))
        return Program(
            cost=cost,
            lower=lower,
            upper=upper,
            integer=integer > 0,
            row_lower=row_lower,
            row_upper=row_upper,
            matrix=matrix,
            columns=MappingProxyType(dict(self._columns)),
            rows=MappingProxyType(dict(self._rows)),
            offset=self.offset,
        )

    def _free(self, name: str, taken: Mapping[str, np.ndarray]) -> None:
        if name in taken:
            raise ConfigurationError(f"The program has a block {name!r} already.")


def joined(programs: Mapping[str, Program]) -> Program:
    """Programs side by side, block-diagonal; blocks are called ``prefix/name``.

    For copies that share nothing yet, such as scenarios; rows that tie them together are added
    to the result by the solver.
    """
    parts = list(programs.values())
    column_at = np.cumsum([0, *[p.shape[1] for p in parts]])
    row_at = np.cumsum([0, *[p.shape[0] for p in parts]])
    columns: dict[str, np.ndarray] = {}
    rows: dict[str, np.ndarray] = {}
    for i, (prefix, program) in enumerate(programs.items()):
        for name, at in program.columns.items():
            columns[f"{prefix}/{name}"] = shifted(at, int(column_at[i]))
        for name, at in program.rows.items():
            rows[f"{prefix}/{name}"] = shifted(at, int(row_at[i]))
    return Program(
        cost=np.concatenate([p.cost for p in parts]),
        lower=np.concatenate([p.lower for p in parts]),
        upper=np.concatenate([p.upper for p in parts]),
        integer=np.concatenate([p.integer for p in parts]),
        row_lower=np.concatenate([p.row_lower for p in parts]),
        row_upper=np.concatenate([p.row_upper for p in parts]),
        matrix=sparse.csc_array(sparse.block_diag([p.matrix for p in parts])),
        columns=MappingProxyType(columns),
        rows=MappingProxyType(rows),
        offset=sum(p.offset for p in parts),
    )


def shifted(at: np.ndarray, by: int) -> np.ndarray:
    """An index map moved by ``by`` places; -1 stays."""
    return np.where(at >= 0, at + by, -1)


def spread(at: np.ndarray, values: np.ndarray, missing: float) -> np.ndarray:
    """``values`` of a program in the shape of an index map; ``missing`` where there is none."""
    if not values.size:
        return np.full(at.shape, missing)
    return np.where(at >= 0, values[at], missing)


def _numbered(exists: np.ndarray, first: int) -> np.ndarray:
    exists = np.asarray(exists, dtype=bool)
    at = np.full(exists.shape, -1, dtype=np.int64)
    at.T[exists.T] = first + np.arange(int(exists.sum()))
    return at


def _taken(values: _Values, exists: np.ndarray) -> np.ndarray:
    """``values`` where ``exists`` holds, in the order in which places are numbered."""
    exists = np.asarray(exists, dtype=bool)
    full = np.broadcast_to(np.asarray(values, dtype=float), exists.shape)
    return np.asarray(full.T[exists.T])


def _side_by_side(parts: Sequence[np.ndarray], height: int) -> np.ndarray:
    return np.hstack(parts) if parts else np.zeros((height, 0))
