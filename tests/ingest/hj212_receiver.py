"""An HJ 212 server with a real spool as a process of its own, to be killed.

Arguments: port, spool file, and what to do after a commit: ``answer``, or ``die`` before it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ingest.hj212_server import Hj212Settings, run_hj212
from ingest.hj212_stations import Stations
from ingest.pipeline import Message
from ingest.spool import Spool
from sandbox import hj212_station


def main() -> None:
    port, path, what = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    spool = Spool(path, capacity_bytes=10_000_000)

    def accept(messages: Sequence[Message]) -> None:
        spool.append(messages)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Hj212Settings(Stations(hj212_station.describe()[0], "Asia/Shanghai"), port=port)
    run_hj212(settings, accept, lambda: datetime.now(UTC), threading.Event())


if __name__ == "__main__":
    main()
