"""What the city is made of: a network as JSON, its elements, and profiles of a year.

Reading them out of SimBench takes ten seconds and two heavy libraries; a compressed file kept
beside the city's data takes a tenth of a second and neither.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

_FORMAT = 1
"""Raise when what is kept changes: older files are then made anew."""


@dataclass(frozen=True)
class Elements:
    """The rows of one pandapower table; all arrays have the shape (n,).

    p_mw, q_mvar: what the element does where its profile is 1, in the element's own sign.
    p_column, q_column: columns of Materials.profiles; -1 where there is none (q of a sgen).
    feeder: the name of the feeder of its bus, "busbar" at the substation.
    """

    index: np.ndarray
    bus: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    p_mw: np.ndarray
    q_mvar: np.ndarray
    sn_mva: np.ndarray
    e_mwh: np.ndarray
    efficiency: np.ndarray
    p_column: np.ndarray
    q_column: np.ndarray
    profile: np.ndarray
    kind: np.ndarray
    feeder: np.ndarray


@dataclass(frozen=True)
class Materials:
    """The raw city. profiles: shape (35136, columns), float32, rows in UTC+1 of 2016."""

    network_json: str
    lat: float
    lon: float
    loads: Elements
    sgens: Elements
    storages: Elements
    profiles: np.ndarray


def load(cache: Path | None = None) -> Materials:
    """The materials, from the file kept in the folder ``cache`` or, the first time, SimBench.

    cache None keeps nothing. A file that cannot be read is made anew.
    """
    path = None if cache is None else cache / f"simbench-{version('simbench')}-{_FORMAT}.npz"
    if path is not None and path.exists():
        try:
            return _read(path)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
    from sandbox import simbenchsource  # costs seconds: pandapower and simbench

    materials = simbenchsource.extract()
    if path is not None:
        _write(path, materials)
    return materials


_TABLES = ("loads", "sgens", "storages")
_FIELDS = tuple(Elements.__dataclass_fields__)


def _write(path: Path, materials: Materials) -> None:
    arrays = {
        f"{table}.{name}": getattr(getattr(materials, table), name)
        for table in _TABLES
        for name in _FIELDS
    }
    head = json.dumps({"lat": materials.lat, "lon": materials.lon})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                head=np.array(head),
                network=np.frombuffer(materials.network_json.encode(), dtype=np.uint8),
                profiles=materials.profiles,
                **arrays,
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> Materials:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        head = json.loads(str(file["head"]))
        tables = {
            table: Elements(**{name: file[f"{table}.{name}"] for name in _FIELDS})
            for table in _TABLES
        }
        return Materials(
            network_json=file["network"].tobytes().decode(),
            lat=head["lat"],
            lon=head["lon"],
            profiles=file["profiles"],
            **tables,
        )
