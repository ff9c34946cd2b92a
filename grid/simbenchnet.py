"""SimBench's networks and their year of profiles, by code (such as 1-MV-rural--0-sw).

They come with the package simbench and are no files of ours. Source: Meinecke et al., SimBench -
A Benchmark Dataset of Electric Power Systems, Energies 13 (2020) 3290; data under ODbL 1.0.
"""

from __future__ import annotations

import difflib
import re
import warnings

import numpy as np
import pandas as pd
import simbench
import xarray as xr
from pandapower.auxiliary import pandapowerNet

from core.errors import NetworkError
from grid.network import Network

_PATTERN = re.compile(r"[012]-[A-Za-z]+-.*")
_START = np.datetime64("2016-01-01T00:00", "ns")
"""SimBench's year is 2016, in steps of 15 minutes."""


def is_code(text: str) -> bool:
    """Whether ``text`` looks like a SimBench code rather than like a file."""
    return bool(_PATTERN.fullmatch(text)) and "." not in text.rsplit("-", 1)[-1]


def network(code: str) -> Network:
    """The network of a code, without profiles; NetworkError when there is no such code."""
    net = _load(code)
    for name in ("profiles", "loadcases"):
        net.pop(name, None)
    return Network(net)


def with_year(code: str) -> tuple[Network, xr.Dataset]:
    """The network of a code, and the injections of its year (35,136 steps) for powerflow.run."""
    net = _load(code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about what simbench does with dtypes
        profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    columns = {
        f"{table}_{column}": ((("time", table)), _float(frame))
        for (table, column), frame in profiles.items()
        if frame.shape[1]
    }
    steps = next(iter(columns.values()))[1].shape[0]
    for name in ("profiles", "loadcases"):
        net.pop(name, None)
    found = Network(net)
    ids = {table: found.ids(table) for table in ("load", "sgen", "storage")}
    times = _START + np.arange(steps) * np.timedelta64(15, "m")
    return found, xr.Dataset(columns, coords={"time": times, **ids})


def _float(frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(frame, dtype=float)


def _load(code: str) -> pandapowerNet:
    codes = simbench.collect_all_simbench_codes()
    if code not in codes:
        near = difflib.get_close_matches(code, codes, 3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise NetworkError(f"SimBench has no network {code}{hint}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about what simbench does with dtypes
        return simbench.get_simbench_net(code)
