"""Alerts as they stand; how they change is core/alerts.py's business."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from core.alerts import Alert, AlertSeverity, AlertState, Condition
from core.errors import StoreError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("alerts")


def active(connection: Connection) -> list[Alert]:
    """All alerts that are not closed, the oldest first."""
    return [_alert(row) for row in connection.execute(_SQL["active"])]


def recent(connection: Connection, limit: int = 100) -> list[Alert]:
    """Alerts in any state, the one changed last first."""
    return [_alert(row) for row in connection.execute(_SQL["recent"], {"limit": limit})]


def save(connection: Connection, alerts: Iterable[Alert]) -> list[Alert]:
    """Stores changed alerts and returns them as stored, new ones with their id.

    Of what another process did meanwhile, an acknowledgement and a closure stay: an alert closed
    meanwhile is left out of the answer.
    """
    saved = []
    # Closed ones first: only then the same condition can open a new alert.
    for alert in sorted(alerts, key=lambda a: a.state is not AlertState.CLOSED):
        name = "open" if alert.id is None else "update"
        row = connection.execute(_SQL[name], _row(alert)).fetchone()
        if row is not None:
            saved.append(_alert(row))
    return saved


def acknowledge(
    connection: Connection, alert_id: int, by: str, comment: str, at: datetime
) -> Alert:
    """Notes that ``by`` has seen the alert; raises StoreError when it is closed or unknown."""
    row = {"id": alert_id, "by": by, "comment": comment, "at": utc(at)}
    found = connection.execute(_SQL["acknowledge"], row).fetchone()
    if found is None:
        raise StoreError(f"There is no open alert {alert_id}; it may have closed meanwhile.")
    return _alert(found)


def _row(alert: Alert) -> dict[str, Any]:
    condition = alert.condition
    return {
        "id": alert.id,
        "rule": condition.rule,
        "subject": condition.subject,
        "severity": condition.severity.value,
        "value": float(condition.value),
        "unit": condition.unit,
        "text_en": condition.text_en,
        "text_zh": condition.text_zh,
        "state": alert.state.value,
        "opened_at": utc(alert.opened_at),
        "updated_at": utc(alert.updated_at),
        "closed_at": None if alert.closed_at is None else utc(alert.closed_at),
        "acknowledged_by": alert.acknowledged_by,
        "comment": alert.comment,
    }


def _alert(row: tuple[Any, ...]) -> Alert:
    number, rule, subject, severity, value, unit, text_en, text_zh, state, *rest = row
    opened_at, updated_at, closed_at, acknowledged_by, comment = rest
    return Alert(
        Condition(rule, subject, AlertSeverity(severity), value, unit, text_en, text_zh),
        AlertState(state),
        opened_at,
        updated_at,
        closed_at,
        acknowledged_by,
        comment,
        number,
    )
