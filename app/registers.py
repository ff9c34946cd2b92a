"""Energies of intervals, derived from the registers of meters (ingest/registers.py).

Asset by asset: what ``e_import_register_mwh`` and ``e_export_register_mwh`` show becomes ``e_mwh``,
``volume_register_m3`` becomes ``billed_m3``; not where a device brings these itself. Signs are
pandapower's: what a generator exports counts as positive, for everything else what it imports.

Each run goes on where the last one ended, or where the first estimate of the last days stands: a
reading that comes late fills the gap over which energy had been spread. A value that changes by
that is corrected, and the revision log has the one before.

Parameters of the asset, or of the profile by which it registered itself, all optional:

- ``register_interval_s`` (900): length of the intervals;
- ``register_digits``: of the counter before its decimal point, in the unit of its tag; or
  ``register_modulus`` in MWh or m3: where it begins anew. Without both it never does;
- ``p_max_mw`` (50), ``flow_max_m3_per_h`` (10,000): what can pass at most, which tells a roll-over
  from another meter;
- ``meter_exchanges``: ``[{"at": ISO 8601 with zone, "final": ..., "initial": ...}]``, in MWh or m3.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from app.wiring import City, StoreSink
from core.errors import VerdigridError
from core.readings import READING_DTYPE, Quality
from core.series import Series
from core.sites import PLANTS, Site
from core.timeaxis import DAY, parse, to_us
from core.units import linear
from core.variables import variable
from ingest.registers import Exchange, Intervals, Register, intervals
from store import corrections, counters, series
from store.counters import Counter, Reached
from store.database import Connection

log = logging.getLogger(__name__)

HORIZON = timedelta(days=7)
"""How far back late readings still change what was derived."""

_BEFORE = DAY
"""How far before the first interval its last reading is looked for."""

_AT_ONCE = 200
_BY = "registers"
_REASON = "a register was read late"
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class _Kind:
    """A pair of registers, and what they become. most: parameter and default, by the hour."""

    comes_in: str
    goes_out: str
    derived: str
    most: str
    most_per_h: float


KINDS = (
    _Kind("e_import_register_mwh", "e_export_register_mwh", "e_mwh", "p_max_mw", 50.0),
    _Kind("volume_register_m3", "", "billed_m3", "flow_max_m3_per_h", 10_000.0),
)


@dataclass(frozen=True, slots=True)
class _Meter:
    """The registers of one asset, and the series they become."""

    counters: tuple[Counter, ...]
    signs: tuple[float, ...]
    rules: tuple[Register, ...]
    target: Series


class Registers:
    """The job that keeps derived energies up to date."""

    def __init__(self, city: City) -> None:
        self._city = city

    def quarterly(self, now: datetime) -> None:
        """The job: bring every meter up to ``now``."""
        new, corrected = self.derive(now)
        if new or corrected:
            log.info("energies derived", extra={"new": new, "corrected": corrected})

    def derive(self, now: datetime) -> tuple[int, int]:
        """Bring every meter up to ``now``; how many values are new, and how many were corrected."""
        new = corrected = 0
        with self._city.database.connection() as connection:
            meters = [m for kind in KINDS for m in _meters(connection, self._city.site, kind)]
            ids = series.register(connection, [meter.target for meter in meters])
        with closing(StoreSink(self._city.database)) as sink:
            for begin in range(0, len(meters), _AT_ONCE):
                some = meters[begin : begin + _AT_ONCE]
                with self._city.database.connection() as connection:
                    fresh, changed = _derive(connection, some, ids, now)
                    if len(changed):
                        done = corrections.correct(
                            connection, changed, reason=_REASON, by=_BY, at=now
                        )
                        corrected += done.changed
                if len(fresh):
                    new += sink.write(fresh)[0]
        return new, corrected


def _meters(connection: Connection, site: Site, kind: _Kind) -> list[_Meter]:
    """The meters of the city with registers of this kind; a wrong one is left out with a word."""
    names = [name for name in (kind.comes_in, kind.goes_out) if name]
    by_asset: dict[str, list[Counter]] = {}
    for counter in counters.counters(connection, names):
        by_asset.setdefault(counter.asset, []).append(counter)
    keys = [f"{found[0].site}/{asset}/{kind.derived}" for asset, found in by_asset.items()]
    brought = counters.tagged(connection, keys) | {tag.series_key for tag in site.tags}
    described = _Description(site)
    meters = []
    for asset, found in by_asset.items():
        try:
            meter = described.meter(asset, found, kind)
        except (VerdigridError, KeyError, TypeError, ValueError) as error:
            log.warning("a register is left out", extra={"asset": asset, "reason": str(error)})
            continue
        if meter.target.key not in brought:
            meters.append(meter)
    return meters


class _Description:
    """What the city says of its assets and of the devices that registered themselves."""

    def __init__(self, site: Site) -> None:
        self._assets = {asset.id: asset for asset in site.assets}
        self._profiles = {profile.name: profile for profile in site.profiles}
        self._units = {tag.series_key: tag.unit for tag in site.tags}

    def meter(self, asset: str, found: Sequence[Counter], kind: _Kind) -> _Meter:
        """The meter of an asset; raises for parameters that cannot be used."""
        first = found[0]
        profile = self._profiles.get(first.profile)
        known = self._assets.get(asset)
        parameters: Mapping[str, Any] = {}
        what = None
        if known is not None:
            parameters, what = known.parameters, known.kind
        elif profile is not None:
            parameters, what = profile.parameters, profile.kind
        outwards = -1.0 if what in PLANTS else 1.0
        step = timedelta(seconds=float(parameters.get("register_interval_s", 900)))
        most_per_s = float(parameters.get(kind.most, kind.most_per_h)) / 3600.0
        exchanges = tuple(
            Exchange(parse(e["at"]), float(e["final"]), float(e.get("initial", 0.0)))
            for e in parameters.get("meter_exchanges", ())
        )
        return _Meter(
            tuple(found),
            tuple(outwards if c.variable == kind.comes_in else -outwards for c in found),
            tuple(
                Register(step, most_per_s, self._modulus(c, parameters), exchanges) for c in found
            ),
            Series(
                first.site,
                asset,
                kind.derived,
                resolution=step,
                owner=first.owner,
                timezone=first.timezone,
                simulated=first.simulated,
            ),
        )

    def _modulus(self, counter: Counter, parameters: Mapping[str, Any]) -> float:
        if "register_digits" not in parameters:
            return float(parameters.get("register_modulus", 0.0))
        factor, _ = linear(self._unit(counter), variable(counter.variable).unit)
        return 10.0 ** int(parameters["register_digits"]) * factor

    def _unit(self, counter: Counter) -> str:
        key = f"{counter.site}/{counter.asset}/{counter.variable}"
        if key in self._units:
            return self._units[key]
        profile = self._profiles[counter.profile]
        return next(tag.unit for tag in profile.tags if tag.variable == counter.variable)


def _derive(
    connection: Connection, meters: Sequence[_Meter], ids: Mapping[str, int], now: datetime
) -> tuple[np.ndarray, np.ndarray]:
    """What is new for these meters, and what has changed; READING_DTYPE."""
    since = now - HORIZON
    targets = [ids[meter.target.key] for meter in meters]
    reached = counters.reached(connection, targets, since)
    begins = {target: _begin(reached.get(target), since) for target in targets}
    start = min(begins.values()) - _BEFORE
    sources = [counter.id for meter in meters for counter in meter.counters]
    shown = _by_series(counters.rows(connection, sources, start, now + DAY))
    stored = _by_series(counters.rows(connection, targets, start, now + DAY))
    nothing = np.empty(0, dtype=READING_DTYPE)
    fresh, changed = [nothing], [nothing]
    for meter, target in zip(meters, targets, strict=True):
        derived = _energies(meter, target, shown)
        derived = derived[derived["ts_us"] >= to_us(begins[target])]
        new, other = _compared(derived, stored.get(target, nothing))
        fresh.append(new)
        changed.append(other)
    return np.concatenate(fresh), np.concatenate(changed)


def _begin(reached: Reached | None, since: datetime) -> datetime:
    if reached is None:
        return since
    return min(reached.last, reached.first_estimate or reached.last)


def _by_series(rows: np.ndarray) -> dict[int, np.ndarray]:
    ids, first = np.unique(rows["series_id"], return_index=True)
    return dict(zip(ids.tolist(), np.split(rows, first[1:]), strict=False))


def _energies(meter: _Meter, target: int, shown: Mapping[int, np.ndarray]) -> np.ndarray:
    """The net energy of the intervals that all registers of the meter cover."""
    parts: list[Intervals] = []
    for counter, rule in zip(meter.counters, meter.rules, strict=True):
        rows = shown.get(counter.id, np.empty(0, dtype=READING_DTYPE))
        parts.append(intervals(rows["ts_us"], rows["value"], rows["quality"], rule))
    common = parts[0].ts_us
    for part in parts[1:]:
        common = np.intersect1d(common, part.ts_us, assume_unique=True)
    found = np.zeros(len(common), dtype=READING_DTYPE)
    found["series_id"], found["ts_us"] = target, common
    for part, sign in zip(parts, meter.signs, strict=True):
        place = np.searchsorted(part.ts_us, common)
        found["value"] += sign * part.energy[place]
        found["quality"] |= part.quality[place]
    return found


def _compared(derived: np.ndarray, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What of ``derived`` is not stored yet, and what is stored otherwise."""
    there = np.isin(derived["ts_us"], stored["ts_us"], assume_unique=True)
    known = derived[there]
    before = stored[np.searchsorted(stored["ts_us"], known["ts_us"])]
    flags = before["quality"] & ~np.int16(Quality.CORRECTED)
    differs = (np.abs(known["value"] - before["value"]) > _SAME) | (known["quality"] != flags)
    return derived[~there], known[differs]
