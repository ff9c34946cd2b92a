"""How long what is kept, and that packing changes nothing but the room it takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.errors import StoreError, StoreUnavailableError
from core.readings import READING_DTYPE, batch
from core.series import Series
from core.timeaxis import to_us
from store import backend, retention, rollups, series, writing
from store.database import Connection, Database
from store.retention import Applied, Policy
from store.writing import WriteResult

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STEP = timedelta(minutes=15)
START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + 100 * DAY

ASSETS = {"meter": "meter", "pv": "pv", "air": "air_station"}
SERIES = (
    Series("demo", "meter", "p_mw", STEP),
    Series("demo", "pv", "p_mw", timedelta(minutes=5)),
    Series("demo", "air", "pm2_5", HOUR),
    Series("demo", "stranger", "p_mw", None),  # of no known asset
    Series("demo", "air", "temp_air", DAY),
)


@pytest.fixture
def ids(database: Database) -> list[int]:
    with database.connection() as connection:
        for asset, kind in ASSETS.items():
            connection.execute(
                "INSERT INTO asset (id, site, kind, name_en, name_zh, district, owner)"
                " VALUES (%s, 'demo', %s, '', '', '', '')",
                (asset, kind),
            )
        found = series.register(connection, SERIES)
    return [found[s.key] for s in SERIES]


def write(database: Database, ids: Sequence[int], days: Sequence[int]) -> None:
    """A reading of each series at noon of these days after START."""
    rows = [(i, START + day * DAY + 12 * HOUR, float(day), 0) for i in ids for day in days]
    with database.connection() as connection:
        writing.write(connection, batch(rows))


def held(database: Database, table: str = "reading") -> dict[int, list[int]]:
    """The days that each series has something in."""
    column = "ts" if table == "reading" else "bucket"
    found: dict[int, list[int]] = {}
    with database.connection() as connection:
        rows = connection.execute(f"SELECT series_id, {column} FROM {table} ORDER BY 1, 2")
        for series_id, ts in rows.fetchall():
            found.setdefault(series_id, []).append((ts - START).days)
    return found


def keep(database: Database, *policies: tuple[str, str, int]) -> None:
    with database.connection() as connection:
        for kind, level, days in policies:
            retention.set_policy(connection, kind, level, days * DAY)


class TestPolicies:
    def test_everything_for_ever_at_first(self, connection: Connection) -> None:
        assert retention.policies(connection) == [
            Policy("*", level, None) for level in retention.LEVELS
        ]

    def test_of_a_kind_before_those_of_every_kind(self, connection: Connection) -> None:
        retention.set_policy(connection, "*", "raw", 30 * DAY)
        retention.set_policy(connection, "pv", "raw", 90 * DAY)
        found = retention.policies(connection)
        assert retention.keep_of(found, "pv", "raw") == 90 * DAY
        assert retention.keep_of(found, "meter", "raw") == 30 * DAY
        assert retention.keep_of(found, "pv", "hour") is None
        retention.unset_policy(connection, "pv", "raw")
        assert retention.keep_of(retention.policies(connection), "pv", "raw") == 30 * DAY

    @pytest.mark.parametrize(
        ("kind", "level", "days", "words"),
        [
            ("windmill", "raw", 30, "no kind of asset 'windmill'; the kinds are"),
            ("pv", "week", 30, "no level 'week'; the levels are raw, 15min, hour, day"),
            ("pv", "raw", 3, "for 7 days at least"),
            ("pv", "hour", 365, "'15min' for ever: what is coarser must be kept for as long"),
        ],
    )
    def test_what_makes_no_sense(
        self, connection: Connection, kind: str, level: str, days: int, words: str
    ) -> None:
        with pytest.raises(StoreError, match=words):
            retention.set_policy(connection, kind, level, days * DAY)

    def test_a_change_for_every_kind_that_a_kind_cannot_follow(
        self, connection: Connection
    ) -> None:
        for level in ("raw", "15min"):
            retention.set_policy(connection, "*", level, 30 * DAY)
        retention.set_policy(connection, "pv", "raw", 20 * DAY)
        with pytest.raises(StoreError, match="Of 'pv'"):
            retention.set_policy(connection, "pv", "raw", 40 * DAY)
        with pytest.raises(StoreError, match="not taken away"):
            retention.unset_policy(connection, "*", "raw")


class TestApply:
    def test_nothing_by_default(self, database: Database, ids: list[int]) -> None:
        write(database, ids, [0, 50])
        assert retention.apply(database, NOW) == Applied(0, ())
        assert held(database) == {i: [0, 50] for i in ids}

    def test_by_kind_and_fineness(self, database: Database, ids: list[int]) -> None:
        meter, pv, air, stranger, daily = ids
        days = [0, 30, 59, 60, 61, 95]
        write(database, ids, days)
        keep(database, ("*", "raw", 40), ("air_station", "raw", 40), ("air_station", "15min", 50))
        keep(database, ("air_station", "hour", 90))
        done = retention.apply(database, NOW)
        assert done is not None
        assert done.dropped == ()  # the meter's readings of all days are kept
        assert done.rows == 2 * 3 + 1
        assert held(database) == {
            meter: days,  # quarter-hours, for ever
            pv: [60, 61, 95],  # shorter than that
            air: [30, 59, 60, 61, 95],  # hours
            stranger: [60, 61, 95],  # instants
            daily: days,
        }
        assert held(database, "rollup_hour") == {meter: days, pv: days, stranger: days}
        assert held(database, "rollup_day") == dict.fromkeys((meter, pv, air, stranger), days)
        assert retention.apply(database, NOW) == Applied(0, ())

    def test_what_nobody_keeps_is_dropped_whole(self, database: Database, ids: list[int]) -> None:
        write(database, ids, [0, 1, 59, 60])
        keep(database, *(("*", level, 40) for level in retention.LEVELS[:3]))
        keep(database, ("*", "day", 60))
        done = retention.apply(database, NOW)
        assert done is not None
        assert "reading" in done.dropped
        assert held(database) == {i: [59, 60] if i == ids[4] else [60] for i in ids}
        assert held(database, "rollup_day") == {i: [59, 60] for i in ids[:4]}
        with database.connection() as connection:
            parts = backend.backend(connection).parts(connection, "reading")
        assert [(part.start - START).days for part in parts] == [59, 60]

    def test_the_end_moves_on(self, database: Database, ids: list[int]) -> None:
        write(database, ids, [0, 10, 20, 30])
        keep(database, ("pv", "raw", 90))
        for later, left in ((0, [10, 20, 30]), (5, [20, 30]), (15, [30])):
            retention.apply(database, NOW + later * DAY)
            assert held(database)[ids[1]] == left
            assert held(database)[ids[0]] == [0, 10, 20, 30]

    def test_what_comes_when_its_like_is_gone(self, database: Database, ids: list[int]) -> None:
        """It goes too, and roll-ups of that time stay as they were."""
        write(database, ids, [0, 61])
        keep(database, ("pv", "raw", 40))
        retention.apply(database, NOW)
        rows = [(i, START + 13 * HOUR, 99.0, 0) for i in ids[:2]]
        rows += [(ids[1], START + 60 * DAY, 99.0, 0)]  # the oldest day that is kept
        with database.connection() as connection:
            writing.write(connection, batch(rows))
        rollups.refresh(database, NOW)
        with database.connection() as connection:
            found = connection.execute(
                "SELECT series_id, maximum FROM rollup_day WHERE bucket = %s", (START,)
            ).fetchall()
        assert dict(found) == {ids[0]: 99.0, ids[1]: 0.0, ids[2]: 0.0, ids[3]: 0.0}
        assert held(database)[ids[1]] == [60, 61]
        assert held(database)[ids[0]] == [0, 0, 61]

    def test_nothing_before_it_is_rolled_up(
        self, database: Database, ids: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rollups, "_WAIT_S", 0.05)
        write(database, ids, [0])
        keep(database, ("pv", "raw", 40))
        with database.connection() as connection:
            writing.write(connection, batch([(ids[0], START, 1.0, 0)]))
            with pytest.raises(StoreUnavailableError, match="wait for a transaction"):
                retention.apply(database, NOW)
        assert held(database)[ids[1]] == [0]
        retention.apply(database, NOW)
        assert ids[1] not in held(database)
        assert held(database, "rollup_day")[ids[1]] == [0]


def week(ids: Sequence[int], first: int, days: int = 7) -> np.ndarray:
    """Quarter-hours of ``days`` days, in the order they would come."""
    steps = days * 96
    rows = np.zeros(steps * len(ids), READING_DTYPE)
    rows["series_id"] = np.tile(ids, steps)
    rows["ts_us"] = to_us(START + first * DAY) + np.repeat(np.arange(steps), len(ids)) * 900_000_000
    rows["value"] = np.arange(len(rows)) % 977
    return rows


def stored(database: Database) -> list[tuple[object, ...]]:
    with database.connection() as connection:
        return connection.execute("SELECT * FROM reading ORDER BY series_id, ts").fetchall()


class TestPack:
    def test_all_of_it_stays_and_late_readings_go_in(
        self, database: Database, ids: list[int]
    ) -> None:
        with database.connection() as connection:
            for first in range(0, 16, 2):
                writing.write(connection, week(ids, first, 2))
        before = stored(database)
        now = START + 21 * DAY
        packed = retention.pack(database, now)
        assert packed
        assert stored(database) == before
        assert retention.pack(database, now) == []
        with database.connection() as connection:
            late = week(ids, 3, 1)
            late["ts_us"] += 1
            both = np.concatenate([late, week(ids, 3, 1)])
            assert writing.write(connection, both) == WriteResult(len(late), len(late))
            assert writing.write(connection, late) == WriteResult(0, len(late))
            connection.execute("UPDATE reading SET value = -1 WHERE value = 5")
        changed = stored(database)
        assert len(changed) == len(before) + len(late)
        retention.pack(database, now)
        assert stored(database) == changed

    def test_packed_in_the_order_of_the_key(self, database: Database, ids: list[int]) -> None:
        """What packing is for: of TimescaleDB segments of 100 rows and more, else neighbours."""
        with database.connection() as connection:
            for first in range(0, 14, 2):
                writing.write(connection, week(ids, first, 2))
            kind = backend.backend(connection)
        assert len(retention.pack(database, START + 21 * DAY)) == (
            14 if isinstance(kind, backend.Plain) else 2
        )
        with database.session() as connection:
            if isinstance(kind, backend.Plain):
                rows = connection.execute(
                    "SELECT series_id, ts FROM reading WHERE ts < %s ORDER BY tableoid, ctid",
                    (START + DAY,),
                ).fetchall()
                assert rows == sorted(rows)
                return
            for part in kind.parts(connection, "reading"):
                assert part.end - part.start >= 5 * DAY
            (segments,) = connection.execute(
                "SELECT array_agg(format('%I.%I', schema_name, table_name))"
                " FROM _timescaledb_catalog.chunk WHERE table_name LIKE 'compress_hyper%'"
            ).fetchone() or ([],)
            for name in segments:
                row = connection.execute(f"SELECT min(_ts_meta_count) FROM {name}").fetchone()
                assert row is not None
                assert row[0] >= 100

    def test_what_others_use_waits(self, database: Database, ids: list[int]) -> None:
        with database.connection() as connection:
            writing.write(connection, week(ids, 0, 1))
        with database.connection() as busy:
            busy.execute("UPDATE reading SET value = 1")
            assert retention.pack(database, START + 30 * DAY) == []
        assert len(retention.pack(database, START + 30 * DAY)) == 1

    def test_young_readings_stay_loose(self, database: Database, ids: list[int]) -> None:
        with database.connection() as connection:
            writing.write(connection, week(ids, 0, 1))
        assert retention.pack(database, START + 7 * DAY) == []

    def test_the_age_is_what_is_set(self, database: Database, ids: list[int]) -> None:
        """One for all kinds, which lie in the same parts."""
        with database.connection() as connection:
            writing.write(connection, week(ids, 0, 1))
            assert retention.pack_after(connection) == retention.PACK_AFTER
            retention.set_pack_after(connection, 30 * DAY)
        assert retention.pack(database, START + 29 * DAY) == []
        with database.connection() as connection:
            retention.set_pack_after(connection, None)
        assert retention.pack(database, START + 900 * DAY) == []
        with database.connection() as connection:
            retention.set_pack_after(connection, 2 * DAY)
            with pytest.raises(StoreError, match="age of a day or later"):
                retention.set_pack_after(connection, DAY / 2)
        assert len(retention.pack(database, START + 3 * DAY)) == 1

    def test_packed_readings_are_deleted_when_their_time_has_come(
        self, database: Database, ids: list[int]
    ) -> None:
        with database.connection() as connection:
            for first in range(0, 14, 2):
                writing.write(connection, week(ids, first, 2))
        retention.pack(database, START + 60 * DAY)
        keep(database, ("meter", "raw", 90), ("meter", "15min", 90))
        done = retention.apply(database, START + 100 * DAY)
        assert done is not None
        assert done.rows == 10 * 96
        assert min(held(database)[ids[0]]) == 10
        assert min(held(database)[ids[1]]) == 0

    def test_roll_ups_are_packed_and_late_readings_still_reach_them(
        self, database: Database, ids: list[int]
    ) -> None:
        pv = ids[1]
        with database.connection() as connection:
            for first in range(0, 14, 2):
                writing.write(connection, week(ids, first, 2))
        rollups.refresh(database, NOW)
        tables = [level.table for level in rollups.LEVELS]

        def rolled() -> list[list[tuple[object, ...]]]:
            with database.connection() as connection:
                return [
                    connection.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall()
                    for t in tables
                ]

        before = rolled()
        assert len(retention.pack(database, NOW)) >= 4
        assert rolled() == before
        with database.connection() as connection:
            late = batch([(pv, START + DAY + timedelta(minutes=5), 5000.0, 0)])
            assert writing.write(connection, late) == WriteResult(1, 0)
        rollups.refresh(database, NOW)
        for one, other, count in zip(before, rolled(), (2, 5, 97), strict=True):
            (changed,) = set(other) - set(one)
            assert changed[:1] + changed[2:3] + changed[5:6] == (pv, count, 5000.0)
