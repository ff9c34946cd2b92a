"""``verdigrid quarantine``: what could not be read, and why; mended, replayed or dismissed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.mending import dismiss_held, replay_held
from app.progress import console
from app.wiring import load_city, open_database
from core.errors import ConfigurationError
from core.timeaxis import parse
from ingest import filemapping
from store import quarantine as held
from store.quarantine import Filter, Held

group = typer.Typer(
    help="What could not be read, and why: look, mend, replay.", no_args_is_help=True
)

SHOWN_BYTES = 200

Ids = Annotated[list[int] | None, typer.Argument(help="Ids, as `list` shows them.")]
Source = Annotated[str | None, typer.Option(help="A part of where it came from.")]
Device = Annotated[str | None, typer.Option(help="The device, as on the wire.")]
Reason = Annotated[str | None, typer.Option(help="A part of the reason.")]
Since = Annotated[str | None, typer.Option(help="What came from then on; ISO 8601 with zone.")]


def _filter(
    ids: list[int] | None,
    source: str | None,
    device: str | None,
    reason: str | None,
    since: str | None,
) -> Filter:
    return Filter(
        ids=tuple(ids) if ids else None,
        source=source,
        device=device,
        reason=reason,
        since=parse(since) if since else None,
    )


@group.command("list")
def list_quarantine(
    source: Source = None,
    device: Device = None,
    reason: Reason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest messages that could not be read and wait to be mended."""
    wanted = _filter(None, source, device, reason, since)
    with open_database(settings.load()) as database, database.connection() as connection:
        found = held.pending(connection, wanted, limit=limit, newest_first=True)
    rows = [_row(letter, SHOWN_BYTES) for letter in found]
    columns = ("id", "received_at", "source", "device", "reason")
    emit("Quarantine", rows, columns, as_json=as_json)


@group.command()
def show(
    number: Annotated[int, typer.Argument(help="The id, as `list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """One message with its payload."""
    with open_database(settings.load()) as database, database.connection() as connection:
        found = held.pending(connection, Filter(ids=(number,)))
    if not found:
        raise ConfigurationError(f"No message {number} waits in the quarantine.")
    row = _row(found[0], None)
    if as_json:
        emit_json(row)
    else:
        rows = [{"field": name, "value": value} for name, value in row.items()]
        emit("Message", rows, ("field", "value"), as_json=False)


@group.command("counts")
def count_quarantine(as_json: AsJson = False) -> None:
    """How many messages wait for which reason."""
    with open_database(settings.load()) as database, database.connection() as connection:
        found = held.counts(connection)
    if as_json:
        emit_json(found)
    else:
        rows = [{"reason": reason, "messages": n} for reason, n in found.items()]
        emit("Quarantine", rows, ("reason", "messages"), as_json=False)


@group.command()
def replay(
    ids: Ids = None,
    source: Source = None,
    device: Device = None,
    reason: Reason = None,
    since: Since = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="A mapping for rows of files that could not be read as they stood."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read messages once more, after what kept them out was mended; all that fit the filters."""
    rule = filemapping.read(mapping) if mapping else None
    with open_database(settings.load()) as database:
        wanted = _filter(ids, source, device, reason, since)
        done = replay_held(load_city(database), wanted, mapping=rule)
    if as_json:
        emit_json(done)
    else:
        console.print(
            f"{done.looked_at} messages: {done.resolved} are in ({done.stored} new readings, "
            f"{done.duplicates} known ones), {done.failed} still cannot be read.",
            markup=False,
        )


@group.command()
def dismiss(
    ids: Ids = None,
    source: Source = None,
    device: Device = None,
    reason: Reason = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Put messages aside for good; needs ids or a filter."""
    wanted = _filter(ids, source, device, reason, since)
    if wanted == held.EVERYTHING:
        raise ConfigurationError(
            "Say which messages: ids, --source, --device, --reason or --since."
        )
    with open_database(settings.load()) as database:
        count = dismiss_held(load_city(database), wanted)
    if as_json:
        emit_json({"dismissed": count})
    else:
        console.print(f"{count} messages are dismissed.", markup=False)


def _row(letter: Held, most: int | None) -> dict[str, object]:
    return {
        "id": letter.id,
        "received_at": letter.received_at,
        "source": letter.source,
        "device": letter.device,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload_bytes": letter.payload_bytes,
        "payload": letter.payload[:most].decode("utf-8", "replace"),
    }
