"""Hourly books: air quality index, leak rate, footprints with their ledger entries, and totals.

Every job looks back over what is missing, so that an hour that was late or a pause of the
system is made up for; all of them may be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import xarray as xr

from app import keys, restatement
from app.carbonflow import CarbonFlow
from app.wiring import City
from carbon import factorset
from carbon.footprint import (
    RESOLUTION_KGCO2_PER_KWH,
    HourlyFootprint,
    Traced,
    by_bus,
    footprints,
    hourly_energy,
    hourly_entry,
    traced_factor,
)
from carbon.journal import Entry
from core.readings import READING_DTYPE, Quality
from core.sites import Asset, AssetKind, Enterprise
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, floor_to, from_datetime64, steps, to_us
from core.units import convert
from environment import aqi, averaging, standardset, water
from store import footprints as footprint_store
from store import indices, intensities, ledger, readings, series, writing
from store.database import Connection
from store.intensities import BusIntensity

log = logging.getLogger(__name__)

AIR_RESOLUTION = timedelta(minutes=5)
LOOK_BACK = timedelta(days=2)
"""How far the books reach back where they are empty."""
WATER_LOOK_BACK = timedelta(days=15)
"""A night flow is judged by the nights before it."""
REDO = timedelta(hours=3)
"""Hours that are made anew each time, for readings that came late."""


class Bookkeeping:
    """The hourly books of a city; used by one thread at a time."""

    def __init__(self, city: City) -> None:
        self._city = city
        self._standards = standardset.load()
        self._factors = factorset.load()
        self._flow = CarbonFlow(city)

    def hourly(self, now: datetime) -> None:
        """Everything that is due once an hour; intensities before the footprints they are for."""
        self.air(now)
        self.leaks(now)
        self._flow.hourly(now)
        self.footprints(now)

    def totals(self, now: datetime) -> None:
        """Sums of power over the city, at the meters' resolution, as series of their own."""
        end = floor_to(now, QUARTER_HOUR)
        with self._city.database.connection() as connection:
            ids = series.ids(connection)
            for name in keys.TOTALS:
                key = keys.total(self._city.site.id, name)
                members = [
                    keys.of(self._city.site.id, a.id, "p_mw")
                    for a in keys.members(self._city.site, name)
                ]
                if not members:
                    continue
                start = self._from(connection, key, end)
                values = readings.read(connection, members, start, end, QUARTER_HOUR)
                writing.write(connection, _sum(values, ids[key]))

    def _from(self, connection: Connection, key: str, end: datetime) -> datetime:
        """Where a total has to be continued: a little before its last value, or far back."""
        last = readings.latest(connection, [key])
        if last.empty:
            return end - timedelta(days=28)
        newest: datetime = last["ts"].iloc[0].to_pydatetime()
        return min(newest + QUARTER_HOUR, end) - REDO

    def air(self, now: datetime) -> None:
        """The real-time (hourly) index of each station and of the city, after HJ 633."""
        stations = self._assets(AssetKind.AIR_STATION)
        if not stations:
            return
        end = floor_to(now, HOUR)
        with self._city.database.connection() as connection:
            start = self._hours_from(connection, "aqi", "city", end)
            hourly = _concentrations(connection, self._city.site.id, stations, start, end)
        if hourly is None:
            return
        timezone = self._city.site.timezone
        by_station = aqi.indices(hourly, self._standards, timezone=timezone)
        whole = aqi.indices(aqi.city_mean(hourly), self._standards, timezone=timezone)
        rows = [
            row
            for i, station in enumerate(stations)
            for row in _air_rows(
                f"{self._city.site.id}/{station.id}",
                by_station.isel(station=i),
                hourly.isel(station=i),
            )
        ]
        rows += _air_rows("city", whole, aqi.city_mean(hourly))
        with self._city.database.connection() as connection:
            indices.save(connection, rows)

    def leaks(self, now: datetime) -> None:
        """Leak rate (RWL) over the last 24 hours and the last night's minimum flow."""
        site = self._city.site
        end = floor_to(now, HOUR)
        rows = []
        with self._city.database.connection() as connection:
            for district in self._assets(AssetKind.WATER_DISTRICT):
                series_keys = [
                    keys.of(site.id, district.id, v) for v in ("flow_m3_per_h", "billed_m3")
                ]
                subject = f"{site.id}/{district.id}"
                start = self._hours_from(
                    connection, "leak_rwl", subject, end, look_back=WATER_LOOK_BACK
                )
                values = readings.read(connection, series_keys, start - DAY, end, QUARTER_HOUR)
                rows += _leak_rows(subject, values, start, end, site.timezone)
            indices.save(connection, rows)

    def footprints(self, now: datetime) -> None:
        """Hourly scope 2 of each enterprise, by location, and the entries of the ledger.

        An hour whose readings were not all there is stated anew when more of them have come, and
        an hour whose intensities by bus were traced after it was stated, when they have been.
        """
        end = floor_to(now, HOUR)
        made: list[HourlyFootprint] = []
        entries: list[Entry] = []
        with self._city.database.connection() as connection:
            for enterprise in self._city.site.enterprises:
                last = footprint_store.last_hour(connection, enterprise.id)
                fresh = last + HOUR if last else end - LOOK_BACK
                booked = restatement.due(connection, enterprise.id, end - LOOK_BACK, fresh)
                for row in self._rows(connection, enterprise, fresh, end, booked):
                    again = row.hour in booked
                    entries += restatement.entries(connection, row) if again else _posted(row)
                    made.append(row)
            footprint_store.save(connection, made)
            ledger.append(connection, entries)
        if entries:
            log.info("footprints booked", extra={"hours": len(made), "entries": len(entries)})

    def _rows(
        self,
        connection: Connection,
        enterprise: Enterprise,
        fresh: datetime,
        end: datetime,
        booked: Mapping[datetime, Decimal],
    ) -> list[HourlyFootprint]:
        """The hours from ``fresh`` on, and those of ``booked`` that have more readings now."""
        start = min([fresh, *booked])
        if start >= end:
            return []
        series_keys = [keys.of(self._city.site.id, a, "p_mw") for a in enterprise.assets]
        values = readings.read(connection, series_keys, start, end, QUARTER_HOUR)
        energy = hourly_energy(values, start=start, end=end, resolution=QUARTER_HOUR)
        wanted = [e for e in energy if e.hour >= fresh or e.coverage > booked.get(e.hour, 1)]
        traced = self._traced(connection, enterprise, values, start, end)
        return [
            *footprints(enterprise.id, enterprise.province, wanted, self._factors),
            *by_bus(enterprise.id, enterprise.province, wanted, self._factors, traced),
        ]

    def _traced(
        self,
        connection: Connection,
        enterprise: Enterprise,
        values: xr.DataArray,
        start: datetime,
        end: datetime,
    ) -> dict[datetime, Traced]:
        """The factor by the buses of an enterprise's meters, for each hour that was traced."""
        hours = intensities.read(connection, start, end)
        if not hours:
            return {}
        meters = [
            hourly_energy(values.isel(series=[i]), start=start, end=end, resolution=QUARTER_HOUR)
            for i in range(values.sizes["series"])
        ]
        buses = [self._flow.bus_of(asset) for asset in enterprise.assets]
        found = {}
        for traced in hours:
            place = (traced.hour - start) // HOUR
            shares = [
                (meter[place].e_mwh, None if bus is None else _per_kwh(traced, bus))
                for meter, bus in zip(meters, buses, strict=True)
            ]
            regional = self._factors.grid_factor(enterprise.province, traced.hour)
            found[traced.hour] = traced_factor(shares, regional, traced.revision)
        return found

    def _assets(self, kind: AssetKind) -> list[Asset]:
        return [a for a in self._city.site.assets if a.kind is kind]

    def _hours_from(
        self,
        connection: Connection,
        kind: str,
        subject: str,
        end: datetime,
        *,
        look_back: timedelta = LOOK_BACK,
    ) -> datetime:
        last = indices.last_hour(connection, kind, subject)
        return min(last + HOUR, end) - REDO if last else end - look_back


