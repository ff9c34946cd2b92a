"""Programs that run take up another description of the city, and leave one of no use alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app import following, schedule, usable
from app.alertwatch import REFUSED, AlertWatch
from app.following import Following
from app.settings import Settings
from app.web import create_app
from app.wiring import City
from core.errors import ConfigurationError, VerdigridError
from core.sites import Asset, AssetKind, Site
from ingest.broker import Broker
from store import alerts, runs, sites

SAID = "the stored description of the city cannot be used; the one before stays in force"


def save(city: City, **changes: Any) -> Site:
    """The city described anew with some fields replaced."""
    site = replace(city.site, **changes)
    with city.database.connection() as connection:
        sites.save(connection, site)
    return site


def dearer(site: Site) -> dict[str, Any]:
    return {**site.parameters, "import_cny_per_mwh_by_hour": [1000.0] * 24}


@pytest.fixture
def held(city: City) -> Following[City]:
    return Following(city, lambda known: known)


def test_another_tariff_counts_from_the_next_look(city: City, held: Following[City]) -> None:
    before = held.held
    held.look()
    assert held.held is before
    saved = save(city, parameters=dearer(city.site))
    held.look()
    assert held.held.site == saved
    assert held.held.clock == city.clock
    after = held.held
    save(city, parameters=dearer(city.site))  # saved once more, the same
    held.look()
    assert held.held is after


def battery(index: int, **parameters: float) -> Asset:
    given = {"p_max_mw": 0.1, "e_max_mwh": 0.2, **parameters}
    return Asset(
        "new", AssetKind.BATTERY, "", "", element="storage", element_index=index, parameters=given
    )


BROKEN: dict[str, Callable[[Site], dict[str, Any]]] = {
    "JSON": lambda _: {"network_json": "no grid"},
    "24 numbers": lambda site: {
        "parameters": {**site.parameters, "import_cny_per_mwh_by_hour": [400.0] * 23}
    },
    "no way to count risk": lambda site: {"parameters": {**site.parameters, "risk": "bold"}},
    "storage 7, which the grid does not have": lambda site: {"assets": (*site.assets, battery(7))},
    "e_max_mwh of new": lambda site: {"assets": (*site.assets, battery(0, e_max_mwh=-1.0))},
    "Atlantis": lambda _: {"timezone": "Atlantis"},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_cannot_be_used_is_said_once_and_leaves_what_is_in_force(
    reason: str, city: City, held: Following[City], caplog: pytest.LogCaptureFixture
) -> None:
    before = held.held
    save(city, **BROKEN[reason](city.site))
    for _ in range(3):
        held.look()
    assert held.held is before
    assert reason in held.refused
    (said,) = [r for r in caplog.records if r.getMessage() == SAID]
    assert reason in said.__dict__["reason"]
    mended = save(city, parameters=dearer(city.site))
    held.look()
    assert held.held.site == mended
    assert held.refused == ""


def test_a_description_that_is_taken_back_is_refused_no_longer(
    city: City, held: Following[City]
) -> None:
    save(city, network_json="no grid")
    held.look()
    assert held.refused
    save(city)
    held.look()
    assert held.refused == ""


def test_an_alert_says_that_the_description_is_refused_as_long_as_it_is(
    city: City, held: Following[City], now: Any
) -> None:
    watch = AlertWatch(city, lambda: held.refused)

    def told() -> list[str]:
        with city.database.connection() as connection:
            active = alerts.active(connection)
        return [a.condition.text_en for a in active if a.condition.rule == REFUSED]

    save(city, network_json="no grid")
    held.look()
    watch.check(now)
    assert "stays in force" in told()[0]
    save(city)
    held.look()
    watch.check(now)
    assert told() == []


def test_a_city_may_have_no_grid_and_no_tariff(site: Site) -> None:
    usable.check(replace(site, network_json="", parameters={}))
    with pytest.raises(ConfigurationError, match="import_cny_per_mwh_by_hour"):
        usable.check(replace(site, parameters={"export_cny_per_mwh": 200.0}))
    with pytest.raises(VerdigridError, match="Atlantis"):
        usable.check(replace(site, parameters={"factor_region": "Atlantis"}))


def test_pages_show_the_city_as_it_is_described_now(
    city: City,
    served: Callable[..., Any],
    eventually: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.05)
    with served(create_app(Settings(), city)) as address, httpx.Client(base_url=address) as client:
        assert client.get("/readyz").json()["simulated"]
        save(city, simulated=False)
        eventually("it is a real one", lambda: not client.get("/readyz").json()["simulated"])
        answer = client.get("/healthz")
        assert "X-Verdigrid-Simulated" not in answer.headers
        save(city, simulated=True, network_json="no grid")  # of no use
        time.sleep(0.3)  # some looks later
        assert not client.get("/readyz").json()["simulated"]


def test_the_scheduler_plans_by_a_new_tariff_at_once(
    city: City,
    tmp_path: Any,
    eventually: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A running scheduler; the plan says at what prices it was made."""
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.05)
    broker = Broker.start(tmp_path / "broker")
    stop = threading.Event()
    thread = threading.Thread(
        target=schedule.run, args=(Settings(broker_port=broker.port), city, stop)
    )

    def prices() -> set[float]:
        with city.database.connection() as connection:
            run = runs.latest(connection, "intraday")
            if run is None:
                return set()
            return set(runs.schedule(connection, run.id)["import_cny_per_mwh"].values.tolist())

    thread.start()
    try:
        eventually("the first plan", lambda: prices() == {400.0, 800.0})
        save(city, parameters={**city.site.parameters, "risk": "bold"})  # refused
        save(city, parameters=dearer(city.site))
        eventually("a plan by the new tariff", lambda: prices() == {1000.0})
    finally:
        stop.set()
        thread.join(60)
        broker.stop()
    assert not thread.is_alive()
