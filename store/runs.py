"""Runs of a computation, such as a dispatch plan: requested, running, then failed or their status.

The schedule is kept as rows, which anybody can query; the power flow behind it as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from psycopg.types.json import Jsonb

from core.errors import NotWaitingError, StoreError
from core.timeaxis import from_datetime64, to_us, utc
from store import arrayfields, sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("runs")
REQUESTED = "requested"
FAILED = "failed"
OPTIMAL = "optimal"
PROPOSED, REFUSED, LAPSED = "proposed", "refused", "lapsed"
"""A plan that needs approval: it waits for it, was refused, or nobody decided in time."""
WITH_NUMBERS = ("optimal", "relaxed")
"""States of runs that are in force: as asked, or with limits opened that nobody could keep. A plan
that needed approval has it."""
_GROUNDS = "grounds/"
_UNFINISHED = (REQUESTED, "running")


@dataclass(frozen=True, slots=True)
class Run:
    """One run. state: requested, running, failed or the status of the result, such as optimal.

    city_at: the city time it was made for. reason: why it failed, else empty.
    """

    id: int
    kind: str
    state: str
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    city_at: datetime
    summary: dict[str, Any]
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What an operator decided on a plan that needs approval.

    decide_by, city_at: city time; decided_at: on the wall. decision: approved, refused or lapsed;
    None while it waits.
    """

    run_id: int
    decide_by: datetime
    decision: str | None
    decided_by: str
    decided_at: datetime | None
    city_at: datetime | None
    comment: str


def request(
    connection: Connection,
    kind: str,
    requested_by: str,
    city_at: datetime,
    summary: Mapping[str, Any] | None = None,
) -> int:
    """Asks for a run, to be taken by a worker; returns its id.

    summary: what is asked, as JSON; it stands in the run's summary until ``finish`` puts the result
    there, and stays where the run fails.
    """
    return _insert(connection, "request", kind, requested_by, city_at, summary=Jsonb(summary or {}))


def take_requested(
    connection: Connection, kind: str | None = None, limit: int | None = None
) -> list[Run]:
    """The requested runs (of that kind, or of any), now running, the oldest first.

    limit: how many at most; None for all. Two workers that ask at once never get the same run.
    """
    asked = {"kind": kind, "limit": limit}
    rows = connection.execute(_SQL["take_requested"], asked).fetchall()
    return sorted((Run(*row) for row in rows), key=lambda run: run.id)


def start(connection: Connection, kind: str, requested_by: str, city_at: datetime) -> int:
    """Notes a run that begins now; returns its id."""
    return _insert(connection, "start", kind, requested_by, city_at)


def _insert(
    connection: Connection,
    name: str,
    kind: str,
    requested_by: str,
    city_at: datetime,
    **more: Jsonb,
) -> int:
    row = {"kind": kind, "requested_by": requested_by, "city_at": utc(city_at), **more}
    inserted = connection.execute(_SQL[name], row).fetchone()
    assert inserted is not None
    return int(inserted[0])


def finish(
    connection: Connection,
    run_id: int,
    status: str,
    summary: Mapping[str, Any],
    schedule: xr.Dataset | None = None,
    ac: xr.Dataset | None = None,
    grounds: xr.Dataset | None = None,
) -> None:
    """Stores the result of a run; the same call again changes nothing.

    schedule: variables over (time,) or (time, asset), NaN where there is none. ac, grounds: any
    Datasets of numbers and texts, the power flow and what sentences on the plan need. Raises
    StoreError when the run does not exist, or has ended with another status.
    """
    if status in _UNFINISHED:
        raise StoreError(f"A run cannot finish as {status!r}.")
    layout = None if schedule is None else Jsonb(_layout(schedule))
    _end(connection, run_id, status, summary=Jsonb(dict(summary)), layout=layout)
    connection.execute(_SQL["clear_schedule"], {"id": run_id})
    connection.execute(_SQL["clear_fields"], {"id": run_id})
    if schedule is not None:
        _copy_schedule(connection, run_id, schedule)
    for prefix, dataset in (("", ac), (_GROUNDS, grounds)):
        if dataset is not None:
            rows = [
                {**row, "run_id": run_id, "name": prefix + row["name"]}
                for row in arrayfields.rows(dataset)
            ]
            with connection.cursor() as cursor:
                cursor.executemany(_SQL["add_field"], rows)


def fail(connection: Connection, run_id: int, reason: str) -> None:
    """Notes that the run failed, and why; what was asked stays. Raises as ``finish`` does."""
    _end(connection, run_id, FAILED, reason=reason)


def abandon(connection: Connection, reason: str) -> int:
    """Fails the runs that a scheduler left behind when it was killed; how many there were.

    Only the one scheduler that holds its lock may say so, before it starts a run. Runs asked for
    at a console belong to that console.
    """
    return connection.execute(_SQL["abandon"], {"reason": reason}).rowcount


