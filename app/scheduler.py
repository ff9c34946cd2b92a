"""Runs the city's jobs at their city times, in one process of all that might try.

Two schedulers would run every job twice, so the process first takes an advisory lock in the
database and waits until it has it. City intervals are turned into wall time by the clock's pace;
jobs are idempotent, never overlap themselves, and a late one runs once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from app.rhythm import FASTEST
from app.wiring import wall_now
from core.clock import CityClock
from core.errors import StoreError, VerdigridError
from core.timeaxis import floor_to
from store import locks
from store.database import Database

log = logging.getLogger(__name__)

Lane = Literal["light", "heavy", "what-if", "watch", "books", "archive"]
HEAVY: Lane = "heavy"
LOCK_NAME = "verdigrid-scheduler"


@dataclass(frozen=True, slots=True)
class Job:
    """A job with a fixed id, due every ``every`` of city time, ``offset`` after its multiple.

    at_least: the shortest wall time between two starts. lane: jobs of one lane never run at
    the same time; heavy work has a lane of its own so that alerts are not late.
    """

    id: str
    every: timedelta
    work: Callable[[], None]
    offset: timedelta = timedelta(0)
    at_least: timedelta = FASTEST
    lane: Lane = "light"


def trigger(job: Job, clock: CityClock, now: datetime) -> IntervalTrigger:
    """The wall-time trigger of ``job``: its first start is the next city multiple, not now."""
    city_now = clock.at(now)
    first_city = floor_to(city_now - job.offset, job.every) + job.every + job.offset
    interval = max(job.every / clock.pace, job.at_least)
    return IntervalTrigger(seconds=interval.total_seconds(), start_date=clock.wall(first_city))


def guarded(name: str, work: Callable[[], None]) -> Callable[[], None]:
    """``work`` whose failure is logged with its name and never ends the scheduler."""

    def run_it() -> None:
        try:
            work()
        except StoreError as error:
            log.warning("job waits for the database", extra={"job": name, "reason": str(error)})
        except VerdigridError as error:
            log.error("job failed", extra={"job": name, "reason": str(error)})
        except Exception:
            log.exception("job failed", extra={"job": name})

    return run_it


@dataclass(frozen=True, slots=True)
class Agenda:
    """What a scheduler runs: jobs, and what is done once.

    first: before the jobs, when the scheduler starts. anew: in the heavy lane, when this agenda
    takes the place of another.
    """

    jobs: Sequence[Job]
    first: Callable[[], None] | None = None
    anew: Callable[[], None] | None = None


def run(
    agenda: Callable[[], Agenda],
    clock: CityClock,
    database: Database,
    stop: threading.Event,
    *,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Hold the lock and run the jobs until ``stop`` is set.

    agenda: asked each second; another object than before takes its place. A job under way ends by
    the agenda it began by, and its lane waits for it. around: entered while the lock is held, for
    what only one process of all may do.
    """
    while not stop.is_set():
        try:
            with locks.held(database, LOCK_NAME) as lock:
                if lock is None:
                    log.info("another scheduler runs; waiting for it to end")
                    stop.wait(5.0)
                    continue
                with around():
                    _serve(agenda, clock, stop, lock)
        except StoreError as error:
            log.warning("scheduler waits for the database", extra={"reason": str(error)})
            stop.wait(2.0)


def _serve(
    agenda: Callable[[], Agenda],
    clock: CityClock,
    stop: threading.Event,
    lock: locks.Held,
) -> None:
    """Run the jobs while the lock is ours: losing the connection means losing the lock."""
    in_force = agenda()
    if in_force.first:
        guarded("start", in_force.first)()
    scheduler = BackgroundScheduler(
        timezone="UTC",
        executors={lane: ThreadPoolExecutor(1) for lane in ("default", *get_args(Lane))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    _add(scheduler, in_force.jobs, clock)
    scheduler.start()
    log.info("scheduler runs", extra={"jobs": [job.id for job in in_force.jobs]})
    try:
        while not stop.wait(1.0):
            lock.check()
            newest = agenda()
            if newest is not in_force:
                for gone in {j.id for j in in_force.jobs} - {j.id for j in newest.jobs}:
                    scheduler.remove_job(gone)
                in_force = newest
                _add(scheduler, in_force.jobs, clock)
                if in_force.anew:
                    scheduler.add_job(guarded("anew", in_force.anew), executor=HEAVY)
    finally:
        # A job under way cannot be interrupted. After a lost lock the next start must not meet it;
        # when the process ends, nobody waits for it.
        scheduler.shutdown(wait=not stop.is_set())


def _add(scheduler: BackgroundScheduler, jobs: Sequence[Job], clock: CityClock) -> None:
    """Have the scheduler run these jobs, in place of those with the same ids."""
    for job in jobs:
        scheduler.add_job(
            guarded(job.id, job.work),
            trigger(job, clock, wall_now()),
            id=job.id,
            executor=job.lane,
            replace_existing=True,
        )
