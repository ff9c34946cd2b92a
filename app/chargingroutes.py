"""The open interface to charging: sessions, and the state of connectors."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.auth import current_account
from app.tables import records
from app.wiring import City
from core.accounts import Permission, check
from core.errors import TimeError
from core.timeaxis import parse
from store import charging

LONGEST = timedelta(days=31)


def charging_router(city: City) -> APIRouter:
    """GET /api/v1/charging/..."""
    router = APIRouter(prefix="/api/v1/charging", tags=["charging"])

    @router.get("/sessions")
    def sessions(
        start: Annotated[str | None, Query(description="ISO time; default a day ago")] = None,
        end: Annotated[str | None, Query(description="ISO time; default now")] = None,
        asset: str | None = None,
    ) -> list[dict[str, Any]]:
        """Charging sessions of which anything was told in [start, end), in city time."""
        check(current_account(), Permission.DISPATCH_READ)
        last = parse(end) if end else city.now()
        first = parse(start) if start else last - timedelta(days=1)
        if not timedelta(0) < last - first <= LONGEST:
            raise TimeError(f"The range must hold some time, and {LONGEST.days} days at most.")
        with city.database.connection() as connection:
            return records(charging.sessions(connection, first, last, asset))

    @router.get("/sessions/open")
    def open_sessions() -> list[dict[str, Any]]:
        """Charging sessions that go on."""
        check(current_account(), Permission.DISPATCH_READ)
        with city.database.connection() as connection:
            return records(charging.open_sessions(connection))

    @router.get("/connectors")
    def connectors() -> list[dict[str, Any]]:
        """The state of every connector, in the words of OCPP."""
        check(current_account(), Permission.DISPATCH_READ)
        with city.database.connection() as connection:
            return records(charging.statuses(connection))

    return router
