"""Makes tests/grid/simbench/*.npz anew: SimBench networks and what pandapower calculates for them.

Run it as ``python tests/grid/simbench_results.py``; it takes some minutes, because SimBench reads
all its networks for each of them. A file holds the network (pandapower JSON), the injections of six
steps of its year, and the voltages, angles and loadings of pandapower's own runpp with its default
options. Origin: Meinecke et al., SimBench, Energies 13 (2020) 3290, data under ODbL 1.0.
"""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import pandapower

from grid import simbenchnet

TARGET = Path(__file__).parent / "simbench"
CODES = (
    "1-LV-rural1--2-sw",
    "1-LV-semiurb4--2-sw",
    "1-LV-urban6--0-sw",
    "1-MV-rural--0-sw",
    "1-MV-semiurb--1-sw",
    "1-MV-comm--2-sw",
    "1-MV-urban--0-sw",
    "1-MVLV-rural-1.108-0-sw",
)
TABLES = {
    "bus": ("vm_pu", "va_degree"),
    "line": ("loading_percent", "pl_mw"),
    "trafo": ("loading_percent", "pl_mw"),
}


def make(code: str) -> None:
    """Store the network and its results at six steps."""
    network, year = simbenchnet.with_year(code)
    load = year.load_p_mw.sum("load").values
    balance = load - year.sgen_p_mw.sum("sgen").values if "sgen_p_mw" in year else load
    spread = np.random.default_rng(2016).integers(0, len(load), 4)
    steps = np.sort([int(np.argmax(balance)), int(np.argmin(balance)), *spread])
    day = year.isel(time=steps)
    net = copy.deepcopy(network.net)
    results: dict[str, list[np.ndarray]] = {}
    for step in range(len(steps)):
        if len(net.storage):
            net.storage["p_mw"] = 0.0
        for name, values in day.data_vars.items():
            table, column = str(name).split("_", 1)
            net[table][column] = values.values[step]
        pandapower.runpp(net)
        for table, columns in TABLES.items():
            for column in columns:
                values = net[f"res_{table}"][column].to_numpy(dtype=float)
                results.setdefault(f"res_{table}_{column}", []).append(values)
    kept = copy.deepcopy(network.net)
    for kind in kept.std_types:
        kept.std_types[kind] = {}
    text = pandapower.to_json(kept, None, indent=None)
    np.savez_compressed(
        TARGET / f"{code}.npz",
        network=np.frombuffer(text.encode(), dtype=np.uint8),
        time=day.time.values,
        pandapower_version=np.array(pandapower.__version__),
        **{str(name): values.values for name, values in day.data_vars.items()},
        **{name: np.array(rows) for name, rows in results.items()},
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of pandas, about what simbench does with dtypes
    for wanted in sys.argv[1:] or CODES:
        make(wanted)
        sys.stdout.write(f"{wanted}\n")
