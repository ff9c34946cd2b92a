"""``verdigrid series``: find series, see who reports and what is missing, correct a reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import numpy as np
import typer

from app import datatables, settings
from app.commands.output import AsJson, emit, emit_json
from app.progress import console
from app.tables import records
from app.wiring import load_city, open_database
from core.errors import ConfigurationError
from core.readings import Quality, batch
from core.timeaxis import parse
from core.variables import variable
from store import catalogue, corrections, gaps, online
from store import series as register
from store.database import Connection

group = typer.Typer(help="Series: find, follow and correct them.", no_args_is_help=True)

REVISIONS = timedelta(days=7)
"""How far back `show` lists corrections."""
NAMES = {gaps.Cause.SOURCE: "missing at the source", gaps.Cause.PIPELINE: "missing in the pipeline"}


@contextmanager
def _city() -> Iterator[tuple[Connection, datetime]]:
    """A connection to the city's database, and the city's time."""
    with open_database(settings.load()) as database:
        now = load_city(database).now()
        with database.connection() as connection:
            yield connection, now


@group.command()
def search(
    text: Annotated[
        list[str] | None, typer.Argument(help="Words in key, names, district or owner.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of asset: meter, pv, air_station, ...")
    ] = None,
    district: Annotated[list[str] | None, typer.Option(help="Part of the city.")] = None,
    owner: Annotated[list[str] | None, typer.Option(help="Whose it is, by id.")] = None,
    variable_: Annotated[
        list[str] | None, typer.Option("--variable", help="What is measured: p_mw, pm2_5, ...")
    ] = None,
    box: Annotated[str | None, typer.Option(help="south,west,north,east in degrees.")] = None,
    flag: Annotated[
        list[str] | None, typer.Option(help="Flags of the newest reading; good for none.")
    ] = None,
    fresher_than: Annotated[
        float | None, typer.Option(help="Newest reading is younger than so many minutes.")
    ] = None,
    staler_than: Annotated[
        float | None, typer.Option(help="Newest reading is older than so many minutes.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    after: Annotated[str, typer.Option(help="Last key of the page before.")] = "",
    as_json: AsJson = False,
) -> None:
    """Series that fit everything that is given, with their newest reading."""
    with _city() as (connection, now):
        table = catalogue.search(
            connection,
            text=" ".join(text or ()),
            kinds=kind or (),
            districts=district or (),
            owners=owner or (),
            variables=variable_ or (),
            box=None if box is None else datatables.box(box),
            quality=datatables.quality(flag) if flag else None,
            fresher_than=None if fresher_than is None else timedelta(minutes=fresher_than),
            staler_than=None if staler_than is None else timedelta(minutes=staler_than),
            limit=limit,
            after=after,
            now=now,
        )
    columns = ("key", "kind", "district", "value", "unit", "ts", "flags", "flagged")
    emit("Series", _rows(table, as_json=as_json), columns, as_json=as_json)


def _rows(table: Any, *, as_json: bool) -> list[dict[str, Any]]:
    rows = datatables.series_rows(table)
    if not as_json:
        for row in rows:
            row["flags"] = ", ".join(row["flags"] or ())
    return rows


@group.command()
def show(
    key: Annotated[str, typer.Argument(help="site/asset/variable")], as_json: AsJson = False
) -> None:
    """One series: what it is, its newest reading, its corrections of the last seven days."""
    with _city() as (connection, now):
        found = catalogue.search(connection, keys=[key], now=now)
        if found.empty:
            raise ConfigurationError(f"There is no series {key!r}; `series search` finds them.")
        revisions = records(corrections.history(connection, key, now - REVISIONS, now))
    (row,) = _rows(found, as_json=as_json)
    if as_json:
        emit_json({**row, "revisions": revisions})
        return
    emit("Series", [{"what": k, "is": v} for k, v in row.items()], ("what", "is"), as_json=False)
    columns = ("ts", "old_value", "new_value", "reason", "by_whom", "revised_at")
    emit("Corrections", revisions, columns, as_json=False)


@group.command("online")
def online_rates(
    assets: Annotated[bool, typer.Option("--assets", help="Each asset that is offline.")] = False,
    as_json: AsJson = False,
) -> None:
    """How many assets of each kind in each district report."""
    with _city() as (connection, now):
        if assets:
            states = online.states(connection, now)
            rows = records(states[~states["online"]])
            columns: tuple[str, ...] = ("id", "kind", "district", "ts")
        else:
            rows = records(online.rates(connection, now))
            columns = ("kind", "district", "total", "online", "rate")
    emit("Offline" if assets else "Online", rows, columns, as_json=as_json)


@group.command("gaps")
def missing(
    key: Annotated[list[str] | None, typer.Argument(help="Series; all without any.")] = None,
    hours: Annotated[
        float, typer.Option(min=0.1, max=24 * 366, help="How far back, in hours.")
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Runs of missing intervals, and whether the source or the pipeline lost them."""
    with _city() as (connection, now):
        if key:
            register.expect(connection, key)
        found = gaps.find(connection, key, now - timedelta(hours=hours), now)
    rows = records(found)
    for row in rows:
        row["cause"] = str(row["cause"]) if as_json else NAMES[row["cause"]]
    emit("Gaps", rows, ("key", "start", "end", "missing", "cause"), as_json=as_json)


@group.command(context_settings={"ignore_unknown_options": True})
def correct(
    key: Annotated[str, typer.Argument(help="site/asset/variable")],
    ts: Annotated[str, typer.Argument(help="Beginning of the interval, ISO with zone.")],
    value: Annotated[float, typer.Argument(help="In the unit of the series.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept for good.")],
    by: Annotated[str, typer.Option(help="Who says so.")] = "console",
    estimated: Annotated[
        bool, typer.Option("--estimated", help="Nobody measured this value.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a value in place of a reading, or where there is none; what was there stays on record."""
    quality = Quality.ESTIMATED if estimated else Quality.GOOD
    with _city() as (connection, now):
        known = register.expect(connection, [key])[key]
        bounds = variable(known.variable)
        if not (np.isfinite(value) and bounds.minimum <= value <= bounds.maximum):
            raise ConfigurationError(
                f"{value} is no value of {bounds.name}, which lies between {bounds.minimum:g} and "
                f"{bounds.maximum:g} {bounds.unit}."
            )
        rows = batch([(known.id, parse(ts), value, int(quality))])
        done = corrections.correct(connection, rows, reason=reason, by=by, at=now)
    said = "changed" if done.changed else "added" if done.added else "unchanged"
    if as_json:
        emit_json({"key": key, "ts": parse(ts), "value": value, "done": said})
    else:
        console.print(f"{key} at {ts}: {value:g} {known.unit}, {said}.", markup=False)
