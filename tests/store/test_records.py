"""What is saved comes back equal, saving again changes nothing, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import psycopg
import pytest
import xarray as xr

from carbon import factorset
from carbon.footprint import HourlyEnergy, footprints
from core import alerts as life
from core.accounts import Account, Role
from core.alerts import Alert, AlertSeverity, AlertState, Condition
from core.clock import CityClock
from core.errors import StoreError
from core.readings import Rejected
from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, Enterprise, Site, Tag
from store import (
    alerts,
    beats,
    catalogue,
    cityclock,
    forecasts,
    indices,
    quarantine,
    runs,
    series,
    sites,
    users,
)
from store import footprints as footprint_store
from store.database import Connection, Database
from store.forecasts import Score
from store.indices import IndexRow

NOW = datetime(2026, 6, 22, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEP = timedelta(minutes=15)


class TestSeries:
    def test_ids_last_and_descriptions_follow(self, connection: Connection) -> None:
        pv = Series("demo", "pv-001", "p_mw", STEP, owner="mill", timezone="Asia/Shanghai")
        plan = replace(pv, kind=SeriesKind.FORECAST, resolution=None, simulated=True)
        first = series.register(connection, [pv, plan])
        again = series.register(connection, [replace(pv, owner="works"), plan])
        assert again == first == series.ids(connection)
        table = catalogue.search(connection).set_index("key")
        row = table.loc["demo/pv-001/p_mw"]
        assert (row.owner, row.unit, row.resolution) == ("works", "MW", STEP)
        assert not row.simulated
        assert table.loc["demo/pv-001/p_mw@forecast"].resolution is pd.NaT

    def test_nothing_registered(self, connection: Connection) -> None:
        assert series.register(connection, []) == {}
        assert catalogue.search(connection).empty

    def test_a_variable_never_changes_its_unit(self, connection: Connection) -> None:
        pv = Series("demo", "pv-001", "p_mw")
        series.register(connection, [pv])
        connection.execute("UPDATE series SET unit = 'kW'")
        with pytest.raises(StoreError, match=r"stored in 'kW'.* now has the unit 'MW'"):
            series.register(connection, [pv])


def test_site(connection: Connection) -> None:
    site = Site(
        id="demo",
        name_en="Demo",
        name_zh="示范城",
        timezone="Asia/Shanghai",
        lat=53.4,
        lon=116.8,
        simulated=True,
        network_json='{"bus": []}',
        assets=(
            Asset(
                "pv-001",
                AssetKind.PV,
                "PV 1",
                "光伏 1",
                53.4,
                116.8,
                "mill",
                "sgen",
                1,
                {"pdc0_mw": 0.1, "nested": {"hours": [8, 18]}},
            ),
            Asset("air-01", AssetKind.AIR_STATION, "Air 1", "空气 1"),
        ),
        enterprises=(Enterprise("mill", "Mill", "磨坊", "paper", "山东", ("pv-001",)),),
        series=(Series("demo", "pv-001", "p_mw", STEP), Series("demo", "air-01", "o3")),
        tags=(Tag("urn:dev:1", "p", "W", "demo/pv-001/p_mw"),),
        parameters={"import_cny_per_mwh_by_hour": [600.5] * 24, "factor_region": "山东"},
    )
    assert sites.load(connection) is None
    assert sites.revision(connection) == 0
    sites.save(connection, replace(site, name_en="Before"))
    sites.save(connection, site)
    assert sites.load(connection) == site
    assert sites.described(connection) == (site, sites.revision(connection))


def test_city_clock(connection: Connection) -> None:
    assert cityclock.load(connection) is None
    assert cityclock.last_beat(connection) is None
    for pace in (1.0, 60.0):
        clock = CityClock(NOW, NOW - timedelta(days=3), pace)
        cityclock.save(connection, clock)
        assert cityclock.load(connection) == clock
    for later in (NOW, NOW + HOUR):
        cityclock.beat(connection, later)
        assert cityclock.last_beat(connection) == later


KEYS = ["demo/load-001/p_mw", "demo/load-002/p_mw"]


def forecast(start: datetime, steps: int, value: float, keys: list[str] = KEYS) -> xr.DataArray:
    times = pd.date_range(start.replace(tzinfo=None), periods=steps, freq="15min").to_numpy()
    table = value + np.arange(steps)[:, None, None] + np.array([-0.5, 0.0, 0.5])
    return xr.DataArray(
        np.repeat(table, len(keys), axis=1),
        coords={"time": times, "series": keys, "quantile": [0.1, 0.5, 0.9]},
        dims=("time", "series", "quantile"),
        attrs={"units": "MW"},
    )


class TestForecasts:
    @pytest.fixture(autouse=True)
    def registered(self, connection: Connection) -> None:
        series.register(connection, [Series("demo", f"load-00{i}", "p_mw") for i in (1, 2)])

    def test_comes_back_equal_whatever_the_order_of_dims(self, connection: Connection) -> None:
        given = forecast(NOW, 4, 10.0)
        given.values[2, 1, :] = np.nan
        turned = given.transpose("quantile", "series", "time")
        for _ in range(2):
            forecasts.save(connection, "naive", NOW, turned)
        found = forecasts.read(connection, KEYS, NOW, NOW + HOUR)
        xr.testing.assert_identical(found, given.rename("value").assign_coords(found.coords))
        swapped = forecasts.read(connection, KEYS[::-1], NOW, NOW + HOUR)
        np.testing.assert_array_equal(swapped.values, found.values[:, ::-1])

    def test_what_was_known_when(self, connection: Connection) -> None:
        """The newest wins for each time it covers; an earlier view can be replayed."""
        forecasts.save(connection, "naive", NOW, forecast(NOW, 8, 0.0))
        forecasts.save(connection, "naive", NOW + HOUR, forecast(NOW + HOUR, 2, 100.0))

        def median(**asked: object) -> list[float]:
            found = forecasts.read(connection, KEYS[:1], NOW, NOW + 2 * HOUR, **asked)  # type: ignore[arg-type]
            return list(found.sel(quantile=0.5).values[:, 0]) if found.size else []

        assert median() == [0, 1, 2, 3, 100, 101, 6, 7]
        assert median(as_of=NOW + HOUR) == median()
        assert median(as_of=NOW + HOUR - timedelta(microseconds=1)) == list(range(8))
        assert median(as_of=NOW - STEP) == []
        assert median(model="other") == []

    def test_the_window(self, connection: Connection) -> None:
        forecasts.save(connection, "naive", NOW, forecast(NOW, 8, 0.0))
        found = forecasts.read(connection, KEYS, NOW + STEP, NOW + 3 * STEP)
        np.testing.assert_array_equal(found.sel(quantile=0.5).values[:, 0], [1.0, 2.0])

    def test_a_human_can_query_them(self, connection: Connection) -> None:
        forecasts.save(connection, "naive", NOW, forecast(NOW, 2, 10.0, KEYS[:1]))
        rows = connection.execute(
            "SELECT ts, quantile, value FROM forecast_value ORDER BY ts, quantile"
        ).fetchall()
        values = [9.5, 10.0, 10.5, 10.5, 11.0, 11.5]
        times = [NOW] * 3 + [NOW + STEP] * 3
        assert rows == list(zip(times, [0.1, 0.5, 0.9] * 2, values, strict=True))

    def test_what_is_refused(self, connection: Connection) -> None:
        good = forecast(NOW, 4, 0.0)
        with pytest.raises(StoreError, match="even steps"):
            forecasts.save(connection, "naive", NOW, good.isel(time=[0, 1, 3]))
        with pytest.raises(StoreError, match="dims time, series and quantile"):
            forecasts.save(connection, "naive", NOW, good.sel(quantile=0.5))
        with pytest.raises(StoreError, match="no series 'demo/x/p_mw'"):
            forecasts.save(connection, "naive", NOW, forecast(NOW, 1, 0.0, ["demo/x/p_mw"]))

    def test_prune_keeps_what_is_to_be_kept(self, connection: Connection) -> None:
        kept = Series("demo", "all", "p_mw", kind=SeriesKind.ESTIMATED)
        series.register(connection, [kept])
        for known_at in (NOW - HOUR, NOW):
            forecasts.save(connection, "m", known_at, forecast(NOW, 1, 0.0, [KEYS[0], kept.key]))
        assert forecasts.prune(connection, before=NOW, keep_kind="estimated") == 1
        assert forecasts.prune(connection, before=NOW) == 1
        assert forecasts.read(connection, KEYS[:1], NOW, NOW + HOUR).sizes["time"] == 1

    def test_scores(self, connection: Connection) -> None:
        one = Score("naive", KEYS[0], NOW, HOUR, "mae", 0.5)
        forecasts.save_scores(connection, [one, replace(one, metric="rmse", value=0.75)])
        forecasts.save_scores(connection, [replace(one, value=0.25)])
        table = forecasts.scores(connection, metric="mae", keys=KEYS, since=NOW, model="naive")
        assert table.to_dict("records") == [
            {
                "model": "naive",
                "key": KEYS[0],
                "known_at": NOW,
                "horizon": HOUR,
                "metric": "mae",
                "value": 0.25,
            }
        ]
        assert len(forecasts.scores(connection)) == 2
        assert len(forecasts.scores(connection, limit=1)) == 1


def plan() -> tuple[xr.Dataset, xr.Dataset]:
    """A schedule with gaps and an AC result, as optimization returns them."""
    time = pd.date_range("2026-06-22", periods=96, freq="15min").to_numpy()
    rng = np.random.default_rng(1)
    p_mw, soc = rng.normal(size=(96, 3)), rng.random((96, 3))
    soc[:, 1] = np.nan
    schedule = xr.Dataset(
        {
            "p_mw": (("time", "asset"), p_mw, {"units": "MW"}),
            "soc": (("time", "asset"), soc, {"units": "1"}),
            "import_mw": ("time", rng.random(96), {"units": "MW"}),
        },
        {"time": time, "asset": ["pv-002", "battery-001", "ev-000"]},
        {"case": "planned"},
    )
    ac = xr.Dataset(
        {
            "vm_pu": (("time", "bus"), rng.random((96, 5)).astype(np.float32), {"units": "pu"}),
            "losses_mw": ("time", rng.random(96), {"units": "MW"}),
            "tap_pos": ("trafo", np.array([0, -2])),
        },
        {"time": time, "bus": np.arange(5), "trafo": ["T1", "T2"]},
    )
    return schedule, ac


class TestRuns:
    def test_result_comes_back_identical_and_finishing_again_changes_nothing(
        self, connection: Connection
    ) -> None:
        schedule, ac = plan()
        run_id = runs.start(connection, "day_ahead", "operator", NOW)
        assert runs.latest(connection, "day_ahead") is None
        for _ in range(2):
            runs.finish(connection, run_id, "optimal", {"cost_cny": 12.5}, schedule, ac)
        xr.testing.assert_identical(runs.schedule(connection, run_id), schedule)
        xr.testing.assert_identical(runs.ac(connection, run_id), ac)
        assert runs.ac(connection, run_id)["vm_pu"].dtype == np.float32
        run = runs.latest(connection, "day_ahead")
        assert run is not None
        assert (run.id, run.state, run.summary) == (run_id, "optimal", {"cost_cny": 12.5})
        assert run.city_at == NOW
        assert run.finished_at is not None
        assert runs.recent(connection, 5) == [run]

    def test_schedule_rows_hold_no_nan(self, connection: Connection) -> None:
        run_id = runs.start(connection, "day_ahead", "operator", NOW)
        runs.finish(connection, run_id, "optimal", {}, plan()[0])
        rows = connection.execute(
            "SELECT asset, variable, count(*) FROM schedule GROUP BY 1, 2 ORDER BY 2, 1"
        ).fetchall()
        soc = [(asset, "soc", 96) for asset in ("ev-000", "pv-002")]
        p_mw = [(asset, "p_mw", 96) for asset in ("battery-001", "ev-000", "pv-002")]
        assert rows == [("", "import_mw", 96), *p_mw, *soc]

    def test_failure(self, connection: Connection) -> None:
        run_id = runs.start(connection, "day_ahead", "operator", NOW)
        runs.fail(connection, run_id, "no solution")
        run = runs.by_id(connection, run_id)
        assert run is not None
        assert (run.state, run.reason) == ("failed", "no solution")
        with pytest.raises(StoreError, match="has ended as 'failed' already"):
            runs.finish(connection, run_id, "optimal", {})
        with pytest.raises(StoreError, match="no schedule"):
            runs.schedule(connection, run_id)
        with pytest.raises(StoreError, match="no power flow"):
            runs.ac(connection, run_id)

    def test_no_such_run_and_no_such_end(self, connection: Connection) -> None:
        with pytest.raises(StoreError, match="does not exist"):
            runs.fail(connection, 7, "")
        with pytest.raises(StoreError, match="cannot finish as 'running'"):
            runs.finish(connection, 7, "running", {})

    def test_what_a_killed_scheduler_left_behind(self, connection: Connection) -> None:
        """Its running runs fail; those still to come, done, or at a console are not touched."""
        left = runs.start(connection, "intraday", "scheduler", NOW)
        asked = runs.request(connection, "day_ahead", "operator", NOW)
        console = runs.start(connection, "day_ahead", "console", NOW)
        done = runs.start(connection, "day_ahead", "scheduler", NOW)
        runs.finish(connection, done, "optimal", {})
        failed = runs.start(connection, "day_ahead", "scheduler", NOW)
        runs.fail(connection, failed, "no solution")
        before = {run.id: run for run in runs.recent(connection, 9) if run.id != left}
        assert runs.abandon(connection, "The process ended.") == 1
        found = runs.by_id(connection, left)
        assert found is not None
        assert (found.state, found.reason) == (runs.FAILED, "The process ended.")
        assert found.finished_at is not None
        after = {run.id: run for run in runs.recent(connection, 9) if run.id != left}
        assert after == before
        assert before.keys() == {asked, console, done, failed}
        assert runs.abandon(connection, "The process ended.") == 0
        with pytest.raises(StoreError, match="has ended as 'failed' already"):
            runs.finish(connection, left, "optimal", {})

    def test_a_requested_run_is_taken_once(self, database: Database) -> None:
        with database.connection() as connection:
            ids = [runs.request(connection, kind, "web", NOW) for kind in "aab"]
        with database.connection() as one, database.connection() as other:
            assert [run.id for run in runs.take_requested(one, "a")] == ids[:2]
            taken = runs.take_requested(other)
            assert [(run.id, run.state) for run in taken] == [(ids[2], "running")]

    def test_a_worker_takes_no_more_than_it_can_do(self, connection: Connection) -> None:
        first, second = (runs.request(connection, "a", "web", NOW) for _ in range(2))
        assert [run.id for run in runs.take_requested(connection, "a", 1)] == [first]
        assert [run.id for run in runs.take_requested(connection, "a", 1)] == [second]
        assert runs.take_requested(connection, "a", 1) == []

    def test_what_is_asked_stands_with_the_run_until_its_result_does(
        self, connection: Connection
    ) -> None:
        asked = {"what_if": {"asked": {"lines": [3]}}}
        failed, done = (runs.request(connection, "a", "li", NOW, asked) for _ in range(2))
        assert [run.summary for run in runs.take_requested(connection)] == [asked, asked]
        runs.fail(connection, failed, "There is no line 3.")
        runs.fail(connection, failed, "There is no line 3.")  # a repetition changes nothing
        runs.finish(connection, done, "optimal", {"planned": {}})
        ended = [runs.by_id(connection, number) for number in (failed, done)]
        assert [run and (run.state, run.summary, run.reason) for run in ended] == [
            ("failed", asked, "There is no line 3."),
            ("optimal", {"planned": {}}, ""),
        ]

    @pytest.mark.parametrize(
        "bad", [xr.Dataset({"x": ("bus", [1.0])}), xr.Dataset({"x": (("asset", "time"), [[1.0]])})]
    )
    def test_other_dims_are_no_schedule(self, connection: Connection, bad: xr.Dataset) -> None:
        run_id = runs.start(connection, "day_ahead", "operator", NOW)
        with pytest.raises(StoreError, match="'x' has the dims"):
            runs.finish(connection, run_id, "optimal", {}, bad)

    def test_objects_are_no_arrays(self, connection: Connection) -> None:
        run_id = runs.start(connection, "day_ahead", "operator", NOW)
        mixed = xr.Dataset({"x": ("bus", np.array([1, "a"], dtype=object))})
        with pytest.raises(StoreError, match="'x' cannot be stored"):
            runs.finish(connection, run_id, "optimal", {}, None, mixed)


def condition(severity: AlertSeverity = AlertSeverity.WARNING, value: float = 120.0) -> Condition:
    return Condition("aqi", "air-01", severity, value, "1", "Air is bad.", "空气差。")


class TestAlerts:
    def test_life(self, connection: Connection) -> None:
        (opened,) = alerts.save(connection, life.advance([], [condition()], NOW))
        assert alerts.active(connection) == [opened]
        assert opened.id is not None
        seen = alerts.acknowledge(connection, opened.id, "bureau", "on it", NOW + HOUR)
        assert (seen.state, seen.acknowledged_by) == (AlertState.ACKNOWLEDGED, "bureau")
        changed = life.advance([seen], [], NOW + 2 * HOUR)
        (closed,) = alerts.save(connection, changed)
        assert closed == replace(changed[0], acknowledged_by="bureau", comment="on it")
        assert alerts.active(connection) == []
        assert alerts.recent(connection) == [closed]
        with pytest.raises(StoreError, match="no open alert"):
            alerts.acknowledge(connection, opened.id, "bureau", "", NOW)

    def test_two_processes_open_one(self, connection: Connection) -> None:
        (first,) = alerts.save(connection, [Alert(condition(), AlertState.OPEN, NOW, NOW)])
        later = Alert(condition(value=130.0), AlertState.OPEN, NOW + HOUR, NOW + HOUR)
        (second,) = alerts.save(connection, [later])
        assert (second.id, second.opened_at, second.condition.value) == (first.id, NOW, 130.0)

    @pytest.mark.parametrize(
        ("severity", "expected"),
        [
            (AlertSeverity.WARNING, AlertState.ACKNOWLEDGED),
            (AlertSeverity.NOTICE, AlertState.ACKNOWLEDGED),
            (AlertSeverity.CRITICAL, AlertState.OPEN),
        ],
    )
    def test_acknowledged_while_a_rule_was_being_checked(
        self, connection: Connection, severity: AlertSeverity, expected: AlertState
    ) -> None:
        (opened,) = alerts.save(connection, life.advance([], [condition()], NOW))
        changed = life.advance([opened], [condition(severity, 150.0)], NOW + HOUR)
        assert opened.id is not None
        alerts.acknowledge(connection, opened.id, "bureau", "", NOW + HOUR)
        (saved,) = alerts.save(connection, changed)
        assert (saved.state, saved.condition.value) == (expected, 150.0)

    def test_closing_and_opening_in_one_go(self, connection: Connection) -> None:
        (opened,) = alerts.save(connection, life.advance([], [condition()], NOW))
        closed = replace(opened, state=AlertState.CLOSED, closed_at=NOW + HOUR)
        reopened = Alert(condition(), AlertState.OPEN, NOW + HOUR, NOW + HOUR)
        alerts.save(connection, [reopened, closed])
        (active,) = alerts.active(connection)
        assert active.id != opened.id


def test_quarantine_keeps_what_came(connection: Connection) -> None:
    long = bytes(range(256)) * 5000
    rejected = [
        Rejected("mqtt", "no JSON", b"\x00\xff{", NOW, {"topic": "a/b"}),
        Rejected("mqtt\x00", "unknown\ud800 tag", long, NOW + HOUR, {"k\x00": "v\x00"}),
        Rejected("mqtt", "no JSON", b"", NOW),
    ]
    quarantine.add(connection, rejected)
    table = quarantine.recent(connection)
    assert list(table.payload) == [long[: 1024 * 1024], b"", b"\x00\xff{"]
    assert list(table.payload_bytes) == [len(long), 0, 3]
    assert table.iloc[2].detail == {"topic": "a/b"}
    assert table.iloc[0].source == "mqtt\N{REPLACEMENT CHARACTER}"
    assert quarantine.counts(connection) == {"no JSON": 2, "unknown? tag": 1}
    assert len(quarantine.recent(connection, 1)) == 1


class TestDeadLetters:
    @pytest.fixture
    def held(self, connection: Connection) -> list[quarantine.Held]:
        """Three of one device and one that nobody could read, an hour apart."""
        quarantine.add(
            connection,
            [
                Rejected("senml/x", "unknown device", b"0", NOW, {"device": "m-1"}),
                Rejected("senml/x", "no JSON", b"{", NOW + HOUR),
                Rejected("senml/x", "unknown device", b"2", NOW + 2 * HOUR, {"device": "m-1"}),
                Rejected("senml/y", "unit", b"3" * 1_500_000, NOW + 3 * HOUR, {"device": "m-1"}),
            ],
        )
        return quarantine.pending(connection)

    def test_pages_in_the_order_they_came(
        self, connection: Connection, held: list[quarantine.Held]
    ) -> None:
        assert [h.payload[:1] for h in held] == [b"0", b"{", b"2", b"3"]
        assert [h.whole for h in held] == [True, True, True, False]
        assert [h.device for h in held] == ["m-1", "", "m-1", "m-1"]
        pages = [quarantine.pending(connection, limit=3)]
        pages.append(quarantine.pending(connection, after=pages[0][-1].id, limit=3))
        assert [*pages[0], *pages[1]] == held

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (quarantine.Filter(device="m-1"), [0, 2, 3]),
            (quarantine.Filter(reason="unknown device"), [0, 2]),
            (quarantine.Filter(source="senml/x", since=NOW + HOUR), [1, 2]),
            (quarantine.Filter(since=NOW + HOUR, until=NOW + 2 * HOUR), [1]),
            (quarantine.Filter(device="m-2"), []),
            (quarantine.Filter(ids=()), []),
        ],
    )
    def test_filters(
        self,
        connection: Connection,
        held: list[quarantine.Held],
        wanted: quarantine.Filter,
        found: list[int],
    ) -> None:
        assert quarantine.pending(connection, wanted) == [held[n] for n in found]
        ids = tuple(held[n].id for n in found)
        assert quarantine.pending(connection, quarantine.Filter(ids=ids)) == [
            held[n] for n in found
        ]

    def test_what_is_resolved_is_resolved_once_and_forgotten_later(
        self, connection: Connection, held: list[quarantine.Held]
    ) -> None:
        ids = [h.id for h in held]
        replayed, dismissed = quarantine.Resolution.REPLAYED, quarantine.Resolution.DISMISSED
        assert quarantine.resolve(connection, ids[:2], replayed, NOW) == 2
        assert quarantine.resolve(connection, ids[:3], dismissed, NOW + HOUR) == 1
        assert [h.id for h in quarantine.pending(connection)] == ids[3:]
        assert quarantine.counts(connection) == {"unit": 1}
        states = quarantine.recent(connection).set_index("id")["resolution"]
        assert [states[n] for n in ids] == ["replayed", "replayed", "dismissed", None]
        assert quarantine.forget(connection, before=NOW + HOUR) == 2
        assert set(quarantine.recent(connection).id) == set(ids[2:])


class TestBeats:
    def heard(self, connection: Connection) -> list[tuple[str, float, float]]:
        def minutes(ts: datetime) -> float:
            return (ts - NOW).total_seconds() / 60

        found = beats.read(connection, NOW - HOUR, NOW + HOUR)
        return [(b.receiver, minutes(b.since), minutes(b.until)) for b in found]

    def test_a_pause_begins_a_new_row(self, connection: Connection) -> None:
        for minute in (0, 0.5, 1.5, 2, 5, 5.5):
            beats.beat(connection, "mqtt", NOW + minute * timedelta(minutes=1))
        beats.beat(connection, "hj212", NOW + timedelta(minutes=1))
        assert self.heard(connection) == [("hj212", 1, 1), ("mqtt", 0, 2), ("mqtt", 5, 5.5)]
        assert beats.first(connection) == {"mqtt": NOW, "hj212": NOW + timedelta(minutes=1)}

    def test_a_faster_city_beats_further_apart(self, connection: Connection) -> None:
        for minute in (0, 5, 10):
            at = NOW + timedelta(minutes=minute)
            beats.beat(connection, "mqtt", at, gap=timedelta(minutes=6))
        assert self.heard(connection) == [("mqtt", 0, 10)]

    def test_a_clock_that_is_set_back(self, connection: Connection) -> None:
        """Within a row it says nothing new; before it, it begins one of its own."""
        for minute in (10, 10.5, 10.2, 3, 3.5):
            beats.beat(connection, "mqtt", NOW + minute * timedelta(minutes=1))
        assert ("mqtt", 10, 10.5) in self.heard(connection)
        assert any(since == 3 for _, since, _ in self.heard(connection))

    def test_old_ones_are_forgotten(self, connection: Connection) -> None:
        for minute in (0, 10):
            beats.beat(connection, "mqtt", NOW + timedelta(minutes=minute))
        assert beats.forget(connection, before=NOW + timedelta(minutes=5)) == 1
        assert self.heard(connection) == [("mqtt", 10, 10)]


class TestUsers:
    HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g"
    TOKEN = bytes(range(32))

    def open(self, connection: Connection) -> None:
        users.add(connection, "ann", Role.ENTERPRISE, owner="mill", password_hash=self.HASH)
        users.open_session(connection, "ann", self.TOKEN, at=NOW, expires_at=NOW + 8 * HOUR)

    def user(self, connection: Connection, at: datetime) -> users.User | None:
        return users.session_user(connection, self.TOKEN, at=at, idle=HOUR)

    def test_an_installation_begins_without_accounts(self, connection: Connection) -> None:
        assert users.all_users(connection) == []
        assert users.find(connection, "admin") is None

    def test_passwords_come_hashed(self, connection: Connection) -> None:
        with pytest.raises(StoreError, match="argon2id"):
            users.add(connection, "ann", Role.ADMIN, password_hash="secret")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(
                "INSERT INTO account VALUES ('ann', 'admin', '', 'secret', true, false)"
            )

    def test_an_account(self, connection: Connection) -> None:
        self.open(connection)
        user = users.find(connection, "ann")
        assert user == users.User("ann", Role.ENTERPRISE, "mill", self.HASH, True, False)
        assert user is not None
        assert user.account == Account("ann", Role.ENTERPRISE, "mill")
        with pytest.raises(StoreError, match="'ann' already"):
            users.add(connection, "ann", Role.ADMIN, password_hash=self.HASH)

    def test_a_session_ends_by_idleness_and_by_age(self, connection: Connection) -> None:
        self.open(connection)
        at = NOW
        while at < NOW + 8 * HOUR:  # in use all the time
            assert self.user(connection, at) is not None
            at += timedelta(minutes=59)
        assert self.user(connection, NOW + 8 * HOUR) is None, "expired"
        assert users.sweep(connection, NOW + 8 * HOUR) == 1

    def test_an_idle_session_is_not_revived(self, connection: Connection) -> None:
        self.open(connection)
        assert self.user(connection, NOW + HOUR) is None
        assert self.user(connection, NOW + HOUR + STEP) is None

    def test_ends_with_the_account_the_password_and_itself(self, connection: Connection) -> None:
        self.open(connection)
        users.set_active(connection, "ann", active=False)
        assert self.user(connection, NOW) is None
        with pytest.raises(StoreError, match="no active account 'ann'"):
            users.open_session(connection, "ann", self.TOKEN, at=NOW, expires_at=NOW + HOUR)
        users.set_active(connection, "ann", active=True)
        assert self.user(connection, NOW) is None, "the old session stays ended"
        for end in (
            lambda: users.set_password(connection, "ann", self.HASH),
            lambda: users.close_session(connection, self.TOKEN),
        ):
            users.open_session(connection, "ann", self.TOKEN, at=NOW, expires_at=NOW + HOUR)
            assert self.user(connection, NOW) is not None
            end()
            assert self.user(connection, NOW) is None

    def test_unknown_names(self, connection: Connection) -> None:
        with pytest.raises(StoreError, match="no account 'bob'"):
            users.set_active(connection, "bob", active=False)
        assert users.session_user(connection, b"x" * 32, at=NOW, idle=HOUR) is None


def test_indices(connection: Connection) -> None:
    row = IndexRow("air-01", "aqi", NOW, 57.0, "hj633_2026", {"primary": ["pm2_5"]})
    other = replace(row, subject="city", ts=NOW + HOUR, value=None)
    indices.save(connection, [replace(row, value=1.0), other])
    indices.save(connection, [row])
    table = indices.read(connection, "aqi", NOW, NOW + 2 * HOUR)
    assert list(table.subject) == ["air-01", "city"]
    assert table.value[0] == 57.0
    assert np.isnan(table.value[1])
    assert table.detail[0] == {"primary": ["pm2_5"]}
    assert len(indices.read(connection, "aqi", NOW, NOW + 2 * HOUR, subjects=["city"])) == 1
    assert len(indices.read(connection, "aqi", NOW, NOW + HOUR)) == 1
    assert indices.read(connection, "aqi", NOW, NOW + HOUR, standard="hj633_2012").empty
    assert list(indices.latest(connection, "aqi").ts) == [NOW, NOW + HOUR]
    assert indices.last_hour(connection, "aqi", "city") == NOW + HOUR
    assert indices.last_hour(connection, "leak_rate", "dma-1") is None


def test_footprints_are_exact_and_levels_never_added(connection: Connection) -> None:
    hours = [
        HourlyEnergy(NOW + k * HOUR, e, Decimal(1)) for k, e in enumerate([Decimal("0.1")] * 3)
    ]
    made = list(footprints("mill", "山东", hours, factorset.load()))
    for _ in range(2):
        footprint_store.save(connection, made)
    table = footprint_store.read(connection, NOW, NOW + 3 * HOUR)
    assert len(table) == len(made) == 6
    stored = {(r.ts, r.level): (r.e_mwh, r.kgco2e, r.factor_id) for r in table.itertuples()}
    assert stored == {(f.hour, f.level): (f.e_mwh, f.kgco2, f.factor_id) for f in made}
    totals = footprint_store.totals(connection, NOW, NOW + 3 * HOUR)
    assert list(totals.e_mwh) == [Decimal("0.3")] * 2
    assert footprint_store.last_hour(connection, "mill") == NOW + 2 * HOUR
    assert footprint_store.last_hour(connection, "works") is None
    province = footprint_store.read(
        connection, NOW, NOW + HOUR, enterprises=["mill"], level="province"
    )
    assert len(province) == 1
