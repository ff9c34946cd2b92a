"""The carbon that storages hold: what is discharged has the intensity it was charged with.

A storage is a well-mixed tank of energy E (MWh) and emissions K (kgCO2e). Over a step of dt hours,
with p charged or discharged at the terminals and e the intensity of the bus:

    E1 = keep E                                                     standing losses come first
    charging:     E' = E1 + eta_c p dt           K' = K + e p dt
    discharging:  E' = E1 - p dt / eta_d         K' = K - (K / E1) p dt / eta_d

so that one MWh discharged carries (K / E1) / eta_d. The losses of a storage are borne by what it
gives: over time, all that was emitted for charging leaves with what is discharged or is still held.
A mean power stands for one direction in a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.errors import ConfigurationError
from grid.network import Network
from grid.powerflow import values
from grid.tracing import Losses, storage_shares, trace


@dataclass(frozen=True, eq=False)
class Contents:
    """What storages hold and how they lose; arrays of shape (storage,).

    e_mwh: energy held. kgco2e_per_mwh: emissions per MWh HELD; also of an empty storage, where it
    is what its next MWh counts as should it hold more than was thought.
    efficiency_charge, efficiency_discharge: 0..1. keep_per_h: share of the energy left after an
    hour of rest.
    Raises ConfigurationError for values out of range.
    """

    e_mwh: np.ndarray
    kgco2e_per_mwh: np.ndarray
    efficiency_charge: np.ndarray
    efficiency_discharge: np.ndarray
    keep_per_h: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.e_mwh)
        for name in ("kgco2e_per_mwh", "efficiency_charge", "efficiency_discharge", "keep_per_h"):
            values_ = getattr(self, name)
            if np.shape(values_) != shape or not np.isfinite(values_).all():
                raise ConfigurationError(f"{name} must hold one number for each storage.")
        if not np.isfinite(self.e_mwh).all() or np.any(self.e_mwh < 0):
            raise ConfigurationError("A storage holds no negative energy.")
        for name in ("efficiency_charge", "efficiency_discharge", "keep_per_h"):
            if np.any(getattr(self, name) <= 0) or np.any(getattr(self, name) > 1):
                raise ConfigurationError(f"{name} of a storage lies outside 0..1.")

    @property
    def kgco2e(self) -> np.ndarray:
        """Emissions held, (storage,)."""
        held: np.ndarray = self.e_mwh * self.kgco2e_per_mwh
        return held


@dataclass(frozen=True, eq=False)
class Step:
    """One step: contents at its end, intensity of what was discharged, and what did not fit.

    discharged_kgco2e_per_mwh: what a MWh discharged in the step carries at the terminals, for
    resting and charging storages what it would. shortfall_mwh: energy discharged that the content
    did not hold; it counts at the same intensity. More than 0 says that the start, an efficiency
    or a reading is wrong.
    """

    contents: Contents
    discharged_kgco2e_per_mwh: np.ndarray
    shortfall_mwh: np.ndarray


def step(contents: Contents, p_mw: np.ndarray, kgco2e_per_mwh: np.ndarray, dt_h: float) -> Step:
    """One step of some storages.

    p_mw: at the terminals, positive charging; kgco2e_per_mwh: of the bus, only used where power
    is charged; both (storage,).
    """
    kept = contents.keep_per_h**dt_h
    e_mwh = contents.e_mwh * kept
    held = np.where(e_mwh > 0, contents.kgco2e_per_mwh / kept, contents.kgco2e_per_mwh)
    charged = np.maximum(p_mw, 0.0) * dt_h
    taken = np.maximum(-p_mw, 0.0) * dt_h / contents.efficiency_discharge
    added = contents.efficiency_charge * charged
    emitted = np.where(charged > 0, charged * kgco2e_per_mwh, 0.0)
    after = e_mwh + added - taken
    mixed = np.divide(
        held * e_mwh + emitted, e_mwh + added, out=held.copy(), where=(added > 0) & (taken == 0)
    )
    return Step(
        contents=Contents(
            np.maximum(after, 0.0),
            mixed,
            contents.efficiency_charge,
            contents.efficiency_discharge,
            contents.keep_per_h,
        ),
        discharged_kgco2e_per_mwh=held / contents.efficiency_discharge,
        shortfall_mwh=np.maximum(-after, 0.0),
    )


def battery_intensity(
    p_mw: xr.DataArray, kgco2e_per_mwh: xr.DataArray, contents: Contents, *, dt_h: float
) -> xr.Dataset:
    """The carbon in storages over time, where the intensities they charge at are known.

    p_mw: (time, storage), positive charging; kgco2e_per_mwh: (time, storage), of their buses.
    Returns over (time, storage): discharged_kgco2e_per_mwh, and at the END of each step
    content_mwh, content_kgco2e_per_mwh; shortfall_mwh (see ``Step``).
    """
    power = p_mw.transpose("time", "storage").values
    at_bus = kgco2e_per_mwh.transpose("time", "storage").values
    steps = []
    for t in range(len(power)):
        steps.append(step(contents, power[t], at_bus[t], dt_h))
        contents = steps[-1].contents
    return _dataset(p_mw["time"].values, p_mw["storage"].values, steps)


def trace_storing(
    network: Network,
    injections: xr.Dataset,
    flow: xr.Dataset,
    intensities: xr.Dataset,
    contents: Contents,
    *,
    dt_h: float,
    losses: Losses = Losses.APART,
) -> xr.Dataset:
    """``tracing.trace`` with storages that give back the carbon they were charged with.

    intensities: as for ``trace``, without storage_kgco2e_per_mwh. contents: of the storages of
    the network, in its order, before the first step. dt_h: length of the steps, which follow each
    other without gaps. Returns what ``trace`` returns and the variables of ``battery_intensity``.
    Several storages may feed each other: what each charges at is linear in what the others give.
    """
    times, ids = flow["time"].values, network.storages
    factor = network.in_use("storage")
    power = values(network, injections, "storage", "p_mw") * factor
    count = len(ids)
    nothing = xr.DataArray(np.zeros((len(times), count)), dims=("time", "storage"))
    given = intensities.drop_vars("storage_kgco2e_per_mwh", errors="ignore")
    unstored = given.assign(storage_kgco2e_per_mwh=nothing)
    alone = trace(network, injections, flow, unstored, losses=losses)
    at_bus = alone["kgco2e_per_mwh"].values[:, network.bus_position("storage")]
    shares = storage_shares(network, injections, flow, losses=losses)
    steps = []
    for t in range(len(times)):
        # What is discharged now was held before: no storage can wait for another.
        gives = step(contents, np.zeros(count), at_bus[t], dt_h).discharged_kgco2e_per_mwh
        steps.append(step(contents, power[t], at_bus[t] + shares[t] @ gives, dt_h))
        contents = steps[-1].contents
    stored = _dataset(times, ids, steps)
    by_storage = stored["discharged_kgco2e_per_mwh"]
    traced = trace(
        network, injections, flow, given.assign(storage_kgco2e_per_mwh=by_storage), losses=losses
    )
    return traced.merge(stored)


def _dataset(times: np.ndarray, ids: np.ndarray, steps: list[Step]) -> xr.Dataset:
    shape = (len(times), len(ids))
    columns = {
        "discharged_kgco2e_per_mwh": ([s.discharged_kgco2e_per_mwh for s in steps], "kgCO2e/MWh"),
        "content_mwh": ([s.contents.e_mwh for s in steps], "MWh"),
        "content_kgco2e_per_mwh": ([s.contents.kgco2e_per_mwh for s in steps], "kgCO2e/MWh"),
        "shortfall_mwh": ([s.shortfall_mwh for s in steps], "MWh"),
    }
    return xr.Dataset(
        {
            name: (("time", "storage"), np.array(found).reshape(shape), {"units": units})
            for name, (found, units) in columns.items()
        },
        {"time": times, "storage": ids},
    )
