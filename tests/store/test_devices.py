"""Devices take themselves in once, whoever hears them first, and everybody learns of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from core.readings import READING_DTYPE, Rejected
from core.series import Series
from core.sites import (
    Asset,
    AssetKind,
    DeviceProfile,
    ProfileTag,
    Registration,
    Route,
    Site,
    Tag,
)
from store import catalogue, devices, quarantine, series, sites, writing
from store.database import Database

SITE = Site("demo", "Demo", "演示", "UTC", 0.0, 0.0, True, "", (), (), (), ())


def registration(device: str, asset: str | None = None, unit: str = "kW") -> Registration:
    made = Asset(
        asset or device.lower(), AssetKind.METER, device, device, district="north", owner="mill"
    )
    power = Series("demo", made.id, "p_mw", timedelta(minutes=15), owner="mill")
    air = Series("demo", made.id, "temp_air")
    tags = (Tag(device, "p", unit, power.key), Tag(device, "t", "degC", air.key))
    return Registration(device, "meters", made, (power, air), tags)


def shown(routes: list[Route]) -> list[tuple]:
    return [(r.device, r.tag, r.unit, r.variable, r.resolution_us) for r in routes]


def test_a_device_gets_an_asset_series_and_tags(connection: psycopg.Connection) -> None:
    before = catalogue.version(connection)
    routes = devices.register(connection, [registration("m-1")])
    assert shown(routes) == [
        ("m-1", "p", "kW", "p_mw", 900_000_000),
        ("m-1", "t", "degC", "temp_air", 0),
    ]
    ids = series.ids(connection)
    assert [r.series_id for r in routes] == [ids["demo/m-1/p_mw"], ids["demo/m-1/temp_air"]]
    assert catalogue.version(connection) > before
    (row,) = devices.registered(connection).to_dict("records")
    assert (row["device"], row["asset"], row["kind"]) == ("m-1", "m-1", "meter")
    assert (row["profile"], row["district"]) == ("meters", "north")


def test_again_changes_nothing(connection: psycopg.Connection) -> None:
    first = devices.register(connection, [registration("m-1")])
    version = catalogue.version(connection)
    other = registration("m-1", asset="elsewhere", unit="MW")
    assert devices.register(connection, [other, registration("m-1")]) == first
    assert catalogue.version(connection) == version
    assert "demo/elsewhere/p_mw" not in series.ids(connection)


def grown(device: str, unit: str = "kW", minutes: int = 15) -> Registration:
    """The same device by a profile that has voltage instead of temperature."""
    made = Asset(device.lower(), AssetKind.METER, device, device, district="south")
    power = Series("demo", made.id, "p_mw", timedelta(minutes=minutes), owner="somebody")
    voltage = Series("demo", made.id, "vm_pu", owner="somebody")
    tags = (Tag(device, "p", unit, power.key), Tag(device, "v", "1", voltage.key))
    return Registration(device, "new meters", made, (power, voltage), tags)


class TestRenewal:
    """A device that is registered follows its profile when somebody says so, and loses nothing."""

    @pytest.fixture(autouse=True)
    def meters(self, connection: psycopg.Connection) -> None:
        sites.save(connection, SITE)
        devices.register(connection, [registration("m-1"), registration("m-2")])

    def test_new_tags_get_series_changed_ones_count_and_others_stay(
        self, connection: psycopg.Connection
    ) -> None:
        before = dict(series.ids(connection))
        assert devices.renew(connection, [grown("m-1", unit="W", minutes=1)]) == 2
        assert shown(devices.routes(connection, ["m-1"])) == [
            ("m-1", "p", "W", "p_mw", 60_000_000),
            ("m-1", "t", "degC", "temp_air", 0),
            ("m-1", "v", "1", "vm_pu", 0),
        ]
        assert series.ids(connection).items() > before.items()  # the series are what they were
        table = catalogue.search(connection, text="m-1").set_index("key")
        assert table.loc["demo/m-1/vm_pu", "owner"] == table.loc["demo/m-1/p_mw", "owner"] == "mill"
        row = devices.registered(connection).set_index("device").loc["m-1"]
        assert (row["profile"], row["district"]) == ("new meters", "north")

    def test_who_holds_a_map_hears_of_it(self, connection: psycopg.Connection) -> None:
        seen = (sites.revision(connection), catalogue.version(connection))
        devices.renew(connection, [grown("m-1")])
        assert sites.revision(connection) > seen[0]
        assert catalogue.version(connection) > seen[1]
        assert sites.load(connection) == SITE

    def test_again_changes_nothing_and_disturbs_nobody(
        self, connection: psycopg.Connection
    ) -> None:
        devices.renew(connection, [grown("m-1")])
        seen = (sites.revision(connection), catalogue.version(connection))
        assert devices.renew(connection, [grown("m-1")]) == 0
        assert (sites.revision(connection), catalogue.version(connection)) == seen

    def test_a_stranger_is_registered(self, connection: psycopg.Connection) -> None:
        revision = sites.revision(connection)
        assert devices.renew(connection, [grown("m-9")]) == 0
        assert [r.tag for r in devices.routes(connection, ["m-9"])] == ["p", "v"]
        assert sites.revision(connection) == revision  # maps learn it without

    def test_who_is_behind(self, connection: psycopg.Connection) -> None:
        tags = (ProfileTag("p", "p_mw", "kW", 900.0), ProfileTag("t", "temp_air", "degC"))
        profile = DeviceProfile("meters", "senml", "m-*", AssetKind.METER, tags)
        assert devices.of_profile(connection, "meters") == ["m-1", "m-2"]
        assert devices.behind(connection, [profile]) == {}
        assert devices.behind(connection, [replace(profile, tags=tags[:1])]) == {}
        for other in (
            (*tags, ProfileTag("v", "vm_pu", "1")),
            (replace(tags[0], unit="W"), tags[1]),
            (replace(tags[0], resolution_s=60.0), tags[1]),
            (replace(tags[0], variable="q_mvar", unit="kvar"), tags[1]),
        ):
            assert devices.behind(connection, [replace(profile, tags=other)]) == {"meters": 2}

    def test_beside_a_save_of_the_description(self, database: Database) -> None:
        """Both take the same locks in the same order: neither waits in a circle."""
        with database.connection() as connection:
            sites.save(connection, SITE)
            devices.register(connection, [registration("m-1")])
        barrier = threading.Barrier(2)
        failed: list[Exception] = []

        def turn(work: Callable[[psycopg.Connection, int], object]) -> None:
            barrier.wait(60)
            try:
                for number in range(20):
                    with database.connection() as connection:
                        work(connection, number)
            except Exception as error:  # noqa: BLE001 - it is what the test is about
                failed.append(error)

        works = (
            lambda c, n: devices.renew(c, [grown("m-1", unit="W" if n % 2 else "kW")]),
            lambda c, n: sites.save(c, replace(SITE, name_en=str(n))),
        )
        threads = [threading.Thread(target=turn, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert failed == []


def test_ids_that_are_taken_get_longer(connection: psycopg.Connection) -> None:
    """By the description, by another device, and by one of the same call that differs in case."""
    described = Asset("m-1", AssetKind.PV, "PV", "PV")
    catalogue.save_assets(connection, "demo", [described])
    routes = devices.register(connection, [registration(d) for d in ("m-1", "M-2", "m-2")])
    table = devices.registered(connection).set_index("device")["asset"].to_dict()
    assert table["m-1"].startswith("m-1-")
    plain = {"M-2", "m-2"} & {d for d, a in table.items() if a == "m-2"}
    assert len(plain) == 1
    assert len({r.series_id for r in routes}) == 6
    catalogue.save_assets(connection, "demo", [])  # devices stay, and so do their ids
    again = devices.register(connection, [registration("m-1")])
    assert again == [r for r in routes if r.device == "m-1"]


def test_two_receivers_register_the_same_devices_at_once(database: Database) -> None:
    names = [f"d-{i}" for i in range(40)]
    barrier = threading.Barrier(2)
    found: list[list[Route]] = []

    def receive(order: list[str]) -> None:
        barrier.wait(10)
        for begin in range(0, 40, 8):
            with database.connection() as connection:
                made = [registration(name) for name in order[begin : begin + 8]]
                found.append(devices.register(connection, made))

    threads = [threading.Thread(target=receive, args=(o,)) for o in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 10  # nobody was refused, nobody waited for ever
    with database.connection() as connection:
        every = list(devices.all_routes(connection))
        assert sorted(every) == sorted({r for routes in found for r in routes})
        assert len(every) == 80
        assert len(devices.registered(connection)) == 40


def test_who_registered_since(database: Database) -> None:
    with database.connection() as connection:
        assert devices.newest(connection) is None
        devices.register(connection, [registration("old")])
    with database.connection() as connection:
        connection.execute("UPDATE asset SET registered_at = registered_at - interval '1 hour'")
        devices.register(connection, [registration("new")])
        newest = devices.newest(connection)
    with database.connection() as connection:
        assert devices.registered_since(connection, newest) == ["new"]
        assert devices.registered_since(connection, newest - timedelta(hours=2)) == ["old", "new"]
        assert shown(devices.routes(connection, ["new", "nobody"]))[0][0] == "new"


def test_who_waits_is_known_by_what_lies_in_quarantine(connection: psycopg.Connection) -> None:
    at = datetime(2026, 6, 22, tzinfo=UTC)

    def came(device: str, minute: int, reason: str) -> Rejected:
        detail = {"device": device, "unknown": "device"}
        return Rejected("senml/x", reason, b"", at + timedelta(minutes=minute), detail)

    entries = [came("a", 1, "first"), came("a", 3, "last"), came("b", 2, "only")]
    entries += [Rejected("senml/x", "broken", b"", at, {"device": "c"})]
    quarantine.add(connection, entries)
    assert devices.waiting(connection)[["device", "messages", "reason"]].to_numpy().tolist() == [
        ["a", 2, "last"],
        ["b", 1, "only"],
    ]
    devices.register(connection, [registration("a")])
    assert devices.waiting(connection)["device"].tolist() == ["b"]


def test_the_seed_is_the_newest_of_each_series(connection: psycopg.Connection) -> None:
    rows = [(7, 1_782_086_400_000_000, 1.5, 3), (9, 1_782_086_401_000_000, -2.0, 0)]
    for series_id, ts_us, value, quality in rows:
        connection.execute(
            "INSERT INTO reading_latest VALUES (%s, to_timestamp(%s), %s, %s)",
            (series_id, ts_us / 1e6, value, quality),
        )
    found = devices.seed(connection)
    assert found.dtype == READING_DTYPE
    assert sorted(found.tolist()) == rows
    assert writing.prepare(found).tolist() == rows


@pytest.mark.parametrize("count", [0, 3])
def test_all_routes_come_device_by_device(connection: psycopg.Connection, count: int) -> None:
    devices.register(connection, [registration(f"d{i}") for i in range(count)])
    names = [r.device for r in devices.all_routes(connection)]
    assert names == sorted(names)
    assert len(names) == 2 * count
