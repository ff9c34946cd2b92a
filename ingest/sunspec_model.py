"""SunSpec devices: where their models lie in the registers, and what the registers say.

Pure: registers in, values out, as big-endian bytes of two for a register. The definitions of the
models are the SunSpec Alliance's own, as pysunspec2 ships them (its JSON files and its table of
"not implemented" values). Reading them off registers is done here and not by pysunspec2, because
a city's receiver needs what a test bench does not: pysunspec2 1.3 gives an unscaled value where
the scale factor is not implemented, takes infinity for a number, knows a bit field as not
implemented only when all its bits are set, believes whatever count a damaged register holds, and
makes an object of every point. tests/ingest/test_sunspec_model.py holds the two against each
other where pysunspec2 is right.

Reference: SunSpec Alliance, Device Information Model Specification, for types, scale factors and
"not implemented" values. By it 0 says so of an accumulator (acc32): a new counter has no reading
until it has counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from struct import Struct, calcsize
from typing import Any

from sunspec2 import mb, mdef

from core import units
from core.errors import DecodeError

BASES = (40_000, 50_000, 0)
"""Where a device may begin, in the order in which it is asked."""

MARK = b"SunS"
COMMON = 1
END = 0xFFFF
HEADER = 2
"""Registers before a model's points: its id, and the length of what follows."""

LAST_ADDRESS = 0xFFFF
_MOST_MODELS = 200
"""A longer chain is no chain; real devices have some ten models."""

_MAX_SF = 10
_UNKNOWN_SF = _MAX_SF + 1

MEASURING = frozenset(
    {101, 102, 103, 111, 112, 113, 701}  # inverters and other sources, AC side
    | {160, 714}  # DC side, by module or port
    | {201, 202, 203, 204, 211, 212, 213, 214}  # meters
    | {124, 713, 802, 803}  # storage
    | {302, 303, 304, 305, 306, 307, 308}  # irradiance and weather
    | {401, 402, 403, 404}  # string combiners
)
"""The models that are read at every poll: those that measure."""

UNITS: Mapping[str, str] = {
    "Pct": "%",
    "% WChaMax": "%",
    "% WDisChaMax": "%",
    "% AhrRtg": "%",
    "%WHRtg": "%",
    "PF": "1",
    "cos()": "1",
    "C": "degC",
    "Var": "var",
    "Varh": "varh",
    "VAh": "volt_ampere*hour",
    "WH": "Wh",
    "Ah": "A*hour",
    "AH": "A*hour",
    "kAH": "kA*hour",
    "Secs": "s",
    "Sec": "s",
    "Degrees": "deg",
    "W/m^2": "W/m2",
    "HPa": "hPa",
    "mps": "m/s",
    "meters": "meter",
}
"""SunSpec's spelling of a unit and ours, where they differ."""

_CODES: Mapping[str, str] = {
    mdef.TYPE_INT16: "h",
    mdef.TYPE_UINT16: "H",
    mdef.TYPE_COUNT: "H",
    mdef.TYPE_ACC16: "H",
    mdef.TYPE_ENUM16: "H",
    mdef.TYPE_BITFIELD16: "H",
    mdef.TYPE_SUNSSF: "h",
    mdef.TYPE_INT32: "i",
    mdef.TYPE_UINT32: "I",
    mdef.TYPE_ACC32: "I",
    mdef.TYPE_ENUM32: "I",
    mdef.TYPE_BITFIELD32: "I",
    mdef.TYPE_INT64: "q",
    mdef.TYPE_UINT64: "Q",
    mdef.TYPE_ACC64: "Q",
    mdef.TYPE_FLOAT32: "f",
    mdef.TYPE_FLOAT64: "d",
}
"""How Python's struct reads a type; texts, addresses and padding are passed over."""

_FLOATS = (mdef.TYPE_FLOAT32, mdef.TYPE_FLOAT64)
_BIT_FIELDS = (mdef.TYPE_BITFIELD16, mdef.TYPE_BITFIELD32)


