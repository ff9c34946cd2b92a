"""What is missing, and on which side of the wire: the rule by itself, then on real rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.readings import READING_DTYPE, Rejected
from core.series import Series, SeriesKind
from core.sites import AssetKind, DeviceProfile, ProfileTag, Site, Tag
from core.timeaxis import to_us
from store import beats, gaps, quarantine, series, sites, writing
from store.beats import Listening
from store.database import Connection
from store.gaps import Cause, Run, Silence

START = datetime(2026, 6, 22, tzinfo=UTC)
STEP = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
KEY = "demo/meter-1/p_mw"
DAY = timedelta(days=1)


def run(missing: int, start: datetime = START) -> Run:
    return Run(KEY, "meter-1", start, STEP, missing)


class TestTheRule:
    def test_a_receiver_that_listened_blames_the_source(self) -> None:
        assert gaps.causes(run(4), [], held=False) == [(0, 4, Cause.SOURCE)]

    def test_a_message_that_was_refused_explains_the_run(self) -> None:
        assert gaps.causes(run(4), [], held=True) == [(0, 4, Cause.PIPELINE)]

    def test_the_run_is_cut_where_the_receiver_came_back(self) -> None:
        """Away from 00:20 to 01:00:30: intervals due at 00:30 and 00:45, not that of 01:00."""
        silence = Silence(START + 20 * MINUTE, START + 60.5 * MINUTE)
        assert gaps.causes(run(8), [silence], held=False) == [
            (0, 1, Cause.SOURCE),
            (1, 3, Cause.PIPELINE),
            (3, 8, Cause.SOURCE),
        ]

    @given(
        st.integers(1, 40),
        st.lists(st.integers(-100, 800), min_size=2, max_size=8, unique=True).map(sorted),
    )
    def test_each_interval_by_itself(self, missing: int, edges: Sequence[int]) -> None:
        silent = [
            Silence(START + a * MINUTE, START + b * MINUTE)
            for a, b in zip(edges[::2], edges[1::2], strict=False)
        ]
        parts = gaps.causes(run(missing), silent, held=False)
        named = [cause for first, last, cause in parts for _ in range(first, last)]
        expected = []
        for k in range(missing):
            due = START + (k + 1) * STEP
            lost = any(s.since < due and due + gaps.PATIENCE <= s.until for s in silent)
            expected.append(Cause.PIPELINE if lost else Cause.SOURCE)
        assert named == expected
        assert all(first < last for first, last, _ in parts)

    @given(
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=6),
        st.integers(0, 60),
    )
    def test_silence_is_where_nobody_listened(
        self, spans: list[tuple[int, int]], known: int
    ) -> None:
        listening = [Listening("r", START + a * MINUTE, START + (a + n) * MINUTE) for a, n in spans]
        found = gaps.silences(listening, START + known * MINUTE, START, START + 60 * MINUTE)
        for second in range(30, 3540, 60):  # between the minutes, so that no edge is hit
            at = START + timedelta(seconds=second)
            heard = any(one.since < at < one.until for one in listening)
            unheard = any(s.since < at < s.until for s in found)
            assert unheard == (not heard and second > known * 60)


@pytest.fixture
def write(connection: Connection) -> Callable[..., None]:
    """Writes readings of a series at numbers of quarter-hours after START."""

    def store(places: Sequence[float], key: str = KEY, step: timedelta = STEP) -> None:
        site, asset, variable = key.split("/")
        (number,) = series.register(connection, [Series(site, asset, variable, step)]).values()
        rows = np.zeros(len(places), READING_DTYPE)
        rows["series_id"] = number
        rows["ts_us"] = [to_us(START + n * step) for n in places]
        writing.write(connection, rows)

    return store


def found(
    connection: Connection, hours: float = 2.0, keys: Sequence[str] | None = (KEY,)
) -> list[tuple[float, float, int, str]]:
    """Gaps of two hours from START: begin and end in quarter-hours, how many, and why."""
    table = gaps.find(connection, keys, START, START + timedelta(hours=hours))
    assert list(table.columns) == ["key", "start", "end", "missing", "cause"]

    def places(column: pd.Series) -> list[float]:
        return [(ts - START) / STEP for ts in column]

    return list(
        zip(places(table.start), places(table.end), table.missing, table.cause, strict=True)
    )


class TestWhatIsMissing:
    def test_nothing_where_all_is_there(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        write(range(-4, 12))
        assert found(connection) == []

    def test_runs_inside_and_at_both_ends(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        write([-3, 2, 3, 5, 9])  # before the range and after its last but one too
        assert found(connection) == [
            (0, 2, 2, "source"),
            (4, 5, 1, "source"),
            (6, 8, 2, "source"),
        ]

    def test_an_interval_that_is_not_over_is_not_missing(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        write([-1, 0, 1, 2])
        for hours, missing in ((0.75, 0), (0.99, 0), (1.0, 1), (1.24, 1), (1.25, 2)):
            assert sum(row[2] for row in found(connection, hours)) == missing

    def test_a_series_misses_nothing_before_its_first_reading(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        write([5, 6, 7])
        assert found(connection) == []
        series.register(connection, [Series("demo", "meter-2", "p_mw", STEP)])
        assert found(connection, keys=["demo/meter-2/p_mw"]) == []

    @pytest.mark.parametrize("days", [3, 300])
    @pytest.mark.parametrize("back", [False, True])
    def test_a_device_that_has_been_silent_for_long(
        self, connection: Connection, write: Callable[..., None], days: int, back: bool
    ) -> None:
        write([-96 * days])
        if back:
            write([6, 7])
        connection.execute(
            "INSERT INTO reading_latest SELECT series_id, max(ts), 1, 0 FROM reading GROUP BY 1"
        )
        assert found(connection) == [(0, 6, 6, "source") if back else (0, 8, 8, "source")]

    def test_its_newest_reading_need_not_be_known_yet(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        write([-96 * 3])
        assert found(connection) == [(0, 8, 8, "source")]

    def test_a_clock_that_wanders_misses_nothing(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        write([-1, 0.1, 0.9, 2.2, 3.0, 3.8, 5, 6, 7])
        assert found(connection) == []
        write([10.3])
        assert found(connection, 3.0)[0][2] == 2

    def test_what_has_no_resolution_or_is_not_measured_is_not_asked(
        self, connection: Connection
    ) -> None:
        instants = Series("demo", "meter-1", "vm_pu")
        estimate = Series("demo", "meter-1", "p_mw", STEP, kind=SeriesKind.ESTIMATED)
        rows = np.zeros(4, READING_DTYPE)
        ids = series.register(connection, [instants, estimate])
        rows["series_id"] = np.repeat(list(ids.values()), 2)
        rows["ts_us"] = [to_us(START - STEP), to_us(START + 6 * STEP)] * 2
        writing.write(connection, rows)
        assert gaps.find(connection, None, START, START + DAY).empty

    def test_all_series(self, connection: Connection, write: Callable[..., None]) -> None:
        write([-1, 1, 2, 3, 4, 5, 6, 7], "demo/a/p_mw")
        write([-1, 0, 1, 2, 3, 4, 5, 7], "demo/b/p_mw")
        write(range(-1, 8), "demo/c/p_mw")
        table = gaps.find(connection, None, START, START + timedelta(hours=2))
        assert [(k, (t - START) / STEP) for k, t in zip(table.key, table.start, strict=True)] == [
            ("demo/a/p_mw", 0),
            ("demo/b/p_mw", 6),
        ]

    @pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25)])  # noqa: DTZ001
    def test_days_of_23_and_25_hours_are_no_gap(
        self, connection: Connection, day: datetime
    ) -> None:
        """A daily series of Berlin, labelled at local midnight, over both changes of the clock."""
        daily = Series("demo", "dma-1", "billed_m3", DAY, timezone="Europe/Berlin")
        (number,) = series.register(connection, [daily]).values()
        midnights = pd.date_range(day - 2 * DAY, periods=6, freq="D", tz="Europe/Berlin")
        rows = np.zeros(5, READING_DTYPE)
        rows["series_id"] = number
        rows["ts_us"] = [to_us(ts.to_pydatetime()) for ts in midnights.delete(4)]
        writing.write(connection, rows)
        begin, end = midnights[0].to_pydatetime(), midnights[5].to_pydatetime()
        (row,) = gaps.find(connection, [daily.key], begin, end).itertuples()
        assert (row.start, row.missing) == (midnights[4], 1)

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        places=st.sets(st.integers(-20, 30)), first=st.integers(-5, 5), length=st.integers(1, 20)
    )
    def test_equals_a_set(
        self, connection: Connection, places: set[int], first: int, length: int
    ) -> None:
        connection.execute("TRUNCATE reading")
        (number,) = series.register(connection, [Series("demo", "meter-1", "p_mw", STEP)]).values()
        rows = np.zeros(len(places), READING_DTYPE)
        rows["series_id"] = number
        rows["ts_us"] = [to_us(START + n * STEP) for n in places]
        writing.write(connection, rows)
        begin, end = START + first * STEP, START + (first + length) * STEP
        table = gaps.find(connection, [KEY], begin, end)
        named = {
            round((row.start - START) / STEP) + k
            for row in table.itertuples()
            for k in range(row.missing)
        }
        expected = set(range(first, first + length)) - places
        assert named == {n for n in expected if any(place < n for place in places)}


PROFILE = DeviceProfile(
    "stack", "hj212", "8831*", AssetKind.AIR_STATION, (ProfileTag("a34013", "pm10", "mg/m3"),)
)
SITE = Site(
    id="demo",
    name_en="Demo",
    name_zh="示范城",
    timezone="Asia/Shanghai",
    lat=31.0,
    lon=121.0,
    simulated=False,
    network_json="",
    assets=(),
    enterprises=(),
    series=(),
    tags=(Tag("dev-1", "p", "kW", KEY),),
    profiles=(PROFILE,),
)


class TestWhy:
    @pytest.fixture(autouse=True)
    def rows(self, connection: Connection, write: Callable[..., None]) -> None:
        """Intervals 2 to 5 of eight are missing."""
        write([-1, 0, 1, 6, 7])
        sites.save(connection, SITE)

    def listen(self, connection: Connection, receiver: str, *spans: tuple[float, float]) -> None:
        for since, until in spans:
            for place in np.arange(since, until + 0.01, 0.05):
                beats.beat(connection, receiver, START + float(place) * STEP)

    def test_nothing_is_known_of_receivers(self, connection: Connection) -> None:
        assert found(connection) == [(2, 6, 4, "source")]

    def test_somebody_listened(self, connection: Connection) -> None:
        self.listen(connection, "mqtt", (-1, 9))
        assert found(connection) == [(2, 6, 4, "source")]

    def test_nobody_listened_for_a_part_of_it(self, connection: Connection) -> None:
        self.listen(connection, "mqtt", (-1, 4.5), (6.5, 9))
        assert found(connection) == [(2, 4, 2, "source"), (4, 6, 2, "pipeline")]

    def test_a_receiver_that_has_not_come_back(
        self, connection: Connection, write: Callable[..., None]
    ) -> None:
        self.listen(connection, "mqtt", (-1, 8.5))
        assert found(connection, 3.0)[1:] == [(8, 12, 4, "pipeline")]

    def test_another_receiver_listened(self, connection: Connection) -> None:
        self.listen(connection, "mqtt", (-1, 2))
        self.listen(connection, "files", (-1, 9))
        assert found(connection) == [(2, 6, 4, "source")]

    def test_the_receiver_of_its_own_protocol_is_asked(self, connection: Connection) -> None:
        connection.execute(
            "INSERT INTO asset (id, site, kind, name_en, name_zh, district, owner, device, profile)"
            " VALUES ('meter-1', 'demo', 'air_station', '', '', '', '', '88310001', 'stack')"
        )
        self.listen(connection, "mqtt", (-1, 9))
        self.listen(connection, "hj212:2", (-1, 2.5), (6.5, 9))
        assert found(connection) == [(2, 6, 4, "pipeline")]

    @pytest.mark.parametrize(
        ("device", "place", "cause"),
        [
            ("dev-1", 3.0, "pipeline"),
            ("dev-1", 6.9, "pipeline"),  # right after it
            ("dev-1", 7.2, "source"),
            ("dev-1", 1.9, "source"),
            ("dev-2", 3.0, "source"),
        ],
    )
    def test_messages_of_the_device_in_quarantine(
        self, connection: Connection, device: str, place: float, cause: str
    ) -> None:
        at = START + place * STEP
        quarantine.add(connection, [Rejected("t", "no unit", b"", at, {"device": device})])
        assert found(connection) == [(2, 6, 4, cause)]

    def test_what_was_dismissed_held_no_readings(self, connection: Connection) -> None:
        rejected = [Rejected("t", "noise", b"", START + 3 * STEP, {"device": "dev-1"})]
        quarantine.add(connection, rejected)
        (held,) = quarantine.pending(connection)
        quarantine.resolve(connection, [held.id], quarantine.Resolution.DISMISSED, START)
        assert found(connection) == [(2, 6, 4, "source")]

    def test_devices_that_registered_themselves(self, connection: Connection) -> None:
        sites.save(connection, replace(SITE, tags=()))
        rejected = [Rejected("t", "unit", b"", START + 3 * STEP, {"device": "dev-7"})]
        quarantine.add(connection, rejected)
        assert found(connection) == [(2, 6, 4, "source")]
        connection.execute(
            "INSERT INTO device_tag (device, tag, unit, series_key)"
            " VALUES ('dev-7', 'p', 'kW', %s)",
            (KEY,),
        )
        assert found(connection) == [(2, 6, 4, "pipeline")]
