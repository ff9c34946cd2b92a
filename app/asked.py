"""What the city asks of its plans beyond energy at a tariff: Site.parameters and the store.

Site.parameters may hold (docs/dispatch.md says what each does; nothing is asked by default)
- peak_cny_per_mw_month: the charge on the month's highest import, a 15-minute mean;
  peak_minimum_mw: billed at least, whatever is drawn (0)
- peak_valley_target_mw with peak_valley_breach_cny_per_mw
- reserves: a list of {name, direction, requirement_mw (a number or 24 by local hour),
  activation_h (1), price_cny_per_mw_h (0), breach_cny_per_mw_h (0), assets (all)}
- unserved_cny_per_mwh: load may be shed at this price
- weights: {money, carbon, peak, discomfort, curtailment}, each 1 where it is not named
- position_above_cny_per_mwh with position_below_cny_per_mwh: intraday plans keep the exchange of
  the approved day-ahead plan, and what they leave it by costs this
- import_price_series, export_price_series, import_intensity_series: app/outside.py

Calls of demand response come from the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np

from app import outside
from app.plankinds import DAY_AHEAD, INTRADAY
from app.tariffs import at_hours
from app.wiring import City
from core.errors import ConfigurationError
from core.findings import Finding
from core.sites import Site
from core.timeaxis import floor_to, from_datetime64, to_datetime64
from grid import der
from optimization.problem import DispatchProblem
from optimization.terms import (
    Direction,
    FeederLimit,
    PeakCharge,
    PeakValley,
    Position,
    Reserve,
    Unserved,
    Weights,
)
from store import calls, runs
from store.database import Connection

HOURS = 24
_RESERVE = (
    *("name", "direction", "requirement_mw", "activation_h", "price_cny_per_mw_h"),
    *("breach_cny_per_mw_h", "assets"),
)
_WEIGHTS = tuple(item.name for item in fields(Weights))


@dataclass(frozen=True, slots=True)
class Deviation:
    """What leaving a promised exchange costs, CNY/MWh."""

    above_cny_per_mwh: float
    below_cny_per_mwh: float


@dataclass(frozen=True, eq=False)
class Wishes:
    """Site.parameters, read and checked; requirements of ``reserves`` are (24,) by local hour."""

    peak_cny_per_mw: float | None
    peak_minimum_mw: float
    peak_valley: PeakValley | None
    reserves: tuple[Reserve, ...]
    unserved: Unserved | None
    weights: Weights
    deviation: Deviation | None


@dataclass(frozen=True, eq=False)
class Asked:
    """The terms of one plan, and what its reader should know of where they come from.

    calls_by_name: the id of each call by the name it has in the plan. peak_source: ``substation``,
    ``meters``, ``nothing`` (none of them measured), ``minimum`` (more is billed than was measured)
    or empty where the month has no past yet.
    """

    peak: PeakCharge | None = None
    peak_source: str = ""
    peak_valley: PeakValley | None = None
    reserves: tuple[Reserve, ...] = ()
    calls: tuple[FeederLimit, ...] = ()
    calls_by_name: Mapping[str, int] = field(default_factory=dict)
    position: Position | None = None
    unserved: Unserved | None = None
    weights: Weights = field(default_factory=Weights)
    notes: tuple[Finding, ...] = ()

    def of(self, problem: DispatchProblem) -> DispatchProblem:
        """``problem`` with these terms."""
        return replace(
            problem,
            peak=self.peak,
            peak_valley=self.peak_valley,
            reserves=self.reserves,
            calls=self.calls,
            position=self.position,
            unserved=self.unserved,
            weights=self.weights,
        )


def check(site: Site) -> None:
    """Raises ConfigurationError naming the parameter of ``site`` that no plan could be made by."""
    wishes(site)
    outside.check(site)


def of_city(
    connection: Connection,
    city: City,
    times: np.ndarray,
    known_at: datetime,
    *,
    kind: str,
) -> Asked:
    """What a plan of ``kind`` over the steps ``times`` is asked, as it was known at ``known_at``.

    Raises ConfigurationError as ``check``.
    """
    site, found = city.site, wishes(city.site)
    start = from_datetime64(times[0])
    so_far, peak = outside.SoFar(0.0, ""), None
    if found.peak_cny_per_mw is not None:
        so_far = outside.peak_so_far(connection, site, start, known_at)
        if so_far.import_mw < found.peak_minimum_mw:
            so_far = replace(so_far, import_mw=found.peak_minimum_mw, source="minimum")
        peak = PeakCharge(found.peak_cny_per_mw, so_far.import_mw)
    limits, ids = _calls(connection, city, times, known_at)
    position = None
    if found.deviation is not None and kind == INTRADAY:
        position = day_ahead_position(connection, city, times, known_at)
    return Asked(
        peak=peak,
        peak_source=so_far.source,
        peak_valley=found.peak_valley,
        reserves=tuple(
            replace(r, requirement_mw=at_hours(r.requirement_mw, times, site.timezone))
            for r in found.reserves
        ),
        calls=limits,
        calls_by_name=ids,
        position=position,
        unserved=found.unserved,
        weights=found.weights,
        notes=so_far.notes,
    )


def _calls(
    connection: Connection, city: City, times: np.ndarray, known_at: datetime
) -> tuple[tuple[FeederLimit, ...], dict[str, int]]:
    """The calls that stand within ``times``, each over every step that it touches."""
    resolution = city.site.plan_resolution
    start, end = from_datetime64(times[0]), from_datetime64(times[-1]) + resolution
    limits: list[FeederLimit] = []
    ids: dict[str, int] = {}
    for call in calls.standing(connection, start, end, as_of=known_at):
        name = f"{call.name} #{call.id}" if call.name in ids else call.name
        ids[name] = call.id
        first = to_datetime64(floor_to(call.start, resolution))
        price = call.breach_cny_per_mwh
        limits.append(FeederLimit(name, first, to_datetime64(call.end), call.limit_mw, price))
    return tuple(limits), ids


def day_ahead_position(
    connection: Connection, city: City, times: np.ndarray, known_at: datetime
) -> Position | None:
    """The exchange of the day-ahead plans in force at ``known_at``, at the city's prices.

    None where none of ``times`` has one. Raises ConfigurationError without prices.
    """
    start = from_datetime64(times[0])
    end = from_datetime64(times[-1]) + city.site.plan_resolution
    plan = runs.in_force(connection, DAY_AHEAD, start, end, (), as_of=known_at)
    if "import_mw" not in plan:
        return None
    exchange = (plan["import_mw"] - plan["export_mw"]).reindex(time=times).to_numpy()
    return position(city, exchange) if np.isfinite(exchange).any() else None


def position(city: City, committed_mw: np.ndarray) -> Position:
    """A promised exchange, (time,), at the city's prices; raises ConfigurationError without."""
    prices = wishes(city.site).deviation
    if prices is None:
        raise ConfigurationError(
            "A promised exchange needs the city's parameters 'position_above_cny_per_mwh' and "
            "'position_below_cny_per_mwh': what leaving it costs."
        )
    return Position(committed_mw, prices.above_cny_per_mwh, prices.below_cny_per_mwh)


