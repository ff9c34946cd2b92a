"""``verdigrid supervise``: what `up` starts in the background."""

from __future__ import annotations

from app import settings, supervision
from app.signals import stop_event


def command() -> None:
    """Keep every process running until SIGTERM (what `up` starts in the background)."""
    supervision.run(settings.load(), stop_event())