@dataclass(frozen=True, slots=True)
class Fault:
    """When the values of a model are not to be trusted: a state, or one of some bits."""

    point: str
    state: int | None = None
    bits: int = 0

    def holds(self, value: float) -> bool:
        """Whether the point's ``value`` says so."""
        return value == self.state or bool(int(value) & self.bits)


_MEMORY_LOSS, _HARDWARE_TEST_FAILED = 1 << 14, 1 << 15
_INVERTER = (Fault("St", state=7), Fault("Evt1", bits=_MEMORY_LOSS | _HARDWARE_TEST_FAILED))
_METER = (Fault("Evt", bits=1 << 7),)  # a sensor is missing

FAULTS: Mapping[int, tuple[Fault, ...]] = {
    **dict.fromkeys((101, 102, 103, 111, 112, 113), _INVERTER),
    701: (Fault("InvSt", state=6), Fault("Alrm", bits=_MEMORY_LOSS | _HARDWARE_TEST_FAILED)),
    **dict.fromkeys((201, 202, 203, 204, 211, 212, 213, 214), _METER),
    713: (Fault("Sta", state=2),),
    802: (Fault("State", state=99), Fault("Evt1", bits=1)),  # bit 0: communication error
}
"""What speaks against the values of a model. An over-voltage or a low power factor does not: the
event is the grid's, and the measurement of it is right."""


@dataclass(frozen=True, slots=True)
class Block:
    """A model in a device: its id, the address of its header, the registers behind the header."""

    model: int
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Read:
    """A wish: ``count`` registers from ``address``."""

    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Point:
    """A number in a model.

    name: as in the definition; a point of a repeated group is ``group.N.name``, N from 1.
    place: among the fields of the layout's struct. unit: in our spelling, None for none or one
    that measures nothing of ours. absent: the value that says "not implemented". top_bit: which
    says the same in a bit field, 0 for other types. sf: the place of its scale factor; where that
    is None, the exponent is ``fixed_sf``.
    """

    name: str
    place: int
    unit: str | None
    absent: int | None
    top_bit: int
    sf: int | None
    fixed_sf: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All the numbers of a model of a certain length.

    starts: offsets in registers at which a point begins, so that no reading tears one apart.
    """

    model: int
    fields: Struct
    points: tuple[Point, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """What a point says: its name in the model, a finite number, and its unit if it has one."""

    name: str
    value: float
    unit: str | None


def discover(bases: tuple[int, ...] = BASES) -> Generator[Read, bytes | None, tuple[Block, ...]]:
    """Finds the models of a device: yields what to read next, takes the registers as bytes.

    None stands for a reading that the device refused. Returns the chain, the common model first.
    Raises DecodeError where no SunSpec device is found, or its chain does not hold together.
    """
    for base in bases:
        if (yield Read(base, 2)) == MARK:
            return (yield from _chain(base + 2))
    asked = ", ".join(str(base) for base in bases)
    raise DecodeError(f"There is no SunSpec device at {asked}.")


def _chain(address: int) -> Generator[Read, bytes | None, tuple[Block, ...]]:
    found: list[Block] = []
    while len(found) < _MOST_MODELS and address + HEADER <= LAST_ADDRESS:
        header = yield Read(address, HEADER)
        if header is None:  # some devices have no length behind the end
            header = yield Read(address, 1)
        if header is None or len(header) < 2:
            break
        model = int.from_bytes(header[:2], "big")
        if model == END:
            return tuple(found)
        block = Block(model, address, int.from_bytes(header[2:4], "big"))
        if len(header) < 2 * HEADER or block.length == 0:
            break
        found.append(block)
        address += HEADER + block.length
    raise DecodeError(f"The chain of SunSpec models breaks off at {address}.")


def reads(block: Block, most: int) -> list[Read]:
    """The readings that fetch a model with its header, none of more than ``most`` registers.

    They part between points: the halves of a counter read apart may belong to different counts.
    """
    end = HEADER + block.length
    starts = [start for start in _starts(block.model, block.length) if start < end]
    parts: list[Read] = []
    begin = 0
    while begin < end:
        within = [begin + most, *(start for start in starts if begin < start <= begin + most)]
        stop = end if end - begin <= most else within[-1]
        parts.append(Read(block.address + begin, stop - begin))
        begin = stop
    return parts


def values(registers: bytes) -> list[Value]:
    """The numbers that a model holds, header included; what is not implemented is left out.

    A value is left out too where its scale factor is not implemented or beyond 10: its size is
    then unknown. Points behind the end of ``registers`` are not there; vendors cut models short.
    Raises DecodeError where this is no model, or one without a definition.
    """
    layout = layout_of(registers)
    raw = layout.fields.unpack_from(registers)
    found: list[Value] = []
    for point in layout.points:
        number = raw[point.place]
        if number == point.absent or number >= point.top_bit > 0:
            continue
        exponent = point.fixed_sf if point.sf is None else raw[point.sf]
        if not -_MAX_SF <= exponent <= _MAX_SF:
            continue
        value = _scaled(number, exponent)
        if math.isfinite(value):
            found.append(Value(point.name, value, point.unit))
    return found


def faulty(model: int, found: list[Value]) -> bool:
    """Whether a model's own states or events speak against its values."""
    rules = FAULTS.get(model, ())
    return any(
        rule.holds(value.value) for rule in rules for value in found if value.name == rule.point
    )