# --- the parameters ----------------------------------------------------------------------------


def wishes(site: Site) -> Wishes:
    """What Site.parameters ask for; raises ConfigurationError naming parameter and value."""
    given = site.parameters
    return Wishes(
        peak_cny_per_mw=_number(given, "peak_cny_per_mw_month"),
        peak_minimum_mw=_number(given, "peak_minimum_mw") or 0.0,
        peak_valley=_peak_valley(given),
        reserves=_reserves(site),
        unserved=_unserved(given),
        weights=_weights(given),
        deviation=_deviation(given),
    )


def _number(given: Mapping[str, Any], name: str, *, where: str = "") -> float | None:
    """A number that is not below 0; None where it is not given."""
    value = given.get(name)
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        raise wrong(f"{where}{name}", value, "it must be a number, not below 0")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def wrong(name: str, value: object, must: str) -> ConfigurationError:
    """The error of a parameter that cannot be used."""
    return ConfigurationError(f"The city's parameter {name!r} cannot be {value!r}: {must}.")


def _together(given: Mapping[str, Any], one: str, other: str) -> tuple[float, float] | None:
    """Two numbers that mean nothing without each other; None for neither."""
    first, second = _number(given, one), _number(given, other)
    if first is None and second is None:
        return None
    if first is None:
        raise wrong(one, None, f"{other!r} means nothing without it")
    if second is None:
        raise wrong(other, None, f"{one!r} means nothing without it")
    return first, second


