"""``verdigrid ingest devices``, ``profiles`` and ``register``: who is known, and who waits."""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.tables import records
from app.wiring import StoreSink, load_site, open_database, registrar_of
from store import devices


def list_devices(
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="At most so many of either.")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Devices that registered themselves, and those that wait to be registered."""
    chosen = settings.load()
    with open_database(chosen) as database, database.connection() as connection:
        known = [
            {**row, "state": "registered"} for row in records(devices.registered(connection, limit))
        ]
        waiting = [{**row, "state": "waits"} for row in records(devices.waiting(connection, limit))]
    if as_json:
        columns = ("device", "state", "asset", "profile", "messages", "reason")
        emit_json([dict.fromkeys(columns, "") | row for row in (*known, *waiting)])
        return
    told = ("device", "asset", "profile", "district", "registered_at")
    emit("Registered", known, told, as_json=False)
    emit("Waiting", waiting, ("device", "messages", "last_at", "reason"), as_json=False)


def list_profiles(as_json: AsJson = False) -> None:
    """The makes of devices that the city describes."""
    chosen = settings.load()
    with open_database(chosen) as database:
        site = load_site(database)
    rows = [
        {
            "name": p.name,
            "protocol": p.protocol,
            "pattern": p.pattern,
            "kind": p.kind.value,
            "registers": "by itself" if p.register else "by hand",
            "tags": ", ".join(tag.tag for tag in p.tags),
        }
        for p in site.profiles
    ]
    columns = ("name", "protocol", "pattern", "kind", "registers", "tags")
    emit("Profiles", rows, columns, as_json=as_json)


def register(
    device: Annotated[str, typer.Argument(help="The device's name as on the wire.")],
    profile: Annotated[str, typer.Option(help="One of `verdigrid ingest profiles`.")],
    as_json: AsJson = False,
) -> None:
    """Make a device known by a profile; what it sends from now on is stored."""
    chosen = settings.load()
    with open_database(chosen) as database:
        registrar = registrar_of(load_site(database))
        made = registrar.registration(registrar.profile(profile), device)
        routes = StoreSink(database).register([made])
    rows = [
        {"device": r.device, "tag": r.tag, "variable": r.variable, "unit": r.unit} for r in routes
    ]
    emit("Registered", rows, ("device", "tag", "variable", "unit"), as_json=as_json)
