"""The open interface: read what the pages show, as JSON, under the same permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from app.auth import current_account
from app.dataroutes import add_data_routes
from app.health import state
from app.tables import records
from app.wiring import City
from core.accounts import Permission, check
from store import indices


def api_router(known: Callable[[], City]) -> APIRouter:
    """GET /api/v1/... known: the city as it is described now."""
    city = known()  # its database and its clock stay
    router = APIRouter(prefix="/api/v1")

    @router.get("/status", tags=["city"])
    def status() -> dict[str, Any]:
        """What is there and how fresh it is."""
        check(current_account(), Permission.OVERVIEW_READ)
        return state(known())

    @router.get("/air", tags=["environment"])
    def air() -> list[dict[str, Any]]:
        """The newest hourly air quality index of the city and of every station."""
        check(current_account(), Permission.ENVIRONMENT_READ)
        with city.database.connection() as connection:
            return records(indices.latest(connection, "aqi"))

    add_data_routes(router, city)

    return router
