"""ASGI middleware: every request is served in the name of an account, found once.

By a token (``Authorization: Bearer``), for machines; else by the session of the cookie. Fails
closed: without a readable session the request is the visitor's, who may see open data; with a
token that is worth nothing it is refused.
"""

from __future__ import annotations

import anyio.to_thread
from fastapi import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import VISITOR, SessionLimits, account_of, set_account
from app.machinetokens import TokenCheck
from app.wiring import wall_now
from core.accounts import Account
from core.errors import StoreError
from store.database import Database

COOKIE = "verdigrid_session"


ANONYMOUS = ("/healthz", "/readyz")
"""Answered without asking who it is: they must not wait for a database that is away."""

LONGEST_TOKEN = 200


class AccountGate:
    """Binds the account of the token or the session cookie to the request."""

    def __init__(self, app: ASGIApp, database: Database, limits: SessionLimits) -> None:
        self._app = app
        self._database = database
        self._limits = limits
        self._tokens = TokenCheck(database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] in ("http", "websocket"):
            asks = scope["type"] == "http" and scope["path"] not in ANONYMOUS
            request = Request(scope) if asks else None
            bearer = _bearer(request) if request else None
            if request and bearer is not None:
                found = await anyio.to_thread.run_sync(self._by_token, bearer, _address(request))
                if isinstance(found, Response):
                    await found(scope, receive, send)
                    return
                set_account(found)
            else:
                cookie = request.cookies.get(COOKIE, "") if request else ""
                account = None
                if cookie:
                    account = await anyio.to_thread.run_sync(self._by_session, cookie)
                set_account(account or VISITOR)
        await self._app(scope, receive, send)

    def _by_session(self, token: str) -> Account | None:
        try:
            return account_of(self._database, token, now=wall_now(), limits=self._limits)
        except StoreError:
            return None

    def _by_token(self, token: str, address: str) -> Account | Response:
        wait_s = self._tokens.retry_after_s(address)
        if wait_s > 0.0:
            sentence = "Too many wrong tokens came from this address; wait a moment."
            return _refused(429, sentence, {"Retry-After": str(int(wait_s) + 1)})
        try:
            found = self._tokens.account(token[:LONGEST_TOKEN], address, wall_now())
        except StoreError:
            sentence = "The database is away, so that nobody can tell whose token this is."
            return _refused(503, sentence, {"Retry-After": "5"})
        if found is None:
            sentence = "The token is wrong, has expired or was revoked."
            return _refused(401, sentence, {"WWW-Authenticate": "Bearer"})
        return found


def _bearer(request: Request) -> str | None:
    """The token that a request shows; None when it shows none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _refused(status: int, sentence: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": sentence}, status, headers)
