"""Mapping: a device's name for a value becomes a series and a rule. Only here.

A city of a million devices is a few arrays and one dictionary entry for each device: devices of
one make share their table of tags, and a device knows where its own series begin.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from core.errors import MappingError, UnitError
from core.readings import READING_DTYPE
from core.sites import Route, Tag
from core.timeaxis import MICROSECOND
from core.variables import VARIABLES
from ingest.columns import BY_KEY, BadRow, Columns
from ingest.decoded import Name
from ingest.quality import STANDARD, History, Tolerances, clock_flags, range_flags
from ingest.registration import Registrar
from ingest.rules import Ruled, Rules, converted

_NO_RESOLUTIONS: Mapping[str, timedelta | None] = MappingProxyType({})

_SET_BITS = 20
_SET_MASK = (1 << _SET_BITS) - 1

CACHE_BYTES = 256 * 1024 * 1024
"""Roughly what resolved names may take; then all are forgotten and resolved anew."""

_ENTRY_BYTES, _NAME_BYTES = 700, 200


class Problem(NamedTuple):
    """A name that leads nowhere: its place in the message, and why."""

    place: int
    device: str
    tag: str
    reason: str
    unknown_device: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where the names of a message lead; m of n are known.

    series_id, rule, device: int32 (m,). device numbers the devices of the map.
    places: which of the n names are the m known ones; None when all are. The others are problems,
    or nobody wants them.
    """

    series_id: np.ndarray
    rule: np.ndarray
    device: np.ndarray
    places: tuple[int, ...] | None = None
    problems: tuple[Problem, ...] = ()


