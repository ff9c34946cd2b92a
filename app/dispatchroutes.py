"""The open interface to dispatch: runs, decisions on them, and set-points with their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from app import dispatchwatch
from app.actions import CityActions
from app.auth import current_account
from app.demandcalls import LONGEST_NAME, NewCall
from app.sameorigin import require_same_origin
from app.wiring import City
from core.accounts import Permission, check
from core.timeaxis import parse
from store import calls, runs, setpoints

LONGEST_COMMENT = 2_000


class Announced(BaseModel):
    """A call of demand response. start, end: ISO times with zone; price: CNY/MWh above limit_mw."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    start: str
    end: str
    limit_mw: float
    breach_cny_per_mwh: float


class Wish(BaseModel):
    """Why a plan is approved or refused."""

    comment: str = Field(default="", max_length=LONGEST_COMMENT)


def dispatch_router(known: Callable[[], City]) -> APIRouter:
    """The routes /api/v1/plans, /api/v1/calls and /api/v1/setpoints.

    known: the city as it is described now.
    """
    city = known()  # its database and its clock stay
    router = APIRouter(prefix="/api/v1", tags=["dispatch"])
    actions = CityActions(city)

    @router.get("/plans")
    def plans(
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        kind: Annotated[str | None, Query(max_length=40)] = None,
    ) -> list[dict[str, Any]]:
        """The newest dispatch runs with their key figures, and what was decided on them."""
        check(current_account(), Permission.DISPATCH_READ)
        with city.database.connection() as connection:
            found = runs.recent(connection, limit, None if kind is None else [kind])
            decided = runs.decisions(connection, [run.id for run in found])
        return [
            {
                "id": run.id,
                "kind": run.kind,
                "state": run.state,
                "city_at": _time(run.city_at),
                "summary": run.summary,
                "reason": run.reason,
                "decision": _decision(decided.get(run.id)),
            }
            for run in found
        ]

    @router.post("/plans/{run_id}/approve")
    def approve(request: Request, run_id: int, wish: Wish) -> dict[str, Any]:
        """Put a proposed plan into force."""
        account = check(current_account(), Permission.DISPATCH_APPROVE)
        require_same_origin(request)
        actions.approve_plan(account, run_id, wish.comment)
        return {"id": run_id, "decision": "approved"}

    @router.post("/plans/{run_id}/refuse")
    def refuse(request: Request, run_id: int, wish: Wish) -> dict[str, Any]:
        """Set a proposed plan aside; the plan in force stays."""
        account = check(current_account(), Permission.DISPATCH_APPROVE)
        require_same_origin(request)
        actions.refuse_plan(account, run_id, wish.comment)
        return {"id": run_id, "decision": "refused"}

    @router.get("/calls")
    def listed_calls(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[dict[str, Any]]:
        """Calls of demand response, withdrawn ones too, the latest first."""
        check(current_account(), Permission.DISPATCH_READ)
        with city.database.connection() as connection:
            return [_call(call) for call in calls.recent(connection, limit)]

    @router.post("/calls", status_code=201)
    def announce(request: Request, call: Announced) -> dict[str, Any]:
        """Announce a call; every later plan whose horizon meets it counts with it."""
        account = check(current_account(), Permission.DISPATCH_RUN)
        require_same_origin(request)
        start, end = parse(call.start), parse(call.end)
        new = NewCall(call.name, start, end, call.limit_mw, call.breach_cny_per_mwh)
        return {"id": actions.add_call(account, new)}

    @router.post("/calls/{call_id}/withdraw")
    def withdraw(request: Request, call_id: int) -> dict[str, Any]:
        """Withdraw a call; later plans do not count with it."""
        account = check(current_account(), Permission.DISPATCH_RUN)
        require_same_origin(request)
        actions.withdraw_call(account, call_id)
        return {"id": call_id, "withdrawn": True}

    @router.get("/setpoints")
    def newest_setpoints() -> list[dict[str, Any]]:
        """The newest set-point of each device, what it asks now, and what the device answered."""
        check(current_account(), Permission.DISPATCH_READ)
        now, patience = city.now(), dispatchwatch.patience(known())
        with city.database.connection() as connection:
            found = setpoints.newest(connection)
        return [
            {
                "asset": one.setpoint.asset,
                "run": one.setpoint.run_id,
                "asked_mw": one.setpoint.at(now),
                "asked_mvar": one.setpoint.q_at(now),
                "issued_at": _time(one.issued_at),
                "valid_until": _time(one.setpoint.valid_until),
                "fallback_mw": one.setpoint.fallback_mw,
                "status": one.status,
                "overdue": dispatchwatch.answer_overdue(one, patience, now),
                "answered_at": _time(one.answered_at),
                "answered_by": one.answered_by,
                "reason": one.reason,
                "q_refused": one.q_refused,
            }
            for one in found
        ]

    return router


def _call(call: calls.Call) -> dict[str, Any]:
    times = ("start", "end", "added_at", "withdrawn_at")
    return {**asdict(call), **{name: _time(getattr(call, name)) for name in times}}


def _time(ts: datetime | None) -> str | None:
    return None if ts is None else ts.astimezone(UTC).isoformat()


def _decision(found: runs.Decision | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "decide_by": _time(found.decide_by),
        "decision": found.decision,
        "by": found.decided_by,
        "at": _time(found.decided_at),
        "comment": found.comment,
    }
