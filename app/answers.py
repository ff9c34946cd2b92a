"""The answers of devices to their set-points, from the broker into the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.settings import Settings
from app.wiring import City, broker_access
from core.setpoints import Acknowledgement
from ingest.acknowledgements import CLIENT_ID, receive
from ingest.mqtt_session import SessionSettings
from store import setpoints

log = logging.getLogger(__name__)


@contextmanager
def listening(settings: Settings, city: City) -> Iterator[None]:
    """Keep what devices answer, in a thread, for as long as the context lasts."""

    def keep(answers: Sequence[Acknowledgement]) -> None:
        with city.database.connection() as connection:
            unknown = setpoints.acknowledge(connection, answers, city.now())
        for answer in unknown:
            log.info(
                "an answer to a set-point nobody sent",
                extra={"asset": answer.asset, "issued_at": answer.issued_at.isoformat()},
            )

    stop = threading.Event()
    chosen = SessionSettings(
        access=broker_access(settings), client_id=f"{CLIENT_ID}-{city.site.id}"
    )
    thread = threading.Thread(
        target=receive, args=(chosen, keep, city.now, stop), name="acknowledgements", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
