"""The program that the test of the drop folder kills: a watcher over the store, nothing else.

Arguments: database URL, folder. For each line on its input it forks a process that watches and
prints that one's number: Python's imports take longer than a process may live.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from app.wiring import StoreSink
from core.sites import Tag
from ingest.folder import FolderSettings, run_folder
from ingest.mapping import TagMap
from ingest.protocols import csv_file, find
from store import series
from store.database import Database


def watch(url: str, folder: Path) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    csv_file.read.__defaults__ = (None, 20_000)
    with Database(url, timeout_s=1.0) as database:
        with database.connection() as connection:
            ids = series.ids(connection)
        tag_map = TagMap([Tag("urn:dev:meter-1", "p", "kW", "demo/meter-1/p_mw")], ids)
        settings = FolderSettings(folder, still_s=0.0, poll_s=0.02)
        now = datetime(2026, 6, 23, tzinfo=UTC)
        sink = StoreSink(database)
        run_folder(settings, sink, lambda: tag_map, lambda: now, stop, protocols=find())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not kept
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            watch(sys.argv[1], Path(sys.argv[2]))
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
