"""The catalogue: what stands where and measures what, searchable, and the number of its state."""

from __future__ import annotations

from collections.abc import Sequence

from core.sites import Asset
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("catalogue")


def version(connection: Connection) -> int:
    """The number of the catalogue's state: whoever holds a copy of series, tags or assets reads
    them anew when it has risen.
    """
    return _number(connection, "version")


def raise_version(connection: Connection) -> int:
    """To be called in the transaction of every change of series, tags or assets; the new number.

    Such transactions wait for each other from here on: call it last.
    """
    return _number(connection, "raise_version")


def _number(connection: Connection, name: str) -> int:
    row = connection.execute(_SQL[name]).fetchone()
    assert row is not None, "the table has one row"
    return int(row[0])


def save_assets(connection: Connection, site: str, assets: Sequence[Asset]) -> None:
    """The assets of the description of ``site``, in place of those of an earlier one.

    Devices that registered themselves stay. Raises the version.
    """
    columns = {
        "id": [a.id for a in assets],
        "site": [site] * len(assets),
        "kind": [a.kind.value for a in assets],
        "name_en": [a.name_en for a in assets],
        "name_zh": [a.name_zh for a in assets],
        "district": [a.district for a in assets],
        "owner": [a.owner for a in assets],
        "lat": [a.lat for a in assets],
        "lon": [a.lon for a in assets],
    }
    connection.execute(_SQL["remove_assets"], columns)
    connection.execute(_SQL["save_assets"], columns)
    raise_version(connection)
