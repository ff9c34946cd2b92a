"""Devices that registered themselves: their assets, series and tags, and who still waits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from core.errors import StoreError
from core.readings import READING_DTYPE
from core.sites import DeviceProfile, Registration, Route
from store import catalogueversion, copybinary, series, sites, sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("devices")
_SEED = (("series_id", ">i4"), ("ts", ">i8"), ("value", ">f8"), ("quality", ">i2"))
_AT_ONCE = 50_000

OVERLAP = timedelta(minutes=5)
"""A registration may become visible so long after the time that it carries."""


def register(connection: Connection, registrations: Sequence[Registration]) -> list[Route]:
    """Makes what is new of ``registrations``; the routes of all their devices as they are now.

    A device that is registered stays as it is; ``renew`` changes it. Where an asset of another
    device or of the city's description has the id already, the new one gets a longer id. Safe
    beside another receiver that registers the same. Raises the catalogue's version when anything
    was new.
    """
    wanted = {r.device: r for r in registrations}
    fresh = _take_in(connection, list(wanted.values()))
    placed = _placed(connection, list(wanted))
    longer = [r.under(_longer(r)) for r in wanted.values() if r.device not in placed]
    if longer:
        fresh |= _take_in(connection, longer)
        placed = _placed(connection, list(wanted))
    missing = wanted.keys() - placed.keys()
    if missing:
        raise StoreError(f"No asset id is free for the device {min(missing)!r}.")
    made = [wanted[device].under(placed[device]) for device in sorted(fresh)]
    if made:
        series.register(connection, [s for r in made for s in r.series])
        connection.execute(_SQL["tag"], _tag_columns(made))
        catalogueversion.raise_version(connection)
    return routes(connection, list(wanted))


def renew(connection: Connection, registrations: Sequence[Registration]) -> int:
    """Registers what is new, and brings devices that are registered up to ``registrations``.

    Tags that are new get their series; one that is measured otherwise, in another unit or over
    another interval is so from now on; tags that a registration does not have stay. So do asset,
    kind, district and owner, and what was stored. How many tags of registered devices changed: when
    any did, another revision of the description is drawn, because receivers that run hold maps
    that never unlearn, and begin anew by it.
    """
    sites.hold(connection)
    register(connection, registrations)
    placed = _placed(connection, [r.device for r in registrations])
    made = [r.under(placed[r.device]) for r in registrations]
    owners = _owners(connection, placed)
    wanted = {s.key: replace(s, owner=owners[r.device]) for r in made for s in r.series}
    known = series.known(connection, list(wanted))
    fresh = [s for key, s in wanted.items() if key not in known]
    series.register(connection, fresh)
    lengths = {"key": list(wanted), "resolution": [s.resolution for s in wanted.values()]}
    changed: set[tuple[str, str]] = set()
    for name, columns in (("renew_tags", _tag_columns(made)), ("renew_lengths", lengths)):
        changed |= set(connection.execute(_SQL[name], columns).fetchall())
    profiles = {"device": [r.device for r in made], "profile": [r.profile for r in made]}
    connection.execute(_SQL["renew_profiles"], profiles)
    if changed:
        catalogueversion.raise_version(connection)
        sites.draw_revision(connection)
    return len(changed)


def _owners(connection: Connection, placed: Mapping[str, str]) -> dict[str, str]:
    rows = connection.execute(_SQL["owners"], {"devices": list(placed)})
    return dict(rows.fetchall())


def _tag_columns(registrations: Sequence[Registration]) -> dict[str, list[str]]:
    tags = [tag for r in registrations for tag in r.tags]
    return {
        name: [getattr(tag, name) for tag in tags]
        for name in ("device", "tag", "unit", "series_key")
    }


def of_profile(connection: Connection, profile: str) -> list[str]:
    """The devices that were registered by ``profile``, in order."""
    rows = connection.execute(_SQL["of_profile"], {"profile": profile})
    return [row[0] for row in rows]


def behind(connection: Connection, profiles: Sequence[DeviceProfile]) -> dict[str, int]:
    """How many devices of each profile were registered before it became what it is now.

    They have not all of its tags, or others of the same name. Profiles without such are left out.
    """
    tags = [(p.name, tag) for p in profiles for tag in p.tags]
    columns = {
        "profile": [name for name, _ in tags],
        "tag": [tag.tag for _, tag in tags],
        "unit": [tag.unit for _, tag in tags],
        "variable": [tag.variable for _, tag in tags],
        "resolution": [
            timedelta(seconds=tag.resolution_s) if tag.resolution_s else None for _, tag in tags
        ],
    }
    return dict(connection.execute(_SQL["behind"], columns).fetchall())


def _take_in(connection: Connection, registrations: Sequence[Registration]) -> set[str]:
    """Inserts assets; the devices whose asset was new."""
    assets = [r.asset for r in registrations]
    columns = {
        "id": [a.id for a in assets],
        "site": [r.series[0].site if r.series else "" for r in registrations],
        "kind": [a.kind.value for a in assets],
        "name_en": [a.name_en for a in assets],
        "name_zh": [a.name_zh for a in assets],
        "district": [a.district for a in assets],
        "owner": [a.owner for a in assets],
        "lat": [a.lat for a in assets],
        "lon": [a.lon for a in assets],
        "device": [r.device for r in registrations],
        "profile": [r.profile for r in registrations],
    }
    return {row[0] for row in connection.execute(_SQL["take_in"], columns)}


def _placed(connection: Connection, devices: Sequence[str]) -> dict[str, str]:
    return dict(connection.execute(_SQL["placed"], {"devices": list(devices)}).fetchall())


def _longer(registration: Registration) -> str:
    digest = hashlib.sha256(registration.device.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{registration.asset.id}-{digest[:8]}"


def routes(connection: Connection, devices: Sequence[str]) -> list[Route]:
    """The routes of ``devices``, those of a device one after the other."""
    rows = connection.execute(_SQL["routes"], {"devices": list(devices)})
    return [Route(*row) for row in rows]


def all_routes(connection: Connection) -> Iterator[Route]:
    """The routes of all devices, those of a device one after the other; a million at a time do not
    fit everywhere, so they come in pieces. The connection is in use until the end.
    """
    with connection.cursor(name="routes") as cursor:
        cursor.itersize = _AT_ONCE
        for row in cursor.execute(_SQL["all_routes"]):
            yield Route(*row)


def registered_since(connection: Connection, since: datetime) -> list[str]:
    """The devices that registered at ``since`` or later; some earlier ones may be among them."""
    rows = connection.execute(_SQL["since"], {"since": since - OVERLAP})
    return [row[0] for row in rows]


def newest(connection: Connection) -> datetime | None:
    """When the last device registered; None without any."""
    row = connection.execute(_SQL["newest"]).fetchone()
    return row[0] if row else None


def registered(connection: Connection, limit: int = 1000) -> pd.DataFrame:
    """The devices that registered last: device, asset, kind, profile, district, registered_at."""
    return frame(connection.execute(_SQL["devices"], {"limit": limit}))


def waiting(connection: Connection, limit: int = 1000) -> pd.DataFrame:
    """Devices that nobody knows, by their messages in quarantine: device, messages, last_at, reason
    of the newest.
    """
    return frame(connection.execute(_SQL["waiting"], {"limit": limit}))


def seed(connection: Connection) -> np.ndarray:
    """The newest reading of every series, READING_DTYPE (n,): where a receiver's flags go on."""
    rows = copybinary.fetch(connection, _SQL["seed"], _SEED)
    found = np.empty(len(rows), dtype=READING_DTYPE)
    for name in ("series_id", "value", "quality"):
        found[name] = rows[name]
    found["ts_us"] = copybinary.unix_us(rows["ts"])
    return found
