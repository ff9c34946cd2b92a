"""``verdigrid status``: what runs and how fresh it is."""

from __future__ import annotations

import sys
from typing import Any

from app import settings
from app.commands.output import AsJson, emit_json, emit_table
from app.health import state
from app.locking import supervisor_lock
from app.progress import console
from app.wiring import load_city, open_database


def command(as_json: AsJson = False) -> None:
    """Say what runs and how fresh the readings are; exit code 3 when it does not run."""
    chosen = settings.load()
    pid = supervisor_lock(chosen).holder()
    if pid is None:
        if as_json:
            emit_json({"running": False})
        else:
            console.print("Verdigrid does not run; start it with `make up`.")
        sys.exit(3)
    with open_database(chosen) as database:
        found: dict[str, Any] = {"running": True, "pid": pid, "url": chosen.base_url}
        found |= state(load_city(database))
    if as_json:
        emit_json(found)
    else:
        emit_table("Verdigrid", ("what", "is"), [(k, v) for k, v in found.items()])
