"""When plans are made: day-ahead, intraday each quarter-hour, and on request; then sent out."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property

import xarray as xr

from app.plankeeping import note_failure
from app.plankinds import DAY_AHEAD, INTRADAY
from app.planning import Horizon, network_of, run_plan
from app.settings import Settings
from app.wiring import City, broker_access
from core.errors import ServiceError, VerdigridError
from core.setpoints import joined
from core.timeaxis import DAY, floor_to, local_date, local_day, zone
from grid.network import Network
from ingest.setpoints import publish
from optimization.result import Status
from optimization.rolling import Rolling
from store import runs, setpoints

log = logging.getLogger(__name__)


class Dispatcher:
    """Makes the city's plans; used by one thread at a time."""

    def __init__(self, city: City, settings: Settings, rolling: Rolling | None = None) -> None:
        """rolling: how a plan follows the one before; by default at a small price on change."""
        self._city = city
        self._broker = broker_access(settings)
        self._rolling = rolling or Rolling()

    @property
    def has_grid(self) -> bool:
        """Whether the city has a grid to plan on; without one a plan can only fail."""
        return bool(self._city.site.network_json)

    @cached_property
    def _network(self) -> Network:
        return network_of(self._city)

    def first(self, now: datetime) -> None:
        """At the start: clear up after a scheduler that was killed, and plan at once."""
        with self._city.database.connection() as connection:
            runs.abandon(connection, "The process that made it ended before it was done.")
        with suppress(ServiceError):  # the plan that follows says so again
            self.tend(now)
        if self.has_grid:
            self.intraday(now, requested_by="start")

    def day_ahead(self, now: datetime) -> None:
        """Plan the next natural day of the city."""
        tz = zone(self._city.site.timezone)
        start, end = local_day(local_date(now, tz) + timedelta(days=1), tz)
        run_plan(
            self._city,
            self._network,
            Horizon(start, end, now),
            kind=DAY_AHEAD,
            requested_by="schedule",
        )

    def intraday(self, now: datetime, *, requested_by: str = "schedule") -> None:
        """Plan the next 24 hours from the next step on, and send the set-points out.

        Each of these plans begins where the one before stands, with a small price on leaving the
        one that devices follow.
        """
        self._replan(now, requested_by=requested_by, run_id=None)

    def requested(self, now: datetime) -> None:
        """Make the plans that people have asked for, oldest first; each fails for itself.

        Whatever it fails of: somebody waits for each of them.
        """
        with self._city.database.connection() as connection:
            asked = runs.take_requested(connection, INTRADAY)
        for run in asked:
            try:
                self._replan(now, requested_by=run.requested_by, run_id=run.id)
            except Exception as error:
                unforeseen = None if isinstance(error, VerdigridError) else error
                log.error(
                    "requested plan failed",
                    extra={"run": run.id, "reason": str(error)},
                    exc_info=unforeseen,
                )
                note_failure(self._city, run.id, error)

    def _replan(self, now: datetime, *, requested_by: str, run_id: int | None) -> None:
        resolution = self._city.site.plan_resolution
        start = floor_to(now, resolution) + resolution
        self._rolling.follow(self._followed(start))
        made = run_plan(
            self._city,
            self._network,
            Horizon(start, start + DAY, now),
            kind=INTRADAY,
            requested_by=requested_by,
            run_id=run_id,
            planner=self._rolling.plan,
        )
        if made.plan.status is not Status.OPTIMAL:
            log.warning(
                "the plan before this one stays in force",
                extra={
                    "run": made.run_id,
                    "status": str(made.plan.status),
                    "waits_for_approval": made.plan.numbers is not None,
                },
            )
        self.send(now)

    def _followed(self, start: datetime) -> xr.Dataset | None:
        """What devices follow from ``start`` on, as far as a re-plan asks; None where nothing.

        Not the plan made last: that one may wait for approval, be refused, or never have gone out.
        """
        # What lies after the hours with a price on change is not asked for, which is most of it.
        ahead = timedelta(hours=min(self._rolling.change_h, 24.0))
        with self._city.database.connection() as connection:
            held = setpoints.in_force_at(connection, start)
            following = [
                a for a, s in held.items() if s.valid_until is None or s.valid_until > start
            ]
            schedule = runs.in_force(connection, INTRADAY, start, start + ahead, following)
        return schedule if "p_mw" in schedule else None

    def tend(self, now: datetime) -> None:
        """Set aside proposals whose time is over, and send what has come into force."""
        with self._city.database.connection() as connection:
            runs.lapse(connection, now)
        self.send(now)

    def send(self, now: datetime) -> None:
        """Send the set-points of the newest plan in force that are not out yet.

        They were stored with the plan; whatever ends this process on the way, the next one sends
        them. Raises ServiceError when the broker does not take them.
        """
        with self._city.database.connection() as connection:
            run_id = setpoints.due(connection)
            if run_id is None:
                return
            held = setpoints.in_force_at(connection, now)
            asked = [
                joined(held.get(setpoint.asset), setpoint, now)
                for setpoint in setpoints.of_run(connection, run_id)
            ]
            setpoints.sending(connection, run_id, asked, now)
        publish(self._broker, asked, issued_at=now)
        with self._city.database.connection() as connection:
            setpoints.sent(connection, run_id)
        log.info("set-points sent", extra={"run": run_id, "devices": len(asked)})
