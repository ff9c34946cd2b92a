"""Plans that follow each other: every step stands in one run, and in the one that was followed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import xarray as xr

from core.timeaxis import HOUR, QUARTER_HOUR, from_datetime64, steps
from store import runs

START = datetime(2026, 6, 22, 6, tzinfo=UTC)


def plan(start: datetime, power_mw: float, *, hours: int = 4) -> xr.Dataset:
    times = steps(start, start + hours * HOUR, QUARTER_HOUR)
    p_mw = np.full((times.size, 2), power_mw)
    return xr.Dataset(
        {
            "p_mw": (("time", "asset"), p_mw, {"units": "MW"}),
            "import_mw": (("time",), np.full(times.size, 10 * power_mw), {"units": "MW"}),
        },
        coords={"time": times, "asset": ["battery-000", "battery-001"]},
    )


def follow(connection: psycopg.Connection, count: int) -> list[int]:
    """``count`` intraday plans, one each quarter-hour, the n-th with a power of n MW."""
    made = []
    for n in range(count):
        known_at = START + n * QUARTER_HOUR - timedelta(minutes=13)
        run_id = runs.start(connection, "intraday", "schedule", known_at)
        schedule = plan(START + n * QUARTER_HOUR, float(n))
        runs.finish(connection, run_id, "optimal", {}, schedule, schedule)
        runs.supersede(connection, run_id)
        made.append(run_id)
    return made


def test_each_step_is_told_by_the_plan_in_force_for_it(connection: psycopg.Connection) -> None:
    follow(connection, 3)
    found = runs.in_force(connection, "intraday", START, START + 6 * HOUR)
    powers = found["p_mw"].sel(asset="battery-000")
    assert powers.to_numpy()[:3].tolist() == [0.0, 1.0, 2.0]
    assert set(powers.to_numpy()[2:].tolist()) == {2.0}  # the newest, to the end of its horizon
    assert from_datetime64(powers.time.to_numpy()[-1]) == START + 2 * QUARTER_HOUR + 4 * HOUR - (
        QUARTER_HOUR
    )
    assert found["import_mw"].to_numpy()[:3].tolist() == [0.0, 10.0, 20.0]


def test_superseded_steps_are_gone_and_the_figures_stay(connection: psycopg.Connection) -> None:
    first, second = follow(connection, 2)
    left = runs.schedule(connection, first)["p_mw"].sel(asset="battery-000").to_numpy()
    assert np.isfinite(left).tolist() == [True] + [False] * 15
    assert np.isfinite(runs.schedule(connection, second)["p_mw"].to_numpy()).all()
    assert runs.by_id(connection, first) is not None


def test_a_plan_made_afterwards_says_nothing_of_the_past(connection: psycopg.Connection) -> None:
    late = runs.start(connection, "day_ahead", "schedule", START + 2 * HOUR)
    runs.finish(connection, late, "optimal", {}, plan(START, 1.0))
    found = runs.in_force(connection, "day_ahead", START, START + 6 * HOUR)
    assert from_datetime64(found.time.to_numpy()[0]) == START + 2 * HOUR


def test_other_kinds_and_assets_are_left_alone(connection: psycopg.Connection) -> None:
    ahead = runs.start(connection, "day_ahead", "schedule", START - HOUR)
    runs.finish(connection, ahead, "optimal", {}, plan(START, 9.0))
    follow(connection, 2)
    assert np.isfinite(runs.schedule(connection, ahead)["p_mw"].to_numpy()).all()
    one = runs.in_force(connection, "intraday", START, START + HOUR, ["battery-001"])
    assert one.asset.to_numpy().tolist() == ["battery-001"]
    assert not runs.in_force(connection, "hindcast", START, START + HOUR).data_vars


def test_power_flows_of_old_runs_go_and_schedules_stay(connection: psycopg.Connection) -> None:
    first, second = follow(connection, 2)
    runs.prune_fields(connection, "intraday", before=START - timedelta(minutes=5))
    assert runs.ac(connection, second).sizes["time"] == 16
    gone = False
    try:
        runs.ac(connection, first)
    except runs.StoreError:
        gone = True
    assert gone
    assert runs.schedule(connection, first).sizes["time"] == 16


def test_runs_of_a_killed_scheduler_are_closed_and_a_consoles_are_not(
    connection: psycopg.Connection,
) -> None:
    left = runs.start(connection, "intraday", "schedule", START)
    console = runs.start(connection, "day", "console", START)
    assert runs.abandon(connection, "It ended before it was done.") == 1
    closed, kept = runs.by_id(connection, left), runs.by_id(connection, console)
    assert closed is not None
    assert (closed.state, closed.reason) == ("failed", "It ended before it was done.")
    assert kept is not None
    assert kept.state == "running"


def test_grounds_stand_beside_the_power_flow_and_an_approved_relaxed_plan_is_followed(
    connection: psycopg.Connection,
) -> None:
    run_id = runs.start(connection, "intraday", "schedule", START - HOUR)
    schedule = plan(START, 1.0)
    grounds = xr.Dataset(
        {
            "binding": (("time", "asset"), np.full((16, 2), 3, dtype=np.int8)),
            "kind": ("asset", ["battery", "pv"]),
            "element": ("element", np.array([], dtype=np.str_)),
        },
        coords={"time": schedule.time.to_numpy(), "asset": ["battery-000", "battery-001"]},
        attrs={"timezone": "Asia/Shanghai", "limits": {"3": ["most_energy", "full", "满"]}},
    )
    summary = {"status": "relaxed", "given": [{"hard": True}, {"hard": False}]}
    runs.finish(connection, run_id, runs.PROPOSED, summary, schedule, schedule, grounds)
    runs.propose(connection, run_id, START)
    assert runs.latest(connection, "intraday") is None
    runs.approve(connection, run_id, "li", "", START - HOUR)
    xr.testing.assert_identical(runs.grounds(connection, run_id), grounds)
    assert set(runs.ac(connection, run_id).data_vars) == {"p_mw", "import_mw"}
    newest = runs.latest(connection, "intraday")
    assert newest is not None
    assert (newest.id, newest.state) == (run_id, "relaxed")  # that limits were opened is not lost
    assert len(runs.opened(newest)) == 1
    followed = runs.in_force(connection, "intraday", START, START + HOUR)
    assert followed["p_mw"].to_numpy().tolist() == [[1.0, 1.0]] * 4