class TagMap:
    """(device, tag) -> series and rule. Grows by ``add``; nothing in it ever changes.

    Any thread may use it.

    series_ids, resolutions: of the series by key. registrar: what becomes of unknown devices; None
    leaves them unknown. Raises MappingError when a tag is described twice or names a series without
    an id or an unknown variable, UnitError when its unit cannot measure that variable: a wrong
    description stops the start.
    """

    def __init__(
        self,
        tags: Iterable[Tag] = (),
        series_ids: Mapping[str, int] = MappingProxyType({}),
        resolutions: Mapping[str, timedelta | None] = _NO_RESOLUTIONS,
        *,
        registrar: Registrar | None = None,
    ) -> None:
        self.rules = Rules()
        self.registrar = registrar
        self._series_ids = series_ids
        self._resolutions = resolutions
        self._devices: dict[str, int] = {}  # where its series begin, and the number of its tags
        self._tag_sets: list[dict[str, int]] = []
        self._set_numbers: dict[tuple[str, ...], int] = {}
        self._series_id = array("i")
        self._rule = array("i")
        self._learning = threading.Lock()
        self._cache: dict[tuple[str, tuple[Name, ...]], Resolved] = {}
        self._cached_bytes = 0
        routes = [_route(tag, series_ids, resolutions) for tag in tags]
        _refuse_twice(routes)
        self.add(sorted(routes, key=attrgetter("device")))

    def __len__(self) -> int:
        """How many tags are known, those that were placed anew included."""
        return len(self._series_id)

    def __contains__(self, device: str) -> bool:
        """Whether any tag of ``device`` is known."""
        return device in self._devices

    def tags(self, device: str) -> frozenset[str]:
        """The known tags of ``device``; none of a stranger."""
        code = self._devices.get(device)
        return frozenset() if code is None else frozenset(self._tag_sets[code & _SET_MASK])

    def add(self, routes: Iterable[Route]) -> None:
        """Learn ``routes``, those of a device one after the other; known tags stay as they are."""
        with self._learning:
            for device, group in groupby(routes, key=attrgetter("device")):
                self._place(device, list(group))
            self._cache = {}
            self._cached_bytes = 0

    def _place(self, device: str, routes: Sequence[Route]) -> None:
        old = self._devices.get(device)
        known = {} if old is None else self._tag_sets[old & _SET_MASK]
        fresh = {route.tag: route for route in routes if route.tag not in known}
        if not fresh:
            return
        series_id = [route.series_id for route in fresh.values()]
        rule = [self.rules.number(r.variable, r.unit, r.resolution_us) for r in fresh.values()]
        if old is not None:  # a device with new tags moves to a new place
            begin, end = old >> _SET_BITS, (old >> _SET_BITS) + len(known)
            series_id = [*self._series_id[begin:end], *series_id]
            rule = [*self._rule[begin:end], *rule]
        number = self._set_number((*known, *fresh))
        code = len(self._series_id) << _SET_BITS | number
        self._series_id.extend(series_id)
        self._rule.extend(rule)
        self._devices[device] = code  # last: other threads may be looking

    def _set_number(self, tags: tuple[str, ...]) -> int:
        number = self._set_numbers.setdefault(tags, len(self._tag_sets))
        if number == len(self._tag_sets):
            if number > _SET_MASK:
                raise MappingError(f"More than {_SET_MASK} different sets of tags are described.")
            self._tag_sets.append({tag: place for place, tag in enumerate(tags)})
        return number

    def find(self, device: str, tag: str, unit: str | None = None) -> tuple[int, int, int]:
        """Series, rule and device of a name; ``unit`` from the wire wins over the declared one.

        Raises MappingError for an unknown device, tag or unit.
        """
        code = self._devices.get(device)
        if code is None:
            if tag == BY_KEY:
                return self._find_by_key(device, unit)
            raise MappingError(f"unknown device {device!r}")
        first = code >> _SET_BITS
        place = self._tag_sets[code & _SET_MASK].get(tag)
        if place is None:
            raise MappingError(f"unknown tag {tag!r} of device {device!r}")
        rule = self._rule[first + place]
        if unit is not None:
            try:
                rule = self.rules.in_unit(rule, unit)
            except UnitError as error:
                raise MappingError(f"unit of {device!r} {tag!r}: {error}") from error
        return self._series_id[first + place], rule, first

    def _find_by_key(self, key: str, unit: str | None) -> tuple[int, int, int]:
        """Where a value goes that names its series itself, by default in the variable's unit."""
        name = key.rpartition("/")[2]
        if key not in self._series_ids or name not in VARIABLES:
            raise MappingError(f"unknown series {key!r}")
        try:
            declared = VARIABLES[name].unit if unit is None else unit
            rule = self.rules.number(name, declared, _us(self._resolutions.get(key)))
        except UnitError as error:
            raise MappingError(f"unit of {key!r}: {error}") from error
        return self._series_ids[key], rule, -1

    def resolve(self, names: tuple[Name, ...], protocol: str = "") -> Resolved:
        """Where the names of a message lead; what was asked before costs one look-up.

        protocol: that the message speaks, for what the profiles of its devices pass over.
        """
        asked = (protocol, names)
        found = self._cache.get(asked)
        if found is None:
            found = self._resolve(names, protocol)
            self._cached_bytes += _ENTRY_BYTES + _NAME_BYTES * len(names)
            if self._cached_bytes > CACHE_BYTES:
                self._cache = {}
                self._cached_bytes = 0
            self._cache[asked] = found
        return found

    def _resolve(self, names: Sequence[Name], protocol: str = "") -> Resolved:
        found: list[tuple[int, int, int]] = []
        places: list[int] = []
        problems: list[Problem] = []
        for place, (device, tag, unit) in enumerate(names):
            try:
                found.append(self.find(device, tag, unit))
                places.append(place)
            except MappingError as error:
                if self._unwanted(protocol, device, tag):
                    continue
                unknown = device not in self._devices and tag != BY_KEY
                problems.append(Problem(place, device, tag, str(error), unknown))
        columns = np.array(found, dtype=np.int32).reshape(len(found), 3)
        series_id, rule, device_number = (np.ascontiguousarray(c) for c in columns.T)
        kept = tuple(places) if len(places) < len(names) else None
        return Resolved(series_id, rule, device_number, kept, tuple(problems))

    def _unwanted(self, protocol: str, device: str, tag: str) -> bool:
        """Whether a name that leads nowhere is left out on purpose; never one of a stranger."""
        code = self._devices.get(device)
        if code is None or self.registrar is None or tag in self._tag_sets[code & _SET_MASK]:
            return False
        return self.registrar.passes_over(protocol, device, tag)

    def map_columns(
        self,
        columns: Columns,
        *,
        received_us: int | None = None,
        history: History | None = None,
        tolerances: Tolerances = STANDARD,
    ) -> tuple[np.ndarray, list[BadRow]]:
        """A piece of a file as READING_DTYPE (n,), and its rows that could not be mapped.

        received_us: city time of arrival; None where it says nothing, as of a file: then there is
        no CLOCK_SKEW and no LATE. history: what came before, for the flags that follow from it.
        """
        resolved = self._resolve(columns.names)
        count = len(columns.names)
        series_id = np.full(count, -1, dtype=np.int32)
        rule = np.zeros(count, dtype=np.int32)
        reasons = ["value is not finite"] * count
        for problem in resolved.problems:
            reasons[problem.place] = problem.reason
        places = slice(None) if resolved.places is None else list(resolved.places)
        series_id[places] = resolved.series_id
        rule[places] = resolved.rule
        kept = np.flatnonzero(series_id[columns.code] >= 0)
        rules = Ruled(self.rules.table, rule[columns.code[kept]])
        value = converted(columns.value[kept], rules)
        finite = np.isfinite(value)
        kept, value, rules = kept[finite], value[finite], rules.of(finite)
        batch = np.empty(len(kept), dtype=READING_DTYPE)
        batch["series_id"] = series_id[columns.code[kept]]
        batch["ts_us"] = columns.ts_us[kept]
        batch["value"] = value
        batch["quality"] = columns.quality[kept] | range_flags(value, rules)
        if received_us is not None:
            batch["quality"] |= clock_flags(received_us - batch["ts_us"], tolerances)
        if history is not None:
            batch["quality"] |= history.flags(batch, rules, neighbours=tolerances.neighbours)
        bad = np.setdiff1d(np.arange(len(columns.code)), kept, assume_unique=True)
        return batch, columns.bad_rows(bad, reasons)


def _us(resolution: timedelta | None) -> int:
    return 0 if resolution is None else resolution // MICROSECOND


def _route(
    tag: Tag, series_ids: Mapping[str, int], resolutions: Mapping[str, timedelta | None]
) -> Route:
    name = tag.series_key.rpartition("/")[2].partition("@")[0]
    series_id = series_ids.get(tag.series_key)
    if name not in VARIABLES or series_id is None:
        raise MappingError(
            f"The tag {tag.tag!r} of {tag.device!r} names the series {tag.series_key!r}, "
            "which does not exist."
        )
    resolution_us = _us(resolutions.get(tag.series_key))
    return Route(tag.device, tag.tag, tag.unit, name, series_id, resolution_us)


def _refuse_twice(routes: Iterable[Route]) -> None:
    seen: set[tuple[str, str]] = set()
    for route in routes:
        if (route.device, route.tag) in seen:
            raise MappingError(f"The tag {route.tag!r} of {route.device!r} is described twice.")
        seen.add((route.device, route.tag))
