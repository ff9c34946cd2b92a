"""Forecasts of a city: learnt daily, made hourly, scored against what came.

Per asset for the dispatch, and for the city's totals with a history of what was known when. At
the first start a forecast is also made as of the day before, with nothing known after that, so
that there is something to compare with what has been measured since.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np
import xarray as xr

from app import keys
from app.wiring import City
from core.errors import ConfigurationError
from core.sites import LOADS, OTHER_PLANTS, Asset, AssetKind
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, floor_to, local_date, steps, zone
from forecasting import climatology, pv, skill
from forecasting.history import QUANTILES
from forecasting.load import GradientBoosted, seasonal_naive
from store import forecasts, readings
from store.database import Connection

log = logging.getLogger(__name__)

HORIZON = timedelta(hours=48)
HISTORY = timedelta(days=28)
SCORED = timedelta(hours=6)
"""Forecasts are scored over the first hours after they were made."""
LOAD_MODEL = "gradient_boosted"
PV_MODEL = "clear_sky_index"
PERSISTENCE_MODEL = "persistence"
SCORED_TOTALS = ("load-total", "pv-total", "wind-total")


class Foresight:
    """The forecasts of a city and what they have learnt; used by one thread at a time."""

    def __init__(self, city: City) -> None:
        self.city = city
        self._model: GradientBoosted | None = None
        self._arrays: dict[str, pv.PvArray] = {}
        self._learnt_for: date | None = None

    def hourly(self, now: datetime) -> None:
        """Learn where a new day has begun, forecast, and score earlier forecasts."""
        today = local_date(now, zone(self.city.site.timezone))
        if self._learnt_for != today:
            self.learn(now)
            self._learnt_for = today
        with self.city.database.connection() as connection:
            first = not self._has_forecast(connection, now)
        if first:
            self.forecast(floor_to(now, QUARTER_HOUR) - DAY)
        self.forecast(now)
        self.score(now)

    def learn(self, now: datetime) -> None:
        """Train the load model and calibrate the PV arrays on the last four weeks."""
        # What the model learnt from must have been known a day ago too, for the first hindcast.
        known_at = now if self._model else floor_to(now, QUARTER_HOUR) - DAY
        with self.city.database.connection() as connection:
            if self._assets(AssetKind.PV):
                self._calibrate(connection, known_at)
            loads = self._history(connection, self._assets(*LOADS), known_at)
        if not loads.sizes["asset"]:
            return
        try:
            self._model = GradientBoosted.fit(
                loads,
                known_at=known_at,
                timezone=self.city.site.timezone,
                resolution=QUARTER_HOUR,
            )
        except ConfigurationError as error:
            log.warning("load model not trained", extra={"reason": str(error)})

    def _calibrate(self, connection: Connection, known_at: datetime) -> None:
        """Fit the PV arrays to what they have made."""
        sky = self._weather(connection, known_at)
        made = self._history(connection, self._assets(AssetKind.PV), known_at)
        for asset in self._assets(AssetKind.PV):
            self._arrays[asset.id] = pv.fit_array(
                pv.PvArray.from_parameters(asset.parameters),
                lat=self.city.site.lat,
                lon=self.city.site.lon,
                ghi=sky["ghi"],
                temp_air=sky["temp_air"],
                p_mw=made.sel(asset=asset.id, drop=True),
                resolution=QUARTER_HOUR,
            )

    def forecast(self, known_at: datetime) -> int:
        """Forecast everything from ``known_at`` on and store it; the number of series."""
        start = floor_to(known_at, QUARTER_HOUR)
        times = steps(start, start + HORIZON, QUARTER_HOUR)
        with self.city.database.connection() as connection:
            made = []
            if self._assets(*LOADS):
                made.append((LOAD_MODEL, self._loads(connection, times, known_at)))
            if self._arrays:
                made.append((PV_MODEL, self._pv(connection, times, known_at)))
            if self._assets(AssetKind.WIND, *OTHER_PLANTS):
                made.append((PERSISTENCE_MODEL, self._persistent(connection, times, known_at)))
            for model, values in made:
                forecasts.save(connection, model, known_at, values)
        return sum(values.sizes["series"] for _, values in made)

    def score(self, now: datetime) -> int:
        """Score what was known ``SCORED`` ago against what came; the number of scores."""
        end = floor_to(now, QUARTER_HOUR)
        start = end - SCORED
        found: list[forecasts.Score] = []
        with self.city.database.connection() as connection:
            for name in SCORED_TOTALS:
                key = keys.total(self.city.site.id, name)
                made = forecasts.read(connection, [key], start, end, as_of=start)
                if made.sizes["time"] < SCORED / QUARTER_HOUR:
                    continue
                came = readings.read(connection, [key], start, end, QUARTER_HOUR)
                history = readings.read(connection, [key], start - HISTORY, start, QUARTER_HOUR)
                naive = seasonal_naive(
                    history.rename(series="asset"), came.time.to_numpy(), known_at=start
                )
                found += _scores(
                    key, made.isel(series=0), came.isel(series=0), naive.isel(asset=0), start
                )
            forecasts.save_scores(connection, found)
        return len(found)

    def _has_forecast(self, connection: Connection, now: datetime) -> bool:
        key = keys.total(self.city.site.id, "load-total")
        return bool(forecasts.read(connection, [key], now - DAY, now + HOUR).sizes["time"])

    def _assets(self, *kinds: AssetKind) -> list[Asset]:
        return [a for a in self.city.site.assets if a.kind in kinds]

    def _history(
        self, connection: Connection, assets: Sequence[Asset], known_at: datetime
    ) -> xr.DataArray:
        """Measured power (time, asset) of the weeks before ``known_at``."""
        series_keys = [keys.of(self.city.site.id, a.id, "p_mw") for a in assets]
        end = floor_to(known_at, QUARTER_HOUR)
        values = readings.read(connection, series_keys, end - HISTORY, end, QUARTER_HOUR)
        return values.rename(series="asset").assign_coords(asset=[a.id for a in assets])

    def _weather(self, connection: Connection, known_at: datetime) -> xr.Dataset:
        """Measured ghi and temp_air (time,) of the first weather station."""
        station = self._assets(AssetKind.WEATHER_STATION)
        if not station:
            raise ConfigurationError("The city has no weather station to forecast PV from.")
        names = ("ghi", "temp_air")
        series_keys = [keys.of(self.city.site.id, station[0].id, name) for name in names]
        end = floor_to(known_at, QUARTER_HOUR)
        values = readings.read(connection, series_keys, end - HISTORY, end, QUARTER_HOUR)
        return xr.Dataset({n: values.isel(series=i, drop=True) for i, n in enumerate(names)})

    def _loads(self, connection: Connection, times: np.ndarray, known_at: datetime) -> xr.DataArray:
        history = self._history(connection, self._assets(*LOADS), known_at)
        whole = history.sum("asset", min_count=1).expand_dims(asset=["load-total"], axis=1)
        history = xr.concat([history, whole], dim="asset", join="exact")
        if self._model is None:
            return self._named(seasonal_naive(history, times, known_at=known_at))
        return self._named(self._model.predict(history, times, known_at=known_at))

    def _pv(self, connection: Connection, times: np.ndarray, known_at: datetime) -> xr.DataArray:
        """Each array under one forecast sky; the total adds them up, for they share that sky."""
        site = self.city.site
        past = self._weather(connection, known_at)
        sky = pv.weather(
            site.lat, site.lon, times, past["ghi"], past["temp_air"], known_at=known_at
        )
        each = [
            pv.from_weather(array, site.lat, site.lon, sky, resolution=QUARTER_HOUR)
            for array in self._arrays.values()
        ]
        values = xr.concat(each, dim="asset", join="exact").assign_coords(asset=list(self._arrays))
        whole = values.sum("asset").expand_dims(asset=["pv-total"])
        return self._named(xr.concat([values, whole], dim="asset", join="exact"))

    def _persistent(
        self, connection: Connection, times: np.ndarray, known_at: datetime
    ) -> xr.DataArray:
        wind, other = self._assets(AssetKind.WIND), self._assets(*OTHER_PLANTS)
        history = self._history(connection, [*wind, *other], known_at)
        whole = history.sel(asset=[a.id for a in wind]).sum("asset", min_count=1)
        whole = whole.expand_dims(asset=["wind-total"], axis=1)
        history = xr.concat([history, whole], dim="asset", join="exact")
        return self._named(climatology.persistence(history, times, known_at=known_at))

    def _named(self, values: xr.DataArray) -> xr.DataArray:
        """(time, asset, quantile) of assets and totals as (time, series, quantile) by key."""
        site = self.city.site.id
        names = [
            keys.total(site, name) if name in keys.TOTALS else keys.of(site, name, "p_mw")
            for name in values.asset.to_numpy().tolist()
        ]
        return values.rename(asset="series").assign_coords(series=names)


def _scores(
    key: str, made: xr.DataArray, came: xr.DataArray, naive: xr.DataArray, known_at: datetime
) -> list[forecasts.Score]:
    """Scores of one forecast (time, quantile) against (time,), and its skill over the naive one."""
    made, came, naive = xr.align(made, came, naive, join="inner", exclude=["quantile"])
    if not came.notnull().any():
        return []
    loss, reference = float(skill.pinball(made, came)), float(skill.pinball(naive, came))
    median = made.sel(quantile=QUANTILES[1], method="nearest")
    figures = {
        "mae": float(skill.mae(median, came)),
        "pinball": loss,
        "coverage": float(skill.coverage(made, came)),
        "pinball_naive": reference,
    }
    if reference > 0:
        figures["skill"] = float(skill.skill(loss, reference))
    return [
        forecasts.Score(_model_of(key), key, known_at, SCORED, name, value)
        for name, value in figures.items()
        if np.isfinite(value)
    ]


def _model_of(key: str) -> str:
    return LOAD_MODEL if "load" in key else PV_MODEL if "pv" in key else PERSISTENCE_MODEL
