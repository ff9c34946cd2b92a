"""Puts the parts together: which database, which clock, which sink; nothing is computed here."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from app.settings import Settings
from core.clock import CityClock
from core.errors import ConfigurationError, StoreError, StoreUnavailableError
from core.readings import Rejected
from core.sites import Registration, Route, Site
from core.timeaxis import EPOCH
from ingest.mapping import TagMap
from ingest.mqtt_access import Access
from ingest.registration import Registrar
from store import (
    beats,
    catalogue,
    charging,
    cityclock,
    devices,
    latest,
    migrate,
    quarantine,
    series,
    sites,
    writing,
)
from store.database import Connection, Database
from store.embedded import EmbeddedServer

log = logging.getLogger(__name__)

BEATS_APART_S = 20.0
"""Real seconds without a beat after which a receiver was away; it beats every five."""


def wall_now() -> datetime:
    """The time on the wall, aware UTC: the one place where it is read."""
    return datetime.now(UTC)


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of this installation, with its schema brought up to this version.

    Without VERDIGRID_DATABASE_URL it is the embedded server; where that does not run it runs for
    as long as the context lasts. Raises StoreUnavailableError, StoreVersionError, MigrationError.
    """
    server = None if settings.database_url else EmbeddedServer.start(settings.database_folder)
    try:
        database = Database(server.url if server else settings.database_url)
        try:
            migrate.migrate(database)
            yield database
        finally:
            database.close()
    finally:
        if server and server.started_here:
            server.stop()


def load_site(database: Database) -> Site:
    """The city in the database; raises ConfigurationError where none has been described."""
    with database.connection() as connection:
        return _described(connection).site


def _described(connection: Connection) -> sites.Described:
    found = sites.described(connection)
    if found is None:
        raise ConfigurationError(
            "No city is described in this database yet; `verdigrid up` sets up the sandbox city."
        )
    return found


def broker_access(settings: Settings) -> Access:
    """How to reach the MQTT broker of this installation."""
    return Access(
        settings.broker_host,
        settings.broker_port,
        settings.broker_user,
        settings.broker_password.get_secret_value(),
        settings.broker_tls,
        settings.broker_ca,
        settings.broker_cert,
        settings.broker_key,
    )


@dataclass(frozen=True, slots=True)
class City:
    """What jobs, pages and commands work with.

    revision: of the description in the database; whoever works for long compares it with
    ``sites.revision``, as app/following.py and app/receiving.py do.
    """

    database: Database
    site: Site
    clock: CityClock
    revision: int = 0

    def now(self) -> datetime:
        """City time."""
        return self.clock.at(wall_now())


def load_city(database: Database) -> City:
    """The city with its clock; raises ConfigurationError where none has been described."""
    with database.connection() as connection:
        found = _described(connection)
        clock = cityclock.load(connection)
    if clock is None:
        now = wall_now()
        clock = CityClock(now, now)
    return City(database, found.site, clock, found.revision)


class StoreSink:
    """ingest's Sink over the store: each call is one transaction. Raises StoreError.

    pace: city seconds in a real one. ``close`` at the end is polite: without it the table of newest
    readings may stay behind for some minutes.
    """

    def __init__(self, database: Database, *, pace: float = 1.0) -> None:
        self._database = database
        self._newest = latest.Latest(database)
        self._pause = max(beats.PAUSE, timedelta(seconds=BEATS_APART_S * pace))

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """Store a batch; (inserted, duplicates)."""
        with self._database.connection() as connection:
            result = writing.write(connection, batch)
        self._newest.note(batch)
        return result.inserted, result.duplicates

    def close(self) -> None:
        """Bring the table of newest readings up to date."""
        self._newest.close()

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep what could not be read."""
        with self._database.connection() as connection:
            quarantine.add(connection, rejected)

    def register(self, registrations: Sequence[Registration]) -> Sequence[Route]:
        """Take devices in; their routes as they are now."""
        with self._database.connection() as connection:
            return devices.register(connection, registrations)

    def charging(self, events: Sequence[Any]) -> None:
        """Keep what chargers say of their sessions."""
        with self._database.connection() as connection:
            charging.apply(connection, events)

    def latest(self) -> np.ndarray:
        """The newest reading of every series."""
        with self._database.connection() as connection:
            return devices.seed(connection)

    def beat(self, receiver: str, at: datetime) -> None:
        """Note that a receiver listens."""
        with self._database.connection() as connection:
            beats.beat(connection, receiver, at, gap=self._pause)


_LATECOMERS = 10_000
"""Series ids that are read once more: one may be committed after a higher one."""


class LiveTagMap:
    """The tag map of the city, kept up with the catalogue while it is in use.

    Each call gives the map; at most every ``every_s`` seconds it asks for the catalogue's version.
    When that has risen, new devices are added to the map; a new description makes a new map.
    A database that is away, or a description of no use, leaves the last map in use; without one it
    raises StoreError.
    with_keys: whether it knows series by their keys too, which takes memory for each of them.
    """

    def __init__(
        self, database: Database, *, every_s: float = 2.0, with_keys: bool = False
    ) -> None:
        self._database = database
        self._every_s = every_s
        self._keys: dict[str, int] | None = {} if with_keys else None
        self._newest_id = 0
        self._next = 0.0
        self._held: TagMap | None = None
        self._version = 0
        self._revision = 0
        self._since: datetime | None = None

    def __call__(self) -> TagMap:
        if self._held is None or time.monotonic() >= self._next:
            try:
                self._held = self._current()
            except StoreUnavailableError:
                if self._held is None:
                    raise
            except ConfigurationError as error:
                if self._held is None:
                    raise StoreError(str(error)) from error
            self._next = time.monotonic() + self._every_s
        return self._held

    def _current(self) -> TagMap:
        with self._database.connection() as connection:
            version = catalogue.version(connection)
            if self._held is not None and version == self._version:
                return self._held
            # Each number before what it is of: what is saved in between is read once more.
            revision, newest = sites.revision(connection), devices.newest(connection)
            if self._keys is not None:
                fresh = series.ids(connection, after=self._newest_id - _LATECOMERS)
                self._keys.update(fresh)
                self._newest_id = max(fresh.values(), default=self._newest_id)
            held = self._held
            if held is None or revision != self._revision:
                held = _tag_map(connection, self._keys)
            else:
                recent = devices.registered_since(connection, self._since or EPOCH)
                held.add(devices.routes(connection, [d for d in recent if d not in held]))
        self._version, self._revision, self._since = version, revision, newest
        return held


def read_tag_map(database: Database) -> TagMap:
    """The tag map of the city as it is now, which knows series by their keys too."""
    with database.connection() as connection:
        return _tag_map(connection, series.ids(connection))


def _tag_map(connection: Connection, ids: Mapping[str, int] | None = None) -> TagMap:
    site = sites.load(connection)
    tags = site.tags if site else ()
    known = series.known(connection, sorted({tag.series_key for tag in tags}))
    tag_map = TagMap(
        tags,
        {key: there.id for key, there in known.items()} if ids is None else ids,
        {key: there.resolution for key, there in known.items()},
        registrar=registrar_of(site) if site else None,
    )
    tag_map.add(devices.all_routes(connection))
    return tag_map


def registrar_of(site: Site) -> Registrar:
    """What takes devices of ``site`` in."""
    return Registrar(site.id, site.profiles, site.timezone, site.simulated)
