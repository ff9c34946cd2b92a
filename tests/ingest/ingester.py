"""The program that the durability test kills: the receiver over the store, nothing else.

Arguments: database URL, broker port. For each line on its input it forks a process that receives,
prints that one's number and, once it receives, "ready": Python's imports take longer than the
whole test may. A receiver ends by SIGTERM, or any other way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime

from app.wiring import StoreSink
from core.sites import Tag
from ingest.mapping import TagMap
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.mqtt_access import Access
from ingest.pipeline import BatchSettings, Status
from store import series
from store.database import Database


def receive(url: str, port: int) -> None:
    """What a receiver does from its first moment on; nothing is inherited but code."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # A short wait for connections, so that a database that comes back is found soon.
    with Database(url, timeout_s=1.0) as database:
        with database.connection() as connection:
            ids = series.ids(connection)
        tag_map = TagMap([Tag("urn:dev:meter-1", "p", "kW", "demo/meter-1/p_mw")], ids)
        said = threading.Event()

        def tell(status: Status) -> None:
            if status.connected and not said.is_set():
                said.set()
                say("ready")

        settings = MqttSettings(
            access=Access(port=port),
            reconnect_max_s=1,
            batch=BatchSettings(wait_s=0.02, retry_max_s=0.5),
        )
        run_mqtt(
            settings, StoreSink(database), lambda: tag_map, lambda: datetime.now(UTC), stop, tell
        )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not kept
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            receive(sys.argv[1], int(sys.argv[2]))
            os._exit(0)
        say(str(child))


if __name__ == "__main__":
    main()