def _peak_valley(given: Mapping[str, Any]) -> PeakValley | None:
    both = _together(given, "peak_valley_target_mw", "peak_valley_breach_cny_per_mw")
    return None if both is None else PeakValley(*both)


def _deviation(given: Mapping[str, Any]) -> Deviation | None:
    both = _together(given, "position_above_cny_per_mwh", "position_below_cny_per_mwh")
    return None if both is None else Deviation(*both)


def _unserved(given: Mapping[str, Any]) -> Unserved | None:
    price = _number(given, "unserved_cny_per_mwh")
    if price == 0:
        raise wrong("unserved_cny_per_mwh", 0, "energy that is not served has a price above 0")
    return None if price is None else Unserved(price)


def _weights(given: Mapping[str, Any]) -> Weights:
    asked = given.get("weights", {})
    if not isinstance(asked, Mapping) or set(asked) - set(_WEIGHTS):
        raise wrong("weights", asked, f"it holds numbers for some of {', '.join(_WEIGHTS)}")
    numbers = {name: _number(asked, name, where="weights.") for name in asked}
    return Weights(**{name: value for name, value in numbers.items() if value is not None})


def _reserves(site: Site) -> tuple[Reserve, ...]:
    asked = site.parameters.get("reserves", [])
    if not isinstance(asked, list | tuple):
        raise wrong("reserves", asked, "it must be a list")
    steered = {a.id for a in site.assets if a.kind in der.found() and a.element}
    found = [_reserve(f"reserves[{n}]", one, steered) for n, one in enumerate(asked)]
    names = [r.name for r in found]
    for n, name in enumerate(names):
        if name in names[:n]:
            raise wrong(f"reserves[{n}].name", name, "another reserve has this name")
    return tuple(found)


def _reserve(where: str, given: Any, steered: Collection[str]) -> Reserve:
    if not isinstance(given, Mapping) or set(given) - set(_RESERVE):
        raise wrong(where, given, f"it holds {', '.join(_RESERVE)}")
    name, direction = given.get("name"), given.get("direction")
    if not isinstance(name, str) or not name.strip():
        raise wrong(f"{where}.name", name, "it must be a word")
    if direction not in list(Direction):
        raise wrong(f"{where}.direction", direction, "it must be up or down")
    numbers = {
        key: _number(given, key, where=f"{where}.")
        for key in ("activation_h", "price_cny_per_mw_h", "breach_cny_per_mw_h")
    }
    if not numbers["price_cny_per_mw_h"] and not numbers["breach_cny_per_mw_h"]:
        raise wrong(
            f"{where}.price_cny_per_mw_h",
            given.get("price_cny_per_mw_h"),
            "without it and without breach_cny_per_mw_h no plan holds any reserve",
        )
    return Reserve(
        name,
        Direction(direction),
        _by_hour(f"{where}.requirement_mw", given.get("requirement_mw")),
        assets=_contributors(f"{where}.assets", given.get("assets"), steered),
        **{key: value for key, value in numbers.items() if value is not None},
    )


def _by_hour(name: str, value: Any) -> np.ndarray:
    """24 numbers out of one or 24, (24,)."""
    listed = list(value) if isinstance(value, list | tuple) else [value] * HOURS
    if len(listed) != HOURS or not all(_is_number(each) and each >= 0 for each in listed):
        raise wrong(name, value, "it must be a number, or 24 by local hour, not below 0")
    return np.array(listed, dtype=float)


def _contributors(name: str, value: Any, steered: Collection[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or set(map(str, value)) - set(steered):
        raise wrong(name, value, "it must be a list of assets that plans dispatch")
    return tuple(map(str, value))
