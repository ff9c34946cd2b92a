"""Runs the city's jobs at their city times, in one process of all that might try.

Two schedulers would run every job twice, so the process first takes an advisory lock in the
database and waits until it has it. City intervals are turned into wall time by the clock's pace;
jobs are idempotent, never overlap themselves, and a late one runs once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

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
    lane: str = "light"


def trigger(job: Job, clock: CityClock, now: datetime) -> IntervalTrigger:
    """The wall-time trigger of ``job``: its first start is the next city multiple, not now."""
    city_now = clock.at(now)
    first_city = floor_to(city_now - job.offset, job.every) + job.every + job.offset
    interval = max(job.every / clock.pace, job.at_least)
    return IntervalTrigger(seconds=interval.total_seconds(), start_date=clock.wall(first_city))


def guarded(job: Job) -> Callable[[], None]:
    """``job.work`` whose failure is logged with the job's name and never ends the scheduler."""

    def work() -> None:
        try:
            job.work()
        except StoreError as error:
            log.warning("job waits for the database", extra={"job": job.id, "reason": str(error)})
        except VerdigridError as error:
            log.error("job failed", extra={"job": job.id, "reason": str(error)})
        except Exception:
            log.exception("job failed", extra={"job": job.id})

    return work


def run(
    jobs: list[Job],
    clock: CityClock,
    database: Database,
    stop: threading.Event,
    *,
    on_start: Callable[[], None] | None = None,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Hold the lock, run ``on_start`` once and then the jobs until ``stop`` is set.

    around: entered while the lock is held, for what only one process of all may do.
    """
    while not stop.is_set():
        try:
            with locks.held(database, LOCK_NAME) as lock:
                if lock is None:
                    log.info("another scheduler runs; waiting for it to end")
                    stop.wait(5.0)
                    continue
                with around():
                    _serve(jobs, clock, stop, lock, on_start)
        except StoreError as error:
            log.warning("scheduler waits for the database", extra={"reason": str(error)})
            stop.wait(2.0)


def _serve(
    jobs: list[Job],
    clock: CityClock,
    stop: threading.Event,
    lock: locks.Held,
    on_start: Callable[[], None] | None,
) -> None:
    """Run the jobs while the lock is ours: losing the connection means losing the lock."""
    if on_start:
        guarded(Job("start", timedelta(days=1), on_start))()
    lanes = {job.lane for job in jobs}
    scheduler = BackgroundScheduler(
        timezone="UTC",
        executors={lane: ThreadPoolExecutor(1) for lane in lanes | {"default"}},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    for job in jobs:
        scheduler.add_job(
            guarded(job), trigger(job, clock, wall_now()), id=job.id, executor=job.lane
        )
    scheduler.start()
    log.info("scheduler runs", extra={"jobs": [job.id for job in jobs]})
    try:
        while not stop.wait(1.0):
            lock.check()
    finally:
        # A job under way cannot be interrupted. After a lost lock the next start must not meet it;
        # when the process ends, nobody waits for it.
        scheduler.shutdown(wait=not stop.is_set())
