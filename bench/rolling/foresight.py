"""What could have been known: forecasts of loads, sun and wind from the rows before a moment.

Loads, by profile: forecasting.load, taught anew every day. Loads of one profile are multiples of
each other, and the model divides each by its own mean: one forecast serves all of a profile.
Their reactive power keeps the ratio of the last weeks.

Sun: one clear-sky index over all plants, from forecasting.pv. SimBench has no weather, so the
irradiance that the index is made of is inferred from what the plants produced: what the array
model gives under a clear sky, scaled to the best hours of the last weeks. Wind and the rest:
persistence that decays to what is usual (forecasting.climatology).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import xarray as xr

from bench.rolling.year import STEPS_PER_DAY, TIMEZONE, Year
from core.sites import AssetKind
from core.timeaxis import DAY, QUARTER_HOUR, from_datetime64
from forecasting import climatology, pv
from forecasting.load import GradientBoosted
from optimization.outlook import Outlook

HISTORY_DAYS = 35
QUANTILES = (0.1, 0.5, 0.9)
MEDIAN = 1
"""The place of the median among them."""
WIND_DECAY = 2 * DAY
"""Over SimBench's year the mean error of all wind 24 h ahead is 4.7 MW with this, 6.9 with 6 h."""
BEST_HOURS = 0.95
"""The quantile of power over clear-sky power that stands for a clear sky."""
ROOM = 1.1
"""The most that is thought possible, in units of the highest quantile."""
DARK = 0.02
"""Clear-sky power, as a share of its peak, below which a plant says nothing about the sky."""


@dataclass(frozen=True)
class Expected:
    """Medians of the horizon, as in Year, (time, element), and how far they may be wrong.

    outlook: one series for all that shares a forecast, named by its first element: the loads of a
    profile, all suns, the other plants of a profile; MW in all. None where nobody said.
    """

    load_p_mw: np.ndarray
    load_q_mvar: np.ndarray
    sgen_p_mw: np.ndarray
    outlook: Outlook | None = None


