"""Air quality standards as dated data: one TOML file per edition, found by its folder.

An old record is judged by the table of its day. Where a table ends early, its footnote says what
holds beyond: a fixed sub-index (HJ 633-2026), or the sub-index of another column (HJ 633-2012).
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from types import MappingProxyType
from typing import Any

from core import units
from core.errors import ConfigurationError, UnitError
from core.variables import variable

REPORTS = ("hourly", "daily")
"""The real-time report of 1-h means, and the daily report of a natural day."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table: pollutant and averaging time.

    breakpoints: in steps of 10^-decimals of ``unit``, so that all arithmetic is on integers.
    above_iaqi, above_column: what holds above the last breakpoint where the column ends early.
    """

    id: str
    pollutant: str
    average: str
    unit: str
    decimals: int
    breakpoints: tuple[int, ...]
    above_iaqi: int | None = None
    above_column: str | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """A class of the index, 1 (best) to 6, up to and with the index ``upto``."""

    number: int
    upto: int
    name_en: str
    name_zh: str
    colour: str


@dataclass(frozen=True, slots=True)
class Standard:
    """One edition of a standard, valid for the local days [valid_from, valid_to)."""

    name: str
    title: str
    edition: str
    valid_from: date
    valid_to: date | None
    source: str
    url: str
    iaqi: tuple[int, ...]
    columns: Mapping[str, Column]
    reports: Mapping[str, Mapping[str, str]]
    levels: tuple[Level, ...]

    def column(self, report: str, pollutant: str) -> Column:
        """The column that judges ``pollutant`` in ``report`` (``hourly`` or ``daily``)."""
        return self.columns[self.reports[report][pollutant]]

    def level(self, aqi: int) -> Level:
        """The level of an index."""
        return next((level for level in self.levels if aqi <= level.upto), self.levels[-1])


@dataclass(frozen=True, slots=True)
class StandardSet:
    """All editions, oldest first, without overlap."""

    standards: tuple[Standard, ...]

    def on(self, day: date) -> Standard:
        """The edition in force on a local day; ConfigurationError when there is none."""
        for standard in self.standards:
            if standard.valid_from <= day and (
                standard.valid_to is None or day < standard.valid_to
            ):
                return standard
        raise ConfigurationError(f"No air quality standard is in force on {day.isoformat()}.")

    def named(self, name: str) -> Standard:
        """The edition of that name, such as ``HJ 633-2026``."""
        for standard in self.standards:
            if standard.name == name:
                return standard
        raise ConfigurationError(f"There is no air quality standard {name!r}.")


def load() -> StandardSet:
    """All editions of the folder ``environment/standards``."""
    folder = resources.files("environment") / "standards"
    files = {p.name: p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}
    return build(files)


def build(files: Mapping[str, str]) -> StandardSet:
    """Editions out of the text of TOML files by file name.

    Raises ConfigurationError for no file, a field that is missing or makes no sense, an unknown
    unit or pollutant, a name that is there twice, and validities that overlap.
    """
    if not files:
        raise ConfigurationError("The folder environment/standards holds no standard.")
    standards = sorted((_parse(n, files[n]) for n in sorted(files)), key=lambda s: s.valid_from)
    names = [standard.name for standard in standards]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"A standard is there twice: {', '.join(names)}.")
    for earlier, later in itertools.pairwise(standards):
        if earlier.valid_to is None or later.valid_from < earlier.valid_to:
            raise ConfigurationError(f"{earlier.name} and {later.name} are in force together.")
    return StandardSet(tuple(standards))


def _parse(name: str, text: str) -> Standard:
    try:
        raw = tomllib.loads(text)
        standard = _standard(raw)
        _check(standard)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, UnitError) as error:
        raise ConfigurationError(f"{name}: {type(error).__name__}: {error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error
    return standard


def _standard(raw: Mapping[str, Any]) -> Standard:
    return Standard(
        name=raw["standard"],
        title=raw["title"],
        edition=raw["edition"],
        valid_from=raw["valid_from"],
        valid_to=raw.get("valid_to"),
        source=raw["source"],
        url=raw["url"],
        iaqi=tuple(raw["iaqi"]),
        columns=MappingProxyType({k: _column(k, v) for k, v in raw["columns"].items()}),
        reports=MappingProxyType({r: MappingProxyType(raw["reports"][r]) for r in REPORTS}),
        levels=tuple(Level(i, **level) for i, level in enumerate(raw["levels"], 1)),
    )


def _column(column_id: str, raw: Mapping[str, Any]) -> Column:
    scale = 10 ** int(raw["decimals"])
    scaled = [b * scale for b in raw["breakpoints"]]
    if any(round(b) != b for b in scaled):
        raise ValueError(f"{column_id} has a breakpoint finer than its decimals")
    return Column(id=column_id, **{**raw, "breakpoints": tuple(round(b) for b in scaled)})


def _check(standard: Standard) -> None:
    if not all(a < b for a, b in zip(standard.iaqi, standard.iaqi[1:], strict=False)):
        raise ValueError("iaqi must rise")
    if [level.upto for level in standard.levels] != sorted(level.upto for level in standard.levels):
        raise ValueError("levels must rise")
    for column in standard.columns.values():
        _check_column(standard, column)
    for report in standard.reports.values():
        for pollutant, column_id in report.items():
            if standard.columns[column_id].pollutant != pollutant:
                raise ValueError(f"{column_id} does not judge {pollutant}")


def _check_column(standard: Standard, column: Column) -> None:
    points = column.breakpoints
    if not all(a < b for a, b in itertools.pairwise(points)):
        raise ValueError(f"the breakpoints of {column.id} must rise")
    units.linear(variable(column.pollutant).unit, column.unit)
    ends_early = len(points) < len(standard.iaqi)
    ways_on = (column.above_iaqi is not None) + (column.above_column is not None)
    if len(points) > len(standard.iaqi) or ways_on != int(ends_early):
        raise ValueError(f"{column.id} must fill the table, or say what holds above its end")
    if column.above_column is not None and column.above_column not in standard.columns:
        raise ValueError(f"{column.id} names an unknown column {column.above_column}")
