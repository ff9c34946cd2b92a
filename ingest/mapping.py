"""Mapping: a device's name for a value becomes a series, its unit the variable's. Only here.

A TagMap never changes; when the catalogue does, a new one takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import numpy as np

from core.errors import MappingError, UnitError
from core.readings import READING_DTYPE, RawReading, Rejected
from core.sites import Tag
from core.timeaxis import to_us
from core.units import linear
from core.variables import VARIABLES
from ingest.columns import BY_KEY, BadRow, Columns
from ingest.decoded import Decoded
from ingest.quality import STANDARD, Tolerances, flag, flags

Row = tuple[int, int, float, int]
"""series_id, ts_us, value, quality: one element of READING_DTYPE."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a tag leads: ``value * factor + offset`` in ``unit``, plausible within the bounds."""

    series_id: int
    unit: str
    factor: float
    offset: float
    minimum: float
    maximum: float


class TagMap:
    """(device, tag) -> series, with the conversion of the declared unit worked out beforehand.

    Raises MappingError when a tag names a series without an id or an unknown variable, UnitError
    when its unit cannot measure that variable: a wrong description stops the start.
    """

    def __init__(self, tags: Iterable[Tag], series_ids: Mapping[str, int]) -> None:
        targets: dict[tuple[str, str], Target] = {}
        for tag in tags:
            key = (tag.device, tag.tag)
            if key in targets:
                raise MappingError(f"The tag {tag.tag!r} of {tag.device!r} is described twice.")
            targets[key] = _target(tag, series_ids)
        self._targets = MappingProxyType(targets)
        self._devices = frozenset(device for device, _ in targets)
        self._series_ids = series_ids

    def __len__(self) -> int:
        """How many tags are known."""
        return len(self._targets)

    def target(self, device: str, tag: str, unit: str | None = None) -> Target:
        """Where a value goes; ``unit`` from the wire, when given, wins over the declared one.

        Raises MappingError for an unknown device, tag or unit.
        """
        found = self._targets.get((device, tag))
        if found is None:
            if tag == BY_KEY:
                return self._target_by_key(device, unit)
            if device in self._devices:
                raise MappingError(f"unknown tag {tag!r} of device {device!r}")
            raise MappingError(f"unknown device {device!r}")
        if unit is None:
            return found
        try:
            factor, offset = linear(unit, found.unit)
        except UnitError as error:
            raise MappingError(f"unit of {device!r} {tag!r}: {error}") from error
        return Target(found.series_id, found.unit, factor, offset, found.minimum, found.maximum)

    def _target_by_key(self, key: str, unit: str | None) -> Target:
        """Where a value goes that names its series itself, by default in the variable's unit."""
        name = key.rpartition("/")[2]
        if key not in self._series_ids or name not in VARIABLES:
            raise MappingError(f"unknown series {key!r}")
        declared = VARIABLES[name].unit if unit is None else unit
        try:
            return _target(Tag(key, BY_KEY, declared, key), self._series_ids)
        except UnitError as error:
            raise MappingError(f"unit of {key!r}: {error}") from error

    def rows(
        self,
        decoded: Decoded,
        received_at: datetime,
        *,
        source: str,
        payload: bytes,
        tolerances: Tolerances = STANDARD,
    ) -> tuple[list[Row], list[Rejected]]:
        """The readings of one message as rows of READING_DTYPE, and what could not be mapped.

        received_at: city time of arrival. source and payload: where they came from and the
        message as it came, for the quarantine. Rows stay tuples, because messages are small and
        arrays are made of whole batches.
        """
        received_us = to_us(received_at)
        rows: list[Row] = []
        rejected: list[Rejected] = []
        given = decoded.quality or [0] * len(decoded.names)
        for (device, tag, unit), ts_us, raw, quality in zip(
            decoded.names, decoded.ts_us, decoded.value, given, strict=True
        ):
            try:
                target = self.target(device, tag, unit)
                value = raw * target.factor + target.offset
                if not math.isfinite(value):
                    raise MappingError(f"value of {device!r} {tag!r} is not finite")
            except MappingError as error:
                detail = {"device": device, "tag": tag}
                rejected.append(Rejected(source, str(error), payload, received_at, detail))
                continue
            quality |= flag(value, target.minimum, target.maximum, received_us - ts_us, tolerances)
            rows.append((target.series_id, ts_us, value, int(quality)))
        return rows, rejected

    def map(
        self,
        readings: Sequence[RawReading],
        received_at: datetime,
        *,
        source: str,
        payload: bytes,
        tolerances: Tolerances = STANDARD,
    ) -> tuple[np.ndarray, list[Rejected]]:
        """As ``rows``, with the rows as an array of READING_DTYPE, shape (n,)."""
        rows, rejected = self.rows(
            Decoded.of(readings), received_at, source=source, payload=payload, tolerances=tolerances
        )
        return np.array(rows, dtype=READING_DTYPE), rejected

    def map_columns(self, columns: Columns) -> tuple[np.ndarray, list[BadRow]]:
        """A piece of a file as READING_DTYPE (n,), and its rows that could not be mapped.

        There is no time of arrival, hence no CLOCK_SKEW and no LATE.
        """
        count = len(columns.names)
        series_id = np.full(count, -1, dtype=np.int64)
        number = np.zeros((4, count))
        reasons = ["value is not finite"] * count
        for code, (device, tag, unit) in enumerate(columns.names):
            try:
                target = self.target(device, tag, unit)
            except MappingError as error:
                reasons[code] = str(error)
                continue
            series_id[code] = target.series_id
            number[:, code] = target.factor, target.offset, target.minimum, target.maximum
        factor, offset, minimum, maximum = number[:, columns.code]
        with np.errstate(over="ignore", invalid="ignore"):
            value = columns.value * factor + offset
        known = series_id[columns.code] >= 0
        good = known & np.isfinite(value)
        batch = np.empty(int(good.sum()), dtype=READING_DTYPE)
        batch["series_id"] = series_id[columns.code][good]
        batch["ts_us"] = columns.ts_us[good]
        batch["value"] = value[good]
        batch["quality"] = columns.quality[good] | flags(value[good], minimum[good], maximum[good])
        return batch, columns.bad_rows(np.flatnonzero(~good), reasons)


def _target(tag: Tag, series_ids: Mapping[str, int]) -> Target:
    name = tag.series_key.rpartition("/")[2].partition("@")[0]
    variable = VARIABLES.get(name)
    series_id = series_ids.get(tag.series_key)
    if variable is None or series_id is None:
        raise MappingError(
            f"The tag {tag.tag!r} of {tag.device!r} names the series {tag.series_key!r}, "
            "which does not exist."
        )
    factor, offset = linear(tag.unit, variable.unit)
    return Target(series_id, variable.unit, factor, offset, variable.minimum, variable.maximum)
