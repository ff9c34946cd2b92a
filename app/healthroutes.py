"""Health (the process answers) and readiness (it can do its work), for people and machines."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from app.health import state
from app.wiring import City
from core.errors import StoreError


def health_router(known: Callable[[], City]) -> APIRouter:
    """GET /healthz and /readyz. known: the city as it is described now."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    def ready() -> Response:
        """The database answers with the schema of this version; 503 and a sentence otherwise."""
        try:
            found = state(known())
        except StoreError as error:
            return JSONResponse({"status": "unavailable", "reason": str(error)}, 503)
        if not found["schema_up_to_date"]:
            return JSONResponse({"status": "unavailable", "reason": "The schema is old."}, 503)
        return JSONResponse({"status": "ready", **found})

    return router
