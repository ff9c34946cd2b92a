"""What the pages need from the outside: the composition root hands it in as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from core.accounts import Account
from core.sites import Site
from core.whatif import Changes
from store.database import Database


class Actions(Protocol):
    """What a person can set off from a page. The caller has checked the permission."""

    def request_plan(self, account: Account) -> int:
        """Ask for a new plan now; the id of the run that will hold it."""

    def request_what_if(
        self, account: Account, changes: Changes, title_en: str, title_zh: str
    ) -> int:
        """Ask for a run on a copy of the city; its id. StoreError where enough of them wait."""

    def approve_plan(self, account: Account, run_id: int, comment: str) -> None:
        """Put a proposed plan into force; StoreError where it does not wait for approval."""

    def refuse_plan(self, account: Account, run_id: int, comment: str) -> None:
        """Set a proposed plan aside; the plan in force stays. StoreError as ``approve_plan``."""

    def acknowledge_alert(self, account: Account, alert_id: int, comment: str) -> None:
        """Mark an alert as seen by ``account``, with a comment."""


@dataclass(frozen=True, slots=True)
class DashContext:
    """The surroundings of every page.

    now: city time, aware. current_account: the account of the request being answered.
    site: the description in force, the same object until another one is; None while there is none.
    pace: city seconds per wall second, 1 for a real city. plan_late: by the parameters of a site
    the age from which on a plan should have had a follower; raises ConfigurationError.
    """

    database: Database
    now: Callable[[], datetime]
    current_account: Callable[[], Account]
    site: Callable[[], Site | None]
    actions: Actions
    pace: float = 1.0
    plan_late: Callable[[Mapping[str, Any]], timedelta] = lambda _: timedelta(minutes=45)