class Foresight:
    """Forecasts of one year; remembers what it was taught today and nothing else."""

    def __init__(self, year: Year, horizon: timedelta = DAY) -> None:
        self._year = year
        self._horizon = horizon
        self._loads, self._load_of = _first_of_each(year.load_profile)
        sun = year.sgen_kind == AssetKind.PV
        self._sun = np.flatnonzero(sun)
        self._other, self._other_of = _first_of_each(year.sgen_profile[~sun])
        self._others = np.flatnonzero(~sun)
        self._array = pv.PvArray(pdc0_mw=1.0)
        self._taught_for = -1
        self._model: GradientBoosted | None = None

    def at(self, row: int, steps: int) -> Expected:
        """What is expected of rows ``row`` up to before ``row + steps``, knowing those before."""
        first = max(row - HISTORY_DAYS * STEPS_PER_DAY, 0)
        past = slice(first, row)
        # A regular axis needs two times; the one too many is cut off below.
        wanted = max(steps, 2)
        ahead = self._year.times[row - 1] + np.arange(1, wanted + 1) * np.timedelta64(15, "m")
        loads = self._load(row, past, ahead)[:steps]
        sun = self._sunny(row, past, ahead)[:steps]
        others = self._persistent(row, past, ahead)[:steps]
        load_p = loads[..., MEDIAN]
        sgen_p = np.zeros((steps, len(self._year.sgen_profile)))
        sgen_p[:, self._sun], sgen_p[:, self._others] = sun[..., MEDIAN], others[..., MEDIAN]
        drawn = self._year.load_p_mw[past].sum(axis=0)
        ratio = self._year.load_q_mvar[past].sum(axis=0) / np.where(drawn > 0, drawn, np.inf)
        return Expected(load_p, load_p * ratio, sgen_p, self._outlook(loads, sun, others))

    def _outlook(self, loads: np.ndarray, sun: np.ndarray, others: np.ndarray) -> Outlook:
        year = self._year
        parts = [
            ("load", "load", self._loads, _summed(loads, self._load_of)),
            ("sgen", "pv", self._sun[:1], sun.sum(axis=1, keepdims=True)),
            ("sgen", "other", self._others[self._other], _summed(others, self._other_of)),
        ]
        values = np.concatenate([part for *_, part in parts], axis=1)
        ids = {"load": year.network.loads, "sgen": year.network.sgens}
        return Outlook(
            levels=np.array(QUANTILES),
            values=values,
            table=tuple(table for table, _, places, _ in parts for _ in places),
            element=tuple(int(ids[table][i]) for table, _, places, _ in parts for i in places),
            group=tuple(group for _, group, places, _ in parts for _ in places),
            lower=np.zeros(values.shape[1]),
            upper=ROOM * values.max(axis=(0, 2)),
        )

    def _load(self, row: int, past: slice, ahead: np.ndarray) -> np.ndarray:
        year, known_at = self._year, from_datetime64(self._year.times[row])
        history = _history(year.times[past], year.load_p_mw[past][:, self._loads])
        if row // STEPS_PER_DAY != self._taught_for:
            self._model = GradientBoosted.fit(
                history,
                known_at=known_at,
                timezone=TIMEZONE,
                resolution=QUARTER_HOUR,
                quantiles=QUANTILES,
                horizon=self._horizon,
            )
            self._taught_for = row // STEPS_PER_DAY
        assert self._model is not None
        found = self._model.predict(history, ahead, known_at=known_at).to_numpy()
        mean = history.mean("time").to_numpy()[self._load_of]
        own = year.load_p_mw[past].mean(axis=0) / np.where(mean > 0, mean, np.inf)
        forecast: np.ndarray = np.maximum(found[:, self._load_of], 0.0) * own[:, None]
        return forecast

    def _sunny(self, row: int, past: slice, ahead: np.ndarray) -> np.ndarray:
        year = self._year
        made = year.sgen_p_mw[past][:, self._sun]
        sky, clear = self._clear(year.times[past])
        light = clear > DARK * self._array.pdc0_mw
        share = made[light] / clear[light, np.newaxis]
        best = np.quantile(share, BEST_HOURS, axis=0)
        whole = best.sum()
        index = np.where(light, made.sum(axis=1) / np.where(light, clear * whole, 1.0), np.nan)
        inferred = _history(year.times[past], (index * sky)[:, np.newaxis]).isel(asset=0, drop=True)
        weather = pv.weather(
            year.lat,
            year.lon,
            ahead,
            inferred,
            xr.full_like(inferred, pv.DEFAULT_TEMPERATURE_DEGC),
            known_at=from_datetime64(year.times[row]),
            quantiles=QUANTILES,
        )
        sky_ahead, clear_ahead = self._clear(ahead)
        ghi, sky_ahead = weather["ghi"].to_numpy(), sky_ahead[:, np.newaxis]
        ratio = np.divide(ghi, sky_ahead, out=np.zeros_like(ghi), where=sky_ahead > 0)
        forecast: np.ndarray = (ratio * clear_ahead[:, np.newaxis])[:, np.newaxis] * best[:, None]
        return forecast

    def _clear(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clear-sky ghi in W/m2 and the power of an array of 1 MW under it, (time,)."""
        position = pv.solar_position(self._year.lat, self._year.lon, times, QUARTER_HOUR)
        sky = pv.clear_sky_ghi(position)
        poa = pv.plane_irradiance(self._array, sky, position)
        mild = np.full(len(times), pv.DEFAULT_TEMPERATURE_DEGC)
        return sky, pv.ac_power(self._array, np.nan_to_num(poa), mild, 1.0)

    def _persistent(self, row: int, past: slice, ahead: np.ndarray) -> np.ndarray:
        year = self._year
        made = year.sgen_p_mw[past][:, self._others]
        history = _history(year.times[past], made[:, self._other])
        found = climatology.persistence(
            history,
            ahead,
            known_at=from_datetime64(year.times[row]),
            quantiles=QUANTILES,
            decay=WIND_DECAY,
        ).to_numpy()
        mean = made.mean(axis=0)
        shared = mean[self._other][self._other_of]
        own = mean / np.where(shared > 0, shared, np.inf)
        forecast: np.ndarray = found[:, self._other_of] * own[:, None]
        return forecast


def _summed(power: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Sums over the elements with one number in ``of``, (time, number, quantile)."""
    member = np.equal(of[:, None], np.arange(of.max(initial=-1) + 1)).astype(float)
    total: np.ndarray = np.einsum("teq,en->tnq", power, member)
    return total


def _first_of_each(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of one element for each name, and for each element the number of its name."""
    _, first, of = np.unique(names, return_index=True, return_inverse=True)
    return first, of


def _history(times: np.ndarray, values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("time", "asset"),
        coords={"time": times, "asset": np.arange(values.shape[1])},
        attrs={"units": "MW"},
    )
