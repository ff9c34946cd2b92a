"""Who works by a description learns by one number that another one counts."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from psycopg.types.json import Jsonb

from core.sites import Site
from core.sitetree import to_tree
from store import sites
from store.database import Connection, Database
from store.migrate import available, migrate

NOW = datetime(2026, 6, 22, 8, tzinfo=UTC)
SITE = Site("demo", "Demo", "演示", "UTC", 0.0, 0.0, True, "", (), (), (), ())
WAITERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def test_each_save_draws_another_number(connection: Connection) -> None:
    """Also within one transaction, where a clock may not tick, and for an equal description."""
    seen = [sites.revision(connection)]
    for _ in range(3):
        sites.save(connection, SITE)
        seen.append(sites.revision(connection))
    assert seen[0] == 0
    assert seen == sorted(set(seen))


def test_the_last_save_counts_though_the_clock_was_set_back(connection: Connection) -> None:
    sites.save(connection, replace(SITE, id="earlier"))
    connection.execute("UPDATE site SET saved_at = saved_at + interval '1 day'")
    sites.save(connection, SITE)
    assert sites.load(connection) == SITE


def test_who_waits_for_another_save_draws_the_higher_number(database: Database) -> None:
    """Though its transaction began first: a number that was seen is never used again."""
    began, saved = threading.Event(), threading.Event()

    def wait_and_save() -> None:
        with database.connection() as connection:
            connection.execute("SELECT now()")
            began.set()
            assert saved.wait(60)
            sites.save(connection, replace(SITE, name_en="Second"))

    with database.connection() as connection:
        sites.save(connection, SITE)
    waiting = threading.Thread(target=wait_and_save)
    waiting.start()
    assert began.wait(60)
    with database.connection() as connection:
        sites.save(connection, replace(SITE, name_en="First"))
        first = sites.revision(connection)
        saved.set()
        while connection.execute(WAITERS).fetchone() == (0,):  # until it stands at our row
            time.sleep(0.01)
    waiting.join(60)
    with database.connection() as connection:
        found = sites.described(connection)
    assert found is not None
    assert found.site.name_en == "Second"
    assert found.revision > first


def test_of_cities_from_before_there_were_numbers_the_newest_counts(empty_url: str) -> None:
    files = available()
    numbered = next(n for n, file in enumerate(files) if "site_revision" in file.name)
    with Database(empty_url) as database:
        migrate(database, files[:numbered])
        with database.connection() as connection:
            for days, name in ((1, "old"), (3, "newest"), (2, "newer")):
                connection.execute(
                    "INSERT INTO site (id, description, network_json, saved_at)"
                    " VALUES (%s, %s, '', %s)",
                    (name, Jsonb(to_tree(replace(SITE, id=name))), NOW + timedelta(days=days)),
                )
        migrate(database)
        with database.connection() as connection:
            found = sites.described(connection)
    assert found is not None
    assert found.site.id == "newest"
