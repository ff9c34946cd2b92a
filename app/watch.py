"""Watches a start from outside, as a newcomer would: what is there already, what is awaited."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.journey import journey_path
from app.progress import console
from app.settings import Settings
from core.errors import ServiceError

FAILURES = 3
"""A process that failed this often will not come up by itself."""

AWAITED = (  # a city of its own may have no device yet; what it can do follows its description
    ("web", "The application answers"),
    ("readings", "Readings arrive over MQTT"),
    ("air", "Air quality index"),
    ("leak", "Leak rate"),
    ("forecast", "Forecast"),
    ("footprints", "Hourly footprints"),
    ("plan", "Dispatch plan, checked on the AC grid"),
)


def wait_for_life(
    settings: Settings, process: subprocess.Popen[bytes], *, timeout_s: float
) -> None:
    """Show the start step by step; returns when the city lives.

    Raises ServiceError with the reason when the start failed, or naming what is still awaited
    when ``timeout_s`` have passed since everything was prepared.
    """
    _follow_preparation(settings, process)
    _await_signs(settings, process, timeout_s)


def _follow_preparation(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("Getting ready", total=None)
        for line in _journey(settings, process):
            if "failed" in line:
                process.wait()
                raise ServiceError(line["failed"])
            if "prepared" in line:
                return
            if "rows" in line:
                bars.update(task, description=f"Importing the readings ({line['rows']:,})")
            elif line["state"] == "begins":
                bars.update(task, description=line["step"], total=None, completed=0)
            else:
                console.print(f"  [green]ok[/green] {line['step']} ({line['seconds']:.1f} s)")


def _journey(settings: Settings, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    path = journey_path(settings)
    begun = time.time()
    position = 0
    while True:
        ended = process.poll() is not None
        if path.exists() and path.stat().st_mtime >= begun - 1.0:
            with path.open() as source:
                source.seek(position)
                while (text := source.readline()).endswith("\n"):
                    position = source.tell()
                    yield json.loads(text)
        if ended:
            raise ServiceError(
                f"The start ended with exit code {process.returncode}; "
                f"see {settings.log_folder / 'supervisor.log'}."
            )
        time.sleep(0.1)


def _await_signs(settings: Settings, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    waiting = dict(AWAITED if settings.sandbox else AWAITED[:1])
    started = time.monotonic()
    with console.status("Waiting for the first signs of life ..."), httpx.Client() as client:
        while waiting:
            signs = _signs(client, settings)
            for name in [name for name in waiting if signs.get(name)]:
                console.print(
                    f"  [green]ok[/green] {waiting.pop(name)} ({time.monotonic() - started:.0f} s)"
                )
            _look_for_failures(settings)
            if process.poll() is not None:
                raise ServiceError(
                    f"The system ended; see {settings.log_folder / 'supervisor.log'}."
                )
            if waiting and time.monotonic() - started > timeout_s:
                raise ServiceError(
                    f"After {timeout_s:.0f} s still missing: {', '.join(waiting.values())}. "
                    f"The system goes on starting; its logs are in {settings.log_folder}."
                )
            time.sleep(0.5)


def _look_for_failures(settings: Settings) -> None:
    """Raises ServiceError with the last words of a process that keeps failing."""
    try:
        state = json.loads((settings.run_folder / "processes.json").read_text())
    except (OSError, ValueError):
        return
    for name, facts in state.items():
        if facts["failures"] >= FAILURES:
            lines = Path(facts["log"]).read_text(errors="replace").strip().splitlines()
            raise ServiceError(
                f"The process {name!r} keeps failing: {lines[-1] if lines else 'it said nothing'} "
                f"(see {facts['log']}; `verdigrid down` stops the rest)."
            )


def _signs(client: httpx.Client, settings: Settings) -> dict[str, bool]:
    try:
        answer = client.get(f"{settings.base_url}/readyz", timeout=5.0)
    except httpx.HTTPError:
        return {}
    if answer.status_code != 200:
        return {}
    return {"web": True, **answer.json().get("signs", {})}