def _end(
    connection: Connection,
    run_id: int,
    state: str,
    *,
    summary: Jsonb | None = None,
    reason: str = "",
    layout: Jsonb | None = None,
) -> None:
    row = {
        "id": run_id,
        "state": state,
        "summary": summary,
        "reason": reason,
        "layout": layout,
    }
    if not connection.execute(_SQL["finish"], row).rowcount:
        there = by_id(connection, run_id)
        was = f"has ended as {there.state!r} already" if there else "does not exist"
        raise StoreError(f"Run {run_id} cannot end as {state!r}: it {was}.")


def _layout(schedule: xr.Dataset) -> dict[str, Any]:
    """What the rows do not say: times, order of assets, units, which variable has an asset."""
    for name, array in schedule.data_vars.items():
        if array.dims not in (("time",), ("time", "asset")):
            raise StoreError(f"The schedule's {name!r} has the dims {array.dims}, not time, asset.")
    return {
        "times_us": [to_us(from_datetime64(t)) for t in schedule["time"].values],
        "assets": [str(a) for a in schedule["asset"].values] if "asset" in schedule.dims else None,
        "variables": {
            str(name): {"dims": list(map(str, array.dims)), "attrs": dict(array.attrs)}
            for name, array in schedule.data_vars.items()
        },
        "attrs": dict(schedule.attrs),
    }


def _copy_schedule(connection: Connection, run_id: int, schedule: xr.Dataset) -> None:
    times = [from_datetime64(t) for t in schedule["time"].values]
    with (
        connection.cursor() as cursor,
        cursor.copy(_SQL["copy_schedule"]) as copy,
    ):
        for name, array in schedule.data_vars.items():
            assets = [str(a) for a in schedule["asset"].values] if array.ndim == 2 else [""]
            table = array.values.reshape(len(times), len(assets)).astype(np.float64)
            for t, a in zip(*np.nonzero(~np.isnan(table)), strict=True):
                copy.write_row((run_id, assets[a], str(name), times[t], float(table[t, a])))


def by_id(connection: Connection, run_id: int) -> Run | None:
    """The run of that id, if there is one."""
    row = connection.execute(_SQL["by_id"], {"id": run_id}).fetchone()
    return Run(*row) if row else None


def latest(connection: Connection, kind: str, status: str | None = None) -> Run | None:
    """The newest run of that kind that ended with ``status``; None: with numbers to follow."""
    states = list(WITH_NUMBERS) if status is None else [status]
    row = connection.execute(_SQL["latest"], {"kind": kind, "states": states}).fetchone()
    return Run(*row) if row else None


def recent(
    connection: Connection, limit: int = 50, kinds: Sequence[str] | None = None
) -> list[Run]:
    """The newest runs first, of these kinds or of any."""
    asked = {"limit": limit, "kinds": None if kinds is None else list(kinds)}
    rows = connection.execute(_SQL["recent"], asked).fetchall()
    return [Run(*row) for row in rows]


def propose(connection: Connection, run_id: int, decide_by: datetime) -> None:
    """Notes until when (city time) the run that has just ended as ``proposed`` can be approved."""
    connection.execute(_SQL["propose"], {"id": run_id, "decide_by": utc(decide_by)})


def approve(connection: Connection, run_id: int, by: str, comment: str, city_at: datetime) -> None:
    """Puts a proposed plan into force from ``city_at`` on.

    Raises NotWaitingError when it does not wait for approval, or not any more.
    """
    _decide(connection, run_id, "approved", OPTIMAL, by, comment, city_at)
    supersede(connection, run_id)


def refuse(connection: Connection, run_id: int, by: str, comment: str, city_at: datetime) -> None:
    """Sets a proposed plan aside; the plan in force stays. Raises as ``approve``."""
    _decide(connection, run_id, REFUSED, REFUSED, by, comment, city_at)


def _decide(
    connection: Connection,
    run_id: int,
    decision: str,
    state: str,
    by: str,
    comment: str,
    city_at: datetime,
) -> None:
    row = {
        "id": run_id,
        "decision": decision,
        "state": state,
        "by": by,
        "comment": comment,
        "city_at": utc(city_at),
        "reason": f"Refused by {by}: {comment}".rstrip(": ") if state == REFUSED else "",
    }
    if connection.execute(_SQL["decide"], row).rowcount:
        return
    there = by_id(connection, run_id)
    if there is None:
        raise NotWaitingError(f"There is no run {run_id}.")
    if there.state == PROPOSED:
        raise NotWaitingError(f"Run {run_id} cannot be approved any more: its time is over.")
    raise NotWaitingError(f"Run {run_id} does not wait for approval: it is {there.state}.")


def lapse(connection: Connection, city_at: datetime) -> int:
    """Sets aside the proposals whose time is over or which a newer plan overtook; how many."""
    return connection.execute(_SQL["lapse"], {"city_at": utc(city_at)}).rowcount


def decision(connection: Connection, run_id: int) -> Decision | None:
    """What was decided on a run; None for one that needs no approval."""
    row = connection.execute(_SQL["decision"], {"id": run_id}).fetchone()
    return Decision(*row) if row else None


