"""When plans are made: day-ahead, intraday each quarter-hour, and on request; then sent out."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from app.plankinds import DAY_AHEAD, INTRADAY
from app.planning import Horizon, Made, network_of, run_plan
from app.settings import Settings
from app.wiring import City, broker_access
from core.errors import NotOptimalError, VerdigridError
from core.timeaxis import DAY, floor_to, local_date, local_day, zone
from grid.network import Network
from ingest.setpoints import Setpoint, publish
from store import runs

log = logging.getLogger(__name__)

HELD_BACK_MW = 1e-4


class Dispatcher:
    """Makes the city's plans; used by one thread at a time."""

    def __init__(self, city: City, settings: Settings) -> None:
        self._city = city
        self._broker = broker_access(settings)

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
        """Plan the next 24 hours from the next step on, and send the set-points out."""
        self._replan(now, requested_by=requested_by, run_id=None)

    def requested(self, now: datetime) -> None:
        """Make the plans that people have asked for, oldest first; each fails for itself."""
        with self._city.database.connection() as connection:
            asked = runs.take_requested(connection)
        for run in asked:
            try:
                self._replan(now, requested_by=run.requested_by, run_id=run.id)
            except VerdigridError as error:
                log.error("requested plan failed", extra={"run": run.id, "reason": str(error)})
                self._note_failure(run.id, error)

    def _note_failure(self, run_id: int, error: VerdigridError) -> None:
        """Nobody may wait for a run that failed before it began; one that has ended stays."""
        with self._city.database.connection() as connection:
            run = runs.by_id(connection, run_id)
            if run is not None and run.state == "running":
                runs.fail(connection, run_id, f"{type(error).__name__}: {error}")

    def _replan(self, now: datetime, *, requested_by: str, run_id: int | None) -> None:
        resolution = self._city.site.plan_resolution
        start = floor_to(now, resolution) + resolution
        made = run_plan(
            self._city,
            self._network,
            Horizon(start, start + DAY, now),
            kind=INTRADAY,
            requested_by=requested_by,
            run_id=run_id,
        )
        try:
            publish(self._broker, setpoints(made), issued_at=now)
        except NotOptimalError as error:
            log.warning("no set-points from this plan", extra={"reason": str(error)})


def setpoints(made: Made) -> list[Setpoint]:
    """The schedule of each asset; of a generator only the steps in which it is held back.

    A generator that is planned at all it could give must stay free to give more than was
    forecast. Raises NotOptimalError for a plan without numbers.
    """
    p_mw = made.plan.schedule["p_mw"]
    times = p_mw.time.to_numpy()
    available = made.problem.injections["sgen_p_mw"]
    found = []
    for envelope in made.problem.envelopes:
        planned = p_mw.sel(asset=envelope.asset).to_numpy()
        asked = np.ones(times.size, dtype=bool)
        if envelope.element == "sgen":
            could = available.sel(sgen=envelope.element_index).to_numpy()
            asked = planned < could - HELD_BACK_MW
        found.append(Setpoint(envelope.asset, times[asked], planned[asked]))
    return found
