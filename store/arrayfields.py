"""An xarray Dataset as rows of the table run_field, and back, with units and coordinates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from psycopg.types.json import Jsonb

from core.errors import StoreError

_TEXT = "text"  # the dtype of an array of texts, whose data is a JSON list
_DATASET = ""  # the name of the row that holds the attributes of the Dataset itself


def rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """One row for each variable and coordinate; raises StoreError for what is no number, time,
    truth value or text.
    """
    found = [_row(_DATASET, xr.Variable((), 0, dataset.attrs), coordinate=False)]
    for name, array in dataset.variables.items():
        found.append(_row(str(name), array, coordinate=name in dataset.coords))
    return found


def _row(name: str, array: xr.Variable, *, coordinate: bool) -> dict[str, Any]:
    values = np.ascontiguousarray(array.values)
    if values.dtype.kind in "UO":
        if not all(isinstance(value, str) for value in values.ravel()):
            raise StoreError(f"The variable {name!r} cannot be stored: it holds mixed objects.")
        dtype, data = _TEXT, json.dumps(values.ravel().tolist()).encode()
    elif values.dtype.kind in "fiubM":
        little = values.astype(values.dtype.newbyteorder("<"))
        dtype, data = little.dtype.str, little.tobytes()
    else:
        raise StoreError(f"The variable {name!r} cannot be stored: its type is {values.dtype}.")
    return {
        "name": name,
        "coordinate": coordinate,
        "dims": [str(dim) for dim in array.dims],
        "shape": list(array.shape),
        "dtype": dtype,
        "attrs": Jsonb(dict(array.attrs)),
        "data": data,
    }


def dataset(found: list[tuple[Any, ...]]) -> xr.Dataset:
    """The Dataset of the rows (name, coordinate, dims, shape, dtype, attrs, data)."""
    variables: dict[str, xr.Variable] = {}
    coordinates: dict[str, xr.Variable] = {}
    own: dict[str, Any] = {}
    for name, coordinate, dims, shape, dtype, attrs, data in found:
        if name == _DATASET:
            own = attrs
            continue
        if dtype == _TEXT:
            values = np.array(json.loads(bytes(data)), dtype=np.str_).reshape(shape)
        else:
            values = np.frombuffer(bytes(data), dtype).reshape(shape).copy()
        target = coordinates if coordinate else variables
        target[name] = xr.Variable(dims, values, attrs)
    return xr.Dataset(variables, coordinates, own)
