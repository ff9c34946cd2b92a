"""``verdigrid charging``: sessions of electric vehicles, and the state of connectors."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit
from app.tables import records
from app.wiring import load_city, open_database
from core.timeaxis import parse
from store import charging

group = typer.Typer(help="Charging of electric vehicles.", no_args_is_help=True)

_SESSION = (
    "asset",
    "connector",
    "state",
    "started_at",
    "ended_at",
    "energy_mwh",
    "expected_departure",
    "requested_mwh",
)


@group.command()
def sessions(
    start: Annotated[
        str | None, typer.Option(help="ISO 8601 with zone; default a city day before the end.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="ISO 8601 with zone; default now.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only those of this asset.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Those that go on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sessions, the earliest first; who charged is never stored."""
    with open_database(settings.load()) as database:
        last = parse(end) if end else load_city(database).now()
        first = parse(start) if start else last - timedelta(days=1)
        with database.connection() as connection:
            if only_open:
                found = charging.open_sessions(connection)
                if asset is not None:
                    found = found[found["asset"] == asset]
            else:
                found = charging.sessions(connection, first, last, asset)
    emit("Charging sessions", records(found), _SESSION, as_json=as_json)


@group.command()
def connectors(as_json: AsJson = False) -> None:
    """The state of every connector, in the words of OCPP."""
    with open_database(settings.load()) as database, database.connection() as connection:
        rows = records(charging.statuses(connection))
    columns = ("charger", "connector", "status", "error", "since")
    emit("Connectors", rows, columns, as_json=as_json)
