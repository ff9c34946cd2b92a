"""Setting up a city in an empty database: the sandbox describes itself and brings its history.

Each step may be interrupted and done again; the clock is written last and says that all is there.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from app import keys
from app.auth import ensure_demo_accounts
from app.settings import Settings
from app.wiring import StoreSink, read_tag_map, wall_now
from core.clock import CityClock
from core.errors import ConfigurationError, ServiceError
from core.sites import Site
from core.timeaxis import HOUR, floor_to
from ingest.files import ImportReport, import_file
from sandbox import city as sandbox_city
from store import cityclock, series, sites
from store.database import Database

log = logging.getLogger(__name__)


def is_set_up(database: Database) -> bool:
    """Whether a city is described and its history imported."""
    with database.connection() as connection:
        return sites.load(connection) is not None and cityclock.last_beat(connection) is not None


def require_site(database: Database) -> None:
    """Raises ConfigurationError when no city is described."""
    with database.connection() as connection:
        if sites.load(connection) is None:
            raise ConfigurationError(
                "No city is described in this database, and VERDIGRID_SANDBOX is off; describe "
                "yours with `verdigrid site load FILE` or start once with the sandbox."
            )


def describe_sandbox(settings: Settings, database: Database) -> Site:
    """Describe the sandbox city in the database, with its demo accounts."""
    site = sandbox_city.describe(settings.sandbox_seed, cache=settings.sandbox_folder)
    with database.connection() as connection:
        sites.save(connection, site)
        series.register(connection, [*site.series, *keys.total_series(site)])
    ensure_demo_accounts(database, site.enterprises[0].id)
    return site


def write_history(settings: Settings) -> Path:
    """Let the sandbox write what its meters recorded before the start, as a Parquet file.

    Raises ServiceError with the program's last words.
    """
    target = settings.sandbox_folder / "history.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    end = floor_to(settings.sandbox_start, HOUR)
    start = end - timedelta(days=settings.sandbox_history_days)
    done = subprocess.run(  # noqa: S603 - our own program with our own settings
        [
            sys.executable,
            *("-m", "sandbox", "history", "--out", str(target)),
            *("--start", start.isoformat(), "--end", end.isoformat()),
            *("--seed", str(settings.sandbox_seed)),
            *("--state", str(settings.sandbox_folder / "state.json")),
            *("--cache", str(settings.sandbox_folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServiceError(f"The history of the sandbox could not be written: {done.stderr[-500:]}")
    return target


def import_history(database: Database, path: Path, progress: Callable[[int], None]) -> ImportReport:
    """Import the history through the same door as any other file; harmless to repeat.

    progress: called with the rows read so far.
    """
    with closing(StoreSink(database)) as sink:
        report = import_file(
            path,
            sink,
            read_tag_map(database),
            lambda so_far: progress(so_far.read),
            received_at=wall_now(),
        )
    path.unlink()
    return report


def resume_clock(settings: Settings, database: Database) -> CityClock:
    """The city's clock from now on: where it stopped, or at its very first start.

    While nothing runs the city stands still, so that a pause leaves no gap in its readings.
    """
    now = wall_now()
    with database.connection() as connection:
        last = cityclock.last_beat(connection)
        city = last or floor_to(settings.sandbox_start, HOUR)
        clock = CityClock(now, city, settings.sandbox_pace)
        cityclock.save(connection, clock)
        cityclock.beat(connection, city)
    return clock
