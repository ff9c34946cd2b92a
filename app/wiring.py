"""Puts the parts together: which database, which clock, which sink; nothing is computed here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from app.settings import Settings
from core.clock import CityClock
from core.errors import ConfigurationError, StoreUnavailableError
from core.readings import Rejected
from core.sites import Site
from ingest.mapping import TagMap
from ingest.mqtt_access import Access
from store import cityclock, migrate, quarantine, series, sites, writing
from store.database import Database
from store.embedded import EmbeddedServer

log = logging.getLogger(__name__)


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
        site = sites.load(connection)
    if site is None:
        raise ConfigurationError(
            "No city is described in this database yet; `verdigrid up` sets up the sandbox city."
        )
    return site


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
    """What jobs, pages and commands work with."""

    database: Database
    site: Site
    clock: CityClock

    def now(self) -> datetime:
        """City time."""
        return self.clock.at(wall_now())


def load_city(database: Database) -> City:
    """The city with its clock; raises ConfigurationError where none has been described."""
    site = load_site(database)
    with database.connection() as connection:
        clock = cityclock.load(connection)
    if clock is None:
        now = wall_now()
        clock = CityClock(now, now)
    return City(database, site, clock)


class StoreSink:
    """ingest's Sink over the store: a batch is written in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """Store a batch; (inserted, duplicates). Raises StoreError."""
        with self._database.connection() as connection:
            result = writing.write(connection, batch)
        return result.inserted, result.duplicates

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep what could not be read. Raises StoreError."""
        with self._database.connection() as connection:
            quarantine.add(connection, rejected)


def tag_map_provider(database: Database, *, every_s: float = 30.0) -> Callable[[], TagMap]:
    """A function that gives the tag map, read anew at most every ``every_s`` seconds.

    A database that is away leaves the last map in use.
    """
    held: TagMap | None = None
    read_at = 0.0

    def provide() -> TagMap:
        nonlocal held, read_at
        if held is None or time.monotonic() - read_at > every_s:
            try:
                held = read_tag_map(database)
            except StoreUnavailableError:
                if held is None:
                    raise
            read_at = time.monotonic()
        return held

    return provide


def read_tag_map(database: Database) -> TagMap:
    """The tag map of the city in the database."""
    with database.connection() as connection:
        site = sites.load(connection)
        ids = series.ids(connection)
    return TagMap(site.tags if site else (), ids)
