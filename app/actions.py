"""What a person sets off from a page or the interface: stored as a request, done by the scheduler.

A solve never runs in the web process: it would hold up every page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from app import demandcalls
from app.demandcalls import NewCall
from app.plankinds import INTRADAY, WHAT_IF
from app.wiring import City, wall_now
from core.accounts import Account, Permission, check
from core.errors import TooMuchError
from core.whatif import Changes
from store import alerts, calls, runs

log = logging.getLogger(__name__)

MOST_WAITING = 5
"""What-if runs that may wait: each takes the machine as long as a plan that is followed."""


class CityActions:
    """The actions of dashboards.context.Actions over a city."""

    def __init__(self, city: City, now: Callable[[], datetime] | None = None) -> None:
        """now: city time, by default the city's own."""
        self._city = city
        self._now = now or city.now

    def request_plan(self, account: Account) -> int:
        """Ask the scheduler for a plan; the id of the run. Raises PermissionDeniedError."""
        check(account, Permission.DISPATCH_RUN)
        with self._city.database.connection() as connection:
            return runs.request(connection, INTRADAY, account.name, self._now())

    def request_what_if(
        self, account: Account, changes: Changes, title_en: str, title_zh: str
    ) -> int:
        """Ask the scheduler for a run on a copy of the city; the id of the run.

        title_en, title_zh: what is changed, in words. Raises PermissionDeniedError, TooMuchError
        when enough of them wait.
        """
        check(account, Permission.DISPATCH_RUN)
        told = {"title_en": title_en, "title_zh": title_zh, "asked": changes.stored()}
        with self._city.database.connection() as connection:
            newest = runs.recent(connection, MOST_WAITING, [WHAT_IF])
            if sum(run.state == runs.REQUESTED for run in newest) == MOST_WAITING:
                raise TooMuchError(f"{MOST_WAITING} what-if runs wait already.")
            run_id = runs.request(connection, WHAT_IF, account.name, self._now(), {"what_if": told})
        log.info("what-if run requested", extra={"run": run_id, "account": account.name})
        return run_id

    def approve_plan(self, account: Account, run_id: int, comment: str) -> None:
        """Put a proposed plan into force; the scheduler sends it out within seconds.

        Raises PermissionDeniedError, StoreError for one that does not wait for approval.
        """
        check(account, Permission.DISPATCH_APPROVE)
        with self._city.database.connection() as connection:
            runs.approve(connection, run_id, account.name, comment, self._now())
        log.info("plan approved", extra={"run": run_id, "account": account.name})

    def refuse_plan(self, account: Account, run_id: int, comment: str) -> None:
        """Set a proposed plan aside. Raises as ``approve_plan``."""
        check(account, Permission.DISPATCH_APPROVE)
        with self._city.database.connection() as connection:
            runs.refuse(connection, run_id, account.name, comment, self._now())
        log.info("plan refused", extra={"run": run_id, "account": account.name})

    def add_call(self, account: Account, call: NewCall) -> int:
        """Have every later plan count with ``call``; its id.

        Raises PermissionDeniedError, ConfigurationError for a call that makes no sense.
        """
        check(account, Permission.DISPATCH_RUN)
        with self._city.database.connection() as connection:
            call_id = demandcalls.add(connection, call, account.name, self._now())
        log.info("call added", extra={"call": call_id, "account": account.name})
        return call_id

    def withdraw_call(self, account: Account, call_id: int) -> None:
        """Have no later plan count with the call. Raises as ``add_call``, and NotWaitingError."""
        check(account, Permission.DISPATCH_RUN)
        with self._city.database.connection() as connection:
            calls.withdraw(connection, call_id, account.name, self._now())
        log.info("call withdrawn", extra={"call": call_id, "account": account.name})

    def acknowledge_alert(self, account: Account, alert_id: int, comment: str) -> None:
        """Mark an alert as seen. Raises PermissionDeniedError, StoreError for an unknown id."""
        check(account, Permission.ALERTS_ACKNOWLEDGE)
        with self._city.database.connection() as connection:
            alerts.acknowledge(connection, alert_id, account.name, comment, wall_now())
