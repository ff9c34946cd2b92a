"""The open interface to dispatch: runs, decisions on them, and set-points with their answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from app import dispatchwatch
from app.actions import CityActions
from app.auth import current_account
from app.sameorigin import require_same_origin
from app.wiring import City
from core.accounts import Permission, check
from store import runs, setpoints

LONGEST_COMMENT = 2_000


class Wish(BaseModel):
    """Why a plan is approved or refused."""

    comment: str = Field(default="", max_length=LONGEST_COMMENT)


def dispatch_router(city: City) -> APIRouter:
    """The routes /api/v1/plans and /api/v1/setpoints."""
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

    @router.get("/setpoints")
    def newest_setpoints() -> list[dict[str, Any]]:
        """The newest set-point of each device, what it asks now, and what the device answered."""
        check(current_account(), Permission.DISPATCH_READ)
        now, patience = city.now(), dispatchwatch.patience(city)
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
