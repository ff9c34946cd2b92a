"""The first start: steps that may be interrupted, a clock that goes on, progress to be seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import setup_
from app.journey import Journey, journey_path
from app.schedule import jobs_of
from app.settings import Settings
from app.supervision import _children
from app.watch import wait_for_life
from app.wiring import City, LiveTagMap, load_city, open_database, wall_now
from core.clock import CityClock
from core.errors import ConfigurationError, ServiceError, StoreUnavailableError
from core.timeaxis import DAY, HOUR
from store import cityclock, readings, sites, users
from store.database import Database
from store.embedded import EmbeddedServer

SettingsOf = Callable[..., Settings]


# --- setting up --------------------------------------------------------------------------------


def test_a_city_is_set_up_when_its_clock_has_been_started(city: City, now: datetime) -> None:
    """The clock comes last: described but without its history, the city is not set up yet."""
    assert not setup_.is_set_up(city.database)
    with city.database.connection() as connection:
        cityclock.beat(connection, now)
    assert setup_.is_set_up(city.database)


def test_without_a_sandbox_somebody_has_to_describe_the_city(
    database: Database, with_site: Callable[..., City]
) -> None:
    with pytest.raises(ConfigurationError, match=r"No city is described.*site load"):
        setup_.require_site(database)
    with_site()
    setup_.require_site(database)
    with database.connection() as connection:
        assert users.all_users(connection) == []  # a city that was handed in has no demo accounts


def test_the_city_stands_still_while_nothing_runs(city: City, settings_of: SettingsOf) -> None:
    """The very first start is at the configured hour, every later one where the city stopped."""
    settings = settings_of(sandbox_start=datetime(2026, 6, 22, 1, 20, tzinfo=UTC))
    first = setup_.resume_clock(settings, city.database)
    assert first.origin_city == datetime(2026, 6, 22, 1, tzinfo=UTC)
    assert first.pace == settings.sandbox_pace
    assert abs(first.origin_wall - wall_now()) < timedelta(minutes=5)
    stopped = first.origin_city + timedelta(hours=7, seconds=11)
    with city.database.connection() as connection:
        cityclock.beat(connection, stopped)
    again = setup_.resume_clock(settings_of(sandbox_pace=10.0), city.database)
    assert (again.origin_city, again.pace) == (stopped, 10.0)
    assert load_city(city.database).clock == again


def test_a_history_that_was_half_imported_is_imported_again(
    city: City, tmp_path: Path, now: datetime
) -> None:
    rows = [f"meter-0,p,kW,2026-06-24T{h:02d}:00:00+08:00,{h}" for h in range(24)]

    def file(lines: list[str]) -> Path:
        path = tmp_path / "history.csv"
        path.write_text("\n".join(["device,tag,unit,ts,value", *lines]) + "\n")
        return path

    seen: list[int] = []
    setup_.import_history(city.database, file(rows[:10]), seen.append)  # then the power failed
    path = file(rows)
    report = setup_.import_history(city.database, path, seen.append)
    assert (report.stored, report.duplicates, report.rejected) == (14, 10, 0)
    assert seen[-1] == 24
    assert not path.exists()
    with city.database.connection() as connection:
        assert readings.counts(connection)["rows"] == 24


# --- wiring ------------------------------------------------------------------------------------


def test_a_command_uses_the_database_that_is_named_and_starts_none(
    settings_of: SettingsOf, database_url: str
) -> None:
    settings = settings_of(database_url=database_url)
    with open_database(settings) as database, database.connection() as connection:
        connection.execute("SELECT 1")
    assert not settings.database_folder.exists()
    with pytest.raises(StoreUnavailableError), database.connection():
        pass  # it was closed with the context


def test_the_map_of_tags_outlives_a_database_that_is_away(
    city: City,
    database_url: str,
    server: EmbeddedServer,
    eventually: Callable[..., None],
) -> None:
    impatient = Database(database_url, timeout_s=0.5)
    provide = LiveTagMap(impatient, every_s=0.0)
    before = provide()
    server.stop()
    try:
        assert provide() is before
        with pytest.raises(StoreUnavailableError):
            LiveTagMap(impatient)()  # one that never knew has nothing to go on
    finally:
        EmbeddedServer.start(server.data_dir)

    def described_again() -> bool:
        try:
            with impatient.connection() as connection:
                sites.save(connection, city.site)
        except StoreUnavailableError:
            return False
        return True

    eventually("the database is back", described_again)
    assert provide() is not before
    assert len(provide()) == len(before)
    assert provide() is provide()  # as long as the catalogue's version is the same
    impatient.close()


# --- what runs ---------------------------------------------------------------------------------


def test_a_real_city_is_not_simulated(now: datetime) -> None:
    real = ["ingest", "field", "web", "schedule"]
    assert [c.name for c in _children(None)] == real
    clock = CityClock(now, now + DAY, 60.0)
    simulated = _children(clock)[len(real) :]
    assert [c.name for c in simulated] == ["sandbox", "station", "inverter", "charger"]
    shown = {clock.origin_wall.isoformat(), clock.origin_city.isoformat(), "60.0"}
    assert all(shown < set(child.arguments) for child in simulated)


class _Anything:
    """Stands in for the makers of plans, forecasts and books: only when they are due matters."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def test_the_jobs_of_a_city_are_due_when_the_issue_says(city: City) -> None:
    anything = _Anything()
    jobs = {j.id: j for j in jobs_of(city, *[anything] * 7)}  # type: ignore[arg-type]
    assert jobs["day-ahead"].every == DAY
    assert jobs["intraday"].every == timedelta(minutes=15)
    assert jobs["alerts"].every == timedelta(minutes=1)
    assert jobs["forecast"].every == HOUR
    # A plan must not make alerts late, and no two of one maker's jobs may meet.
    assert jobs["alerts"].lane != jobs["intraday"].lane
    assert len({jobs[n].lane for n in ("day-ahead", "intraday", "requested", "forecast")}) == 1
    assert len({jobs[n].lane for n in ("books", "totals")}) == 1
    for job in jobs.values():
        job.work()


