"""Hourly location-based scope 2 of an enterprise, from its metered energy.

    kgCO2 = e_mwh x 1000 kWh/MWh x factor in kgCO2/kWh

Three figures for each hour: with the intensity of the buses behind the enterprise's meters, with
the factor of its province and with the national average. They state the same emission and are kept
on accounts of their own, so that they are never added.

By the bus: what the AC power flow of the hour brought to the meters (grid/tracing.py), imports of
the city counted by the province's factor, losses of the grid apart (they are scope 3, category 3).
Where no power flow of the hour exists the province's factor stands in, and the row says so.

Location-based, all three: a location-based figure says what the grid delivered, whoever has bought
its attributes. A plant whose certificates were sold elsewhere still makes the grid around it
cleaner here, so a figure by the bus must never be set against a market-based one, nor be used to
claim the plant's energy: that would count it twice, once by the certificate and once by the place.
Nor is it a replacement for an official factor where a rule prescribes that: the province's figure
stays beside it for reports and verification. The province's factor holds local generation as well,
so the sum over all enterprises of a province by their buses is not the province's total.

Energy enters as floats (mean MW of an interval) and becomes Decimal in one place: each mean is
rounded to whole watts (half to even), the watts are added as integers, and the energy of the hour
is rounded to 0.000001 MWh (half to even). From there on everything is exact.

A missing reading is never made up in silence: an hour carries the energy of the readings that
are there and their share (``coverage``). On request, gaps are filled with the mean of the same
meter in the same hour; the hour is then marked as estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from enum import StrEnum

import numpy as np
import xarray as xr

from carbon.factorset import Choice, FactorSet
from carbon.journal import Entry, Posting, StoredEntry, decimal_text, reversal
from core.errors import TimeError
from core.findings import Finding, Severity
from core.timeaxis import HOUR, floor_to, from_datetime64, steps, to_datetime64

METHOD = "scope2-location-hourly/1"
"""Version of this computation; part of every idempotency key."""

KIND = "scope2.location.hour"
UNIT = "kgCO2"
KWH_PER_MWH = Decimal(1000)
RESOLUTION_MWH = Decimal("0.000001")
RESOLUTION_KGCO2_PER_KWH = Decimal("0.000001")
TRACING = "bus-average-tracing/1"
"""How intensities by the bus are made: average, proportional sharing, losses apart."""
_WATT_PER_MW = 1_000_000
_COVERAGE_DIGITS = Decimal("0.0001")


class Level(StrEnum):
    """Whose grid mix a figure uses."""

    NATIONAL = "national"
    PROVINCE = "province"
    BUS = "bus"


class Method(StrEnum):
    """Where the factor of a footprint comes from."""

    REGIONAL = "regional"  # a published factor
    TRACED = "traced"  # the buses of the meters
    MIXED = "mixed"  # some meters by their buses, the others by the published factor


@dataclass(frozen=True, slots=True)
class Traced:
    """An hour's factor by the buses behind an enterprise's meters.

    kgco2_per_kwh: mean over the meters, weighted by their purchase. share: part of the purchase
    whose bus was traced, 0..1; the rest counts by the regional factor. revision: how often the
    hour had been traced.
    """

    kgco2_per_kwh: Decimal
    share: Decimal
    revision: int


@dataclass(frozen=True, slots=True)
class HourlyEnergy:
    """Energy (MWh, positive consumed) of the hour that begins at ``hour`` (aware UTC).

    coverage: readings present / readings expected, 0..1, before anything was filled.
    estimated: whether ``e_mwh`` holds filled gaps.
    """

    hour: datetime
    e_mwh: Decimal
    coverage: Decimal
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class HourlyFootprint:
    """Location-based scope 2 of one enterprise and hour at one level.

    e_mwh: the purchased energy; kgco2 = e_mwh x 1000 x factor value, exact. choice: the published
    factor; by the bus it is what imports count as, and what stands in where ``traced`` is None.
    """

    enterprise: str
    hour: datetime
    level: Level
    e_mwh: Decimal
    kgco2: Decimal
    coverage: Decimal
    estimated: bool
    choice: Choice
    findings: tuple[Finding, ...]
    traced: Traced | None = None

    @property
    def factor_id(self) -> str:
        """The id of the published factor used."""
        return self.choice.factor.id

    @property
    def factor_value(self) -> Decimal:
        """kgCO2/kWh, as multiplied with the energy."""
        return self.traced.kgco2_per_kwh if self.traced else self.choice.factor.value

    @property
    def method(self) -> Method:
        """Where ``factor_value`` comes from."""
        if self.traced is None or not self.traced.share:
            return Method.REGIONAL
        return Method.TRACED if self.traced.share == 1 else Method.MIXED


def hourly_energy(
    p_mw: xr.DataArray,
    *,
    start: datetime,
    end: datetime,
    resolution: timedelta,
    estimate: bool = False,
) -> list[HourlyEnergy]:
    """Energy of an enterprise for every hour in [start, end).

    p_mw: (time, meter), mean MW of the interval of ``resolution`` that begins at ``time``
        (UTC by convention), positive when consuming; the second dimension may have any name and
        may be missing. NaN and absent times are missing readings.
    estimate: fill a meter's gaps with the mean of its other readings in the hour; a meter
        without any reading in the hour stays missing.
    Raises TimeError when ``resolution`` does not divide the hour, the hours are not whole, or
    two readings of the array share a time.
    """
    hours = steps(start, end, HOUR)
    per_hour, rest = divmod(HOUR, resolution)
    if rest or floor_to(start, HOUR) != start:
        raise TimeError("Hourly energy needs whole UTC hours and intervals that divide the hour.")
    watts, present = _watts(p_mw, steps(start, end, resolution))
    shape = (len(hours), per_hour, watts.shape[1])
    watts, present = watts.reshape(shape), present.reshape(shape)
    measured, counts = watts.sum(axis=1), present.sum(axis=1)
    estimated = ((counts > 0) & (counts < per_hour)).any(axis=1) & estimate
    return [
        HourlyEnergy(
            hour=from_datetime64(hours[i]),
            e_mwh=_energy(measured[i], counts[i], per_hour, estimate=estimate),
            coverage=_share(int(counts[i].sum()), per_hour * shape[2]),
            estimated=bool(estimated[i]),
        )
        for i in range(len(hours))
    ]


def _watts(p_mw: xr.DataArray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole watts (0 where missing) and presence on the time axis, both (time, meter)."""
    if not p_mw.indexes["time"].is_unique:
        raise TimeError("Two readings of one meter stand for the same time.")
    table = p_mw.expand_dims("meter") if p_mw.ndim == 1 else p_mw
    mean_mw = table.transpose("time", ...).reindex(time=axis).to_numpy().astype(float)
    present = np.isfinite(mean_mw)
    watts = np.rint(np.where(present, mean_mw, 0.0) * _WATT_PER_MW).astype(np.int64)
    return watts, present


