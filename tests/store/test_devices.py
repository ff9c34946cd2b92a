"""Devices take themselves in once, whoever hears them first, and everybody learns of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from core.readings import READING_DTYPE, Rejected
from core.series import Series
from core.sites import Asset, AssetKind, Registration, Route, Tag
from store import catalogue, devices, quarantine, series, writing
from store.database import Database


def registration(device: str, asset: str | None = None, unit: str = "kW") -> Registration:
    made = Asset(asset or device.lower(), AssetKind.METER, device, device, district="north")
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
