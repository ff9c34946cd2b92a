"""``verdigrid store``: what readings take and how long they are kept."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.progress import console
from app.wiring import load_city, open_database
from core.errors import ConfigurationError
from core.timeaxis import DAY
from store import backend, readings, retention, rollups
from store.database import Connection

group = typer.Typer(
    help="Readings at rest: size, roll-ups, how long they are kept.", no_args_is_help=True
)

FOREVER, DEFAULT, NEVER = "forever", "default", "never"
PACKED = "packed"
_POLICY = ("kind", "level", "keep", "after")
_LENGTH = re.compile(r"(\d{1,6})([dwy])\Z")
_UNITS = {"d": DAY, "w": 7 * DAY, "y": 365 * DAY}


@group.command()
def status(as_json: AsJson = False) -> None:
    """How many readings there are, what they take, and how far they are rolled up."""
    with open_database(settings.load()) as database, database.connection() as connection:
        seam = backend.backend(connection)
        counted = readings.counts(connection)
        tables = _tables(connection)
        facts: dict[str, Any] = {
            "rows": counted["rows"],
            "exact": counted["exact"],
            "newest": counted["last_ts"],
            "rolled_to": rollups.rolled_to(connection),
            "late_marks": rollups.waiting(connection),
            "backend": seam.describe(connection),
            "tables": tables,
            "policies": _policies(connection),
        }
    if as_json:
        emit_json(facts)
        return
    columns = ("level", "table", "parts", "from", "until", "megabytes")
    shown = [{**table, "megabytes": table["bytes"] / 1e6} for table in tables]
    emit("Readings and roll-ups", shown, columns, as_json=False)
    emit("Kept", facts["policies"], _POLICY, as_json=False)
    about = "" if facts["exact"] else "about "
    console.print(
        f"{facts['backend']} There are {about}{facts['rows']:,} readings, rolled up to "
        f"{facts['rolled_to'].isoformat()}; {facts['late_marks']:,} marks of late ones wait.",
        markup=False,
    )


def _tables(connection: Connection) -> list[dict[str, Any]]:
    seam = backend.backend(connection)
    named = [("raw", "reading"), *((level.name, level.table) for level in rollups.LEVELS)]
    found = []
    for level, table in named:
        parts = seam.parts(connection, table)
        found.append(
            {
                "level": level,
                "table": table,
                "parts": len(parts),
                "from": parts[0].start if parts else None,
                "until": parts[-1].end if parts else None,
                "bytes": seam.size_bytes(connection, table),
            }
        )
    return found


def _policies(connection: Connection) -> list[dict[str, Any]]:
    kept = [
        {"kind": p.kind, "level": p.level, "keep": _words(p.keep), "after": ""}
        for p in retention.policies(connection)
    ]
    after = retention.pack_after(connection)
    packed = {"kind": retention.EVERY_KIND, "level": PACKED, "keep": "", "after": _age(after)}
    return [*kept, packed]


def _age(after: timedelta | None) -> str:
    return NEVER if after is None else f"{after.days}d"


def _words(keep: timedelta | None) -> str:
    return FOREVER if keep is None else f"{keep.days}d"


@group.command()
def policy(
    kind: Annotated[str, typer.Argument(help="Kind of asset, or '*' for every other kind.")],
    level: Annotated[
        str,
        typer.Argument(
            help="raw, 15min, hour or day: how fine the values are; or packed, with the kind '*': "
            "from which age on they are packed."
        ),
    ],
    keep: Annotated[
        str,
        typer.Argument(
            help="90d, 26w, 5y, forever; or default: as for every kind. Of packed: 30d, or never."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say how long values of a kind and fineness are kept; they are deleted within a day.

    And from which age on readings are packed, which is one for all kinds: a part of the table holds
    all of them, and is packed as a whole.
    """
    with open_database(settings.load()) as database, database.connection() as connection:
        if level == PACKED:
            _set_packed(connection, kind, keep)
        elif keep == DEFAULT:
            retention.unset_policy(connection, kind, level)
        else:
            retention.set_policy(connection, kind, level, _length(keep))
        rows = _policies(connection)
    emit("Kept", rows, _POLICY, as_json=as_json)


def _set_packed(connection: Connection, kind: str, after: str) -> None:
    if kind != retention.EVERY_KIND:
        raise ConfigurationError(
            f"Readings are packed by the day, all kinds of assets together: say '*' for {kind!r}."
        )
    if after == NEVER:
        retention.set_pack_after(connection, None)
    else:
        age = retention.PACK_AFTER if after == DEFAULT else _length(after)
        if age is None:
            raise ConfigurationError(f"{after!r} is no age: write 30d, 26w, {NEVER} or {DEFAULT}.")
        retention.set_pack_after(connection, age)


def _length(text: str) -> timedelta | None:
    """The time, None for ever; raises ConfigurationError for anything else."""
    if text == FOREVER:
        return None
    match = _LENGTH.match(text)
    if not match:
        raise ConfigurationError(
            f"{text!r} is no length of time: write 90d, 26w or 5y, {FOREVER} or {DEFAULT}."
        )
    return int(match[1]) * _UNITS[match[2]]


@group.command()
def refresh(as_json: AsJson = False) -> None:
    """Roll up now what has settled, and what late readings have changed."""
    with open_database(settings.load()) as database:
        done = rollups.refresh(database, load_city(database).now())
    if as_json:
        emit_json({"rolled_to": done.rolled_to, "hours": done.hours} if done else None)
    elif done:
        console.print(
            f"Readings are rolled up to {done.rolled_to.isoformat()}; late readings changed "
            f"{done.hours:,} hours.",
            markup=False,
        )
    else:
        console.print("Another process is rolling up at the moment.")


@group.command()
def compress(
    days: Annotated[
        int | None,
        typer.Option(min=1, help="Readings older than this; else those that the policy says."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pack old readings now: they take less room, or fewer pages a series."""
    with open_database(settings.load()) as database:
        after = None if days is None else days * DAY
        packed = retention.pack(database, load_city(database).now(), after=after)
    if as_json:
        emit_json({"packed": packed})
    else:
        console.print(f"{len(packed)} parts of the readings were packed.")
