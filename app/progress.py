"""Progress on a terminal, and plain lines where there is none (logs, CI)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(stderr=True, highlight=False)
"""Messages for a person go to standard error; standard output carries results only."""


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show that ``text`` is under way, then how long it took; a failure keeps the line."""
    started = time.monotonic()
    if console.is_terminal:
        with console.status(f"{text} ..."):
            yield
    else:
        console.print(f"  .. {text}")
        yield
    console.print(f"  [green]ok[/green] {text} ({time.monotonic() - started:.1f} s)")
