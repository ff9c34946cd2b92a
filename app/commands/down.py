"""``verdigrid down``: stop everything, in order."""

from __future__ import annotations

import os
import signal
import time

from app import settings, supervision
from app.commands.output import AsJson, emit_json
from app.locking import supervisor_lock
from app.progress import console, step
from core.errors import ServiceError

STOP_TIMEOUT_S = 90.0


def command(as_json: AsJson = False) -> None:
    """Stop what `up` started; the data stays."""
    chosen = settings.load()
    lock = supervisor_lock(chosen)
    pid = lock.holder()
    if pid is None:
        supervision.sweep(chosen)
        console.print("Verdigrid does not run.")
    else:
        with step("Stopping"):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while lock.holder() is not None:
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"Process {pid} has not ended in {STOP_TIMEOUT_S:.0f} s; "
                        f"see {chosen.log_folder / 'supervisor.log'}."
                    )
                time.sleep(0.1)
    if as_json:
        emit_json({"stopped": pid is not None})