def _energy(measured: np.ndarray, counts: np.ndarray, per_hour: int, *, estimate: bool) -> Decimal:
    """MWh of one hour out of the sums of watts and the counts of readings per meter."""
    total = Decimal(0)
    for watts, count in zip(measured.tolist(), counts.tolist(), strict=True):
        if count:
            # Each reading stands for 1/per_hour of the hour, or for its share when gaps are filled.
            total += Decimal(watts) / (count if estimate else per_hour)
    return (total / _WATT_PER_MW).quantize(RESOLUTION_MWH, ROUND_HALF_EVEN)


def _share(present: int, expected: int) -> Decimal:
    if not expected:
        return Decimal(0)
    # Rounded down: 1 means that nothing at all is missing.
    return Decimal(present * 10_000 // expected) * _COVERAGE_DIGITS


def kgco2(e_mwh: Decimal, kgco2_per_kwh: Decimal) -> Decimal:
    """Emissions in kgCO2 of ``e_mwh`` with a factor in kgCO2/kWh; exact up to 28 digits."""
    return e_mwh * KWH_PER_MWH * kgco2_per_kwh


def traced_factor(
    meters: Iterable[tuple[Decimal, Decimal | None]], regional: Choice, revision: int
) -> Traced:
    """The factor by the buses behind meters; the regional one where none of them bought anything.

    meters: of each its energy of the hour in MWh (what is given to the grid counts as 0) and the
    intensity of its bus in kgCO2/kWh, None where there is none. The mean is rounded to 0.000001
    kgCO2/kWh (half to even), the share of what was traced is rounded down to 0.0001.
    """
    total = emitted = known = Decimal(0)
    for e_mwh, intensity in meters:
        bought = max(e_mwh, Decimal(0))
        total += bought
        known += bought if intensity is not None else 0
        emitted += bought * (regional.factor.value if intensity is None else intensity)
    if not known:
        return Traced(regional.factor.value, Decimal(0), revision)
    mean = (emitted / total).quantize(RESOLUTION_KGCO2_PER_KWH, ROUND_HALF_EVEN)
    return Traced(mean, (known / total).quantize(_COVERAGE_DIGITS, ROUND_DOWN), revision)


def footprint(
    enterprise: str,
    level: Level,
    energy: HourlyEnergy,
    choice: Choice,
    traced: Traced | None = None,
) -> HourlyFootprint:
    """The footprint of one hour. Energy given to the grid is not purchased and counts as 0."""
    purchased = max(energy.e_mwh, Decimal(0))
    value = traced.kgco2_per_kwh if traced else choice.factor.value
    return HourlyFootprint(
        enterprise=enterprise,
        hour=energy.hour,
        level=level,
        e_mwh=purchased,
        kgco2=kgco2(purchased, value),
        coverage=energy.coverage,
        estimated=energy.estimated,
        choice=choice,
        findings=(*choice.findings, *_doubts(enterprise, energy)),
        traced=traced,
    )


def _doubts(enterprise: str, energy: HourlyEnergy) -> list[Finding]:
    found, at = [], energy.hour.isoformat()
    if energy.coverage < 1:
        percent = decimal_text(energy.coverage * 100)
        filled = "gaps were filled" if energy.estimated else "nothing was filled in"
        message = f"Only {percent} % of the readings of {at} are present; {filled}."
        found.append(Finding("footprint", "coverage", (enterprise,), message, Severity.WARNING))
    if energy.e_mwh < 0:
        message = f"The net use of {at} is {energy.e_mwh} MWh; its purchase counts as 0."
        found.append(Finding("footprint", "e_mwh", (enterprise,), message, Severity.INFO))
    return found


def footprints(
    enterprise: str, province: str, energies: Iterable[HourlyEnergy], factors: FactorSet
) -> list[HourlyFootprint]:
    """Two footprints for each hour: with the national factor, then with the province's."""
    result = []
    for energy in energies:
        national, local = factors.national(energy.hour), factors.grid_factor(province, energy.hour)
        result.append(footprint(enterprise, Level.NATIONAL, energy, national))
        result.append(footprint(enterprise, Level.PROVINCE, energy, local))
    return result


def by_bus(
    enterprise: str,
    province: str,
    energies: Iterable[HourlyEnergy],
    factors: FactorSet,
    traced: Mapping[datetime, Traced],
) -> list[HourlyFootprint]:
    """One footprint for each hour by the bus; by the province's factor where none was traced."""
    return [
        footprint(
            enterprise,
            Level.BUS,
            energy,
            factors.grid_factor(province, energy.hour),
            traced.get(energy.hour),
        )
        for energy in energies
    ]


def table(rows: Iterable[HourlyFootprint]) -> xr.Dataset:
    """Footprints of one enterprise as floats for drawing: (time, level) kgco2 and coverage."""
    listed = sorted(rows, key=lambda row: row.hour)
    hours = sorted({row.hour for row in listed})
    cells = {(row.hour, row.level): row for row in listed}
    levels = [level for level in Level if any(row.level is level for row in listed)]

    def values(name: str) -> np.ndarray:
        return np.array(
            [
                [float(getattr(cells[h, v], name)) if (h, v) in cells else np.nan for v in levels]
                for h in hours
            ]
        ).reshape(len(hours), len(levels))

    return xr.Dataset(
        {
            "kgco2": (("time", "level"), values("kgco2"), {"units": UNIT}),
            "e_mwh": (("time", "level"), values("e_mwh"), {"units": "MWh"}),
            "coverage": (("time", "level"), values("coverage"), {"units": "1"}),
        },
        coords={
            "time": np.array([to_datetime64(h) for h in hours], dtype="datetime64[ns]"),
            "level": [str(v) for v in levels],
        },
    )


def idempotency_key(row: HourlyFootprint, revision: int = 0) -> str:
    """``method:level:hour:factor id[:revision]``; the owner of the entry is the enterprise."""
    hour = row.hour.strftime("%Y-%m-%dT%HZ")
    key = f"{METHOD}:{row.level}:{hour}:{row.factor_id}"
    return f"{key}:r{revision}" if revision else key


def hourly_entry(row: HourlyFootprint, *, revision: int = 0) -> Entry | None:
    """The ledger entry of a footprint; None for an hour without emissions: nothing is posted.

    ``scope2.location.<level>`` (what the enterprise answers for) is debited, and
    ``atmosphere.location.<level>`` credited. Once posted it is corrected by ``correction`` only.
    """
    if not row.kgco2:
        return None
    factor = row.choice.factor
    return Entry(
        owner=row.enterprise,
        kind=KIND,
        idempotency_key=idempotency_key(row, revision),
        valid_from=row.hour,
        valid_to=row.hour + HOUR,
        memo=f"{decimal_text(row.e_mwh)} MWh x {decimal_text(row.factor_value)} {factor.unit}",
        postings=(
            Posting(f"scope2.location.{row.level}", UNIT, row.kgco2),
            Posting(f"atmosphere.location.{row.level}", UNIT, row.kgco2.copy_negate()),
        ),
        detail={
            "method": METHOD,
            "level": str(row.level),
            "e_mwh": decimal_text(row.e_mwh),
            "coverage": decimal_text(row.coverage),
            "estimated": "true" if row.estimated else "false",
            "factor_id": factor.id,
            "factor_value": decimal_text(factor.value),
            "factor_unit": factor.unit,
            "factor_zone": factor.zone,
            "factor_source": factor.source,
            "factor_carried_forward": "true" if row.choice.carried_forward else "false",
            "factor_national_instead": "true" if row.choice.national_instead else "false",
            **_tracing(row),
        },
    )


def _tracing(row: HourlyFootprint) -> dict[str, str]:
    """What an entry by the bus says beyond the published factor behind it."""
    if row.level is not Level.BUS:
        return {}
    said = {"factor_method": str(row.method)}
    if row.traced is not None and row.traced.share:
        said |= {
            "tracing": TRACING,
            "traced_value": decimal_text(row.traced.kgco2_per_kwh),
            "traced_share": decimal_text(row.traced.share),
            "traced_revision": str(row.traced.revision),
        }
    return said


def correction(stored: StoredEntry, row: HourlyFootprint, *, revision: int) -> list[Entry]:
    """The entries that replace a posted hour: its reversal, then the new figure.

    revision: 1 for the first correction of the hour, 2 for the next one, and so on.
    """
    key = f"{stored.entry.idempotency_key}:reversed"
    back = reversal(stored, key, f"replaced by revision {revision}")
    entry = hourly_entry(row, revision=revision)
    return [back] if entry is None else [back, entry]