def _posted(row: HourlyFootprint) -> list[Entry]:
    """The entry of an hour that is booked for the first time, if it has any emissions."""
    entry = hourly_entry(row)
    return [] if entry is None else [entry]


def _per_kwh(traced: BusIntensity, bus: int) -> Decimal | None:
    """kgCO2/kWh at a bus, a decimal of 0.000001; None where nothing passed."""
    value = traced.at(bus)
    if value is None:
        return None
    per_kwh = convert(value, "kgCO2e/MWh", "kgCO2/kWh")
    return Decimal(per_kwh).quantize(RESOLUTION_KGCO2_PER_KWH)


def _sum(values: xr.DataArray, series_id: int) -> np.ndarray:
    """The sum over all series where every one has a reading, as a batch of one series."""
    table = values.transpose("time", "series").to_numpy()
    complete = ~np.isnan(table).any(axis=1)
    batch = np.empty(int(complete.sum()), dtype=READING_DTYPE)
    batch["series_id"] = series_id
    batch["ts_us"] = [to_us(from_datetime64(t)) for t in values.time.to_numpy()[complete]]
    batch["value"] = table[complete].sum(axis=1)
    batch["quality"] = int(Quality.GOOD)
    return batch


def _concentrations(
    connection: Connection,
    site: str,
    stations: Sequence[Asset],
    start: datetime,
    end: datetime,
) -> xr.Dataset | None:
    """Hourly means (time, station) of each pollutant; None where no reading is there."""
    found: dict[str, xr.DataArray] = {}
    for pollutant in aqi.POLLUTANTS:
        series_keys = [keys.of(site, s.id, pollutant) for s in stations]
        values = readings.read(connection, series_keys, start, end)
        if values.sizes["time"]:
            named = values.rename(series="station").assign_coords(station=[s.id for s in stations])
            found[pollutant] = averaging.hourly_mean(named, resolution=AIR_RESOLUTION)
    return xr.Dataset(found) if found else None


