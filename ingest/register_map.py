"""Registers of a Modbus device as its handbook lists them: for meters that speak no SunSpec.

Pure: a description of registers in, what to read and numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from struct import pack, unpack
from typing import Any

from core.errors import ConfigurationError

CODES: Mapping[str, str] = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
"""Types of a register, and how Python's struct reads them."""

SIZES: Mapping[str, int] = {
    kind: {"h": 1, "H": 1, "i": 2, "I": 2, "f": 2}.get(code, 4) for kind, code in CODES.items()
}
"""Registers that a type takes."""

TABLES = ("holding", "input")
ORDERS = ("big", "little")
LAST_ADDRESS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Register:
    """A number in a device's registers: ``raw * scale + offset`` in ``unit``.

    address: as on the wire, from 0; handbooks that write 40001 or 30001 for the first register
    count from 1 and put the table in front. type: a key of CODES. table: "holding" (function 3) or
    "input" (function 4). word_order: "big" when the first register holds the high word, as most
    devices have it. absent: the raw value that says "no value", if any. unit: empty for the one
    that the tag's description declares.
    """

    tag: str
    address: int
    type: str
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    table: str = "holding"
    word_order: str = "big"
    absent: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.tag, str) or not self.tag or not self.tag.isprintable():
            raise ConfigurationError("A register has no tag.")
        for name, allowed in (("type", CODES), ("table", TABLES), ("word_order", ORDERS)):
            if getattr(self, name) not in allowed:
                raise ConfigurationError(
                    f"The {name} of the register {self.tag!r} must be one of {', '.join(allowed)}."
                )
        if not _whole(self.address) or not 0 <= self.address <= self.last <= LAST_ADDRESS:
            raise ConfigurationError(
                f"The address of the register {self.tag!r} must lie between 0 and {LAST_ADDRESS}."
            )
        numbers = (self.scale, self.offset, 0.0 if self.absent is None else self.absent)
        if (
            not all(_number(n) for n in numbers)
            or self.scale == 0
            or not isinstance(self.unit, str)
        ):
            raise ConfigurationError(
                f"The scale, offset, absent or unit of the register {self.tag!r} cannot be used."
            )

    @property
    def size(self) -> int:
        """How many registers it takes."""
        return SIZES[self.type]

    @property
    def last(self) -> int:
        """The address of its last register."""
        return self.address + self.size - 1

    def value(self, words: bytes) -> float | None:
        """The number that ``words`` say (two bytes a register); None when they say none."""
        raw = number(self.type, self.word_order, words)
        if raw is None or raw == self.absent:
            return None
        scaled = raw * self.scale + self.offset
        return scaled if math.isfinite(scaled) else None


@dataclass(frozen=True, slots=True)
class Span:
    """One reading: ``count`` registers of a table from ``address``, and what lies in them."""

    table: str
    address: int
    count: int
    registers: tuple[Register, ...]

    def words(self, register: Register, data: bytes) -> bytes:
        """What ``register`` holds, of the span's ``data``."""
        start = 2 * (register.address - self.address)
        return data[start : start + 2 * register.size]


def parse(description: object) -> tuple[Register, ...]:
    """The registers of ``[{"tag": ..., "address": ..., "type": ..., ...}, ...]``.

    The keys are the fields of Register. Raises ConfigurationError naming what is wrong.
    """
    if not isinstance(description, list) or not description:
        raise ConfigurationError("'registers' must be a list of registers.")
    registers = tuple(_register(item) for item in description)
    if len({register.tag for register in registers}) != len(registers):
        raise ConfigurationError("Two registers have the same tag.")
    return registers


def spans(registers: Iterable[Register], most: int) -> list[Span]:
    """Few readings of at most ``most`` registers that fetch ``registers``.

    Only neighbours share one: a device may refuse a reading that touches a register it lacks.
    """
    found: list[Span] = []
    ordered = sorted(registers, key=lambda r: (r.table, r.address, r.size))
    for table, group in groupby(ordered, key=lambda r: r.table):
        run: list[Register] = []
        for register in group:
            joined = run and register.address <= max(r.last for r in run) + 1
            if run and (not joined or register.last - run[0].address >= most):
                found.append(_span(table, run))
                run = []
            run.append(register)
        found.append(_span(table, run))
    return found


def number(kind: str, word_order: str, words: bytes) -> float | None:
    """The raw number in ``words``; None when their count is wrong or they hold no finite one."""
    if len(words) != 2 * SIZES[kind]:
        return None
    if word_order == "little":
        values = unpack(f">{len(words) // 2}H", words)
        words = pack(f">{len(values)}H", *reversed(values))
    (raw,) = unpack(f">{CODES[kind]}", words)
    return raw if math.isfinite(raw) else None


def _register(item: object) -> Register:
    if not isinstance(item, dict):
        raise ConfigurationError("A register is a JSON object.")
    fields: dict[str, Any] = item
    try:
        return Register(**fields)
    except (TypeError, OverflowError) as error:
        name = fields.get("tag", "")
        raise ConfigurationError(f"The register {name!r:.60} cannot be used: {error}.") from error


def _span(table: str, run: list[Register]) -> Span:
    address = run[0].address
    return Span(table, address, max(r.last for r in run) - address + 1, tuple(run))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
