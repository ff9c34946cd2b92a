"""Plans that count with forecast errors: what is known, what the city asks for, what is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from app import risk, riskchoice
from app.planning import Horizon, assemble, network_of, run_plan
from app.riskchoice import Risk, RiskKind
from app.wiring import City
from core.errors import ConfigurationError
from core.timeaxis import DAY, HOUR, QUARTER_HOUR, steps
from optimization.result import Status
from store import forecasts, runs

KEYS = ["tiny/load-000/p_mw", "tiny/pv-000/p_mw"]
Write = Callable[..., None]


def foretell(city: City, known_at: datetime, start: datetime, end: datetime, low: float) -> None:
    """A load of 1 MW, 1.5 at worst; sun of 0.4 MW, ``low`` at worst."""
    times = steps(start, end, QUARTER_HOUR)
    each = np.array([[0.7, 1.0, 1.5], [low, 0.4, 0.6]])
    values = xr.DataArray(
        np.broadcast_to(each, (len(times), 2, 3)),
        dims=("time", "series", "quantile"),
        coords={"time": times, "series": KEYS, "quantile": [0.1, 0.5, 0.9]},
    )
    with city.database.connection() as connection:
        forecasts.save(connection, "test", known_at, values)


@pytest.fixture
def tight(with_site: Callable[..., City], city: City, now: datetime, write: Write) -> City:
    """An import limit that the battery helps to keep, in part of the cases only."""
    made = with_site(parameters={**city.site.parameters, "import_limit_mw": 0.7})
    foretell(made, now, now, now + 2 * DAY, 0.1)
    write({"tiny/battery-000/soc": 0.9}, now - HOUR, now, QUARTER_HOUR)
    return made


def horizon(now: datetime) -> Horizon:
    return Horizon(now + QUARTER_HOUR, now + QUARTER_HOUR + 3 * HOUR, now)


def test_the_quantiles_known_then_are_the_outlook(city: City, now: datetime) -> None:
    """What was forecast later does not count; what has been measured is certain."""
    foretell(city, now, now, now + DAY, 0.1)
    foretell(city, now + timedelta(seconds=1), now, now + DAY, 0.3)
    asked = Horizon(now - HOUR, now + HOUR, now)
    with city.database.connection() as connection:
        problem = assemble(connection, city, network_of(city), asked)
        found = risk.outlook(connection, city, now, problem)
    assert found is not None
    at = list(zip(found.table, found.element, strict=True))
    sun, load = found.values[:, at.index(("sgen", 0))], found.values[:, at.index(("load", 0))]
    assert np.ptp(sun[:4], axis=-1).max() == 0.0
    np.testing.assert_allclose(sun[4:], [[0.1, 0.4, 0.6]] * 4)
    np.testing.assert_allclose(load[4:], [[0.7, 1.0, 1.5]] * 4)
    assert found.group[at.index(("sgen", 0))] == "pv"
    assert found.upper[at.index(("sgen", 0))] == 1.0  # its modules
    # loads that nobody has forecast are as the problem has them
    assert np.ptp(found.values[:, at.index(("load", 1))], axis=-1).max() == 0.0


def test_without_quantiles_the_plain_plan_says_so(city: City, now: datetime) -> None:
    made = run_plan(
        city,
        network_of(city),
        horizon(now),
        kind="intraday",
        requested_by="test",
        taking=Risk(RiskKind.CVAR),
    )
    assert made.plan.status is Status.OPTIMAL
    assert made.about_risk["kind"] == "none"
    assert made.about_risk["asked"] == "cvar"
    assert "No forecast quantiles" in made.about_risk["text_en"]
    assert "分位数" in made.about_risk["text_zh"]


@pytest.mark.parametrize("kind", [RiskKind.MARGIN, RiskKind.CVAR])
def test_a_plan_says_what_its_caution_costs(tight: City, now: datetime, kind: RiskKind) -> None:
    """Stored with the run: which way, the expected cost against the plain plan, limits broken."""
    made = run_plan(
        tight,
        network_of(tight),
        horizon(now),
        kind="whole_day",
        requested_by="test",
        taking=Risk(kind, level=0.8, scenarios=3),
    )
    assert made.plan.status is Status.OPTIMAL
    with tight.database.connection() as connection:
        run = runs.by_id(connection, made.run_id)
    assert run is not None
    about = run.summary["risk"]
    assert about["kind"] == str(kind)
    assert about["level"] == 0.8
    assert about["premium_cny"] == pytest.approx(
        about["expected_cny"] - about["plain_expected_cny"]
    )
    broken, before = (about[f"{p}limit_broken_probability"] for p in ("", "plain_"))
    assert 0.0 <= broken <= before <= 1.0
    assert "plain plan" in about["text_en"]
    assert "普通计划" in about["text_zh"]
    if kind is RiskKind.CVAR:
        assert about["scenarios"] == 3
        assert about["model_cvar_cny"] >= about["model_expected_cny"]
    else:
        assert about["exchange_margin_mw"] > 0.1


def test_a_plan_for_the_expected_bill_says_what_errors_cost(tight: City, now: datetime) -> None:
    """The load may be 0.3 MW less or 0.5 more, and the sun may fail."""
    made = run_plan(
        tight,
        network_of(tight),
        horizon(now),
        kind="intraday",
        requested_by="test",
        taking=Risk(RiskKind.EXPECTED),
    )
    assert made.plan.status is Status.OPTIMAL
    about = made.about_risk
    assert about["kind"] == "expected"
    assert about["cases"] == 7
    assert about["spread_mw"] > 0.5
    assert about["error_cny"] == made.plan.planned.error_cny != 0.0
    assert "expected bill" in about["text_en"]
    assert "期望费用" in about["text_zh"]


def test_the_city_says_how_its_plans_are_made(tight: City, now: datetime) -> None:
    site = tight.site
    cautious = replace(
        tight,
        site=replace(site, parameters={**site.parameters, "risk": "margin", "risk_level": 0.8}),
    )
    made = run_plan(
        cautious, network_of(cautious), horizon(now), kind="intraday", requested_by="test"
    )
    assert made.about_risk["kind"] == "margin"
    assert made.about_risk["level"] == 0.8


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            {"risk": "brave"},
            "'brave' is no way to count risk; there are none, expected, margin, cvar",
        ),
        ({"risk": "cvar", "risk_level": 1.0}, "level of risk"),
        ({"risk": "cvar", "risk_level": "high"}, "risk_level"),
        ({"risk": "cvar", "risk_scenarios": 0}, "1 to 200 scenarios"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(parameters, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        riskchoice.of_city(parameters)
    assert riskchoice.of_city({}) == Risk(RiskKind.NONE)
