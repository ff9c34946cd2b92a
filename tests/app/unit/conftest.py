"""A tiny city in a real database; programs that run as processes of their own."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandapower
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI

from app import keys
from app.settings import Settings
from app.wiring import City
from core.clock import CityClock
from core.readings import READING_DTYPE
from core.series import Series
from core.sites import Asset, AssetKind, Enterprise, Site, Tag
from core.timeaxis import to_us
from store import series, sites, writing
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 6, 25, 4, 0, tzinfo=UTC)  # noon in Asia/Shanghai
QUARTER = timedelta(minutes=15)
GASES = ("pm2_5", "pm10", "so2", "no2", "o3", "co")


# --- programs ----------------------------------------------------------------------------------


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """An environment without any setting of Verdigrid, in which the project can be imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VERDIGRID_")}
    return {**kept, "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}", "COLUMNS": "200"}


@pytest.fixture
def program(clean_environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python code as a process; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until something holds; fails naming it."""

    def wait(what: str, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:.0f} s: {what}")
            time.sleep(0.02)

    return wait


Served = Callable[[FastAPI], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def served() -> Served:
    """``with served(application) as address``: the application on a real server."""

    @contextmanager
    def serve(application: FastAPI) -> Iterator[str]:
        web = uvicorn.Server(uvicorn.Config(application, "127.0.0.1", 0, log_config=None))
        thread = threading.Thread(target=web.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not web.started and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}"
        web.should_exit = True
        thread.join(10)

    return serve


# --- database ----------------------------------------------------------------------------------


def _clear(data_dir: Path) -> None:
    """Removes the folder of a server that has ended, also where root has placed it outside."""
    shutil.rmtree((data_dir / "cluster").resolve(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


def _named(url: str, name: str) -> str:
    return url.replace("/verdigrid?", f"/{name}?")


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, start_quick_server: Callable[[Path], EmbeddedServer]
) -> Iterator[EmbeddedServer]:
    """A server for all tests; a test that stops it starts it again."""
    data_dir = tmp_path_factory.mktemp("server") / "data"
    started = start_quick_server(data_dir)
    with psycopg.connect(started.admin_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE verdigrid CREATEDB")
        connection.execute("CREATE DATABASE template_city OWNER verdigrid")
    with Database(_named(started.url, "template_city")) as database:
        migrate(database)
    yield started
    started.stop()
    _clear(data_dir)


_numbers = itertools.count()


@contextmanager
def _new_database(server: EmbeddedServer) -> Iterator[str]:
    name = f"app_{next(_numbers)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_city")
    yield _named(server.url, name)
    # As the server's own role: another may not end an autovacuum that is at work in there.
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(server: EmbeddedServer) -> Iterator[str]:
    """The address of a database with the schema and nothing in it."""
    with _new_database(server) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url, timeout_s=3.0) as opened:
        yield opened


# --- the tiny city -----------------------------------------------------------------------------


def _network_json() -> str:
    """Upstream grid - line - bus 1 with loads 0 to 2, sgen 0 and storage 0; 20 kV."""
    net = pandapower.create_empty_network()
    source, bus = (pandapower.create_bus(net, 20.0, min_vm_pu=0.9, max_vm_pu=1.1) for _ in range(2))
    pandapower.create_ext_grid(net, source)
    pandapower.create_line_from_parameters(
        net, source, bus, 1.0, r_ohm_per_km=0.1, x_ohm_per_km=0.1, c_nf_per_km=0.0, max_i_ka=1.0
    )
    for _ in range(3):
        pandapower.create_load(net, bus, p_mw=0.0)
    pandapower.create_sgen(net, bus, p_mw=0.0)
    pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=2.0)
    return str(pandapower.to_json(net))


def _assets() -> tuple[Asset, ...]:
    meters = [
        Asset(f"load-{i:03d}", AssetKind.METER, f"Load {i}", "", element="load", element_index=i)
        for i in range(3)
    ]
    pv = {"pdc0_mw": 1.0, "tilt_degree": 30.0, "azimuth_degree": 180.0}
    battery = {"p_max_mw": 0.5, "e_max_mwh": 2.0, "cycle_cost_cny_per_mwh": 10.0}
    return (
        *meters,
        Asset("pv-000", AssetKind.PV, "PV", "", element="sgen", element_index=0, parameters=pv),
        Asset(
            "battery-000",
            AssetKind.BATTERY,
            "Battery",
            "",
            element="storage",
            element_index=0,
            parameters=battery,
        ),
        Asset("weather", AssetKind.WEATHER_STATION, "Weather", ""),
        Asset("air-01", AssetKind.AIR_STATION, "North", ""),
        Asset("air-02", AssetKind.AIR_STATION, "South", ""),
        Asset("dma-1", AssetKind.WATER_DISTRICT, "District", ""),
    )


def _series() -> list[Series]:
    named = {f"load-{i:03d}": ("p_mw", "q_mvar") for i in range(3)}
    named |= {"pv-000": ("p_mw",), "battery-000": ("p_mw", "soc")}
    named |= {"weather": ("ghi", "temp_air"), "dma-1": ("flow_m3_per_h", "billed_m3")}
    common = {"timezone": "Asia/Shanghai", "simulated": True}
    found = [Series("tiny", a, v, QUARTER, **common) for a, vs in named.items() for v in vs]
    five = timedelta(minutes=5)
    found += [Series("tiny", a, v, five, **common) for a in ("air-01", "air-02") for v in GASES]
    return found


@pytest.fixture(scope="session")
def site() -> Site:
    """3 meters of 2 enterprises, PV, a battery, 2 air stations, a water district."""
    return Site(
        id="tiny",
        name_en="Tiny",
        name_zh="小城",
        timezone="Asia/Shanghai",
        lat=40.8,
        lon=111.7,
        simulated=True,
        network_json=_network_json(),
        assets=_assets(),
        enterprises=(
            Enterprise("ent-a", "A", "甲", "steel", "内蒙古", ("load-000", "load-001")),
            Enterprise("ent-b", "B", "乙", "food", "江苏", ("load-002",)),
        ),
        series=tuple(_series()),
        tags=(Tag("meter-0", "p", "kW", "tiny/load-000/p_mw"),),
        parameters={
            "import_cny_per_mwh_by_hour": [400.0] * 8 + [800.0] * 16,
            "export_cny_per_mwh": 200.0,
            "carbon_cny_per_tco2e": 80.0,
            "import_limit_mw": 10.0,
            "export_limit_mw": 10.0,
            "max_loading_percent": 100.0,
            "factor_region": "内蒙古",
        },
    )


def describe(database: Database, site: Site) -> None:
    """Put ``site`` into ``database``, as `verdigrid site load` does."""
    with database.connection() as connection:
        sites.save(connection, site)
        series.register(connection, [*site.series, *keys.total_series(site)])


@pytest.fixture
def city(database: Database, site: Site) -> City:
    """The tiny city at ``NOW``, where city time is wall time."""
    describe(database, site)
    return City(database, site, CityClock(NOW, NOW))


@pytest.fixture(scope="module")
def shared_city(server: EmbeddedServer, site: Site) -> Iterator[City]:
    """The tiny city for all tests of a module, which leave it as they found it."""
    with _new_database(server) as url, Database(url, timeout_s=1.0) as opened:
        describe(opened, site)
        yield City(opened, site, CityClock(NOW, NOW))


@pytest.fixture
def with_site(database: Database, site: Site) -> Callable[..., City]:
    """The city with some fields of its description replaced."""

    def make(**changes: object) -> City:
        changed = replace(site, **changes)
        describe(database, changed)
        return City(database, changed, CityClock(NOW, NOW))

    return make


@pytest.fixture
def now() -> datetime:
    """Noon of a Thursday in the city."""
    return NOW


Write = Callable[[Mapping[str, object], datetime, datetime, timedelta], None]


@pytest.fixture
def write(database: Database) -> Write:
    """``write({key: number or array}, start, end, step)``: readings in [start, end)."""

    def store(
        values: Mapping[str, object], start: datetime, end: datetime, step: timedelta
    ) -> None:
        first, width = to_us(start), step // timedelta(microseconds=1)
        times = np.arange(first, to_us(end), width)
        with database.connection() as connection:
            ids = series.ids(connection)
            for key, value in values.items():
                batch = np.zeros(len(times), dtype=READING_DTYPE)
                batch["series_id"], batch["ts_us"], batch["value"] = ids[key], times, value
                writing.write(connection, batch[np.isfinite(batch["value"])])

    return store


@pytest.fixture
def settings_of(tmp_path: Path, free_port: int) -> Callable[..., Settings]:
    """Settings of an installation below the test's folder."""

    def make(**changes: object) -> Settings:
        return Settings(**{"home": tmp_path / "home", "broker_port": free_port, **changes})

    return make
