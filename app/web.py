"""The web application: health, the open interface, sign-in, and the pages of Dash on top.

Order matters: everything below /api answers before Dash's own catch-all, so that an unknown
address there is a 404 and not a page.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from app.accountgate import AccountGate
from app.actions import CityActions
from app.api import api_router
from app.auth import SessionLimits, current_account
from app.chargingroutes import charging_router
from app.dispatchroutes import dispatch_router
from app.following import Following
from app.headers import SECURITY_HEADERS, SIMULATED_HEADERS, AnswerHeaders
from app.healthroutes import health_router
from app.ingest_api import ingest_router
from app.quarantine_api import quarantine_router
from app.rhythm import plan_late
from app.settings import Settings
from app.signin import signin_router
from app.wiring import City
from core.errors import (
    ConfigurationError,
    NotSignedInError,
    NotWaitingError,
    PermissionDeniedError,
    StoreUnavailableError,
    TimeError,
    TooMuchError,
    VerdigridError,
)
from dashboards.application import create as create_dash
from dashboards.context import DashContext

log = logging.getLogger(__name__)

STATUS = (
    (StoreUnavailableError, 503),
    (TimeError, 422),
    (NotWaitingError, 409),
    (TooMuchError, 422),
    (ConfigurationError, 422),
)
WENT_WRONG = "Something went wrong; the log says what."


def create_app(settings: Settings, city: City) -> FastAPI:
    """The whole application over an open city."""
    limits = SessionLimits.of(settings)
    following = Following(city, lambda described: described)

    def known() -> City:
        return following.held

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with following.looking():
            yield
        city.database.close()

    # The interactive documentation pages of FastAPI load from another host; the document stays.
    server = FastAPI(
        title="Verdigrid",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    def headers() -> dict[str, str]:
        return SECURITY_HEADERS | (SIMULATED_HEADERS if known().site.simulated else {})

    # The last one stands in front: the gate's own refusals get the headers too.
    server.add_middleware(AccountGate, database=city.database, limits=limits)
    server.add_middleware(AnswerHeaders, headers=headers)
    server.include_router(health_router(known))
    server.include_router(signin_router(known, limits))
    server.include_router(api_router(known))
    server.include_router(dispatch_router(known))
    server.include_router(charging_router(city))
    server.include_router(ingest_router(city))
    server.include_router(quarantine_router(known))

    @server.get("/", include_in_schema=False)
    def root() -> Response:
        return RedirectResponse("/app/")

    @server.api_route("/api/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    def unknown(rest: str) -> Response:
        return JSONResponse({"error": f"There is nothing at /api/{rest}."}, 404)

    @server.exception_handler(PermissionDeniedError)
    def deny(request: Request, error: Exception) -> Response:
        """401 where it helps to say who asks, which pages do by their own sign-in."""
        nobody = isinstance(error, NotSignedInError) and request.url.path.startswith("/api/")
        challenge = {"WWW-Authenticate": "Bearer"} if nobody else None
        return JSONResponse({"error": str(error)}, 401 if nobody else 403, challenge)

    @server.exception_handler(VerdigridError)
    def answer(_: Request, error: Exception) -> Response:
        code = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        if code == 500:
            log.error("request failed", exc_info=error)
            return JSONResponse({"error": WENT_WRONG}, code)
        return JSONResponse({"error": str(error)}, code)

    @server.exception_handler(Exception)
    def unexpected(_: Request, __: Exception) -> Response:
        # Starlette answers this one outside of every middleware, so it brings its own headers.
        return JSONResponse({"error": WENT_WRONG}, 500, headers())

    create_dash(
        server,
        DashContext(
            database=city.database,
            now=city.now,
            current_account=current_account,
            site=lambda: known().site,
            actions=CityActions(city),
            pace=city.clock.pace,
            plan_late=lambda parameters: plan_late(parameters, city.clock.pace),
        ),
    )
    return server
