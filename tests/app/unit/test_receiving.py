"""Receivers over a real database: a station takes itself in, and a new description begins anew."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import fieldwork, receiving
from app.receiving import described_anew
from app.settings import Settings
from app.wiring import LiveTagMap, StoreSink, load_city, registrar_of
from core.clock import CityClock
from core.errors import ConfigurationError, StoreError
from core.sites import AssetKind, DeviceProfile, ProfileTag, Registration, Site
from ingest.hj212_frame import frame
from store import beats, cityclock, devices, readings, series, sites
from store.database import Connection, Database

AIR = DeviceProfile(
    "air",
    "hj212",
    "AIR-*",
    AssetKind.AIR_STATION,
    (ProfileTag("a34004-Avg@2051", "pm2_5", "µg/m3", 300.0),),
    register=True,
    parameters={"password": "123456"},
)
NOISE = replace(AIR, name="noise", pattern="NOISE-*")


def minute_data(mn: str, pm2_5: float) -> bytes:
    """A frame of HJ 212 with the minute value of 08:00 on 22 June 2026, Chinese time."""
    cp = f"DataTime=20260622080000;a34004-Avg={pm2_5},a34004-Flag=N"
    body = f"QN=20260622080501000;ST=22;CN=2051;PW=123456;MN={mn};Flag=5;CP=&&{cp}&&"
    return frame(body.encode())


def answer(port: int, sent: bytes) -> bytes:
    """What a server answers; nothing where it does not listen or does not know us."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as line:
            line.sendall(sent)
            return line.recv(4096)
    except OSError:
        return b""


@pytest.fixture
def described(database: Database, site: Site) -> Site:
    """The tiny city with a profile for air stations, at five past eight."""
    city = replace(site, profiles=(AIR,))
    with database.connection() as connection:
        sites.save(connection, city)
        series.register(connection, city.series)
        now = datetime.now(UTC)
        cityclock.save(connection, CityClock(now, datetime(2026, 6, 22, 0, 5, tzinfo=UTC), 1.0))
    return city


@pytest.fixture
def field(
    database: Database, described: Site, tmp_path: Path, free_port: int, monkeypatch
) -> Iterator[int]:
    """A field service with an HJ 212 server; its port."""
    monkeypatch.setattr(receiving, "_LOOK_EVERY_S", 0.1)
    (tmp_path / "drop").mkdir()
    settings = Settings(home=tmp_path, hj212_port=free_port, drop_folder=tmp_path / "drop")
    stop = threading.Event()
    thread = threading.Thread(
        target=receiving.run_field, args=(settings, database, stop, fieldwork.enabled, "field")
    )
    thread.start()
    yield free_port
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def stored(database: Database, device: str) -> list[float]:
    with database.connection() as connection:
        keys = [
            f"tiny/{row['asset']}/pm2_5"
            for row in devices.registered(connection).to_dict("records")
            if row["device"] == device
        ]
        if not keys:
            return []
        begin = datetime(2026, 6, 22, tzinfo=UTC)
        found = readings.read(connection, keys, begin, begin.replace(hour=1))
    return found.values[:, 0].tolist()


def test_a_station_takes_itself_in_and_a_new_description_counts_at_once(
    field: int, database: Database, described: Site, eventually: Callable[..., None]
) -> None:
    eventually(
        "the station is answered", lambda: b"CN=9014" in answer(field, minute_data("AIR-7", 35.5))
    )
    eventually("its value is stored", lambda: stored(database, "AIR-7") == [35.5])
    with database.connection() as connection:
        assert "hj212" in beats.first(connection)
    assert b"CN=9014" not in answer(field, minute_data("NOISE-7", 1.0))
    with database.connection() as connection:
        sites.save(connection, replace(described, profiles=(AIR, NOISE)))
    eventually(
        "the new profile counts", lambda: b"CN=9014" in answer(field, minute_data("NOISE-7", 1.0))
    )
    eventually("its value is stored", lambda: stored(database, "NOISE-7") == [1.0])


def test_a_description_saved_between_the_load_and_the_watch_is_noticed(
    database: Database, described: Site
) -> None:
    """The first look compares with what was loaded, not with what it finds."""
    city = load_city(database)
    with database.connection() as connection:
        sites.save(connection, replace(described, profiles=(AIR, NOISE)))
    with described_anew(city, threading.Event()) as until:
        assert until.wait(60)
    again = load_city(database)
    assert again.site.profiles == (AIR, NOISE)
    assert again.revision > city.revision


