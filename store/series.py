"""The register of series: key to id, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from core.errors import StoreError
from core.series import Series
from store import sqltext
from store.catalogueversion import raise_version
from store.database import Connection

_SQL = sqltext.load("series")


@dataclass(frozen=True, slots=True)
class Known:
    """What reading a series needs."""

    id: int
    variable: str
    unit: str
    timezone: str = "UTC"
    resolution: timedelta | None = None


def register(connection: Connection, series: Iterable[Series]) -> dict[str, int]:
    """Adds the series that are new, updates the rest, and returns the id of each key.

    Raises StoreError when a series is stored with another unit than its variable now has.
    """
    wanted = {s.key: s for s in series}
    present = known(connection, list(wanted))
    for key, there in present.items():
        if there.unit != wanted[key].unit:
            raise StoreError(
                f"The series {key!r} is stored in {there.unit!r}, but its variable now has the "
                f"unit {wanted[key].unit!r}: give the variable a new name."
            )
    every = list(wanted.values())
    columns = {
        "key": list(wanted),
        "site": [s.site for s in every],
        "asset": [s.asset for s in every],
        "variable": [s.variable for s in every],
        "unit": [s.unit for s in every],
        "kind": [s.kind.value for s in every],
        "owner": [s.owner for s in every],
        "timezone": [s.timezone for s in every],
        "simulated": [s.simulated for s in every],
        "resolution": [s.resolution for s in every],
    }
    if connection.execute(_SQL["register"], columns).rowcount:
        raise_version(connection)
    return {key: there.id for key, there in known(connection, list(wanted)).items()}


def ids(connection: Connection, *, after: int = 0) -> dict[str, int]:
    """The id of every series by its key, in order; of those behind the id ``after``."""
    return dict(connection.execute(_SQL["ids"], {"after": after}).fetchall())


def known(connection: Connection, keys: Sequence[str]) -> dict[str, Known]:
    """Those of ``keys`` that are registered, in the order asked."""
    rows = connection.execute(_SQL["known"], {"keys": list(keys)}).fetchall()
    found = {row[0]: Known(*row[1:]) for row in rows}
    return {key: found[key] for key in keys if key in found}


def expect(connection: Connection, keys: Sequence[str]) -> dict[str, Known]:
    """All of ``keys``; raises StoreError naming the first that is not registered."""
    found = known(connection, keys)
    for key in keys:
        if key not in found:
            raise StoreError(f"There is no series {key!r}: register it, or check its spelling.")
    return found
