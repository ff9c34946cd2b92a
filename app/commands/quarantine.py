"""``verdigrid quarantine``: what could not be read, and why."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.tables import records
from app.wiring import open_database
from store import quarantine as held

group = typer.Typer(help="What could not be read, and why.", no_args_is_help=True)


@group.command("list")
def list_quarantine(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20, as_json: AsJson = False
) -> None:
    """The newest messages that could not be read."""
    chosen = settings.load()
    with open_database(chosen) as database, database.connection() as connection:
        found = held.recent(connection, limit)
    rows = [
        {**row, "payload": bytes(row["payload"][:200]).decode("utf-8", "replace")}
        for row in records(found)
    ]
    emit("Quarantine", rows, ("id", "received_at", "source", "reason"), as_json=as_json)


@group.command("counts")
def count_quarantine(as_json: AsJson = False) -> None:
    """How many messages are held for which reason."""
    chosen = settings.load()
    with open_database(chosen) as database, database.connection() as connection:
        found = Counter(held.counts(connection))
    if as_json:
        emit_json(dict(found))
    else:
        rows = [{"reason": reason, "messages": n} for reason, n in found.most_common()]
        emit("Quarantine", rows, ("reason", "messages"), as_json=False)
