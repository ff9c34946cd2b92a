"""What the city asks of its plans: wrong parameters are named, the others reach the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from app import asked, demandcalls, outside, pareto, promised
from app.actions import CityActions
from app.demandcalls import NewCall
from app.planning import Horizon, Made, network_of, run_plan
from app.wiring import City
from core.accounts import Account, Role
from core.errors import ConfigurationError, NotWaitingError, PermissionDeniedError
from core.readings import Quality, batch
from core.series import Series
from core.sites import Asset, AssetKind, Site
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, parse, steps, to_datetime64
from store import calls, forecasts, runs, series, writing
from store.database import Database

P = "tiny/load-000/p_mw"
PRICES = {"position_above_cny_per_mwh": 300.0, "position_below_cny_per_mwh": 200.0}
RESERVE = {
    "name": "spinning",
    "direction": "up",
    "requirement_mw": 0.3,
    "price_cny_per_mw_h": 5.0,
    "breach_cny_per_mw_h": 50.0,
}
Write = Callable[..., None]


def foretell(database: Database, key: str, known_at: datetime, values: Any) -> None:
    """A forecast of ``values`` (a number or one for each hour) for two days from known_at on."""
    times = steps(known_at, known_at + 2 * DAY, HOUR)
    table = np.broadcast_to(values, times.shape)[:, None, None]
    coords = {"time": times, "series": [key], "quantile": [0.5]}
    array = xr.DataArray(table, dims=("time", "series", "quantile"), coords=coords)
    with database.connection() as connection:
        forecasts.save(connection, "test", known_at, array)


def ahead(now: datetime, hours: int = 4) -> Horizon:
    """A short day: the next hours from the next step on."""
    return Horizon(now + QUARTER_HOUR, now + QUARTER_HOUR + hours * HOUR, now)


def terms(city: City, horizon: Horizon, kind: str = "day") -> asked.Asked:
    times = steps(horizon.start, horizon.end, QUARTER_HOUR)
    with city.database.connection() as connection:
        return asked.of_city(connection, city, times, horizon.known_at, kind=kind)


def planned(city: City, horizon: Horizon, kind: str = "intraday") -> Made:
    return run_plan(city, network_of(city), horizon, kind=kind, requested_by="test")


def items(made: Made) -> dict[str, dict[str, Any]]:
    return {item["what"]: item for item in made.asked}


# --- parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"peak_cny_per_mw_month": "dear"}, "'peak_cny_per_mw_month' cannot be 'dear'"),
        ({"peak_cny_per_mw_month": -1}, "'peak_cny_per_mw_month' cannot be -1"),
        ({"peak_cny_per_mw_month": True}, "'peak_cny_per_mw_month' cannot be True"),
        ({"peak_minimum_mw": float("nan")}, "'peak_minimum_mw' cannot be nan"),
        ({"peak_valley_target_mw": 3.0}, "'peak_valley_breach_cny_per_mw' cannot be None"),
        ({"position_below_cny_per_mwh": 3.0}, "'position_above_cny_per_mwh' cannot be None"),
        ({"unserved_cny_per_mwh": 0}, "'unserved_cny_per_mwh' cannot be 0"),
        ({"weights": {"fun": 1}}, "'weights' cannot be {'fun': 1}"),
        ({"weights": {"carbon": "x"}}, "'weights.carbon' cannot be 'x'"),
        ({"reserves": RESERVE}, "'reserves' cannot be"),
        ({"reserves": [{**RESERVE, "power": 1}]}, r"'reserves\[0\]' cannot be"),
        ({"reserves": [{**RESERVE, "name": ""}]}, r"'reserves\[0\].name' cannot be ''"),
        ({"reserves": [{**RESERVE, "direction": "left"}]}, "direction' cannot be 'left'"),
        ({"reserves": [{**RESERVE, "requirement_mw": [1, 2]}]}, r"cannot be \[1, 2\]"),
        ({"reserves": [{**RESERVE, "assets": ["load-000"]}]}, r"cannot be \['load-000'\]"),
        ({"reserves": [RESERVE, RESERVE]}, r"'reserves\[1\].name' cannot be 'spinning'"),
        (
            {"reserves": [{**RESERVE, "price_cny_per_mw_h": 0, "breach_cny_per_mw_h": 0}]},
            "no plan holds any reserve",
        ),
        ({"import_price_series": "price"}, "'import_price_series' cannot be 'price'"),
        ({"import_price_series": "load-000/p_mw"}, "must be in CNY/MWh"),
        ({"import_price_series": "market/price_cny_per_mwh"}, "has no such series"),
        ({"import_intensity_series": "load-000/wishes"}, "must be in kgCO2e/MWh"),
    ],
)
def test_what_no_plan_could_be_made_by_is_named_with_its_value(
    site: Site, given: dict[str, Any], says: str
) -> None:
    asked.check(site)
    with pytest.raises(ConfigurationError, match=says):
        asked.check(replace(site, parameters=site.parameters | given))


def test_nothing_is_asked_where_the_parameters_are_silent(city: City, now: datetime) -> None:
    found = terms(city, ahead(now), "intraday")
    assert (found.peak, found.peak_valley, found.position, found.unserved) == (None,) * 4
    assert (found.reserves, found.calls, found.notes) == ((), (), ())


def test_a_requirement_follows_the_local_hour(site: Site, city: City, now: datetime) -> None:
    by_hour = {**RESERVE, "requirement_mw": [float(h) for h in range(24)]}
    wanting = replace(
        city, site=replace(site, parameters=site.parameters | {"reserves": [by_hour]})
    )
    (reserve,) = terms(wanting, ahead(now, 2)).reserves  # 12:15 to 14:15 in Shanghai
    assert reserve.requirement_mw.tolist() == [12.0] * 3 + [13.0] * 4 + [14.0]


# --- the month's peak --------------------------------------------------------------------------


def with_substation(make: Callable[..., City], site: Site, **parameters: Any) -> City:
    """The tiny city with a measured substation, and with ``parameters``."""
    substation = Asset("substation", AssetKind.SUBSTATION, "Substation", "")
    measured = Series("tiny", "substation", "import_mw", QUARTER_HOUR, timezone="Asia/Shanghai")
    return make(
        assets=(*site.assets, substation),
        series=(*site.series, measured),
        parameters=site.parameters | parameters,
    )


def test_the_peak_so_far_is_of_this_local_month_and_was_measured_before_the_plan(
    with_site: Callable[..., City], site: Site, write: Write, now: datetime
) -> None:
    city = with_substation(with_site, site, peak_cny_per_mw_month=40_000.0)
    key, month = "tiny/substation/import_mw", parse("2026-06-01T00:00:00+08:00")
    write({key: 9.0}, month - HOUR, month, QUARTER_HOUR)  # of May
    write({key: 5.0}, month, month + HOUR, QUARTER_HOUR)
    write({key: 7.0}, now, now + HOUR, QUARTER_HOUR)  # has not come when the plan is made
    spike = 99.0, int(Quality.OUT_OF_RANGE)
    with city.database.connection() as connection:
        number = series.ids(connection)[key]
        writing.write(connection, batch([(number, month + 2 * HOUR, *spike)]))
    found = terms(city, ahead(now))
    assert found.peak is not None
    assert (found.peak.peak_so_far_mw, found.peak_source) == (5.0, "substation")
    assert found.notes == ()
    first = terms(city, Horizon(month, month + HOUR, known_at=month - HOUR))
    assert first.peak is not None
    assert (first.peak.peak_so_far_mw, first.peak_source) == (0.0, "")
    billed = replace(
        city, site=replace(city.site, parameters=city.site.parameters | {"peak_minimum_mw": 6.0})
    )
    found = terms(billed, ahead(now))
    assert found.peak is not None
    assert found.peak.peak_so_far_mw == 6.0


def test_without_a_substation_meter_the_others_are_added_up_and_it_is_said(
    with_site: Callable[..., City], site: Site, write: Write, now: datetime
) -> None:
    city = with_site(parameters=site.parameters | {"peak_cny_per_mw_month": 40_000.0})
    nothing = terms(city, ahead(now))
    assert (nothing.peak_source, len(nothing.notes)) == ("nothing", 1)
    write({P: 3.0, "tiny/load-001/p_mw": 2.0}, now - HOUR, now, QUARTER_HOUR)
    write({"tiny/pv-000/p_mw": 1.0, "tiny/battery-000/p_mw": 0.25}, now - HOUR, now, QUARTER_HOUR)
    found = terms(city, ahead(now))
    assert found.peak is not None
    assert found.peak.peak_so_far_mw == pytest.approx(4.25)
    assert "sum of the meters" in found.notes[0].message


# --- prices from a market ----------------------------------------------------------------------


def test_a_price_is_the_known_one_else_the_forecast_else_the_tariff(
    with_site: Callable[..., City], site: Site, write: Write, now: datetime
) -> None:
    """Hours of a market: one published, one foretold, then nothing; steps of 15 minutes."""
    market = Series("tiny", "market", "price_cny_per_mwh", HOUR, timezone="Asia/Shanghai")
    city = with_site(
        series=(*site.series, market),
        parameters=site.parameters | {"import_price_series": "market/price_cny_per_mwh"},
    )
    asked.check(city.site)
    key, times = market.key, steps(now + QUARTER_HOUR, now + 3 * HOUR, QUARTER_HOUR)
    write({key: 450.0}, now, now + HOUR, HOUR)
    foretell(
        city.database, key, now - 2 * DAY + 2 * HOUR, -30.0
    )  # its last hour begins at now + 1 h
    tariff = np.full(len(times), 800.0)
    with city.database.connection() as connection:
        found = outside.over(connection, city.site, "import_price_series", tariff, times, now)
        early = outside.over(
            connection, city.site, "import_price_series", tariff, times, now - 3 * DAY
        )
        same = outside.over(connection, city.site, "export_price_series", tariff, times, now)
    assert found.tolist() == [450.0] * 3 + [-30.0] * 4 + [800.0] * 4
    assert early.tolist() == [450.0] * 3 + [800.0] * 8  # nobody had foretold it yet
    assert same is tariff


# --- in a plan ---------------------------------------------------------------------------------


def test_what_is_asked_reaches_the_plan_its_summary_and_says_what_it_costs(
    with_site: Callable[..., City], site: Site, write: Write, now: datetime
) -> None:
    """1 MW of load, a battery of 0.5 MW and 2 MWh half full, a call below what there is."""
    city = with_site(
        parameters=site.parameters
        | {"peak_cny_per_mw_month": 40_000.0, "reserves": [RESERVE], "unserved_cny_per_mwh": 9e4}
        | {"peak_valley_target_mw": 3.0, "peak_valley_breach_cny_per_mw": 10.0}
        | {"weights": {"discomfort": 2.0}}
    )
    foretell(city.database, P, now, 1.0)
    write({"tiny/battery-000/soc": 0.5}, now - HOUR, now, QUARTER_HOUR)
    call = NewCall("evening", now + HOUR + timedelta(minutes=5), now + 2 * HOUR, 0.9, 2_000.0)
    with city.database.connection() as connection:
        call_id = demandcalls.add(connection, call, "li", now)
    made = planned(city, ahead(now))
    assert made.problem.weights.discomfort == 2.0
    found = items(made)
    assert set(found) == {"peak", "peak_valley", "call", "reserve", "unserved"}
    assert (found["call"]["call"], found["call"]["kept"], found["call"]["cny"]) == (
        call_id,
        True,
        0,
    )
    net = made.plan.ac["import_mw"] - made.plan.ac["export_mw"]
    touched = net.sel(
        time=slice(to_datetime64(now + HOUR), to_datetime64(now + 2 * HOUR - HOUR / 4))
    )
    assert touched.sizes["time"] == 4  # the step in which it begins, too
    assert float(touched.max()) <= 0.9 + 0.01
    highest = made.plan.planned.peak_import_mw
    assert found["peak"]["cny"] == pytest.approx(40_000.0 * highest, rel=1e-6)
    assert found["peak"]["cny"] == pytest.approx(made.plan.planned.peak_cny, rel=1e-6)
    assert highest < made.plan.baseline.peak_import_mw  # it pays to flatten the peak
    assert found["reserve"]["reserve_cny"] == pytest.approx(made.plan.planned.reserve_cny)
    assert found["reserve"]["held_mwh"] <= 0.3 * 4 + 1e-6
    assert found["unserved"]["kept"]
    assert "需求响应“evening”" in found["call"]["text_zh"]
    with city.database.connection() as connection:
        run = runs.by_id(connection, made.run_id)
    assert run is not None
    assert run.summary["asked"] == made.asked
    assert any("not measured at the substation" in note for note in run.summary["notes"])


def test_a_call_counts_from_when_it_is_announced_until_it_is_withdrawn(
    city: City, now: datetime
) -> None:
    operator, visitor = Account("li", Role.OPERATOR), Account("x", Role.BUREAU)
    actions = CityActions(city, now=lambda: now)
    call = NewCall("evening", now + HOUR, now + 2 * HOUR, -1.0, 500.0)
    with pytest.raises(PermissionDeniedError):
        actions.add_call(visitor, call)
    numbers = [actions.add_call(operator, call), actions.add_call(operator, call)]
    assert terms(city, replace(ahead(now), known_at=now - HOUR)).calls == ()
    assert terms(city, ahead(now, 0 + 24)).calls_by_name == {
        "evening": numbers[0],
        f"evening #{numbers[1]}": numbers[1],
    }
    assert terms(city, Horizon(now + 2 * HOUR, now + 3 * HOUR, now)).calls == ()
    later = CityActions(city, now=lambda: now + QUARTER_HOUR)
    later.withdraw_call(operator, numbers[0])
    with pytest.raises(NotWaitingError, match="no call"):
        later.withdraw_call(operator, numbers[0])
    (left,) = terms(city, replace(ahead(now), known_at=now + QUARTER_HOUR)).calls
    assert (left.name, left.limit_mw, left.breach_cny_per_mwh) == ("evening", -1.0, 500.0)
    # A plan is replayed with what stood when it was made.
    assert len(terms(city, ahead(now)).calls) == 2
    with city.database.connection() as connection:
        assert [c.withdrawn_by for c in calls.recent(connection)] == ["", "li"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": " "}, "needs a name"),
        ({"end": timedelta(0)}, "end after it begins"),
        ({"end": timedelta(days=40)}, "at most 31 days"),
        ({"limit_mw": float("nan")}, "cannot be nan MW"),
        ({"breach_cny_per_mwh": 0.0}, "cannot be 0.0"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    change: dict[str, Any], says: str, now: datetime
) -> None:
    given = {"name": "x", "end": HOUR, "limit_mw": 1.0, "breach_cny_per_mwh": 9.0, **change}
    given["end"] = now + given["end"]
    with pytest.raises(ConfigurationError, match=says):
        NewCall(start=now, **given)


def test_a_call_that_is_over_is_refused(city: City, now: datetime) -> None:
    with (
        city.database.connection() as connection,
        pytest.raises(ConfigurationError, match="is over"),
    ):
        demandcalls.add(connection, NewCall("x", now - HOUR, now, 1.0, 9.0), "li", now)


# --- a promised exchange -----------------------------------------------------------------------


def test_intraday_plans_keep_the_exchange_of_the_approved_day_ahead_plan(
    with_site: Callable[..., City], site: Site, write: Write, now: datetime
) -> None:
    """The day-ahead plan saw 1 MW of load; now it is 1.3 MW, and the battery makes up for it."""
    city = with_site(parameters=site.parameters | PRICES)
    foretell(city.database, P, now - HOUR, 1.0)
    write({"tiny/battery-000/soc": 0.6}, now - 2 * HOUR, now, QUARTER_HOUR)
    before = Horizon(now + QUARTER_HOUR, now + QUARTER_HOUR + 3 * HOUR, now - HOUR)
    assert planned(city, before, "day_ahead").problem.position is None  # it is what promises
    foretell(city.database, P, now, 1.3)
    made = planned(city, ahead(now))
    position = made.problem.position
    assert position is not None
    assert np.isfinite(position.committed_mw).tolist() == [True] * 12 + [False] * 4
    found = items(made)["position"]
    assert (found["kept"], found["steps"]) == (True, 12)
    assert found["cny"] == pytest.approx(0.0, abs=1.0)
    # As of before the day-ahead plan there was no promise, and other kinds make none.
    assert terms(city, replace(ahead(now), known_at=now - 2 * HOUR), "intraday").position is None
    assert terms(city, ahead(now), "day").position is None
    keep = promised.keeping(city, ahead(now), "day-ahead")
    asked_again = keep(replace(made.problem, position=None)).position
    assert asked_again is not None
    np.testing.assert_array_equal(asked_again.committed_mw, position.committed_mw)


def test_a_promise_is_read_from_a_file_on_the_city_s_clock(tmp_path: Path, now: datetime) -> None:
    file, times = tmp_path / "p.csv", steps(now, now + 3 * HOUR, QUARTER_HOUR)
    file.write_text("time,mw\n2026-06-25 12:30,2\n2026-06-25 13:30,-1.5\n")
    found = promised.of_file(file, times, "Asia/Shanghai")  # noon is ``now``
    np.testing.assert_array_equal(found, [np.nan] * 2 + [2.0] * 4 + [-1.5] * 4 + [np.nan] * 2)
    for text, says in (
        ("time,mw\n", "has no rows"),
        ("time,mw\nnoon,2\n", "Line 2 of p.csv"),
        ("time,mw\n2026-06-25 12:30,2\n2026-06-25 12:30,2\n", "Line 3 of p.csv"),
        ("time,kw\n2026-06-25 12:30,2\n", "Line 2 of p.csv"),
        ("time,mw\n2026-01-25 12:30,2\n", "promises nothing"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=says):
            promised.of_file(file, times, "Asia/Shanghai")


def test_a_promise_without_prices_is_refused(city: City, now: datetime) -> None:
    with pytest.raises(ConfigurationError, match="'position_above_cny_per_mwh'"):
        promised.keeping(city, ahead(now), "day-ahead")


# --- a sweep -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cost,carbon,peak", dict(pareto.AXES)),
        ("carbon=1:5", {"carbon": (1.0, 5.0)}),
        ("cost, peak=0:1", {"peak": (0.0, 1.0)}),
        ("cost", "needs carbon or peak"),
        ("water", "'water' is nothing to sweep"),
        ("carbon,carbon", "each once"),
        ("carbon=x", "no number"),
        ("carbon=-1", "not be below 0"),
    ],
)
def test_axes_of_a_sweep(text: str, found: dict[str, Any] | str) -> None:
    if isinstance(found, str):
        with pytest.raises(ConfigurationError, match=found):
            pareto.axes(text)
    else:
        assert pareto.axes(text) == found


def test_a_sweep_is_kept_as_what_if_runs_beside_its_day(
    with_site: Callable[..., City], site: Site, city: City, write: Write, now: datetime
) -> None:
    swept = pareto.axes("cost,peak=0:1")
    with pytest.raises(ConfigurationError, match="peak_cny_per_mw_month"):
        pareto.check(city, swept)
    paying = with_site(parameters=site.parameters | {"peak_cny_per_mw_month": 40_000.0})
    pareto.check(paying, swept)
    foretell(paying.database, P, now, np.where(np.arange(48) % 4 == 2, 1.0, 0.5))
    write({"tiny/battery-000/soc": 0.5}, now - HOUR, now, QUARTER_HOUR)
    base = planned(paying, ahead(now), "day")
    free, dear = pareto.run(paying, base, swept, now)
    assert dear.peak_import_mw < free.peak_import_mw - 0.1
    assert dear.money_cny >= free.money_cny - 1.0
    assert (free.efficient, dear.efficient) == (True, True)
    with paying.database.connection() as connection:
        kept = runs.recent(connection, 5, ["what_if"])
    assert [run.id for run in kept] == [dear.run_id, free.run_id]
    assert kept[0].summary["what_if"]["base_run"] == base.run_id
    assert kept[0].summary["what_if"]["title_zh"] == "需量权重 × 1"
    assert kept[0].summary["pareto"]["peak_import_mw"] == dear.peak_import_mw
