"""The life of an alert: one for a lasting condition, and it ends when the condition does."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.alerts import Alert, AlertSeverity, AlertState, Condition, advance

NOW = datetime(2026, 6, 22, tzinfo=UTC)


def condition(subject: str, severity: AlertSeverity = AlertSeverity.WARNING) -> Condition:
    return Condition("air", subject, severity, 168.0, "1", f"{subject} is high", f"{subject} 偏高")


def apply(held: list[Alert], changed: list[Alert]) -> list[Alert]:
    """What a store does: replace by (rule, subject), keep what is not closed."""
    table = {(a.condition.rule, a.condition.subject): a for a in held}
    for alert in changed:
        table[(alert.condition.rule, alert.condition.subject)] = alert
    return [a for a in table.values() if a.state is not AlertState.CLOSED]


def test_it_opens_lasts_and_closes() -> None:
    (opened,) = advance([], [condition("air-01")], NOW)
    assert opened.state is AlertState.OPEN
    assert opened.opened_at == NOW
    assert advance([opened], [condition("air-01")], NOW + timedelta(minutes=1)) == []
    (closed,) = advance([opened], [], NOW + timedelta(minutes=2))
    assert closed.state is AlertState.CLOSED
    assert closed.closed_at == NOW + timedelta(minutes=2)
    assert closed.opened_at == NOW


def test_an_acknowledged_alert_opens_again_only_when_it_gets_worse() -> None:
    seen = Alert(condition("air-01"), AlertState.ACKNOWLEDGED, NOW, NOW, acknowledged_by="bureau")
    (milder,) = advance([seen], [condition("air-01", AlertSeverity.NOTICE)], NOW)
    assert milder.state is AlertState.ACKNOWLEDGED
    (worse,) = advance([seen], [condition("air-01", AlertSeverity.CRITICAL)], NOW)
    assert worse.state is AlertState.OPEN
    assert worse.acknowledged_by == "bureau"


@given(st.lists(st.sets(st.sampled_from(["a", "b", "c"])), max_size=8))
def test_what_is_active_is_what_holds(history: list[set[str]]) -> None:
    held: list[Alert] = []
    for minute, subjects in enumerate(history):
        conditions = [condition(s) for s in sorted(subjects)] * 2  # a rule may say it twice
        held = apply(held, advance(held, conditions, NOW + timedelta(minutes=minute)))
        assert {a.condition.subject for a in held} == subjects
