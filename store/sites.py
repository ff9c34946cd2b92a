"""The description of the city, kept as one document: it is read whole and replaced whole."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from core.series import Series, SeriesKind
from core.site import Asset, AssetKind, Enterprise, Site, Tag
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("sites")


def save(connection: Connection, site: Site) -> None:
    """Stores ``site`` in place of its earlier description."""
    row = {
        "id": site.id,
        "description": Jsonb(_description(site)),
        "network_json": site.network_json,
    }
    connection.execute(_SQL["save"], row)


def load(connection: Connection) -> Site | None:
    """The site saved last; None before the first."""
    row = connection.execute(_SQL["load"]).fetchone()
    return _site(row[0], row[1]) if row else None


def _description(site: Site) -> dict[str, Any]:
    tree = asdict(site)
    del tree["network_json"]
    tree["plan_resolution"] = site.plan_resolution.total_seconds()
    for series in tree["series"]:
        resolution = series["resolution"]
        series["resolution"] = None if resolution is None else resolution.total_seconds()
    return tree


def _site(tree: dict[str, Any], network_json: str) -> Site:
    return Site(
        **tree
        | {
            "network_json": network_json,
            "plan_resolution": timedelta(seconds=tree["plan_resolution"]),
            "assets": tuple(Asset(**a | {"kind": AssetKind(a["kind"])}) for a in tree["assets"]),
            "enterprises": tuple(
                Enterprise(**e | {"assets": tuple(e["assets"])}) for e in tree["enterprises"]
            ),
            "series": tuple(_series(s) for s in tree["series"]),
            "tags": tuple(Tag(**t) for t in tree["tags"]),
        }
    )


def _series(tree: dict[str, Any]) -> Series:
    seconds = tree["resolution"]
    resolution = None if seconds is None else timedelta(seconds=seconds)
    return Series(**tree | {"kind": SeriesKind(tree["kind"]), "resolution": resolution})
