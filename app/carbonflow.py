"""Carbon intensity of every bus by the hour: power flow of what was measured, then traced.

An hour is traced when enough of its readings are there, and again when more of them have come; the
few that are missing stand with the newest forecast or the value of a week before, as in a plan.
Batteries give back what they were charged with: what each holds when an hour ends is kept with the
hour and begins the next one. An hour that is traced again does not change the contents of hours
that were traced after it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import xarray as xr

from app import keys
from app.planning import Horizon, expected, network_of
from app.wiring import City
from carbon import factorset
from carbon.factorset import Choice
from carbon.sources import BY_KIND, source_kgco2e_per_mwh
from core.errors import ConfigurationError, NetworkError, PowerFlowError
from core.sites import Asset
from core.timeaxis import HOUR, QUARTER_HOUR, floor_to, steps
from core.units import convert
from grid import powerflow
from grid.network import ELEMENTS, Network
from grid.storedcarbon import Contents, trace_storing
from store import intensities, readings
from store.database import Connection
from store.intensities import BusIntensity, Held

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=2)
MINIMUM_COVERAGE = 0.9
"""Share of the meters' readings below which an hour has no power flow of its own."""
STEP = QUARTER_HOUR
MOST_TOGETHER = 12
"""Hours traced in one go; the energy of batteries is measured anew where each begins."""


