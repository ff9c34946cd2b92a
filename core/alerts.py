"""The life of an alert: open, acknowledged, closed; pure transitions, stored elsewhere.

An alert is identified by (rule, subject): as long as one of them is not closed, the same
condition updates it and never opens a second one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class AlertState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class AlertSeverity(StrEnum):
    """Ordered from mild to grave."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a rule sees now: it holds for ``subject``, with the value that says so.

    text_en and text_zh: one sentence each, with numbers and units.
    """

    rule: str
    subject: str
    severity: AlertSeverity
    value: float
    unit: str
    text_en: str
    text_zh: str


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition over time. ``id`` is None until it is stored."""

    condition: Condition
    state: AlertState
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    acknowledged_by: str = ""
    comment: str = ""
    id: int | None = None


def advance(active: list[Alert], conditions: list[Condition], now: datetime) -> list[Alert]:
    """The alerts that changed: new ones opened, lasting ones updated, vanished ones closed.

    active: all alerts that are not closed. An acknowledged alert stays acknowledged while its
    condition lasts, unless the severity rises: then it opens again.
    """
    held = {(a.condition.rule, a.condition.subject): a for a in active}
    seen: set[tuple[str, str]] = set()
    changed: list[Alert] = []
    for condition in conditions:
        key = (condition.rule, condition.subject)
        if key in seen:
            continue
        seen.add(key)
        alert = held.get(key)
        if alert is None:
            changed.append(Alert(condition, AlertState.OPEN, now, now))
        elif condition != alert.condition:
            order = list(AlertSeverity)
            rises = order.index(condition.severity) > order.index(alert.condition.severity)
            state = AlertState.OPEN if rises else alert.state
            changed.append(replace(alert, condition=condition, state=state, updated_at=now))
    for key, alert in held.items():
        if key not in seen:
            changed.append(replace(alert, state=AlertState.CLOSED, updated_at=now, closed_at=now))
    return changed