def test_the_same_description_is_no_new_one(
    database: Database, described: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher that looked is told by its stop: it saw nothing new in the looks before."""
    looks: list[int] = []
    revision = sites.revision

    def seen(connection: Connection) -> int:
        looks.append(revision(connection))
        return looks[-1]

    monkeypatch.setattr(sites, "revision", seen)
    monkeypatch.setattr(receiving, "_LOOK_EVERY_S", 0.0)
    stop = threading.Event()
    with described_anew(load_city(database), stop) as until:
        while len(looks) < 3:
            assert not until.wait(0.02)
        stop.set()
        assert until.wait(60)


UNUSABLE = replace(AIR, parameters={})  # since when does an HJ 212 profile need a password?


def said(caplog: pytest.LogCaptureFixture, message: str) -> list[str]:
    return [r.reason for r in caplog.records if r.getMessage() == message]


def test_a_profile_of_no_use_stops_its_own_receiver_only(
    field: int,
    database: Database,
    described: Site,
    tmp_path: Path,
    eventually: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    eventually("the station", lambda: b"CN=9014" in answer(field, minute_data("AIR-7", 35.5)))
    with database.connection() as connection:  # as an earlier version may have saved it
        sites.save(connection, replace(described, profiles=(UNUSABLE,)))
    eventually("it is said", lambda: said(caplog, "a receiver is down"))
    drop(tmp_path / "drop")
    eventually("the file is imported", lambda: power(database) == [[1.5]])
    with database.connection() as connection:
        sites.save(connection, described)
    eventually("the station", lambda: b"CN=9014" in answer(field, minute_data("AIR-8", 35.5)))
    (reason,) = said(caplog, "a receiver is down")  # however often it was tried
    assert "'air'" in reason
    assert "password" in reason


def test_a_description_of_no_use_is_said_once_and_waited_on(
    field: int,
    database: Database,
    described: Site,
    tmp_path: Path,
    eventually: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    eventually("the station", lambda: b"CN=9014" in answer(field, minute_data("AIR-7", 35.5)))
    with database.connection() as connection:
        sites.save(connection, replace(described, timezone="Atlantis"))
    told = "the stored description of the city cannot be used; waiting for another one"
    eventually("it is said", lambda: said(caplog, told))
    time.sleep(0.5)  # some looks later
    assert answer(field, minute_data("AIR-7", 1.0)) == b""  # nobody takes what nobody can store
    with database.connection() as connection:
        sites.save(connection, described)
    eventually("the station", lambda: b"CN=9014" in answer(field, minute_data("AIR-8", 7.5)))
    eventually("both are stored", lambda: stored(database, "AIR-8") == [7.5])
    assert stored(database, "AIR-7") == [35.5]
    (reason,) = said(caplog, told)
    assert "Atlantis" in reason


def test_without_any_description_there_is_nothing_to_wait_for(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="No city is described"):
        receiving.follow(database, threading.Event(), receiving.spoken_in, pytest.fail)


def drop(folder: Path) -> None:
    rows = "device,tag,unit,ts,value\nmeter-0,p,kW,2026-06-22T00:00:00Z,1500\n"
    (folder / "day.part").write_text(rows)
    (folder / "day.part").rename(folder / "day.csv")


def power(database: Database) -> list[list[float]]:
    begin = datetime(2026, 6, 22, tzinfo=UTC)
    with database.connection() as connection:
        found = readings.read(connection, ["tiny/load-000/p_mw"], begin, begin.replace(hour=1))
    return found.values.tolist()


def test_a_file_in_the_drop_folder_is_imported(
    field: int, database: Database, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    drop(tmp_path / "drop")
    eventually("the file is imported", lambda: power(database) == [[1.5]])


def test_what_is_not_switched_on_says_how(database: Database, described: Site) -> None:
    city = load_city(database)
    off = Settings()
    assert fieldwork.enabled(off, city) == []
    with pytest.raises(ConfigurationError, match="VERDIGRID_HJ212_PORT"):
        fieldwork.hj212(off, city)
    with pytest.raises(ConfigurationError, match="VERDIGRID_OCPP_PORT"):
        fieldwork.ocpp(off, city)
    with pytest.raises(ConfigurationError, match="VERDIGRID_DROP_FOLDER"):
        fieldwork.folder(off, city)
    with pytest.raises(ConfigurationError, match="no link"):
        fieldwork.sunspec(off, city)


def test_the_map_in_use_learns_what_a_renewed_device_is(
    database: Database, described: Site
) -> None:
    """Also another unit, which a map never learns for a tag it has."""
    live = LiveTagMap(database, every_s=0.0)
    registrar = registrar_of(described)
    with database.connection() as connection:
        devices.register(connection, [registrar.registration(AIR, "AIR-9")])
    before = live().find("AIR-9", "a34004-Avg@2051")
    coarse = replace(AIR, tags=(replace(AIR.tags[0], unit="mg/m3"),))
    with database.connection() as connection:
        devices.renew(connection, [registrar.registration(coarse, "AIR-9")])
    after = live().find("AIR-9", "a34004-Avg@2051")
    factors = live().rules.table["factor"]
    assert after[0] == before[0]
    assert factors[after[1]] == pytest.approx(1000.0)


def test_a_description_of_no_use_leaves_the_map_that_is_in_use(
    database: Database, described: Site
) -> None:
    live = LiveTagMap(database, every_s=0.0)
    held = live()
    with database.connection() as connection:
        sites.save(connection, replace(described, timezone="Atlantis"))
    assert live() is held
    with pytest.raises(StoreError, match="Atlantis"):  # for which a pipeline has patience
        LiveTagMap(database)()


def test_the_map_of_one_receiver_learns_what_another_registered(
    database: Database, described: Site
) -> None:
    live = LiveTagMap(database, every_s=0.0)
    before = live()
    made = registrar_of(described).plan("hj212", "AIR-9", ["a34004-Avg@2051"])
    assert isinstance(made, Registration)
    (route,) = StoreSink(database).register([made])
    assert live() is before  # it grew; nobody read three million tags anew
    assert before.find("AIR-9", "a34004-Avg@2051")[0] == route.series_id
    assert LiveTagMap(database)().tags("AIR-9") == {"a34004-Avg@2051"}
