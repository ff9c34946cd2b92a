"""The one door of every server-side callback: the permission first, then the work.

The work runs in a worker thread: Dash's FastAPI backend calls plain functions on the event
loop, where one slow query would hold up every other request of the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from dash import Dash
from dash.exceptions import PreventUpdate

from core.accounts import Account, Permission, check
from core.errors import VerdigridError
from dashboards.context import DashContext

log = logging.getLogger(__name__)

GUARDED = "__verdigrid_permission__"
"""The attribute that a guarded callback carries; a test walks Dash's callback map for it."""


def guarded(
    dash_app: Dash, context: DashContext, permission: Permission, *dependencies: Any, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a callback that may only run for accounts with ``permission``.

    The decorated function gets the account first and then the values of its dependencies.
    The callback raises PermissionDeniedError (answered with 403) before anything else happens.
    """

    def register(work: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*values: Any) -> Any:
            account: Account = check(context.current_account(), permission)
            try:
                return work(account, *values)
            except (PreventUpdate, VerdigridError):
                raise
            except Exception:
                log.exception("page callback failed", extra={"callback": work.__name__})
                raise

        async def callback(*values: Any) -> Any:
            return await asyncio.to_thread(checked, *values)

        setattr(callback, GUARDED, permission)
        callback.__name__ = work.__name__
        dash_app.callback(*dependencies, **options)(callback)
        return work

    return register