class CarbonFlow:
    """Traces the hours of a city; used by one thread at a time."""

    def __init__(self, city: City) -> None:
        self._city = city
        self._factors = factorset.load()

    @cached_property
    def _network(self) -> Network | None:
        """The city's network, converted once; None where it cannot be calculated."""
        if not self._city.site.network_json:
            return None
        try:
            network = network_of(self._city)
            supplied = network.admittance.nodes
        except NetworkError as error:
            log.warning("no carbon intensities by bus", extra={"reason": str(error)})
            return None
        return network if supplied else None

    @cached_property
    def _assets(self) -> tuple[Asset, ...]:
        """What is metered on the grid."""
        known = {s.key for s in self._city.site.series}
        return tuple(
            a
            for a in self._city.site.assets
            if a.element in ELEMENTS and keys.of(self._city.site.id, a.id, "p_mw") in known
        )

    def bus_of(self, asset_id: str) -> int | None:
        """The bus behind an asset's meter; None where it stands on no bus of the network."""
        asset = next((a for a in self._assets if a.id == asset_id), None)
        if self._network is None or asset is None:
            return None
        position = np.flatnonzero(self._network.ids(asset.element) == asset.element_index)
        if not position.size:
            return None
        return int(self._network.buses[self._network.bus_position(asset.element)[position[0]]])

    def hourly(self, now: datetime) -> list[datetime]:
        """Trace the hours of the last two days that are due; returns those that were traced."""
        network = self._network
        if network is None or not self._assets:
            return []
        end = floor_to(now, HOUR)
        traced: list[datetime] = []
        with self._city.database.connection() as connection:
            known = {i.hour: i for i in intensities.read(connection, end - LOOK_BACK - HOUR, end)}
            hours = [end - i * HOUR for i in range(LOOK_BACK // HOUR, 0, -1)]
            due = [h for h in hours if h not in known or known[h].coverage < 1.0]
            better = {
                hour: coverage
                for hour, coverage in self._coverages(connection, due).items()
                if coverage >= MINIMUM_COVERAGE
                and coverage > (known[hour].coverage if hour in known else 0.0)
            }
            for span in self._spans(list(better)):
                for found in self._trace(connection, network, span, now, known.get(span[0] - HOUR)):
                    stored = replace(found, coverage=better[found.hour])
                    intensities.save(connection, stored)
                    known[stored.hour] = stored
                    traced.append(stored.hour)
        if traced:
            log.info("carbon intensities by bus", extra={"hours": len(traced)})
        return traced

    def _coverages(self, connection: Connection, hours: list[datetime]) -> dict[datetime, float]:
        """Readings present of those expected, by hour, in order; 0..1."""
        if not hours:
            return {}
        series_keys = [keys.of(self._city.site.id, a.id, "p_mw") for a in self._assets]
        end = hours[-1] + HOUR
        values = readings.read(connection, series_keys, hours[0], end, STEP)
        there = values.transpose("time", "series").notnull().to_numpy()
        by_hour = there.reshape(-1, (HOUR // STEP) * len(series_keys)).mean(axis=1)
        return {hour: float(by_hour[(hour - hours[0]) // HOUR]) for hour in hours}

    def _spans(self, hours: list[datetime]) -> list[list[datetime]]:
        """Hours that follow each other and count imports alike, traced together."""
        spans: list[list[datetime]] = []
        for hour in hours:
            last = spans[-1] if spans else []
            if (
                last
                and hour == last[-1] + HOUR
                and len(last) < MOST_TOGETHER
                and self._choice(hour).factor == self._choice(last[0]).factor
            ):
                last.append(hour)
            else:
                spans.append([hour])
        return spans

    def _trace(
        self,
        connection: Connection,
        network: Network,
        hours: list[datetime],
        now: datetime,
        before: BusIntensity | None,
    ) -> list[BusIntensity]:
        """Consecutive hours; those that have no power flow are left out. Coverage is not told."""
        start, count = hours[0], len(hours)
        choice = self._choice(start)
        imported = _per_mwh(choice)
        injections = self._injections(connection, Horizon(start, start + count * HOUR, now))
        held = self._held(connection, start, imported, before)
        try:
            traced = trace_storing(
                network,
                injections,
                powerflow.run(network, injections),
                self._sources(network, imported),
                self._contents(network, held, imported),
                dt_h=STEP / HOUR,
            )
        except PowerFlowError as error:
            if count == 1:
                log.warning("an hour has no carbon intensities", extra={"reason": str(error)})
                return []
            found: list[BusIntensity] = []
            for hour in hours:
                followed = [f for f in [before, *found[-1:]] if f and f.hour == hour - HOUR]
                last = followed[-1] if followed else None
                found += self._trace(connection, network, [hour], now, last)
            return found
        except ConfigurationError as error:
            log.warning("hours have no carbon intensities", extra={"reason": str(error)})
            return []
        steps_each = HOUR // STEP
        return [
            self._hour(network, hour, choice, traced.isel(time=slice(k, k + steps_each)))
            for hour, k in zip(hours, range(0, count * steps_each, steps_each), strict=True)
        ]

    def _hour(
        self, network: Network, hour: datetime, choice: Choice, traced: xr.Dataset
    ) -> BusIntensity:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # buses where nothing passes all hour
            mean = np.nanmean(traced["kgco2e_per_mwh"].values, axis=0)
        e_mwh = traced["content_mwh"].values[-1]
        each = traced["content_kgco2e_per_mwh"].values[-1]
        place = {index: k for k, index in enumerate(network.storages.tolist())}
        at = {
            a.id: place[a.element_index]
            for a in self._assets
            if a.element == "storage" and a.element_index in place
        }
        return BusIntensity(
            hour=hour,
            buses=network.buses,
            kgco2e_per_mwh=mean,
            coverage=0.0,
            factor_id=choice.factor.id,
            import_kgco2e_per_mwh=_per_mwh(choice),
            source_kgco2e=float(traced["source_kgco2e_per_h"].mean()),
            losses_kgco2e=float(traced["losses_kgco2e_per_h"].mean()),
            contents={asset: Held(float(e_mwh[k]), float(each[k])) for asset, k in at.items()},
        )

    def _injections(self, connection: Connection, horizon: Horizon) -> xr.Dataset:
        site = self._city.site
        known = {s.key for s in site.series}
        columns: dict[str, tuple[tuple[str, str], np.ndarray, dict[str, str]]] = {}
        times = steps(horizon.start, horizon.end, STEP)
        coords: dict[str, object] = {"time": times}
        for table in ELEMENTS:
            there = [a for a in self._assets if a.element == table]
            coords[table] = [a.element_index for a in there]
            for variable, units in (("p_mw", "MW"), ("q_mvar", "Mvar")):
                series_keys = [keys.of(site.id, a.id, variable) for a in there]
                if there and all(key in known for key in series_keys):
                    found = expected(connection, series_keys, horizon, STEP).to_numpy()
                    columns[f"{table}_{variable}"] = (("time", table), found, {"units": units})
                elif there and variable == "q_mvar":
                    nothing = np.zeros((times.size, len(there)))
                    columns[f"{table}_{variable}"] = (("time", table), nothing, {"units": units})
        return xr.Dataset(columns, coords)

    def _choice(self, hour: datetime) -> Choice:
        region = str(self._city.site.parameters.get("factor_region", factorset.NATIONAL))
        return self._factors.grid_factor(region, hour)

    def _sources(self, network: Network, imported: float) -> xr.Dataset:
        """Intensities of all sources; what nobody described counts as the import does."""
        by_kind = self._city.site.parameters.get(BY_KIND, {})
        found = xr.Dataset(
            {"import_kgco2e_per_mwh": imported, "fixed_kgco2e_per_mwh": imported},
        )
        for table in ("load", "sgen"):
            values = np.full(len(network.ids(table)), imported)
            for asset in self._assets:
                if asset.element == table:
                    at = network.ids(table) == asset.element_index
                    values[at] = source_kgco2e_per_mwh(asset, by_kind)
            found[f"{table}_kgco2e_per_mwh"] = (table, values)
        return found

    def _held(
        self,
        connection: Connection,
        hour: datetime,
        imported: float,
        before: BusIntensity | None,
    ) -> dict[str, Held]:
        """What each battery holds when ``hour`` begins: measured energy, remembered intensity."""
        site, batteries = self._city.site, [a for a in self._assets if a.element == "storage"]
        known = {s.key for s in site.series}
        with_soc = [a for a in batteries if keys.of(site.id, a.id, "soc") in known]
        soc = _last(
            readings.read(
                connection,
                [keys.of(site.id, a.id, "soc") for a in with_soc],
                hour - HOUR,
                hour,
                STEP,
            ),
            len(with_soc),
        )
        measured = dict(zip((a.id for a in with_soc), soc.tolist(), strict=True))
        held = {}
        for asset in batteries:
            remembered = before.contents.get(asset.id) if before else None
            e_mwh = float(asset.parameters.get("e_max_mwh", 0.0)) * measured.get(asset.id, np.nan)
            if not np.isfinite(e_mwh):
                e_mwh = remembered.e_mwh if remembered else 0.0
            intensity = remembered.kgco2e_per_mwh if remembered else imported
            held[asset.id] = Held(max(e_mwh, 0.0), intensity)
        return held

    def _contents(self, network: Network, held: Mapping[str, Held], imported: float) -> Contents:
        ids = network.storages
        columns = {
            "e_mwh": np.zeros(len(ids)),
            "kgco2e_per_mwh": np.full(len(ids), imported),
            "efficiency_charge": np.full(len(ids), 0.95),
            "efficiency_discharge": np.full(len(ids), 0.95),
            "keep_per_h": np.ones(len(ids)),
        }
        for asset in self._assets:
            at = ids == asset.element_index
            if asset.element == "storage" and at.any():
                columns["e_mwh"][at] = held[asset.id].e_mwh
                columns["kgco2e_per_mwh"][at] = held[asset.id].kgco2e_per_mwh
                for name in ("efficiency_charge", "efficiency_discharge"):
                    columns[name][at] = float(asset.parameters.get(name, 0.95))
        return Contents(**columns)


def _per_mwh(choice: Choice) -> float:
    return convert(float(choice.factor.value), choice.factor.unit, "kgCO2e/MWh")


def _last(values: xr.DataArray, count: int) -> np.ndarray:
    """The newest value of each series, NaN without any; shape (series,)."""
    result = np.full(count, np.nan)
    for row in values.transpose("time", "series").to_numpy():
        result = np.where(np.isfinite(row), row, result)
    return result