def decisions(connection: Connection, run_ids: Sequence[int]) -> dict[int, Decision]:
    """Decisions on these runs, and what of them waits for one, by run."""
    rows = connection.execute(_SQL["decisions"], {"ids": list(run_ids)}).fetchall()
    return {row[0]: Decision(*row) for row in rows}


def opened(run: Run) -> list[dict[str, Any]]:
    """The limits that had to be opened for the plan of ``run``, as its summary has them.

    Each with subject, limit, amount, unit, start, end, text_en and text_zh.
    """
    return [given for given in run.summary.get("given") or [] if given.get("hard")]


def schedule(connection: Connection, run_id: int) -> xr.Dataset:
    """The schedule of a run, as it was given to ``finish``; StoreError when it has none."""
    row = connection.execute(_SQL["layout"], {"id": run_id}).fetchone()
    if row is None or row[0] is None:
        raise StoreError(f"Run {run_id} has no schedule.")
    layout = row[0]
    times = {us: place for place, us in enumerate(layout["times_us"])}
    assets = {asset: place for place, asset in enumerate(layout["assets"] or [])}
    tables = {
        name: np.full([len(times), len(assets)][: len(facts["dims"])], np.nan)
        for name, facts in layout["variables"].items()
    }
    for asset, name, ts, value in connection.execute(_SQL["schedule"], {"id": run_id}):
        table, place = tables[name], times[to_us(ts)]
        if table.ndim == 2:
            table[place, assets[asset]] = value
        else:
            table[place] = value
    coords: dict[str, Any] = {
        "time": np.array(layout["times_us"], "datetime64[us]").astype("datetime64[ns]")
    }
    if layout["assets"] is not None:
        coords["asset"] = list(assets)
    variables = {
        name: (facts["dims"], tables[name], facts["attrs"])
        for name, facts in layout["variables"].items()
    }
    return xr.Dataset(variables, coords, layout["attrs"])


def supersede(connection: Connection, run_id: int) -> int:
    """Takes out of earlier runs of the same kind the steps that this one has taken over.

    What stays of each run is the part that came into force, so that every step stands in one run
    of a kind; plans made every quarter-hour for a day would else fill the disk with what never
    was. Returns how many values went.
    """
    return connection.execute(_SQL["supersede"], {"id": run_id}).rowcount


def in_force(
    connection: Connection,
    kind: str,
    start: datetime,
    end: datetime,
    assets: Sequence[str] | None = None,
    *,
    as_of: datetime | None = None,
) -> xr.Dataset:
    """What the runs of ``kind`` planned for [start, end), each step by the run in force for it.

    Variables (time, asset) of ``assets`` (None: all) and (time,), as the schedules have them; no
    variables at all where nothing was planned. A step that had passed when its plan was made
    is left out: nobody could follow it. as_of: only runs that were in force by then, city time.
    """
    asked = {
        "kind": kind,
        "as_of": None if as_of is None else utc(as_of),
        "start": utc(start),
        "end": utc(end),
        "assets": None if assets is None else list(assets),
    }
    rows = frame(connection.execute(_SQL["in_force"], asked))
    found = {}
    for name, values in rows.groupby("variable"):
        table = values.pivot_table("value", "ts", "asset", aggfunc="last").sort_index()
        stamps = pd.DatetimeIndex(table.index).tz_convert("UTC").tz_localize(None)
        times = stamps.to_numpy("datetime64[ns]")
        if list(table.columns) == [""]:
            array = xr.DataArray(table[""].to_numpy(), dims="time", coords={"time": times})
        else:
            columns = [str(c) for c in table.columns]
            array = xr.DataArray(
                table.to_numpy(), dims=("time", "asset"), coords={"time": times, "asset": columns}
            )
        found[str(name)] = array
    return xr.Dataset(found)


def prune_fields(connection: Connection, kind: str, *, before: datetime) -> int:
    """Removes the power flows of runs made before ``before``; their schedules and figures stay."""
    asked = {"kind": kind, "before": utc(before)}
    return connection.execute(_SQL["prune_fields"], asked).rowcount


def ac(connection: Connection, run_id: int) -> xr.Dataset:
    """The power flow of a run, as it was given to ``finish``; StoreError when it has none."""
    found = connection.execute(_SQL["fields"], {"id": run_id, "grounds": False}).fetchall()
    if not found:
        raise StoreError(f"Run {run_id} has no power flow.")
    return arrayfields.dataset(found)


def grounds(connection: Connection, run_id: int) -> xr.Dataset:
    """What decides on each resource and step of a run, as it was given to ``finish``.

    Raises StoreError when the run has none; they go with its power flow (``prune_fields``).
    """
    found = connection.execute(_SQL["fields"], {"id": run_id, "grounds": True}).fetchall()
    if not found:
        raise StoreError(f"Run {run_id} has no grounds for its reasons.")
    return arrayfields.dataset([(str(row[0]).removeprefix(_GROUNDS), *row[1:]) for row in found])
