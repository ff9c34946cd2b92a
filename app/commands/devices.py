"""``verdigrid ingest devices``, ``profiles`` and ``register``: who is known, and who waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.tables import records
from app.wiring import load_site, open_database, registrar_of
from core.sites import Registration, Route
from ingest.registration import TagState, compare
from store import devices
from store.database import Connection


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
    """The makes of devices that the city describes.

    behind: devices that were registered before the profile became what it is now; `verdigrid ingest
    register --profile NAME` brings them up to it.
    """
    chosen = settings.load()
    with open_database(chosen) as database:
        site = load_site(database)
        with database.connection() as connection:
            behind = devices.behind(connection, site.profiles)
    rows = [
        {
            "name": p.name,
            "protocol": p.protocol,
            "pattern": p.pattern,
            "kind": p.kind.value,
            "registers": "by itself" if p.register else "by hand",
            "tags": ", ".join(tag.tag for tag in p.tags),
            "behind": behind.get(p.name, 0),
        }
        for p in site.profiles
    ]
    columns = ("name", "protocol", "pattern", "kind", "registers", "tags", "behind")
    emit("Profiles", rows, columns, as_json=as_json)


def register(
    device: Annotated[
        str,
        typer.Argument(
            help="The device's name as on the wire; without one, all that this profile registered."
        ),
    ] = "",
    *,
    profile: Annotated[str, typer.Option(help="One of `verdigrid ingest profiles`.")],
    as_json: AsJson = False,
) -> None:
    """Make a device known by a profile, or bring known ones up to the profile as it is now.

    New tags get their series, changed ones count from now on, and tags that the profile does not
    have any more stay. What was stored stays as it is.
    """
    chosen = settings.load()
    with open_database(chosen) as database:
        registrar = registrar_of(load_site(database))
        by = registrar.profile(profile)
        with database.connection() as connection:
            names = [device] if device else devices.of_profile(connection, by.name)
            states = _bring_up(connection, [registrar.registration(by, name) for name in names])
    if device:
        rows = [asdict(state) for state in states]
        emit("Registered", rows, ("device", "tag", "variable", "unit", "change"), as_json=as_json)
        return
    told = Counter((s.tag, s.variable, s.unit, s.change) for s in states if s.change)
    columns = ("tag", "variable", "unit", "change", "devices")
    summary = [dict(zip(columns, (*what, count), strict=True)) for what, count in told.items()]
    emit(f"Changes for {len(names)} devices", summary, columns, as_json=as_json)


def _bring_up(connection: Connection, wanted: Sequence[Registration]) -> list[TagState]:
    """Register or renew; the tags of all devices with what changed."""
    before: dict[str, list[Route]] = {one.device: [] for one in wanted}
    for route in devices.routes(connection, list(before)):
        before[route.device].append(route)
    devices.renew(connection, wanted)
    return [state for one in wanted for state in compare(one, before[one.device])]
