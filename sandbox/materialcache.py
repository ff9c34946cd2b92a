"""Keeps what was read out of SimBench.

Reading it out takes ten seconds and two heavy libraries; a compressed file kept beside the city's
data takes a tenth of a second and neither.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sandbox.materials import Elements, Materials

_FORMAT = 2
"""Raise when what is kept changes: older files are then made anew."""


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


_TABLES = ("loads", "sgens", "storages", "equipment")
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
