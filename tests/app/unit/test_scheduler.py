"""When jobs are due in city time, and that only one process runs them."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rhythm import FASTEST
from app.scheduler import Agenda, Job, run, trigger
from app.wiring import wall_now
from core.clock import CityClock
from core.errors import ConfigurationError
from core.timeaxis import DAY, EPOCH, HOUR, QUARTER_HOUR
from store.database import Database
from store.embedded import EmbeddedServer

MICROSECOND = timedelta(microseconds=1)
wall_times = st.timedeltas(timedelta(0), timedelta(days=7300)).map(
    lambda since: datetime(2020, 1, 1, tzinfo=UTC) + since
)


@given(
    origin_wall=wall_times,
    origin_city=wall_times,
    pace=st.floats(0.5, 3600.0),
    since=st.timedeltas(timedelta(0), timedelta(days=30)),
    every=st.sampled_from([timedelta(minutes=1), QUARTER_HOUR, HOUR, DAY]),
    offset=st.timedeltas(timedelta(0), timedelta(hours=20)),
)
def test_a_job_starts_first_at_the_next_city_multiple(
    origin_wall: datetime,
    origin_city: datetime,
    pace: float,
    since: timedelta,
    every: timedelta,
    offset: timedelta,
) -> None:
    clock, now = CityClock(origin_wall, origin_city, pace), origin_wall + since
    job = Job("x", every, lambda: None, offset=offset)
    found = trigger(job, clock, now)
    # A wall time is a whole microsecond, which is up to ``pace`` of them in the city.
    slack = MICROSECOND * (pace + 2)
    assert now - MICROSECOND <= found.start_date <= now + every / pace + 2 * MICROSECOND
    distance = (clock.at(found.start_date) - EPOCH - offset) % every
    assert min(distance, every - distance) <= slack
    assert found.interval == max(every / pace, FASTEST)


def test_jobs_of_a_fast_city_keep_a_rest() -> None:
    clock = CityClock(EPOCH, EPOCH, pace=3600.0)  # a city minute is 17 ms
    job = Job("alerts", timedelta(minutes=1), lambda: None, at_least=timedelta(seconds=5))
    assert trigger(job, clock, EPOCH).interval == timedelta(seconds=5)


SCHEDULER = """
import os, sys, threading
from datetime import timedelta
from app.scheduler import Agenda, Job, run
from app.wiring import wall_now
from core.clock import CityClock
from store.database import Database

def note():
    with open(sys.argv[2], "a") as sink:
        sink.write(f"{os.getpid()}\\n")

