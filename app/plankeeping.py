"""A plan that is done: stored with its set-points, and in force or proposed; one transaction.

And one that was asked for and failed before it began.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import xarray as xr

from app import approval, steering
from app.plankinds import FOLLOWED, INTRADAY
from app.wiring import City
from core.errors import reason
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

    A plan that did not come about has a status and findings, but no numbers, and asks nothing: the
    plan before it stays in force. So it does where an operator has to approve this one first:
    where the city asks for that, and always where limits had to be opened for it.
    known_at: city time at which it was made. notes: more for the summary.
    """
    numbers = plan.numbers
    parameters = city.site.parameters
    asked_for = kind in FOLLOWED and approval.needed(parameters, kind)
    waits = asked_for or (kind in FOLLOWED and plan.status is Status.RELAXED)
    summary = {**plan.summary(), **(notes or {})}
    if numbers is None:
        runs.finish(connection, run_id, str(plan.status), summary)
        return
    state = runs.PROPOSED if waits else str(plan.status)
    schedule = with_tariff(numbers.schedule, problem)
    runs.finish(connection, run_id, state, summary, schedule, numbers.ac, numbers.grounds)
    if waits:
        first = from_datetime64(problem.times[0])
        runs.propose(connection, run_id, approval.decide_by(parameters, first))
        runs.lapse(connection, known_at)
    elif kind == INTRADAY:
        runs.supersede(connection, run_id)
    if asked_for or kind == INTRADAY:
        asked = steering.setpoints(problem, numbers.schedule, parameters, run_id)
        setpoints.prepare(connection, run_id, asked)


def note_failure(city: City, run_id: int, error: Exception) -> None:
    """Nobody may wait for a run that failed before it began; one that has ended stays."""
    with city.database.connection() as connection:
        run = runs.by_id(connection, run_id)
        if run is not None and run.state == "running":
            runs.fail(connection, run_id, reason(error))


def with_tariff(schedule: xr.Dataset, problem: DispatchProblem) -> xr.Dataset:
    """``schedule`` with the tariff it was made for, CNY/MWh over (time,)."""
    attrs = {"units": "CNY/MWh"}
    return schedule.assign(
        import_cny_per_mwh=(("time",), problem.import_cny_per_mwh, attrs),
        export_cny_per_mwh=(("time",), problem.export_cny_per_mwh, attrs),
    )
