"""The problem that a controller sees at one moment: forecasts ahead, measured states now."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bench.rolling.foresight import Expected
from bench.rolling.year import DT_H, START_SOC, STEPS_PER_DAY, TIMEZONE, Year
from core.sites import Asset, AssetKind
from core.timeaxis import from_datetime64, zone
from grid.der import Conditions, envelope_of
from grid.envelope import Envelope
from optimization.problem import DispatchProblem
from optimization.terms import PeakCharge

IMPORT_LIMIT_MW = 20.0
EXPORT_LIMIT_MW = 30.0
PEAK_CNY, FLAT_CNY, VALLEY_CNY, EXPORT_CNY = 1150.0, 680.0, 330.0, 300.0
"""Time of use, known long before: valley until 7, peak from 10 to 12 and from 17 to 22."""
PEAK_CNY_PER_MW_MONTH = 40_000.0
"""Two-part tariffs of Chinese provinces ask some 32 to 48 CNY for each kW of a month's peak."""
KGCO2E_PER_MWH = 536.6
CARBON_CNY_PER_TCO2E = 80.0


@dataclass(frozen=True)
class Period:
    """The rows of the year from ``first`` up to before ``last`` that are simulated."""

    first: int
    last: int

    @property
    def steps(self) -> int:
        """The number of steps."""
        return self.last - self.first


def problem(
    year: Year,
    times: np.ndarray,
    injections: xr.Dataset,
    envelopes: tuple[Envelope, ...],
    peak: PeakCharge,
) -> DispatchProblem:
    """A problem under the tariff and the limits of this simulation."""
    hour = _local_hours(times)
    dear = ((hour >= 10) & (hour < 12)) | ((hour >= 17) & (hour < 22))
    return DispatchProblem(
        times=times,
        dt_h=DT_H,
        network=year.network,
        injections=injections,
        envelopes=envelopes,
        import_cny_per_mwh=np.where(dear, PEAK_CNY, np.where(hour < 7, VALLEY_CNY, FLAT_CNY)),
        export_cny_per_mwh=np.full(len(times), EXPORT_CNY),
        kgco2e_per_mwh=np.full(len(times), KGCO2E_PER_MWH),
        carbon_cny_per_tco2e=CARBON_CNY_PER_TCO2E,
        import_limit_mw=IMPORT_LIMIT_MW,
        export_limit_mw=EXPORT_LIMIT_MW,
        timezone=TIMEZONE,
        peak=peak,
    )


def peak_charge(period: Period, peak_so_far_mw: float = 0.0) -> PeakCharge:
    """The peak charge of the month, as much of it as falls on the period."""
    share = period.steps / (30 * STEPS_PER_DAY)
    return PeakCharge(share * PEAK_CNY_PER_MW_MONTH, peak_so_far_mw)


def truth(year: Year, period: Period) -> DispatchProblem:
    """The whole period as it came, with what the devices could really do in it."""
    rows = slice(period.first, period.last)
    load_p_mw, sgen_p_mw = year.load_p_mw[rows], year.sgen_p_mw[rows]
    envelopes = tuple(
        _envelope(asset, year.times[rows], START_SOC, year.profile_of(asset, load_p_mw, sgen_p_mw))
        if asset.kind is not AssetKind.BATTERY
        else _envelope(asset, year.times[rows], START_SOC)
        for asset in year.assets
    )
    given = year.injections(period.first, period.last)
    return problem(year, year.times[rows], given, envelopes, peak_charge(period))


def window(
    year: Year,
    period: Period,
    row: int,
    expected: Expected,
    content_mwh: np.ndarray,
    peak_so_far_mw: float = 0.0,
) -> DispatchProblem:
    """From ``row`` on as far as ``expected`` goes, within the period.

    content_mwh: what each asset has stored, or has taken since the period began; (asset,).
    peak_so_far_mw: highest import since then.
    A charger is told on arrival what a car needs: the demand of the stay under way is known, that
    of later ones forecast.
    """
    steps = len(expected.load_p_mw)
    times = year.times[row : row + steps]
    envelopes = tuple(
        _seen(year, period, row, expected, asset, float(content))
        for asset, content in zip(year.assets, content_mwh, strict=True)
    )
    given = year.as_injections(times, expected.load_p_mw, expected.load_q_mvar, expected.sgen_p_mw)
    return problem(year, times, given, envelopes, peak_charge(period, peak_so_far_mw))


