"""``verdigrid dispatch approve|refuse|runs|setpoints``: plans that wait, answers of devices."""

from __future__ import annotations

from typing import Annotated

import typer

from app import dispatchwatch, settings
from app.commands.output import AsJson, emit, emit_json
from app.plankinds import FOLLOWED, WHAT_IF, WHOLE_DAY
from app.progress import console
from app.wiring import load_city, open_database
from store import runs, setpoints

RunId = Annotated[int, typer.Argument(help="The number of the run, as `dispatch runs` lists it.")]
Comment = Annotated[str, typer.Option(help="Why; everybody who reads the run reads it.")]
By = Annotated[str, typer.Option(help="Who decides.")]


def approve(
    run_id: RunId, comment: Comment = "", by: By = "console", as_json: AsJson = False
) -> None:
    """Put a proposed plan into force; its set-points go out within seconds.

    Where limits had to be opened for it, they are named: with its approval they give.
    """
    with open_database(settings.load()) as database:
        now = load_city(database).now()
        with database.connection() as connection:
            runs.approve(connection, run_id, by, comment, now)
            approved = runs.by_id(connection, run_id)
    _say(run_id, "approved", as_json=as_json)
    if not as_json and approved is not None:
        for given in runs.opened(approved):
            console.print(f"  {given['text_en']}", markup=False)


def refuse(
    run_id: RunId, comment: Comment = "", by: By = "console", as_json: AsJson = False
) -> None:
    """Set a proposed plan aside; the plan in force goes on."""
    with open_database(settings.load()) as database:
        now = load_city(database).now()
        with database.connection() as connection:
            runs.refuse(connection, run_id, by, comment, now)
    _say(run_id, "refused", as_json=as_json)


def _say(run_id: int, decision: str, *, as_json: bool) -> None:
    if as_json:
        emit_json({"id": run_id, "decision": decision})
    else:
        console.print(f"Run {run_id} is {decision}.")


def list_runs(
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Runs on a copy instead, which nobody follows.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Runs with their state, and who approved or refused them; the newest first.

    opened: limits that no schedule could keep and that the plan opens; it waits for approval.
    """
    kinds = [WHAT_IF] if what_if else [*FOLLOWED, WHOLE_DAY]
    with open_database(settings.load()) as database, database.connection() as connection:
        found = runs.recent(connection, limit, kinds)
        decided = runs.decisions(connection, [run.id for run in found])
    rows = []
    for run in found:
        decision = decided.get(run.id)
        rows.append(
            {
                "id": run.id,
                "kind": run.kind,
                "state": run.state,
                "city_at": run.city_at,
                "asked_by": run.requested_by,
                "decide_by": decision.decide_by if decision else None,
                "decision": decision.decision if decision else None,
                "decided_by": decision.decided_by if decision else None,
                "decided_at": decision.decided_at if decision else None,
                "comment": decision.comment if decision else None,
                "opened": len(runs.opened(run)),
                "reason": run.reason,
            }
        )
    columns = ("id", "kind", "state", "opened", "city_at", "asked_by", "decide_by", "decided_by")
    emit("Runs", rows, (*columns, "comment", "reason"), as_json=as_json)


def list_setpoints(
    open_only: Annotated[
        bool, typer.Option("--open", help="Only those refused, or not answered in time.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The newest set-point of each device: what is asked now, until when, and what it answered."""
    with open_database(settings.load()) as database:
        city = load_city(database)
        now, patience = city.now(), dispatchwatch.patience(city)
        with database.connection() as connection:
            found = setpoints.newest(connection)
    rows = [
        {
            "asset": one.setpoint.asset,
            "run": one.setpoint.run_id,
            "asked_mw": one.setpoint.at(now),
            "asked_mvar": one.setpoint.q_at(now),
            "issued_at": one.issued_at,
            "valid_until": one.setpoint.valid_until,
            "then_mw": one.setpoint.fallback_mw,
            "status": "overdue" if dispatchwatch.answer_overdue(one, patience, now) else one.status,
            "answered_at": one.answered_at,
            "answered_by": one.answered_by,
            "reason": one.reason,
            "q_refused": one.q_refused,
        }
        for one in found
    ]
    if open_only:
        rows = [r for r in rows if r["status"] in ("overdue", "refused") or r["q_refused"]]
    columns = ("asset", "run", "asked_mw", "asked_mvar", "issued_at", "valid_until", "then_mw")
    more = ("status", "q_refused", "answered_at", "reason")
    emit("Set-points", rows, (*columns, *more), as_json=as_json)
