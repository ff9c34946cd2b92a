"""MATPOWER's cases as MATLAB and Octave save them (``.mat``): a struct ``mpc``, or the only one."""

from __future__ import annotations

import io
import warnings
from typing import Any, cast

import numpy as np
from scipy.io import loadmat, savemat

from core.errors import NetworkError
from grid.formats import _mpc
from grid.network import Network
from grid.reasons import first_line

NAME = "MATPOWER binary"
EXTENSIONS = (".mat",)


def read(data: bytes) -> Network:
    """The network of a saved case; raises NetworkError when it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A stream is documented, the type annotations know paths only; so with savemat.
            values = loadmat(cast(Any, io.BytesIO(data)), struct_as_record=True)
    except Exception as error:  # a hostile file may raise anything, and the cause is kept
        raise NetworkError(
            f"The file is not readable as a MATLAB file: {first_line(error)}"
        ) from error
    structs = {
        name: value
        for name, value in values.items()
        if isinstance(value, np.ndarray) and value.dtype.names and value.size
    }
    if "mpc" not in structs and len(structs) != 1:
        raise NetworkError("The MATLAB file holds no struct mpc.")
    found = structs.get("mpc", next(iter(structs.values()))).ravel()[0]
    parts: dict[str, object] = {name: found[name] for name in found.dtype.names}
    if "bus_name" in parts:
        names = np.asarray(parts["bus_name"]).ravel()
        parts["bus_name"] = ["".join(map(str, np.atleast_1d(n).ravel())) for n in names]
    return _mpc.to_network(_mpc.case_of(parts))


def write(network: Network) -> bytes:
    """``network`` as a saved case; raises NetworkError where it has no electrical model."""
    case = _mpc.of_network(network)
    names = np.empty((len(case.bus_name), 1), dtype=object)
    names[:, 0] = case.bus_name
    struct = {
        "version": "2",
        "baseMVA": case.base_mva,
        "bus": case.bus,
        "gen": case.gen,
        "branch": case.branch,
        "bus_name": names,
    }
    target = io.BytesIO()
    savemat(cast(Any, target), {"mpc": struct})
    return target.getvalue()
