"""The alerts that are not closed."""

from __future__ import annotations

from core.alerts import Alert
from store import alerts
from store.database import Connection


def active(connection: Connection) -> tuple[Alert, ...]:
    """All open and acknowledged alerts, newest first."""
    return tuple(sorted(alerts.active(connection), key=lambda a: a.opened_at, reverse=True))
