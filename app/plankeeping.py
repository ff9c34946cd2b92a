"""A plan that is done: stored with its set-points, and in force or proposed; one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import xarray as xr

from app import approval, steering
from app.plankinds import FOLLOWED, INTRADAY
from app.wiring import City
from core.timeaxis import from_datetime64
from optimization.problem import DispatchProblem
from optimization.result import Plan, Status
from store import runs, setpoints
from store.database import Connection


def keep(
    connection: Connection,
    city: City,
    run_id: int,
    kind: str,
    problem: DispatchProblem,
    plan: Plan,
    known_at: datetime,
    notes: dict[str, Any] | None = None,
) -> None:
    """Store the result of a run; what it asks of devices waits there to be sent.

    A plan that is not optimal has a status and findings, but no numbers, and asks nothing: the plan
    before it stays in force. So it does where an operator has to approve this one first.
    known_at: city time at which it was made. notes: more for the summary.
    """
    optimal = plan.status is Status.OPTIMAL
    parameters = city.site.parameters
    waits = optimal and kind in FOLLOWED and approval.needed(parameters, kind)
    summary = {**plan.summary(), **(notes or {})}
    schedule = with_tariff(plan.schedule, problem) if optimal else None
    state = runs.PROPOSED if waits else str(plan.status)
    runs.finish(connection, run_id, state, summary, schedule, plan.ac if optimal else None)
    if not optimal:
        return
    if waits:
        first = from_datetime64(problem.times[0])
        runs.propose(connection, run_id, approval.decide_by(parameters, first))
        runs.lapse(connection, known_at)
    elif kind == INTRADAY:
        runs.supersede(connection, run_id)
    if waits or kind == INTRADAY:
        asked = steering.setpoints(problem, plan.schedule, parameters, run_id)
        setpoints.prepare(connection, run_id, asked)


def with_tariff(schedule: xr.Dataset, problem: DispatchProblem) -> xr.Dataset:
    """``schedule`` with the tariff it was made for, CNY/MWh over (time,)."""
    attrs = {"units": "CNY/MWh"}
    return schedule.assign(
        import_cny_per_mwh=(("time",), problem.import_cny_per_mwh, attrs),
        export_cny_per_mwh=(("time",), problem.export_cny_per_mwh, attrs),
    )