moment = timedelta(milliseconds=100)
now = wall_now()
print("up", flush=True)
agenda = Agenda([Job("note", moment, note, at_least=moment)])
run(lambda: agenda, CityClock(now, now), Database(sys.argv[1]), threading.Event())
"""


def test_of_two_processes_one_runs_the_jobs_until_it_is_killed(
    program: Callable[..., subprocess.Popen[str]],
    eventually: Callable[..., None],
    database_url: str,
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes"
    notes.touch()

    def runs() -> list[int]:
        return [int(line) for line in notes.read_text().splitlines()]

    both = [program(SCHEDULER, database_url, notes) for _ in range(2)]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "up\n"
    eventually("many runs", lambda: len(runs()) > 20)
    assert len(set(runs())) == 1
    holder = next(p for p in both if p.pid == runs()[0])
    other = next(p for p in both if p is not holder)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    eventually("the other takes over", lambda: runs().count(other.pid) > 5)
    handed_over = runs().index(other.pid)
    assert set(runs()[:handed_over]) == {holder.pid}
    assert set(runs()[handed_over:]) == {other.pid}


Serve = Callable[..., Any]
MOMENT = timedelta(milliseconds=50)


@pytest.fixture
def serve_by(database: Database) -> Serve:
    """A context in which a scheduler runs the agenda in force."""

    @contextmanager
    def running(agenda: Callable[[], Agenda]) -> Iterator[None]:
        stop, now = threading.Event(), wall_now()
        thread = threading.Thread(target=run, args=(agenda, CityClock(now, now), database, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()

    return running


@pytest.fixture
def serve(serve_by: Serve) -> Serve:
    """A context in which a scheduler runs the given jobs."""

    def running(*jobs: Job, on_start: Callable[[], None] | None = None) -> Any:
        agenda = Agenda(jobs, on_start)
        return serve_by(lambda: agenda)

    return running


def test_a_failing_job_stops_neither_itself_nor_others(
    serve: Serve, eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"broken": 0, "wrong": 0, "fine": 0}

    def broken() -> None:
        counts["broken"] += 1
        raise ZeroDivisionError

    def wrong() -> None:
        counts["wrong"] += 1
        raise ConfigurationError("the tariff is missing")

    def fine() -> None:
        counts["fine"] += 1

    jobs = [Job(f.__name__, MOMENT, f, at_least=MOMENT) for f in (broken, wrong, fine)]
    with serve(*jobs, on_start=broken):  # nor does a failing start
        eventually("all run again and again", lambda: min(counts.values()) > 3)
    logged = {
        (r.__dict__["job"], r.__dict__.get("reason")) for r in caplog.records if "job" in r.__dict__
    }
    assert ("wrong", "the tariff is missing") in logged
    assert any(job == "broken" for job, _ in logged)


def test_the_start_comes_before_every_job(serve: Serve, eventually: Callable[..., None]) -> None:
    seen: list[str] = []
    job = Job("job", MOMENT, lambda: seen.append("job"), at_least=MOMENT)
    with serve(job, on_start=lambda: seen.append("start")):
        eventually("the job runs", lambda: len(seen) > 3)
    assert seen[0] == "start"
    assert seen.count("start") == 1


def test_a_restart_of_the_database_is_survived(
    serve: Serve, eventually: Callable[..., None], server: EmbeddedServer, database: Database
) -> None:
    asked = 0

    def ask() -> None:
        nonlocal asked
        with database.connection() as connection:
            connection.execute("SELECT 1")
        asked += 1

    with serve(Job("ask", MOMENT, ask, at_least=MOMENT)):
        eventually("the job runs", lambda: asked > 2)
        try:
            server.stop()
        finally:
            EmbeddedServer.start(server.data_dir)
        before = asked
        eventually("the job runs again", lambda: asked > before + 2)


def test_a_job_under_way_at_a_restart_never_meets_the_next_start(
    serve: Serve, eventually: Callable[..., None], server: EmbeddedServer
) -> None:
    """Plans and forecasts are made by one thread at a time; the lock is lost, the thread is not."""
    inside, let_go = threading.Event(), threading.Event()
    met: list[bool] = []

    def work() -> None:
        inside.set()
        let_go.wait(60)
        inside.clear()

    job = Job("solve", MOMENT, work, at_least=MOMENT, lane="heavy")
    with serve(job, on_start=lambda: met.append(inside.is_set())):
        eventually("the job is under way", inside.is_set)
        server.stop()
        EmbeddedServer.start(server.data_dir)
        threading.Timer(5.0, let_go.set).start()
        eventually("the scheduler starts again", lambda: len(met) == 2)
    assert met == [False, False]


def test_another_agenda_takes_the_place_of_the_one_in_force(
    serve_by: Serve, eventually: Callable[..., None]
) -> None:
    """Jobs of the same id are replaced, others end, and what is new is done once."""
    seen: list[str] = []

    def job(name: str, word: str) -> Job:
        return Job(name, MOMENT, lambda: seen.append(word), at_least=MOMENT)

    old = Agenda([job("plan", "old"), job("gone", "gone")], lambda: seen.append("start"))
    new = Agenda([job("plan", "new")], anew=lambda: seen.append("anew"))
    in_force = [old]
    with serve_by(lambda: in_force[0]):
        eventually("the jobs run", lambda: {"old", "gone"} <= set(seen))
        in_force[0] = new
        eventually("the new ones run", lambda: {"new", "anew"} <= set(seen))
        seen.clear()
        eventually("they run on", lambda: seen.count("new") > 5)
    assert set(seen) == {"new"}
