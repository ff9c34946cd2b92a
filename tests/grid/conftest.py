"""Networks that other programs know: SimBench and pandapower's examples."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandapower
import pytest
import simbench
import xarray as xr

from grid.network import Network, empty_net, read

CITY = "1-MV-semiurb--2-sw"


def _injections(network: Network, profiles: dict, steps: np.ndarray) -> xr.Dataset:
    columns = {
        f"{table}_{column}": (("time", table), frame.to_numpy()[steps])
        for (table, column), frame in profiles.items()
        if frame.shape[1]
    }
    start = np.datetime64("2016-01-01T00:00", "ns")
    return xr.Dataset(
        columns,
        coords={
            "time": start + steps * np.timedelta64(15, "m"),
            "load": network.loads,
            "sgen": network.sgens,
            "storage": network.storages,
        },
    )


@pytest.fixture(scope="session")
def simbench_case():
    """Network and a function from steps of the year to injections, by SimBench code."""
    cache = {}

    def load(code: str = CITY):
        if code not in cache:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net = simbench.get_simbench_net(code)
                profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
                net.profiles.clear()  # a year of numbers, which no Network looks at
                network = read(pandapower.to_json(net))
            cache[code] = (network, profiles)
        network, profiles = cache[code]
        return network, lambda steps: _injections(network, profiles, np.asarray(steps))

    return load


@pytest.fixture
def three_windings():
    """110/20/10 kV by one three-winding transformer, a load at either side."""
    net = empty_net()
    hv, mv, lv = (
        pandapower.create_bus(net, kv, min_vm_pu=0.9, max_vm_pu=1.1) for kv in (110, 20, 10)
    )
    pandapower.create_ext_grid(net, hv)
    pandapower.create_transformer3w(net, hv, mv, lv, "63/25/38 MVA 110/20/10 kV")
    pandapower.create_load(net, mv, 20.0, 5.0)
    pandapower.create_load(net, lv, 9.0, 3.0)
    return net


@pytest.fixture(scope="session")
def judge():
    """pandapower's own power flow of one step, quietly."""

    def run(network: Network, injections: xr.Dataset, step: int, *, limited: bool = False):
        net = copy.deepcopy(network.net)
        if len(net.storage):
            net.storage["p_mw"] = 0.0
        for name, values in injections.data_vars.items():
            table, column = str(name).split("_", 1)
            net[table][column] = values.values[step]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # numba would take longer to compile than this takes
            pandapower.runpp(net, tolerance_mva=1e-9, numba=False, enforce_q_lims=limited)
        return net

    return run
