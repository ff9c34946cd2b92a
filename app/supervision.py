"""One running installation: what is kept running, in which order it starts and ends.

Set-up happens here too, after the lock is held, so that two starts can never set up together.
Progress is written to a file that `verdigrid up` follows.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress

from app import sandboxdevices, setup_
from app.journey import Journey, journey_path
from app.locking import supervisor_lock
from app.settings import Settings
from app.supervisor import Child, Keeper, Supervisor
from app.wiring import open_database
from core.clock import CityClock
from core.errors import VerdigridError, reason
from ingest.broker import Broker
from store.embedded import EmbeddedServer

log = logging.getLogger(__name__)


def run(settings: Settings, stop: threading.Event) -> None:
    """Set up what is missing, then keep everything running until ``stop`` is set."""
    with supervisor_lock(settings):
        journey = Journey(journey_path(settings))
        try:
            if settings.sandbox:
                settings = sandboxdevices.with_ports(settings)
            keepers = list(_keepers(settings, journey))
            clock = _prepare(settings, journey)
        except BaseException as error:
            journey.write(failed=reason(error))
            sweep(settings)
            raise
        journey.write(prepared=True)
        supervisor = Supervisor(
            _children(clock),
            keepers=keepers,
            log_folder=settings.log_folder,
            state_path=settings.run_folder / "processes.json",
            stop=stop,
        )
        supervisor.run()


def sweep(settings: Settings) -> None:
    """End a database or broker that a killed supervisor has left behind."""
    with suppress(VerdigridError):
        Broker.stop_left(settings.broker_folder)
    if not settings.database_url and (settings.database_folder).exists():
        with suppress(VerdigridError):
            EmbeddedServer.start(settings.database_folder).stop()


def _keepers(settings: Settings, journey: Journey) -> Iterator[Keeper]:
    """The database and the broker, started; yielded in the order they end in reverse."""
    if not settings.database_url:
        with journey.step("Starting the embedded database"):
            server = EmbeddedServer.start(settings.database_folder)
        # Children find the server by its address: they never start one themselves.
        os.environ["VERDIGRID_DATABASE_URL"] = server.url
        yield Keeper(
            "database",
            ensure=lambda: EmbeddedServer.start(settings.database_folder).started_here,
            end=server.stop,
        )
    if settings.broker == "own":
        with journey.step("Starting the MQTT broker"):
            broker = Broker.start(settings.broker_folder, settings.broker_port)

        def ensure() -> bool:
            nonlocal broker
            if broker.alive():
                return False
            broker = Broker.start(settings.broker_folder, settings.broker_port)
            return True

        yield Keeper("broker", ensure=ensure, end=lambda: broker.stop())


def _prepare(settings: Settings, journey: Journey) -> CityClock | None:
    with open_database(settings) as database:
        if not setup_.is_set_up(database):
            if not settings.sandbox:
                setup_.require_site(database)
                return None
            with journey.step("Describing the sandbox city"):
                setup_.describe_sandbox(settings, database)
            days = settings.sandbox_history_days
            with journey.step(f"Simulating {days} days of readings"):
                path = setup_.write_history(settings)
            with journey.step("Importing the readings"):
                setup_.import_history(database, path, lambda rows: journey.write(rows=rows))
        if not settings.sandbox:
            return None
        sandboxdevices.refresh(database, settings)
        return setup_.resume_clock(settings, database)


def _children(clock: CityClock | None) -> list[Child]:
    """``field`` runs also where nothing is switched on: a link may be described at any time."""
    children = [
        Child("ingest", ("-m", "app.cli", "ingest", "mqtt")),
        Child("field", ("-m", "app.cli", "ingest", "field")),
        Child("web", ("-m", "app.cli", "serve")),
        Child("schedule", ("-m", "app.cli", "schedule")),
    ]
    return children if clock is None else [*children, *sandboxdevices.children(clock)]
