"""ASGI middleware: every request is served in the name of an account, found once by its session.

Fails closed: without a readable session the request is the visitor's, who may see open data.
"""

from __future__ import annotations

import anyio.to_thread
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import VISITOR, SessionLimits, account_of, set_account
from app.wiring import wall_now
from core.accounts import Account
from core.errors import StoreError
from store.database import Database

COOKIE = "verdigrid_session"


ANONYMOUS = ("/healthz", "/readyz")
"""Answered without asking who it is: they must not wait for a database that is away."""


class AccountGate:
    """Binds the account of the session cookie to the request."""

    def __init__(self, app: ASGIApp, database: Database, limits: SessionLimits) -> None:
        self._app = app
        self._database = database
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] in ("http", "websocket"):
            asks = scope["type"] == "http" and scope["path"] not in ANONYMOUS
            token = Request(scope).cookies.get(COOKIE, "") if asks else ""
            account = None
            if token:
                account = await anyio.to_thread.run_sync(self._find, token)
            set_account(account or VISITOR)
        await self._app(scope, receive, send)

    def _find(self, token: str) -> Account | None:
        try:
            return account_of(self._database, token, now=wall_now(), limits=self._limits)
        except StoreError:
            return None
