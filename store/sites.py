"""The description of the city, kept as one document: it is read whole and replaced whole."""

from __future__ import annotations

from typing import NamedTuple

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


class Described(NamedTuple):
    """A description and its number."""

    site: Site
    revision: int


def load(connection: Connection) -> Site | None:
    """The site saved last; None before the first. Raises ConfigurationError as ``described``."""
    found = described(connection)
    return found.site if found else None


def described(connection: Connection) -> Described | None:
    """The site saved last with its revision, read as one; None before the first.

    Raises ConfigurationError naming what is wrong with a description that cannot be used.
    """
    row = connection.execute(_SQL["load"]).fetchone()
    return Described(from_tree(row[0], row[1]), row[2]) if row else None


def network(connection: Connection, site: str) -> str:
    """The grid of the city with that id, as it was saved; empty where there is none.

    It asks nothing of the rest of the description, which may be of no use any more.
    """
    row = connection.execute(_SQL["network"], {"id": site}).fetchone()
    return str(row[0]) if row else ""


def hold(connection: Connection) -> None:
    """Nobody saves a description before this transaction ends.

    For those who draw a revision later: a save takes its locks in this order too.
    """
    connection.execute(_SQL["hold"])


def draw_revision(connection: Connection) -> None:
    """Have whoever works by the description begin anew, though it stays the same."""
    connection.execute(_SQL["draw_revision"])


def revision(connection: Connection) -> int:
    """The number of the description that ``load`` gives; 0 before the first.

    While it stays the same, so does the description: each save draws another one.
    """
    row = connection.execute(_SQL["revision"]).fetchone()
    assert row is not None, "an aggregate is one row"
    return int(row[0])
