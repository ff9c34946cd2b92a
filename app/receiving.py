"""Receiving: how receivers are run, what their processes log, and when they begin anew."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from app.settings import Settings
from app.wiring import City, LiveTagMap, StoreSink, load_city, registrar_of
from core.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest import fieldservice, protocols
from ingest.fieldservice import FieldSettings, FieldStatus, Receiver
from ingest.overflow import Quota
from ingest.pipeline import BatchSettings, Status
from ingest.protocols import Protocols
from ingest.spool import Spool
from store import sites
from store.database import Database

log = logging.getLogger(__name__)

T = TypeVar("T")

Make = Callable[[Settings, City], list[Receiver]]

REPORT_EVERY_S = 60.0
_LOOK_EVERY_S = 5.0
_MB = 1_000_000


def batch_settings(settings: Settings) -> BatchSettings:
    """When a batch is written."""
    return BatchSettings(rows=settings.batch_rows, wait_s=settings.batch_ms / 1000.0)


def quota(settings: Settings) -> Quota | None:
    """What one device may send; None for whatever comes."""
    if not settings.quota_readings_per_s:
        return None
    return Quota(readings_per_s=settings.quota_readings_per_s, burst=settings.quota_burst)


def run_field(
    settings: Settings,
    database: Database,
    stop: threading.Event,
    make: Make,
    spool_name: str,
) -> None:
    """Run receivers and their spool until ``stop``; anew whenever the city is described anew.

    make: gives the receivers for a city. Raises ConfigurationError for settings of no use, and
    ServiceError.
    """
    path = settings.spool_folder / f"{spool_name}.sqlite"
    with Spool(path, capacity_bytes=settings.spool_mb * _MB) as spool:

        def work(city: City, spoken: Protocols, until: threading.Event) -> None:
            with closing(StoreSink(database, pace=city.clock.pace)) as sink:
                fieldservice.run(
                    spool,
                    make(settings, city),
                    sink,
                    LiveTagMap(database),
                    city.now,
                    until,
                    field_reporter(),
                    settings=FieldSettings(batch=batch_settings(settings), quota=quota(settings)),
                    protocols=spoken,
                )

        follow(database, stop, spoken_in, work)


def spoken_in(city: City) -> Protocols:
    """The protocols as the profiles of the city want them; raises ConfigurationError."""
    registrar_of(city.site)  # what it refuses would stop every batch
    return protocols.find(profiles=city.site.profiles)


def follow(
    database: Database,
    stop: threading.Event,
    prepare: Callable[[City], T],
    work: Callable[[City, T, threading.Event], None],
) -> None:
    """Do ``work`` by the city's description until ``stop``; anew whenever it is described anew.

    prepare: takes from the description what the work needs; may raise ConfigurationError, and then
    the description is said to be of no use, once, and waited on until there is another. Whatever
    was acknowledged lies where it was: at the broker, in the spool.
    work: called with the city, what was prepared, and the event that ends it.
    Raises ConfigurationError where no city is described.
    """
    while (found := _usable(database, stop, prepare)) is not None:
        city, prepared = found
        with described_anew(city, stop) as until:
            work(city, prepared, until)


def _usable(
    database: Database, stop: threading.Event, prepare: Callable[[City], T]
) -> tuple[City, T] | None:
    """The city, as soon as its description is of use; None when told to stop."""
    refused = 0
    while not stop.is_set():
        try:
            revision = _revision(database)  # before what it is of: one saved since is tried too
            if revision != refused or not refused:
                city = load_city(database)
                return city, prepare(city)
        except ConfigurationError as error:
            if not revision:
                raise
            refused = revision
            log.error(
                "the stored description of the city cannot be used; waiting for another one",
                extra={"reason": str(error), "revision": revision},
            )
        except StoreUnavailableError:
            if not refused:
                raise
        stop.wait(_LOOK_EVERY_S)
    return None


def _revision(database: Database) -> int:
    with database.connection() as connection:
        return sites.revision(connection)


@contextmanager
def described_anew(city: City, stop: threading.Event) -> Iterator[threading.Event]:
    """An event that is set with ``stop``, or when ``city`` is not what the database describes.

    That goes by the revision that was read with the description: what was saved before the first
    look counts too.
    """
    until, left = threading.Event(), threading.Event()

    def watch() -> None:
        next_look = 0.0
        while not left.wait(0.1) and not stop.is_set():
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + _LOOK_EVERY_S
            try:
                current = _revision(city.database)
            except StoreError:
                continue
            if current != city.revision:
                log.info("the city is described anew; receivers begin again")
                break
        until.set()

    watcher = threading.Thread(target=watch, name="description-watcher")
    watcher.start()
    try:
        yield until
    finally:
        left.set()
        watcher.join()


def reporter() -> Callable[[Status], None]:
    """A status callback that logs now and then, and at once when something goes wrong."""
    last_error = ""
    next_report = 0.0
    guard = threading.Lock()

    def report(status: Status) -> None:
        nonlocal last_error, next_report
        with guard:
            changed = status.last_error != last_error
            if not changed and time.monotonic() < next_report:
                return
            last_error, next_report = status.last_error, time.monotonic() + REPORT_EVERY_S
        facts = {
            "received": status.received,
            "stored": status.stored,
            "duplicates": status.duplicates,
            "quarantined": status.quarantined,
            "registered": status.registered,
        }
        if changed and status.last_error:
            log.warning("ingest waits", extra={**facts, "reason": status.last_error})
        else:
            log.info("ingest runs", extra=facts)

    return report


def field_reporter() -> Callable[[FieldStatus], None]:
    """The same for the field service, and what becomes of each receiver."""
    stored = reporter()
    said: dict[str, str] = {}

    def report(status: FieldStatus) -> None:
        stored(status.stored)
        for name, receiver in status.receivers.items():
            state = receiver.last_error or ("runs" if receiver.running else "")
            if state and said.get(name) != state:
                said[name] = state
                facts = {"receiver": name, "failures": receiver.failures}
                if receiver.last_error:
                    log.warning("a receiver is down", extra={**facts, "reason": state})
                else:
                    log.info("a receiver runs", extra=facts)

    return report
