"""Rules: how a value of some unit becomes one of a variable, and what of it is plausible.

A city has millions of series and a few hundred rules. A series keeps the number of its rule; a
batch looks its factors and bounds up in a table that fits into the processor's cache.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from core.errors import MappingError
from core.units import linear
from core.variables import variable

RULE_DTYPE = np.dtype(
    [
        ("factor", "<f8"),
        ("offset", "<f8"),
        ("minimum", "<f8"),
        ("maximum", "<f8"),
        ("rate_per_us", "<f8"),
        ("flat_after_us", "<f8"),
        ("resolution_us", "<f8"),
    ]
)
"""``value * factor + offset`` in the variable's unit, plausible within [minimum, maximum].

rate_per_us, flat_after_us: as in core.variables.Variable, by the microsecond; infinite where there
is no limit. resolution_us: length of the interval a value stands for, 0 for instants.
"""

_MOST = 65_536
_US = 1e6


class Ruled(NamedTuple):
    """The rules of n readings: as an array of RULE_DTYPE (n,), of which only the columns that are
    asked for are ever made.

    table: RULE_DTYPE (m,). number: int (n,), into the table.
    """

    table: np.ndarray
    number: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """A field of the rules, float64 (n,)."""
        found: np.ndarray = self.table[name].take(self.number)
        return found

    def of(self, rows: np.ndarray) -> Ruled:
        """Those of some readings only; rows: their places, or a mask."""
        return Ruled(self.table, self.number[rows])


def converted(value: np.ndarray, rules: Ruled) -> np.ndarray:
    """Values (n,) by their rules; infinite where the result is too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        result: np.ndarray = value * rules.column("factor") + rules.column("offset")
    return result


class Rules:
    """A table of rules that grows with every new combination and never shrinks."""

    def __init__(self) -> None:
        self._keys: list[tuple[str, str, int]] = []
        self._numbers: dict[tuple[str, str, int], int] = {}
        self._table = np.empty(0, dtype=RULE_DTYPE)
        self._learning = threading.Lock()

    @property
    def table(self) -> np.ndarray:
        """All rules by number, RULE_DTYPE (n,)."""
        return self._table

    def number(self, variable_name: str, unit: str, resolution_us: int) -> int:
        """The rule for values of a variable that come in ``unit``.

        Raises ConfigurationError for an unknown variable, UnitError when the unit cannot measure
        it, MappingError when the wire spells units in endless ways.
        """
        key = (variable_name, unit, resolution_us)
        known = self._numbers.get(key)
        if known is not None:
            return known
        with self._learning:
            return self._numbers[key] if key in self._numbers else self._learn(key)

    def _learn(self, key: tuple[str, str, int]) -> int:
        variable_name, unit, resolution_us = key
        what = variable(variable_name)
        factor, offset = linear(unit, what.unit)
        if len(self._keys) >= _MOST:
            raise MappingError(f"unit {unit!r}: {_MOST} units are spelled already")
        rate = np.inf if what.rate_per_s is None else what.rate_per_s / _US
        flat = np.inf if what.flat_after_s is None else what.flat_after_s * _US
        row = (factor, offset, what.minimum, what.maximum, rate, flat, resolution_us)
        self._table = np.append(self._table, np.array([row], dtype=RULE_DTYPE))
        self._keys.append(key)
        number = self._numbers[key] = len(self._keys) - 1
        return number

    def in_unit(self, number: int, unit: str) -> int:
        """The rule ``number`` for values that come in another unit; raises as ``number`` does."""
        name, _, resolution_us = self._keys[number]
        return self.number(name, unit, resolution_us)