def _air_rows(subject: str, index: xr.Dataset, hourly: xr.Dataset) -> list[indices.IndexRow]:
    """One row an hour with any figure; its value is None where the index is "NA"."""
    pollutants = [str(p) for p in index.pollutant.to_numpy()]
    iaqi = index["iaqi"].transpose("time", "pollutant").to_numpy()
    primary = index["primary"].transpose("time", "pollutant").to_numpy()
    means = {p: hourly[p].to_numpy() for p in pollutants if p in hourly}
    rows = []
    for i, ts in enumerate(index.time.to_numpy()):
        items = {p: int(v) for p, v in zip(pollutants, iaqi[i], strict=True) if np.isfinite(v)}
        if not items:
            continue
        value = float(index["aqi"].to_numpy()[i])
        detail = {
            "primary": [p for p, named in zip(pollutants, primary[i], strict=True) if named],
            "level": int(index["level"].to_numpy()[i]),
            "iaqi": items,
            "means": {p: round(float(v[i]), 2) for p, v in means.items() if np.isfinite(v[i])},
        }
        rows.append(
            indices.IndexRow(
                subject,
                "aqi",
                from_datetime64(ts),
                value if np.isfinite(value) else None,
                str(index["standard"].to_numpy()[i]),
                detail,
            )
        )
    return rows


def _leak_rows(
    subject: str, values: xr.DataArray, start: datetime, end: datetime, timezone: str
) -> list[indices.IndexRow]:
    """RWL of the 24 hours before each hour of [start, end), and the nights within.

    values: (time, series) with the inflow (m3/h) first and the billed use (m3) second.
    """
    flow, billed = values.isel(series=0, drop=True), values.isel(series=1, drop=True)
    both = flow.notnull() & billed.notnull()
    window = {"time": int(DAY / QUARTER_HOUR)}
    hours_each = QUARTER_HOUR / HOUR
    supplied = (flow.where(both, 0.0) * hours_each).rolling(window).sum()
    sold = billed.where(both, 0.0).rolling(window).sum()
    coverage = both.astype(float).rolling(window).mean()
    rows = []
    for ts in steps(start, end, HOUR):
        # The label is the beginning of the hour whose end closes the window.
        last = ts + np.timedelta64(45, "m")
        if last not in values.indexes["time"]:
            continue
        share = float(coverage.sel(time=last))
        if not share >= water.MINIMUM_COVERAGE:
            continue
        supplied_m3, sold_m3 = float(supplied.sel(time=last)), float(sold.sel(time=last))
        rate = water.leak_rate_percent(supplied_m3, sold_m3)
        if np.isfinite(rate):
            detail = {"supplied_m3": supplied_m3, "billed_m3": sold_m3, "coverage": share}
            at = from_datetime64(ts)
            rows.append(indices.IndexRow(subject, "leak_rwl", at, rate, water.FIGURE, detail))
    nights = water.night_flow(flow, resolution=QUARTER_HOUR, timezone=timezone)
    for i, day in enumerate(nights.time.to_numpy()):
        value = float(nights["night_flow_m3_per_h"].to_numpy()[i])
        if np.isfinite(value):
            rows.append(indices.IndexRow(subject, "night_flow", from_datetime64(day), value))
    return rows