# --- a start, seen from outside ----------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_start_that_failed_tells_its_reason(settings_of: SettingsOf) -> None:
    settings = settings_of()
    journey = Journey(journey_path(settings))
    with journey.step("Starting the embedded database"):
        pass
    journey.write(failed="The folder belongs to PostgreSQL 12.")
    process = subprocess.Popen([sys.executable, "-c", ""])
    with pytest.raises(ServiceError, match=r"belongs to PostgreSQL 12\."):
        wait_for_life(settings, process, timeout_s=10)


def test_a_start_that_ended_without_a_word_names_its_log(settings_of: SettingsOf) -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(ServiceError, match=r"exit code 7; see .*supervisor\.log"):
        wait_for_life(settings_of(), process, timeout_s=10)
    process.wait()


def test_what_is_still_missing_is_named(
    settings_of: SettingsOf, sleeper: subprocess.Popen[bytes], free_port: int
) -> None:
    settings = settings_of(port=free_port)
    Journey(journey_path(settings)).write(prepared=True)
    with pytest.raises(ServiceError, match=r"still missing: The application answers, Readings"):
        wait_for_life(settings, sleeper, timeout_s=0)


def test_a_city_without_the_sandbox_lives_when_the_application_answers(
    settings_of: SettingsOf, sleeper: subprocess.Popen[bytes], free_port: int
) -> None:
    settings = settings_of(port=free_port, sandbox=False)
    Journey(journey_path(settings)).write(prepared=True)
    with pytest.raises(ServiceError, match=r"still missing: The application answers\. The system"):
        wait_for_life(settings, sleeper, timeout_s=0)


def test_a_process_that_keeps_failing_is_named_with_its_last_words(
    settings_of: SettingsOf, sleeper: subprocess.Popen[bytes], free_port: int
) -> None:
    settings = settings_of(port=free_port)
    Journey(journey_path(settings)).write(prepared=True)
    log = settings.run_folder / "web.log"
    log.write_text("first line\nPort 8050 is in use.\n")
    state = f'{{"web": {{"pid": null, "failures": 3, "log": "{log}"}}}}'
    (settings.run_folder / "processes.json").write_text(state)
    with pytest.raises(ServiceError, match=r"'web' keeps failing: Port 8050 is in use\."):
        wait_for_life(settings, sleeper, timeout_s=60)
