"""``verdigrid up``: start everything, show how it comes to life, and go."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit_json
from app.locking import supervisor_lock
from app.ports import require_free
from app.progress import console
from app.settings import Settings
from app.signals import stop_event
from app.watch import wait_for_life

START_TIMEOUT_S = 420.0
"""Four times what a start takes on two slow cores; one that ends or fails is told at once."""


def command(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, and stop with Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the whole system and show how it comes to life."""
    chosen = settings.load()
    holder = supervisor_lock(chosen).holder()
    if holder is not None:
        console.print(f"Verdigrid already runs at {chosen.base_url} (process {holder}).")
        if as_json:
            emit_json({"url": chosen.base_url, "already_running": True})
        return
    require_free(chosen.host, chosen.port, purpose="the web application", setting="VERDIGRID_PORT")
    console.print("[bold]Verdigrid[/bold] starts the city.")
    if foreground:
        _stay(chosen)
        return
    started = time.monotonic()
    process = _supervise_detached(chosen)
    wait_for_life(chosen, process, timeout_s=START_TIMEOUT_S)
    seconds = time.monotonic() - started
    if as_json:
        emit_json({"url": chosen.base_url, "seconds": round(seconds, 1)})
        return
    console.print(
        f"\nThe city lives after {seconds:.0f} s: [bold]{chosen.base_url}[/bold]\n"
        "Stop it with `make down` (or `verdigrid down`); the data stays."
    )


def _stay(chosen: Settings) -> None:
    from app import supervision  # what it runs takes seconds to load; the detached way needs none

    supervision.run(chosen, stop_event())


def _supervise_detached(chosen: Settings) -> subprocess.Popen[bytes]:
    chosen.log_folder.mkdir(parents=True, exist_ok=True)
    with (chosen.log_folder / "supervisor.log").open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
