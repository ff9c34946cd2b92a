"""The description of the city, kept as one document: it is read whole and replaced whole."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from core.sites import Site
from core.sitetree import from_tree, to_tree
from store import catalogue, sqltext
from store.database import Connection

_SQL = sqltext.load("sites")


def save(connection: Connection, site: Site) -> None:
    """Stores ``site`` in place of its earlier description, and its assets in the catalogue."""
    row = {
        "id": site.id,
        "description": Jsonb(to_tree(site)),
        "network_json": site.network_json,
    }
    connection.execute(_SQL["save"], row)
    catalogue.save_assets(connection, site.id, site.assets)


def load(connection: Connection) -> Site | None:
    """The site saved last; None before the first."""
    row = connection.execute(_SQL["load"]).fetchone()
    return from_tree(row[0], row[1]) if row else None


def saved_at(connection: Connection) -> datetime | None:
    """When a description was saved last, by the database's clock; None before the first."""
    row = connection.execute(_SQL["saved_at"]).fetchone()
    return row[0] if row else None
