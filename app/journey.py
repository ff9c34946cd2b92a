"""The steps of a start, written by the supervisor and followed by `verdigrid up`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.settings import Settings


class Journey:
    """One JSON line a step; the file of the start before is emptied."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def write(self, **facts: object) -> None:
        """Add a line."""
        with self._path.open("a") as sink:
            sink.write(json.dumps(facts) + "\n")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step with its beginning and its end."""
        started = time.monotonic()
        self.write(step=text, state="begins")
        yield
        self.write(step=text, state="done", seconds=time.monotonic() - started)


def journey_path(settings: Settings) -> Path:
    """Where the steps of the newest start are written."""
    return settings.run_folder / "journey.jsonl"
