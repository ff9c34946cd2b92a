"""Air quality index by HJ 633: exact for one record, vectorised for many.

The rule, for each pollutant: round the concentration half to even (GB/T 8170) to whole µg/m3, CO
to 0.1 mg/m3; interpolate between the breakpoints of its column; round the sub-index (IAQI) up.
The index (AQI) is the largest sub-index. Primary pollutants, ties together, are named only when it
is above 50. When a pollutant is missing the index of the rest is published only if it is above
100; otherwise there is none ("NA"). Beyond the table the sub-index stays at its end, 500.

Binary floats are harmless: a concentration is first taken to 0.000001 of its unit, and everything
behind that is integer arithmetic, so that a breakpoint gives exactly its index and 60.5 is a tie.
A value that rounds to less than zero, and NaN, are missing.

City index: the index of the arithmetic mean of the valid stations' concentrations (HJ 663), not
the mean of the stations' indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from math import ceil, isfinite

import numpy as np
import pandas as pd
import xarray as xr

from core import units
from core.timeaxis import zone
from environment.standardset import Column, Level, Standard, StandardSet

POLLUTANTS = ("pm2_5", "pm10", "so2", "no2", "o3", "co")
PUBLISHED_WITH_GAPS_ABOVE = 100
PRIMARY_ABOVE = 50
MINIMUM_STATION_SHARE = 0.75
"""Share of a city's stations that must report, for a mean of the city (HJ 663; not checked
against its text)."""

_MICRO = 6
_NAN_CODE = -1
_HUGE = 1e9  # far beyond every table, and its millionfold still fits into int64


@dataclass(frozen=True, slots=True)
class Index:
    """The index of one record, with the edition that judged it.

    aqi: None where none may be published ("NA"). iaqi: by pollutant, None where missing.
    primary: names of the primary pollutants, in the order of POLLUTANTS.
    """

    standard: str
    report: str
    aqi: int | None
    iaqi: Mapping[str, int | None]
    primary: tuple[str, ...]
    level: Level | None


# --- one record -----------------------------------------------------------------------------


def rounded_steps(concentration: float | Decimal | None, column: Column) -> int | None:
    """The concentration in steps of its column (1 µg/m3, 0.1 mg/m3); None where missing."""
    if concentration is None or not isfinite(concentration):
        return None
    if isinstance(concentration, Decimal):
        micro = concentration.quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
    else:
        micro = Decimal(int(np.rint(concentration * 10.0**_MICRO))).scaleb(-_MICRO)
    steps = int(micro.scaleb(column.decimals).to_integral_value(ROUND_HALF_EVEN))
    return steps if steps >= 0 else None


def sub_index(
    concentration: float | Decimal | None,
    column: Column,
    standard: Standard,
    others: Mapping[str, float] | None = None,
) -> int | None:
    """The IAQI of one concentration (in the column's unit); None when it is missing.

    others: means by column id, for an edition whose footnote turns to another column; without
        the mean it turns to there is no sub-index.
    """
    steps = rounded_steps(concentration, column)
    if steps is None:
        return None
    points = column.breakpoints
    if steps > points[-1]:
        if column.above_column is not None:
            other = standard.columns[column.above_column]
            return sub_index((others or {}).get(other.id), other, standard)
        return column.above_iaqi if column.above_iaqi is not None else standard.iaqi[-1]
    upper = next(i for i in range(1, len(points)) if steps <= points[i])
    low, high = points[upper - 1], points[upper]
    iaqi_low, iaqi_high = standard.iaqi[upper - 1], standard.iaqi[upper]
    return ceil(Fraction((iaqi_high - iaqi_low) * (steps - low), high - low) + iaqi_low)


def index(
    concentrations: Mapping[str, float | Decimal | None],
    standard: Standard,
    *,
    report: str = "hourly",
    others: Mapping[str, float] | None = None,
) -> Index:
    """The index of one record.

    concentrations: by pollutant (POLLUTANTS), µg/m3, CO in mg/m3. ``hourly``: 1-h means;
        ``daily``: 24-h means, and the largest 8-h mean of O3. What is not named is missing.
    others: further means by column id; see ``sub_index``.
    """
    iaqi = {
        p: sub_index(concentrations.get(p), standard.column(report, p), standard, others)
        for p in POLLUTANTS
    }
    present = [i for i in iaqi.values() if i is not None]
    aqi = max(present, default=None)
    complete = len(present) == len(iaqi)
    if aqi is None or (not complete and aqi <= PUBLISHED_WITH_GAPS_ABOVE):
        return Index(standard.name, report, None, iaqi, (), None)
    primary = tuple(p for p, i in iaqi.items() if i == aqi) if aqi > PRIMARY_ABOVE else ()
    return Index(standard.name, report, aqi, iaqi, primary, standard.level(aqi))


def index_on(
    concentrations: Mapping[str, float | Decimal | None],
    day: date,
    standards: StandardSet,
    *,
    report: str = "hourly",
    others: Mapping[str, float] | None = None,
) -> Index:
    """``index`` by the edition in force on the local day of the record."""
    return index(concentrations, standards.on(day), report=report, others=others)


# --- many records ---------------------------------------------------------------------------


def sub_indices(
    concentration: np.ndarray, column: Column, standard: Standard, other: np.ndarray | None = None
) -> np.ndarray:
    """IAQI of concentrations (in the column's unit) of any shape; NaN where missing.

    other: means for the column that a footnote turns to, same shape.
    """
    steps = _steps(concentration, column)
    points = np.array(column.breakpoints, dtype=np.int64)
    iaqi = np.array(standard.iaqi[: len(points)], dtype=np.int64)
    inside = np.clip(steps, 0, points[-1])
    upper = np.clip(np.searchsorted(points, inside, side="left"), 1, len(points) - 1)
    rise = (iaqi[upper] - iaqi[upper - 1]) * (inside - points[upper - 1])
    # Minus floor of minus: integer division rounded up.
    result = np.array(iaqi[upper - 1] - (-rise // (points[upper] - points[upper - 1])), dtype=float)
    beyond = steps > points[-1]
    if column.above_column is not None:
        result[beyond] = np.nan
        if other is not None and beyond.any():
            turned = standard.columns[column.above_column]
            result[beyond] = sub_indices(np.asarray(other)[beyond], turned, standard)
    elif column.above_iaqi is not None:
        result[beyond] = column.above_iaqi
    result[steps == _NAN_CODE] = np.nan
    return result


def _steps(concentration: np.ndarray, column: Column) -> np.ndarray:
    """int64 steps of the column, half to even; _NAN_CODE where missing."""
    values = np.asarray(concentration, dtype=float)
    present = np.isfinite(values)
    bounded = np.clip(np.where(present, values, 0.0), -_HUGE, _HUGE)
    micro = np.rint(bounded * 10.0**_MICRO).astype(np.int64)
    per_step = 10 ** (_MICRO - column.decimals)
    steps, rest = np.divmod(micro, per_step)
    up = (2 * rest > per_step) | ((2 * rest == per_step) & (steps % 2 == 1))
    steps = steps + up
    rounded: np.ndarray = np.where(present & (steps >= 0), steps, _NAN_CODE)
    return rounded


def indices(
    concentrations: xr.Dataset,
    standards: StandardSet,
    *,
    timezone: str,
    report: str = "hourly",
    others: xr.Dataset | None = None,
) -> xr.Dataset:
    """Indices of many records, each by the edition in force on its local day.

    concentrations: variables out of POLLUTANTS with a ``time`` dimension (UTC by convention) and
        any others (such as station); 1-h means for ``hourly``, daily figures for ``daily``. A
        variable with attrs["units"] is converted, one without is taken as µg/m3 (CO mg/m3).
        Absent variables and NaN are missing.
    timezone: where days begin and end.
    others: further means, named by column id (see ``sub_index``).
    Returns iaqi (..., pollutant), NaN where missing; aqi (...), NaN for "NA"; primary
    (..., pollutant) bool; level (...) 1..6, 0 for "NA"; standard (time,).
    """
    names = _editions(concentrations, standards, timezone)
    blocks = []
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == name)
        turned = None if others is None else others.isel(time=rows)
        block = _judge(concentrations.isel(time=rows), standards.named(name), report, turned)
        blocks.append(block)
    if not blocks:
        blocks = [_judge(concentrations, standards.standards[-1], report, others)]
    result = blocks[0] if len(blocks) == 1 else xr.concat(blocks, dim="time", join="exact")
    result = result.sel(time=concentrations.time)
    return result.assign(standard=("time", names))


def _editions(concentrations: xr.Dataset, standards: StandardSet, timezone: str) -> np.ndarray:
    times = pd.DatetimeIndex(concentrations.time.to_numpy()).tz_localize("UTC")
    days = times.tz_convert(zone(timezone)).date
    by_day = {day: standards.on(day).name for day in set(days)}
    return np.array([by_day[day] for day in days], dtype=object)


def _judge(
    concentrations: xr.Dataset, standard: Standard, report: str, others: xr.Dataset | None
) -> xr.Dataset:
    template = xr.zeros_like(_any_variable(concentrations), dtype=float)
    parts = []
    for pollutant in POLLUTANTS:
        column = standard.column(report, pollutant)
        values = _in_unit(concentrations, pollutant, column.unit, template)
        other = None
        if others is not None and column.above_column in others:
            turned = standard.columns[str(column.above_column)]
            other = _in_unit(others, turned.id, turned.unit, template)
        parts.append(template.copy(data=sub_indices(values, column, standard, other)))
    iaqi = xr.concat(parts, dim=pd.Index(POLLUTANTS, name="pollutant"), coords="minimal")
    return _combine(iaqi.transpose(..., "pollutant"), standard)


def _any_variable(concentrations: xr.Dataset) -> xr.DataArray:
    known = [p for p in POLLUTANTS if p in concentrations]
    if not known:
        raise ValueError(f"None of {', '.join(POLLUTANTS)} is given.")
    arrays = xr.broadcast(*(concentrations[p] for p in known))
    return arrays[0].drop_attrs()


def _in_unit(data: xr.Dataset, name: str, unit: str, template: xr.DataArray) -> np.ndarray:
    if name not in data:
        return np.full(template.shape, np.nan)
    array = data[name].broadcast_like(template).transpose(*template.dims)
    values = array.to_numpy().astype(float)
    converted: np.ndarray = units.convert(values, str(array.attrs.get("units", unit)), unit)
    return converted


def _combine(iaqi: xr.DataArray, standard: Standard) -> xr.Dataset:
    aqi = iaqi.max("pollutant")
    complete = iaqi.notnull().all("pollutant")
    aqi = aqi.where(complete | (aqi > PUBLISHED_WITH_GAPS_ABOVE))
    primary = (iaqi == aqi) & (aqi > PRIMARY_ABOVE)
    uptos = np.array([level.upto for level in standard.levels])
    numbers = np.searchsorted(uptos, np.nan_to_num(aqi.to_numpy()), side="left") + 1
    level = aqi.copy(data=np.where(aqi.notnull(), np.minimum(numbers, len(uptos)), 0))
    result = xr.Dataset(
        {"iaqi": iaqi, "aqi": aqi, "primary": primary, "level": level.astype(np.int8)}
    )
    for name in ("iaqi", "aqi"):
        result[name].attrs["units"] = "1"
    return result


def city_mean(
    concentrations: xr.Dataset, *, minimum_share: float = MINIMUM_STATION_SHARE
) -> xr.Dataset:
    """The city's concentrations: mean over the valid stations, units kept, without ``station``.

    NaN where fewer than ``minimum_share`` of the stations have a valid value of the pollutant.
    """
    enough = concentrations.notnull().mean("station") >= minimum_share
    mean = concentrations.mean("station", skipna=True, keep_attrs=True)
    result: xr.Dataset = mean.where(enough)
    return result
