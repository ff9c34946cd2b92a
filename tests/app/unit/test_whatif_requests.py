"""What-if runs that people ask for on a page, made by the scheduler beside the plans."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from app import whatifs
from app.actions import MOST_WAITING, CityActions
from app.dispatcher import Dispatcher
from app.planning import Horizon, network_of, run_plan
from app.settings import Settings
from app.wiring import City
from core.accounts import Account, Role
from core.errors import ConfigurationError, PermissionDeniedError, TooMuchError
from core.timeaxis import DAY, HOUR, QUARTER_HOUR
from core.whatif import Changes
from store import runs, setpoints

LI = Account("li", Role.OPERATOR)


def ask(city: City, changes: Changes, title: str = "") -> int:
    return CityActions(city).request_what_if(LI, changes, title, title)


def found(city: City, run_id: int) -> runs.Run:
    with city.database.connection() as connection:
        run = runs.by_id(connection, run_id)
    assert run is not None
    return run


@pytest.fixture
def base(city: City, write: Callable[..., None], now: datetime) -> int:
    """The plan in force: loads of 1.5 MW, as a week ago."""
    last_week = now - timedelta(days=7)
    write(
        {f"tiny/load-00{i}/p_mw": 0.5 for i in range(3)}, last_week, last_week + HOUR, QUARTER_HOUR
    )
    horizon = Horizon(now, now + HOUR, now)
    made = run_plan(city, network_of(city), horizon, kind="intraday", requested_by="schedule")
    return made.run_id


def test_a_run_that_is_asked_for_is_planned_beside_its_base_and_never_followed(
    city: City, base: int, now: datetime
) -> None:
    asked = ask(city, Changes(tariff_factor=2.0), "twice the tariff")
    assert found(city, asked).state == "requested"
    Dispatcher(city, Settings()).requested(now)  # no business of the plans that are followed
    assert found(city, asked).state == "requested"
    whatifs.requested(city)
    run, before = found(city, asked), found(city, base)
    assert (run.kind, run.state, run.requested_by) == ("what_if", "optimal", "li")
    told = run.summary["what_if"]
    assert (told["base_run"], told["title_zh"]) == (base, "twice the tariff")
    assert told["asked"] == {"tariff_factor": 2.0}
    cost = [r.summary["planned"]["cost_cny"] for r in (before, run)]
    assert cost[1] == pytest.approx(2 * cost[0], rel=1e-6)
    with city.database.connection() as connection:
        assert runs.decision(connection, asked) is None
        assert setpoints.of_run(connection, asked) == []
        assert runs.latest(connection, "intraday") == before
        kept = runs.in_force(connection, "intraday", now, now + DAY)
    assert kept.sizes["time"] == 4


def test_what_cannot_be_computed_says_why_and_holds_up_nobody(city: City, base: int) -> None:
    asked = {
        "The network has no line 7.": ask(city, Changes(lines=(7,)), "without line 7"),
        "There is no ev_charger in this plan": ask(city, Changes(ev_factor=2.0)),
        "needs something that is different": ask(city, Changes()),
    }
    good = ask(city, Changes(pv_factor=1.5))
    with city.database.connection() as connection:
        for stored, said in (
            ({"pv_factor": -1}, "pv_factor must be a number from 0 on, not -1."),
            ({"wind": 2}, "These are no changes"),
        ):
            told = {"what_if": {"asked": stored}}
            asked[said] = runs.request(connection, "what_if", "li", city.now(), told)
    whatifs.requested(city)
    for said, run_id in asked.items():
        run = found(city, run_id)
        assert run.state == "failed"
        assert said in run.reason
    assert found(city, asked["The network has no line 7."]).summary["what_if"]["title_en"] == (
        "without line 7"
    )
    assert found(city, good).state == "optimal"


def test_before_the_first_plan_there_is_nothing_to_start_from(city: City) -> None:
    asked = ask(city, Changes(pv_factor=2.0))
    whatifs.requested(city)
    reason = "There is no plan yet to start from."
    assert (found(city, asked).state, found(city, asked).reason) == ("failed", reason)


def test_who_may_ask_and_for_how_much(city: City) -> None:
    with pytest.raises(PermissionDeniedError):
        CityActions(city).request_what_if(Account("b", Role.BUREAU), Changes(lines=(0,)), "", "")
    with pytest.raises(ConfigurationError, match="ev_factor must be a number from 0 on"):
        Changes(ev_factor=float("nan"))
    with pytest.raises(ConfigurationError, match="lines must be numbers of elements"):
        Changes.of({"lines": ["0; DROP"]})
    for _ in range(MOST_WAITING):
        ask(city, Changes(lines=(0,)))
    with pytest.raises(TooMuchError, match="5 what-if runs wait already"):
        ask(city, Changes(lines=(0,)))
