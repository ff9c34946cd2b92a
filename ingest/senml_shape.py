"""What the packs of a gateway have in common: the names and units of their records, read once.

Such packs differ in their numbers and in their first record's base fields only. Whatever stands
between the numbers is a key, under which names and units are remembered; the numbers are read as
one list. That takes a third of the time of reading every record as an object.

Why the result is that of reading the payload whole: a payload is cut at every ``"v":`` and behind
the characters of a number that follow. The head and the rests are each read as JSON with a number
of ours in every gap. When that is a list of objects with our numbers as their ``v``, every gap is
where JSON has a number, and there any other number may stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import orjson

Record = dict[str, Any]

FEWEST = 8
"""Records of a pack from which on it is worth remembering; single readings come from anybody."""

_KEPT = 1 << 13
"""Shapes that are remembered, some 10 kB each: most of a million series in packs of a hundred."""

_LARGEST = 8_192  # bytes of a payload: what is remembered stays small, whatever is sent

_GAP = b'"v":'
_SMALLEST = FEWEST * len(b'{"n":"","v":0},')
_NUMBER = b"0123456789+-.eE "  # JSON allows spaces around it
_CHANGING = (b'"t":', b'"ut":', b'"bt":')
_USUAL = frozenset("nuv")  # the labels of nearly every record behind the first one
_NUMBERS, _TEXTS = frozenset((float, int)), frozenset((str,))


class Shape(NamedTuple):
    """Names and own units (None for the base unit) of records that have numbers and no more."""

    names: tuple[str, ...]
    units: tuple[str | None, ...]


class Pack(NamedTuple):
    """The first record of a pack, the shape of the others, and their values."""

    first: Record
    shape: Shape
    value: list[float]


def shape_of(records: Sequence[Record]) -> Shape | None:
    """The shape of records of a number, and perhaps name and unit; None where one is not so."""
    names = tuple([record.get("n", "") for record in records])
    units = tuple([record.get("u") for record in records])
    own = [unit for record, unit in zip(records, units, strict=True) if "u" in record]
    if (
        all(map(_USUAL.issuperset, records))
        and _NUMBERS.issuperset([type(record.get("v")) for record in records])
        and _TEXTS.issuperset(map(type, names))
        and _TEXTS.issuperset(map(type, own))
    ):
        return Shape(names, units)
    return None


def read(payload: bytes) -> Pack | None:
    """The pack, where all records but the first have a shape; None for all else, errors too."""
    if not _SMALLEST <= len(payload) <= _LARGEST:
        return None
    head, *parts = payload.split(_GAP)
    if len(parts) < FEWEST or any(payload.find(label, len(head)) >= 0 for label in _CHANGING):
        return None
    rests = list(map(bytes.lstrip, parts, repeat(_NUMBER)))
    found = _behind_head(b"\0".join(rests))
    if found is None:
        return None
    rest_of_first, shape = found
    numbers = map(bytes.removesuffix, parts, rests)
    try:
        value = list(map(float, orjson.loads(b"[%b]" % b",".join(numbers))))
        begun = orjson.loads(head + b'"v":0}]')
    except orjson.JSONDecodeError:
        return None
    alone = isinstance(begun, list) and len(begun) == 1 and isinstance(begun[0], dict)
    if not alone or len(value) != 1 + len(shape.names):  # a payload may hold NUL
        return None
    return Pack({**begun[0], **rest_of_first, "v": value[0]}, shape, value[1:])


@lru_cache(maxsize=_KEPT)
def _behind_head(rests: bytes) -> tuple[Record, Shape] | None:
    """What stands behind the numbers, with NUL between: of the first record, and the others."""
    parts = rests.split(b"\0")
    records = _filled(parts, 0)
    # A second number in a record's ``v`` could be ours by chance, but not twice.
    if records is None or _filled(parts, len(parts)) is None:
        return None
    shape = shape_of(records[1:])
    return None if shape is None else (records[0], shape)


def _filled(parts: Sequence[bytes], first: int) -> list[Record] | None:
    """Records with the numbers first, first + 1, ... in the gaps; None where they are not that."""
    text = b"[{" + b"".join(b'"v":%d%b' % (n, part) for n, part in enumerate(parts, first))
    try:
        records = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        return None
    numbers = [record.get("v") for record in records]
    return records if numbers == list(range(first, first + len(parts))) else None