def _seen(
    year: Year, period: Period, row: int, expected: Expected, asset: Asset, content_mwh: float
) -> Envelope:
    """The envelope of one asset as the controller sees it at ``row``."""
    steps = len(expected.load_p_mw)
    if asset.kind is AssetKind.BATTERY:
        soc = content_mwh / float(asset.parameters["e_max_mwh"])
        return _envelope(asset, year.times[row : row + steps], min(max(soc, 0.0), 1.0))
    ahead = year.profile_of(asset, expected.load_p_mw, expected.sgen_p_mw)
    if asset.element == "sgen":
        return _envelope(asset, year.times[row : row + steps], None, ahead)
    # What may be taken when depends on the demand of the hours before: the envelope is made from
    # the beginning of the period and then cut.
    since = slice(period.first, row + steps)
    demand = year.profile_of(asset, year.load_p_mw[since], year.sgen_p_mw[since]).copy()
    known = row - period.first
    if asset.kind is AssetKind.EV_CHARGER:
        known += _left_of_stay(asset, year.times[row : row + steps])
    demand[known:] = ahead[known - (row - period.first) :]
    whole = _envelope(asset, year.times[since], None, demand)
    return _cut(whole, row - period.first, content_mwh)


def _left_of_stay(asset: Asset, times: np.ndarray) -> int:
    """How many of the next steps belong to the stay under way."""
    hour = _local_hours(times)
    arrival = float(asset.parameters["arrival_hour"])
    departure = float(asset.parameters["departure_hour"])
    away = (hour < arrival) & (hour >= departure)
    return int(np.argmax(away)) if away.any() else len(times)


def _cut(envelope: Envelope, first: int, content_mwh: float) -> Envelope:
    """``envelope`` from step ``first`` on, with this content before it.

    Forecasts were wrong until now, so the content may lie outside of what they allow: bounds are
    widened to what can be reached.
    """
    account = envelope.account
    assert account is not None
    # What the account gets at least and at most until the end of each step.
    alone = content_mwh + np.cumsum(account.inflow_mwh[first:])
    least = alone - DT_H * np.cumsum((account.gain_down * envelope.down_mw)[first:])
    most = alone + DT_H * np.cumsum((account.gain_up * envelope.up_mw)[first:])
    return replace(
        envelope,
        base_mw=envelope.base_mw[first:],
        up_mw=envelope.up_mw[first:],
        down_mw=envelope.down_mw[first:],
        up_cny_per_mwh=np.asarray(envelope.up_cny_per_mwh)[first:],
        down_cny_per_mwh=np.asarray(envelope.down_cny_per_mwh)[first:],
        account=replace(
            account,
            initial_mwh=content_mwh,
            min_mwh=np.minimum(account.min_mwh[first:], most),
            max_mwh=np.maximum(account.max_mwh[first:], least),
            gain_up=account.gain_up[first:],
            gain_down=account.gain_down[first:],
            keep=account.keep[first:],
            inflow_mwh=account.inflow_mwh[first:],
        ),
    )


def _envelope(
    asset: Asset, times: np.ndarray, soc: float | None, power_mw: np.ndarray | None = None
) -> Envelope:
    profiles = {} if power_mw is None else {"p_mw": power_mw}
    states = {} if soc is None else {"soc": soc}
    return envelope_of(asset, Conditions(times, DT_H, TIMEZONE, profiles, states))


def _local_hours(times: np.ndarray) -> np.ndarray:
    offset = from_datetime64(times[0]).astimezone(zone(TIMEZONE)).utcoffset()
    assert offset is not None
    local = times + np.timedelta64(int(offset.total_seconds()), "s")
    hours: np.ndarray = (local - local.astype("datetime64[D]")) / np.timedelta64(1, "h")
    return hours
