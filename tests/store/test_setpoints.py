"""Plans that wait for a person, and set-points from the plan to the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
import xarray as xr

from core.errors import NotWaitingError
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.timeaxis import HOUR, QUARTER_HOUR, steps
from store import runs, setpoints

START = datetime(2026, 6, 22, 6, tzinfo=UTC)


def made(
    connection: psycopg.Connection, start: datetime, p_mw: float, *, proposed: bool = False
) -> int:
    """An intraday plan of four hours for one battery, known a quarter-hour before it begins."""
    run_id = runs.start(connection, "intraday", "schedule", start - QUARTER_HOUR)
    times = steps(start, start + 4 * HOUR, QUARTER_HOUR)
    table = np.full((times.size, 1), p_mw)
    plan = xr.Dataset({"p_mw": (("time", "asset"), table)}, {"time": times, "asset": ["b-0"]})
    runs.finish(connection, run_id, runs.PROPOSED if proposed else runs.OPTIMAL, {}, plan)
    if proposed:
        runs.propose(connection, run_id, start + QUARTER_HOUR)
    else:
        runs.supersede(connection, run_id)
    asked = Setpoint("b-0", times, np.full(times.size, p_mw), start + 2 * HOUR, 0.0, run_id)
    setpoints.prepare(connection, run_id, [asked])
    return run_id


def send(connection: psycopg.Connection, run_id: int, at: datetime) -> None:
    setpoints.sending(connection, run_id, setpoints.of_run(connection, run_id), at)
    setpoints.sent(connection, run_id)


def in_force(connection: psycopg.Connection) -> list[float]:
    found = runs.in_force(connection, "intraday", START, START + 2 * HOUR)["p_mw"]
    return [float(p) for p in found.sel(asset="b-0")]


def test_reactive_power_is_kept_with_what_the_device_says_of_it(
    connection: psycopg.Connection,
) -> None:
    run_id = made(connection, START, 0.2)
    (plain,) = setpoints.of_run(connection, run_id)
    assert plain.q_mvar is None
    q_mvar = np.where(plain.times == plain.times[1], np.nan, -0.05)
    setpoints.sending(connection, run_id, [replace(plain, q_mvar=q_mvar)], START)
    answer = Acknowledgement("b-0", START, Answer.ACCEPTED, "b", q_refused=True)
    assert setpoints.acknowledge(connection, [answer], START) == []
    (newest,) = setpoints.newest(connection)
    np.testing.assert_array_equal(newest.setpoint.q_mvar, q_mvar)
    assert (newest.status, newest.q_refused) == ("accepted", True)


def test_a_set_point_goes_from_prepared_to_answered(connection: psycopg.Connection) -> None:
    run_id = made(connection, START, 0.2)
    assert setpoints.due(connection) == run_id
    assert setpoints.newest(connection) == []
    (asked,) = setpoints.of_run(connection, run_id)
    assert (asked.asset, asked.fallback_mw, asked.valid_until) == ("b-0", 0.0, START + 2 * HOUR)
    setpoints.sending(connection, run_id, [asked], START)
    assert setpoints.due(connection) == run_id  # a process may be killed before the broker has it
    answer = Acknowledgement("b-0", START, Answer.REFUSED, "the battery", "too hot")
    assert setpoints.acknowledge(connection, [answer], START + HOUR) == []  # a fast device
    setpoints.sent(connection, run_id)
    assert setpoints.due(connection) is None
    (newest,) = setpoints.newest(connection)
    assert (newest.status, newest.answered_by, newest.reason) == (
        "refused",
        "the battery",
        "too hot",
    )
    assert newest.answered_at == START + HOUR


def test_an_answer_to_nothing_comes_back(connection: psycopg.Connection) -> None:
    send(connection, made(connection, START, 0.2), START)
    stranger = Acknowledgement("b-0", START + HOUR, Answer.ACCEPTED)
    assert setpoints.acknowledge(connection, [stranger], START) == [stranger]
    assert [one.status for one in setpoints.newest(connection)] == ["sent"]


def test_what_a_newer_plan_has_overtaken_is_never_sent(connection: psycopg.Connection) -> None:
    made(connection, START, 0.1)
    newer = made(connection, START + QUARTER_HOUR, 0.2)
    assert setpoints.due(connection) == newer
    send(connection, newer, START)
    assert setpoints.due(connection) is None


def test_what_each_asset_was_asked_when_an_interval_began(connection: psycopg.Connection) -> None:
    send(connection, made(connection, START, 0.1), START - timedelta(minutes=13))
    send(connection, made(connection, START + HOUR, 0.2), START + timedelta(minutes=47))
    starts = [START + n * HOUR for n in (-1, 0, 1, 2, 3, 5)]
    table = setpoints.asked(connection, ["b-0", "b-1"], starts)
    # Before anything; the first; the second; at 2 h it counts still; then its safe default.
    np.testing.assert_array_equal(table[:, 0], [np.nan, 0.1, 0.2, 0.2, 0.0, 0.0])
    assert np.isnan(table[:, 1]).all()


def test_old_set_points_go_and_the_newest_of_an_asset_stays(connection: psycopg.Connection) -> None:
    for n in range(3):
        send(connection, made(connection, START + n * HOUR, 0.1), START + n * HOUR)
    assert setpoints.forget(connection, before=START + 10 * HOUR) == 2
    assert [one.issued_at for one in setpoints.newest(connection)] == [START + 2 * HOUR]


# --- approval ----------------------------------------------------------------------------------


def test_a_proposal_changes_nothing_until_it_is_approved(connection: psycopg.Connection) -> None:
    send(connection, made(connection, START, 0.1), START)
    waiting = made(connection, START + QUARTER_HOUR, 0.2, proposed=True)
    assert in_force(connection) == [0.1] * 8
    assert setpoints.due(connection) is None
    latest = runs.latest(connection, "intraday")
    assert latest is not None
    assert latest.id < waiting
    at = START + timedelta(minutes=20)
    runs.approve(connection, waiting, "li", "good for the peak", at)
    assert setpoints.due(connection) == waiting
    # The step under way stays with the plan before it: approval came within it.
    assert in_force(connection) == [0.1] * 2 + [0.2] * 6
    decided = runs.decision(connection, waiting)
    assert decided is not None
    assert (decided.decision, decided.decided_by, decided.comment, decided.city_at) == (
        "approved",
        "li",
        "good for the peak",
        at,
    )
    assert decided.decided_at is not None


def test_a_refused_plan_leaves_the_plan_in_force(connection: psycopg.Connection) -> None:
    made(connection, START, 0.1)
    waiting = made(connection, START + QUARTER_HOUR, 0.2, proposed=True)
    runs.refuse(connection, waiting, "li", "battery 3 is being repaired", START)
    assert in_force(connection) == [0.1] * 8
    there = runs.by_id(connection, waiting)
    assert there is not None
    assert (there.state, there.reason) == ("refused", "Refused by li: battery 3 is being repaired")
    for act in (runs.approve, runs.refuse):
        with pytest.raises(NotWaitingError, match="does not wait for approval: it is refused"):
            act(connection, waiting, "wang", "", START)


def test_nobody_approves_what_is_over_or_never_was(connection: psycopg.Connection) -> None:
    waiting = made(connection, START, 0.2, proposed=True)
    late = START + HOUR
    with pytest.raises(NotWaitingError, match="its time is over"):
        runs.approve(connection, waiting, "li", "", late)
    assert runs.lapse(connection, START) == 0
    assert runs.lapse(connection, late) == 1
    there = runs.by_id(connection, waiting)
    assert there is not None
    assert (there.state, there.reason) == ("lapsed", "Nobody approved it in time.")
    with pytest.raises(NotWaitingError, match="no run 999999"):
        runs.approve(connection, 999_999, "li", "", START)
    optimal = made(connection, START, 0.2)
    with pytest.raises(NotWaitingError, match="it is optimal"):
        runs.approve(connection, optimal, "li", "", START)


def test_of_two_proposals_the_newer_one_stays(connection: psycopg.Connection) -> None:
    older = made(connection, START, 0.1, proposed=True)
    newer = made(connection, START + QUARTER_HOUR, 0.2, proposed=True)
    assert runs.lapse(connection, START) == 1
    states = {run.id: (run.state, run.reason) for run in runs.recent(connection, 2)}
    assert states[older] == ("lapsed", "A newer plan came before anybody decided.")
    assert states[newer][0] == "proposed"
    decided = runs.decisions(connection, [older, newer, 999_999])
    assert {run_id: d.decision for run_id, d in decided.items()} == {older: "lapsed", newer: None}


def test_runs_are_listed_by_kind(connection: psycopg.Connection) -> None:
    plan = made(connection, START, 0.1)
    what_if = runs.start(connection, "what_if", "console", START)
    assert [r.id for r in runs.recent(connection, 1, ["what_if"])] == [what_if]
    assert [r.id for r in runs.recent(connection, 1, ["intraday", "day_ahead"])] == [plan]
    assert [r.id for r in runs.recent(connection, 1)] == [what_if]
