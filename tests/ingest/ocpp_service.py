"""A central system as a process of its own, to be killed: a spool behind it, nothing else.

Arguments: folder, port, wall time at which the city's day begins, pace, and the action at whose
commit it kills itself, if any. It prints the port where it listens, then the action of every
message that is safe.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from core.clock import CityClock
from ingest.ocpp_server import OcppSettings, OcppStatus, run_ocpp
from ingest.pipeline import Message
from ingest.spool import Spool
from sandbox.ocpp_charger import describe

ORIGIN = datetime(2026, 6, 22, 4, tzinfo=UTC)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(folder: Path, port: int, wall: datetime, pace: float, deadly: str) -> None:
    clock = CityClock(wall, ORIGIN, pace)
    spool = Spool(folder / "spool.sqlite", capacity_bytes=100_000_000)
    told = threading.Event()

    def accept(messages: Sequence[Message]) -> None:
        spool.append(messages)
        for message in messages:
            action, payload = json.loads(message.payload)["frame"][2:]
            said = f"{action} {payload.get('eventType', '')}".strip()
            say(said)
            if said == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    def on_status(status: OcppStatus) -> None:
        if not told.is_set():
            told.set()
            say(str(status.port))

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = OcppSettings(folder / "transactions.sqlite", describe()[0], port=port)
    run_ocpp(settings, accept, lambda: clock.at(datetime.now(UTC)), stop, on_status)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        datetime.fromisoformat(sys.argv[3]),
        float(sys.argv[4]),
        sys.argv[5],
    )