def text(registers: bytes, name: str) -> str:
    """A text point of the common model (Mn, Md, Opt, Vr, SN); empty where it is not there."""
    offset = 0
    for point in _definition(COMMON)["points"]:
        size = int(point["size"])
        if point["name"] == name:
            raw = registers[2 * offset : 2 * (offset + size)].split(b"\0")[0]
            decoded = raw.decode("utf-8", "replace").strip()
            return "".join(c if c.isprintable() else "\ufffd" for c in decoded)
        offset += size
    return ""


@cache
def known(model: int) -> bool:
    """Whether there is a definition of that model."""
    return bool(_file(model).is_file())


def layout_of(registers: bytes) -> Layout:
    """The layout of a model given with its header; raises DecodeError where there is none."""
    if len(registers) < 2 * HEADER or len(registers) % 2:
        raise DecodeError("A SunSpec model has at least two registers.")
    model = int.from_bytes(registers[:2], "big")
    if not known(model):
        raise DecodeError(f"There is no definition of the SunSpec model {model}.")
    counts = tuple(
        int.from_bytes(registers[2 * offset : 2 * offset + 2], "big")
        for offset in _count_offsets(model)
    )
    return _layout(model, len(registers) // 2, counts)


def _scaled(number: float, exponent: int) -> float:
    """``number * 10**exponent``; dividing by a whole power is exact to the last digit."""
    return number * 10.0**exponent if exponent >= 0 else number / 10.0**-exponent


def _file(model: int) -> Any:
    # Not by sunspec2.device.get_model_def: that one prefers files of the working directory.
    return resources.files("sunspec2").joinpath(f"models/json/model_{model}.json")


@cache
def _definition(model: int) -> dict[str, Any]:
    """The model's outermost group, as its file has it."""
    group: dict[str, Any] = json.loads(_file(model).read_text(encoding="utf-8"))["group"]
    return group


@cache
def _count_offsets(model: int) -> tuple[int, ...]:
    """Where the points lie that say how often a group is there."""
    return tuple(_offsets(model)[name] for name in _count_names(_definition(model)))


def _offsets(model: int) -> dict[str, int]:
    """Where the points of the outermost group begin."""
    offset, found = 0, {}
    for point in _definition(model)["points"]:
        found[point["name"]] = offset
        offset += int(point["size"])
    return found


def _count_names(group: Mapping[str, Any]) -> tuple[str, ...]:
    inner = group.get("groups", [])
    own = [g["count"] for g in inner if isinstance(g.get("count"), str)]
    return tuple(dict.fromkeys([*own, *(name for g in inner for name in _count_names(g))]))


@cache
def _starts(model: int, length: int) -> tuple[int, ...]:
    """Where points may begin in a model whose counts are not known yet."""
    if not known(model):
        return ()
    counts = tuple(length for _ in _count_offsets(model))  # as many as there is room for
    return _layout(model, HEADER + length, counts).starts


@lru_cache(maxsize=1024)
def _layout(model: int, size: int, counts: tuple[int, ...]) -> Layout:
    names = _count_names(_definition(model))
    return _Builder(model, size, dict(zip(names, counts, strict=True))).layout()


class _Builder:
    """Walks the definition of a model and lays its points behind each other."""

    def __init__(self, model: int, size: int, counts: Mapping[str, int]) -> None:
        self._model = model
        self._size = size
        self._counts = counts
        self._codes: list[str] = []
        self._points: list[tuple[str, dict[str, Any], int, Mapping[str, int]]] = []
        self._starts: list[int] = []
        self._offset = 0
        self._place = 0

    def layout(self) -> Layout:
        """The layout of a model of so many registers, header included."""
        self._group(_definition(self._model), "", {})
        fields = Struct(">" + "".join(self._codes))
        points = tuple(_point(*args) for args in self._points)
        return Layout(self._model, fields, points, tuple(self._starts))

    def _group(self, group: Mapping[str, Any], prefix: str, outer: Mapping[str, int]) -> bool:
        """One instance of a group; False when the model ends before it does."""
        scale_factors = dict(outer)
        for point in group["points"]:
            if self._offset + int(point["size"]) > self._size:
                return False
            self._add(point, prefix, scale_factors)
        inner = group.get("groups", [])
        return all(self._instances(one, prefix, scale_factors) for one in inner)

    def _instances(self, group: Mapping[str, Any], prefix: str, outer: Mapping[str, int]) -> bool:
        count = group.get("count", 1)
        if isinstance(count, str):
            count = self._counts[count]
        elif count == 0:  # as many as the length allows
            count = self._size
        path = f"{prefix}{group['name']}."
        for number in range(1, count + 1):
            before = self._offset
            if not self._group(group, f"{path}{number}." if "count" in group else path, outer):
                return False
            if self._offset == before:  # nothing in it: no number of these fills a register
                break
        return True

    def _add(self, point: dict[str, Any], prefix: str, scale_factors: dict[str, int]) -> None:
        kind, size = point["type"], int(point["size"])
        self._starts.append(self._offset)
        self._offset += size
        code = _CODES.get(kind)
        if code is None or calcsize(f">{code}") != 2 * size:
            self._codes.append(f"{2 * size}x")
            return
        self._codes.append(code)
        if kind == mdef.TYPE_SUNSSF:
            scale_factors[point["name"]] = self._place
        elif prefix or point["name"] not in ("ID", "L"):
            self._points.append((prefix + point["name"], point, self._place, scale_factors))
        self._place += 1


def _point(name: str, point: dict[str, Any], place: int, scale_factors: Mapping[str, int]) -> Point:
    kind, sf = point["type"], point.get("sf", 0)
    unit = point.get("units", "").strip()
    unit = UNITS.get(unit, unit)
    return Point(
        name=name,
        place=place,
        unit=unit if unit and units.known(unit) else None,
        absent=None if kind in _FLOATS else mb.unimpl_value[kind],  # a float says it by NaN
        top_bit=1 << (16 * int(point["size"]) - 1) if kind in _BIT_FIELDS else 0,
        sf=None if isinstance(sf, int) else scale_factors.get(sf),
        # A named factor that is not there was cut off with the end of the model.
        fixed_sf=sf if isinstance(sf, int) else _UNKNOWN_SF,
    )
