"""What a person sets off from a page or the interface: stored as a request, done by the scheduler.

A solve never runs in the web process: it would hold up every page.
"""

from __future__ import annotations

from app.plankinds import INTRADAY
from app.wiring import City, wall_now
from core.accounts import Account, Permission, check
from store import alerts, runs


class CityActions:
    """The actions of dashboards.context.Actions over a city."""

    def __init__(self, city: City) -> None:
        self._city = city

    def request_plan(self, account: Account) -> int:
        """Ask the scheduler for a plan; the id of the run. Raises PermissionDeniedError."""
        check(account, Permission.DISPATCH_RUN)
        with self._city.database.connection() as connection:
            return runs.request(connection, INTRADAY, account.name, self._city.now())

    def acknowledge_alert(self, account: Account, alert_id: int, comment: str) -> None:
        """Mark an alert as seen. Raises PermissionDeniedError, StoreError for an unknown id."""
        check(account, Permission.ALERTS_ACKNOWLEDGE)
        with self._city.database.connection() as connection:
            alerts.acknowledge(connection, alert_id, account.name, comment, wall_now())
