"""``verdigrid alerts``: what is open, and acknowledging it."""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.progress import console
from app.wiring import open_database, wall_now
from store import alerts

group = typer.Typer(help="Alerts of grid, air and water.", no_args_is_help=True)


@group.command("list")
def list_alerts(
    every: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Open and acknowledged alerts, newest first."""
    with (
        open_database(settings.load()) as database,
        database.connection() as connection,
    ):
        found = alerts.recent(connection, limit) if every else alerts.active(connection)
    rows = [
        {
            "id": alert.id,
            "opened_at": alert.opened_at,
            "severity": str(alert.condition.severity),
            "state": str(alert.state),
            "rule": alert.condition.rule,
            "subject": alert.condition.subject,
            "text": alert.condition.text_en,
            "text_zh": alert.condition.text_zh,
            "acknowledged_by": alert.acknowledged_by,
            "comment": alert.comment,
        }
        for alert in found
    ]
    emit("Alerts", rows, ("id", "opened_at", "severity", "state", "text"), as_json=as_json)


@group.command()
def ack(
    alert_id: Annotated[int, typer.Argument(help="The number of the alert.")],
    comment: Annotated[str, typer.Option(help="What was seen or done.")] = "",
    by: Annotated[str, typer.Option(help="Who acknowledges.")] = "console",
    as_json: AsJson = False,
) -> None:
    """Acknowledge an alert."""
    with (
        open_database(settings.load()) as database,
        database.connection() as connection,
    ):
        alerts.acknowledge(connection, alert_id, by, comment, wall_now())
    if as_json:
        emit_json({"id": alert_id, "state": "acknowledged"})
    else:
        console.print(f"Alert {alert_id} is acknowledged.")
