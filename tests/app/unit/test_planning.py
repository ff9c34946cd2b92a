"""What a plan is made from: nothing that was not known, and a run that tells how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import planning
from app.planning import Horizon, assemble, expected, network_of, run_plan
from app.wiring import City
from core.errors import ConfigurationError, NetworkError, PowerFlowError
from core.readings import batch
from core.sites import AssetKind, Site
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, from_datetime64, steps, to_datetime64
from optimization.result import Status
from store import forecasts, runs, series, writing
from store.database import Database

P = "tiny/load-000/p_mw"
WEEK = timedelta(days=7)
Write = Callable[..., None]


def foretell(
    database: Database, key: str, known_at: datetime, median: float, start: datetime, end: datetime
) -> None:
    """Store a forecast of ``median`` with half and double of it as its quantiles."""
    times = steps(start, end, QUARTER_HOUR)
    values = np.broadcast_to([median / 2, median, median * 2], (len(times), 1, 3))
    array = xr.DataArray(
        values,
        dims=("time", "series", "quantile"),
        coords={"time": times, "series": [key], "quantile": [0.1, 0.5, 0.9]},
    )
    with database.connection() as connection:
        forecasts.save(connection, "test", known_at, array)


def ask(database: Database, horizon: Horizon, key: str = P) -> list[float]:
    with database.connection() as connection:
        found = expected(connection, [key], horizon, QUARTER_HOUR)
    assert found.dims == ("time", "series")
    assert not np.isnan(found).any()
    return [float(v) for v in found.to_numpy()[:, 0]]


# --- expected ----------------------------------------------------------------------------------


def test_measured_then_forecast_then_last_week_then_nothing(
    city: City, write: Write, now: datetime
) -> None:
    """Two hours from 30 minutes ago, known now: 2 steps measured, 2 forecast, 2 of last week."""
    start, end = now - 2 * QUARTER_HOUR, now + 6 * QUARTER_HOUR
    write({P: 1.0}, start, now, QUARTER_HOUR)
    foretell(city.database, P, now - HOUR, 2.0, start, now + 2 * QUARTER_HOUR)
    write({P: 3.0}, start - WEEK, now - WEEK + 4 * QUARTER_HOUR, QUARTER_HOUR)
    found = ask(city.database, Horizon(start, end, known_at=now))
    assert found == [1, 1, 2, 2, 3, 3, 0, 0]


def test_a_step_that_has_not_ended_is_not_measured(city: City, write: Write, now: datetime) -> None:
    """At 12:07 the step from 12:00 on is a forecast, whatever its meter will say at 12:15."""
    write({P: 9.0}, now - QUARTER_HOUR, now + HOUR, QUARTER_HOUR)
    foretell(city.database, P, now - HOUR, 2.0, now - HOUR, now + HOUR)
    horizon = Horizon(now - QUARTER_HOUR, now + QUARTER_HOUR, now + timedelta(minutes=7))
    assert ask(city.database, horizon) == [9.0, 2.0]


def test_the_newest_forecast_that_was_known_counts(city: City, now: datetime) -> None:
    for hours, value in ((-3, 1.0), (-1, 2.0), (1, 3.0)):
        foretell(city.database, P, now + hours * HOUR, value, now, now + DAY)
    later = Horizon(now, now + HOUR, known_at=now)
    assert ask(city.database, later) == [2.0] * 4
    assert ask(city.database, replace(later, known_at=now - 2 * HOUR)) == [1.0] * 4
    assert ask(city.database, replace(later, known_at=now - 4 * HOUR)) == [0.0] * 4


def test_a_gap_in_the_past_is_filled_by_what_had_been_forecast(
    city: City, write: Write, now: datetime
) -> None:
    write({P: 1.0}, now - HOUR, now - QUARTER_HOUR, QUARTER_HOUR)  # the newest has not come yet
    foretell(city.database, P, now - HOUR, 2.0, now - HOUR, now + HOUR)
    assert ask(city.database, Horizon(now - HOUR, now, now)) == [1, 1, 1, 2]


@given(
    noise=st.lists(
        st.tuples(st.integers(-60, 24 * 60), st.floats(-1e3, 1e3)), min_size=1, max_size=8
    ),
    start=st.integers(-96, 96),
    minutes=st.integers(0, 14),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_after_known_at_can_change_what_is_expected(
    city: City,
    write: Write,
    now: datetime,
    noise: list[tuple[int, float]],
    start: int,
    minutes: int,
) -> None:
    """No look-ahead: a city with a future and one without it expect the same."""
    known_at = now + timedelta(minutes=minutes)
    first = now + start * QUARTER_HOUR
    horizon = Horizon(first, first + DAY, known_at)
    write({P: 1.0}, now - 2 * DAY, now, HOUR)
    foretell(city.database, P, now - 2 * DAY, 2.0, now - DAY, now + 6 * HOUR)
    with city.database.connection() as connection:
        before = expected(connection, [P], horizon, QUARTER_HOUR)
    with city.database.connection() as connection, connection.transaction(force_rollback=True):
        series_id = series.ids(connection)[P]
        for minute, value in noise:  # readings of steps that had not ended at known_at
            ts = max(now + timedelta(minutes=minute), now)
            writing.write(connection, batch([(series_id, ts, value, 0)]))
        table = before.expand_dims(quantile=[0.5], axis=2) + 100.0
        forecasts.save(connection, "test", known_at + timedelta(seconds=1), table)
        after = expected(connection, [P], horizon, QUARTER_HOUR)
    xr.testing.assert_equal(before, after)


# --- assemble ----------------------------------------------------------------------------------


def test_a_problem_of_the_tiny_city(city: City, write: Write, now: datetime) -> None:
    start = now + QUARTER_HOUR
    for i, p_mw in enumerate((1.0, 2.0, 3.0)):
        write({f"tiny/load-00{i}/p_mw": p_mw}, now - DAY, now, QUARTER_HOUR)
        write({f"tiny/load-00{i}/q_mvar": p_mw / 4}, now - DAY, now, QUARTER_HOUR)
        foretell(city.database, f"tiny/load-00{i}/p_mw", now, 2 * p_mw, now, now + 2 * DAY)
    foretell(city.database, "tiny/pv-000/p_mw", now, -0.1, now, now + 2 * DAY)
    write({"tiny/battery-000/soc": 0.7}, now - HOUR, now, QUARTER_HOUR)
    with city.database.connection() as connection:
        problem = assemble(connection, city, network_of(city), Horizon(start, start + DAY, now))
    assert problem.steps == 96
    assert problem.times[0] == to_datetime64(start)
    loads = problem.injections["load_p_mw"]
    assert loads.sel(load=2).to_numpy() == pytest.approx(6.0)
    # The same power factor as in the last day: a quarter of the forecast power.
    assert problem.injections["load_q_mvar"].sel(load=2).to_numpy() == pytest.approx(1.5)
    # PV takes nothing from the grid, whatever a forecast says.
    assert (problem.injections["sgen_p_mw"] == 0.0).all()
    by_asset = {e.asset: e for e in problem.envelopes}
    assert set(by_asset) == {"pv-000", "battery-000"}
    energy = by_asset["battery-000"].account
    assert energy is not None
    assert energy.initial_mwh == pytest.approx(0.7 * 2.0)
    # 内蒙古 0.6479 kgCO2/kWh, newest published year.
    assert problem.kgco2e_per_mwh == pytest.approx(647.9)
    # Horizon from 12:15 in Shanghai: 800 until midnight, then 400 until 08:00.
    midnight = int((24 - 12.25) * 4)
    assert set(problem.import_cny_per_mwh[:midnight]) == {800.0}
    assert set(problem.import_cny_per_mwh[midnight : midnight + 32]) == {400.0}
    assert problem.carbon_cny_per_tco2e == 80.0
    assert problem.timezone == "Asia/Shanghai"


def test_a_missing_parameter_or_network_is_named(
    with_site: Callable[..., City], city: City, now: datetime
) -> None:
    horizon = Horizon(now, now + DAY, now)
    network = network_of(city)
    less = {k: v for k, v in city.site.parameters.items() if k != "import_limit_mw"}
    without = with_site(parameters=less)
    with (
        pytest.raises(ConfigurationError, match="'import_limit_mw' must be a number"),
        without.database.connection() as connection,
    ):
        assemble(connection, without, network, horizon)
    with pytest.raises(ConfigurationError, match="'tiny' has no network"):
        network_of(with_site(network_json=""))
    with pytest.raises(NetworkError):
        network_of(with_site(network_json="{"))


# --- where the battery stands ------------------------------------------------------------------


def state_of_charge(city: City, horizon: Horizon) -> float | None:
    with city.database.connection() as connection:
        return planning._states(connection, city, horizon)["battery-000"].get("soc")


def test_the_state_of_charge_is_the_one_at_the_end_of_the_step_before(
    city: City, write: Write, now: datetime
) -> None:
    """A reading names the beginning of its interval and tells the state at its end."""
    hours = np.arange(8) / 10.0  # 0.0 at now - 2 h, ..., 0.7 in the step that ends at now
    write({"tiny/battery-000/soc": hours}, now - 2 * HOUR, now, QUARTER_HOUR)
    soon = Horizon(now + QUARTER_HOUR, now + DAY + QUARTER_HOUR, now)
    assert state_of_charge(city, soon) == pytest.approx(0.7)
    past = Horizon(now - HOUR, now, now)  # begins where the fourth step ended
    assert state_of_charge(city, past) == pytest.approx(0.3)
    # As of ten minutes ago the newest step had not ended.
    earlier = replace(soon, known_at=now - timedelta(minutes=10))
    assert state_of_charge(city, earlier) == pytest.approx(0.6)


def test_a_plan_for_tomorrow_begins_where_the_plan_of_today_ends(
    city: City, write: Write, now: datetime
) -> None:
    write({"tiny/battery-000/soc": 0.9}, now - HOUR, now, QUARTER_HOUR)
    tomorrow = Horizon(now + 12 * HOUR, now + 36 * HOUR, now)
    assert state_of_charge(city, tomorrow) == pytest.approx(0.9)  # nothing better is known
    made = run_plan(
        city,
        network_of(city),
        Horizon(now + QUARTER_HOUR, now + QUARTER_HOUR + DAY, now),
        kind="intraday",
        requested_by="test",
    )
    soc = made.plan.schedule["soc"].sel(asset="battery-000")
    last_step = to_datetime64(tomorrow.start - QUARTER_HOUR)
    assert state_of_charge(city, tomorrow) == pytest.approx(float(soc.sel(time=last_step)))


def test_what_a_plan_has_moved_is_known_to_the_next_one(
    with_site: Callable[..., City], site: Site, write: Write, now: datetime
) -> None:
    """No device says what a load has put off: the plan that it followed does."""
    movable = {"p_max_mw": 2.0, "shift_hours": 2.0}
    city = with_site(
        assets=tuple(
            replace(a, kind=AssetKind.FLEXIBLE_LOAD, parameters=movable)
            if a.id == "load-000"
            else a
            for a in site.assets
        )
    )
    foretell(city.database, P, now, 1.0, now, now + 2 * DAY)
    start = now + QUARTER_HOUR
    made = run_plan(
        city,
        network_of(city),
        Horizon(start, start + DAY, now),
        kind="intraday",
        requested_by="test",
    )
    content = made.plan.schedule["content_mwh"].sel(asset="load-000").to_numpy()
    assert content.min() < -0.5  # something waits for cheaper hours

    def moved(later: Horizon) -> float | None:
        with city.database.connection() as connection:
            return planning._states(connection, city, later)["load-000"].get("e_ahead_mwh")

    for step in range(1, 96, 5):
        begins = start + step * QUARTER_HOUR
        later = Horizon(begins, begins + DAY, begins - QUARTER_HOUR)
        assert moved(later) == pytest.approx(content[step - 1], abs=1e-8)
    at_first = Horizon(start, start + DAY, now)
    assert moved(at_first) is None
    waits = int(content.argmin())
    begins = start + (waits + 1) * QUARTER_HOUR
    with city.database.connection() as connection:
        problem = assemble(
            connection, city, network_of(city), Horizon(begins, begins + DAY, begins - QUARTER_HOUR)
        )
    account = next(e.account for e in problem.envelopes if e.asset == "load-000")
    assert account.initial_mwh == pytest.approx(content[waits], abs=1e-8)


# --- run_plan ----------------------------------------------------------------------------------


def newest(city: City) -> runs.Run:
    with city.database.connection() as connection:
        return runs.recent(connection, 1)[0]


def test_a_plan_is_stored_with_its_figures_schedule_and_power_flow(
    city: City, write: Write, now: datetime
) -> None:
    """Load 1 MW all day, battery of 2 MWh, cheap nights: charge at 400, use at 800 CNY/MWh."""
    foretell(city.database, P, now, 1.0, now, now + 2 * DAY)
    write({"tiny/battery-000/soc": 0.5}, now - HOUR, now, QUARTER_HOUR)
    said: list[str] = []
    made = run_plan(
        city,
        network_of(city),
        Horizon(now + QUARTER_HOUR, now + QUARTER_HOUR + DAY, now),
        kind="intraday",
        requested_by="test",
        progress=said.append,
    )
    assert said
    assert made.plan.status is Status.OPTIMAL
    assert made.plan.planned.cost_cny < made.plan.baseline.cost_cny
    run = newest(city)
    assert (run.id, run.state, run.requested_by, run.city_at) == (
        made.run_id,
        "optimal",
        "test",
        now,
    )
    with city.database.connection() as connection:
        kept, flow = runs.schedule(connection, run.id), runs.ac(connection, run.id)
    xr.testing.assert_allclose(kept["p_mw"], made.plan.schedule["p_mw"])
    assert flow.sizes["time"] == 96
    p_mw = kept["p_mw"].sel(asset="battery-000")
    local_hour = np.array([(from_datetime64(t).hour + 8) % 24 for t in kept.time.to_numpy()])
    assert p_mw.to_numpy()[local_hour < 8].sum() > 0  # charges at night
    assert p_mw.to_numpy()[local_hour >= 8].sum() < 0


def test_a_plan_that_cannot_be_calculated_is_a_failed_run_with_its_reason(
    city: City, now: datetime
) -> None:
    """A gigawatt over one kilometre of 20 kV line: no power flow."""
    foretell(city.database, P, now, 5000.0, now, now + 2 * DAY)
    with pytest.raises(PowerFlowError) as caught:
        run_plan(
            city,
            network_of(city),
            Horizon(now, now + DAY, now),
            kind="intraday",
            requested_by="test",
        )
    run = newest(city)
    assert run.state == "failed"
    assert run.reason == str(caught.value)
    assert run.finished_at is not None


def test_a_problem_that_cannot_be_put_together_is_a_failed_run_too(
    with_site: Callable[..., City], city: City, now: datetime
) -> None:
    network = network_of(city)
    without = with_site(parameters={})
    with city.database.connection() as connection:
        asked = runs.request(connection, "intraday", "li", now)
        (taken,) = runs.take_requested(connection)
    with pytest.raises(ConfigurationError) as caught:
        run_plan(
            without,
            network,
            Horizon(now, now + DAY, now),
            kind="intraday",
            requested_by="li",
            run_id=taken.id,
        )
    run = newest(without)
    assert (run.id, run.state) == (asked, "failed")
    assert run.reason == str(caught.value)


def test_what_had_to_give_is_a_stored_answer(
    with_site: Callable[..., City], city: City, now: datetime
) -> None:
    """A battery that shall be full by tomorrow and charges too slowly: no failure of ours."""
    full = {"p_max_mw": 0.001, "e_max_mwh": 2.0, "soc_end": 1.0}
    assets = [
        replace(a, parameters=full) if a.kind is AssetKind.BATTERY else a for a in city.site.assets
    ]
    tight = with_site(assets=tuple(assets))
    made = run_plan(
        tight,
        network_of(tight),
        Horizon(now, now + DAY, now),
        kind="intraday",
        requested_by="test",
    )
    assert made.plan.status is Status.RELAXED
    assert newest(tight).state == "proposed"  # whether a limit gives is an operator's to decide
    (given,) = newest(tight).summary["given"]
    assert (given["subject"], given["unit"]) == ("battery-000", "MWh")


def test_an_interrupted_plan_is_not_left_running(
    city: City, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning.risk, "plan", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        run_plan(
            city,
            network_of(city),
            Horizon(now, now + DAY, now),
            kind="day",
            requested_by="console",
        )
    assert newest(city).state == "failed"
