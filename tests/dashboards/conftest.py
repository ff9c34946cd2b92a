# ruff: noqa: E501 - the city is a table
"""A small city of one day in a real database, and the pages on a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandapower
import psycopg
import pytest
import uvicorn
import xarray as xr
from fastapi import FastAPI

from carbon import factorset, footprint
from core.accounts import Account, Role
from core.alerts import Alert, AlertSeverity, AlertState, Condition
from core.readings import READING_DTYPE, Rejected, batch
from core.series import Series, SeriesKind
from core.sites import Asset, AssetKind, Enterprise, Site
from core.timeaxis import HOUR, QUARTER_HOUR, steps
from core.whatif import Changes
from dashboards.application import create
from dashboards.context import DashContext
from store import (
    alerts,
    footprints,
    forecasts,
    indices,
    intensities,
    latest,
    ledger,
    quarantine,
    runs,
    series,
    sites,
    writing,
)
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

START = datetime(2026, 6, 21, 16, tzinfo=UTC)  # midnight in Asia/Shanghai
NOW = START + timedelta(hours=14, minutes=20)
LOADS, PVS, BATTERIES, STATIONS, ENTERPRISES, BUSES = 10, 4, 3, 12, 7, 14


def network_json() -> str:
    """A ring of 14 buses around 53.4 N 116.8 E."""
    net = pandapower.create_empty_network()
    for i in range(BUSES):
        angle = 2 * np.pi * i / BUSES
        radius = 0.055 * (1.0 + 0.35 * np.sin(3 * angle))
        place = (116.8 + radius * np.cos(angle) / 0.6, 53.4 + radius * np.sin(angle))
        pandapower.create_bus(
            net, 20.0, name=f"Bus {i}", geodata=place, min_vm_pu=0.94, max_vm_pu=1.06
        )
    for i in range(BUSES):
        pandapower.create_line_from_parameters(
            net, i, (i + 1) % BUSES, 1.5, 0.2, 0.12, 200, 0.3, name=f"Line {i}"
        )
    high = pandapower.create_bus(net, 110.0, name="Bus 110", geodata=(116.8 + 0.12, 53.4))
    pandapower.create_ext_grid(net, high)
    pandapower.create_transformer(net, high, 0, "25 MVA 110/20 kV", name="Transformer 0")
    for i in range(LOADS):
        pandapower.create_load(net, 1 + i, 0.4)
    return str(pandapower.to_json(net))


def city() -> Site:
    """10 loads, 4 PV plants, wind, 3 batteries, 12 air stations, a water district."""
    places = [
        ("North Gate", "北门"),
        ("Old Town", "老城"),
        ("Harbour", "港区"),
        ("Hill Park", "山公园"),
        ("Steel Works", "钢厂"),
        ("University", "大学城"),
        ("West Lake", "西湖"),
        ("Airport", "机场"),
        ("Central", "中心"),
        ("East River", "东江"),
        ("South Yard", "南场"),
        ("Forest", "林场"),
    ]
    firms = [
        ("Verde Steel", "绿钢集团"),
        ("Harbour Cold Store", "港口冷链"),
        ("City Hospital", "市医院"),
        ("Data Park", "数据园区"),
        ("Lake Brewery", "湖畔啤酒"),
        ("Metro Line 1", "地铁一号线"),
        ("Glass and Ceramics", "玻璃陶瓷"),
    ]
    assets = [
        Asset(f"load-{i:03d}", AssetKind.METER, f"Load {i}", f"负荷 {i}") for i in range(LOADS)
    ]
    assets += [Asset(f"pv-{i:03d}", AssetKind.PV, f"PV plant {i}", f"光伏 {i}") for i in range(PVS)]
    assets.append(Asset("wind-000", AssetKind.WIND, "Wind park", "风电场"))
    assets += [
        Asset(
            f"battery-{i:03d}",
            AssetKind.BATTERY,
            f"Battery {i}",
            f"储能 {i}",
            element="storage",
            element_index=i,
            parameters={"e_max_mwh": 1.0 + i, "p_max_mw": 0.5},
        )
        for i in range(BATTERIES)
    ]
    assets.append(Asset("substation", AssetKind.SUBSTATION, "Substation", "变电站"))
    for i, (english, chinese) in enumerate(places):
        angle = 2 * np.pi * (i + 0.3) / STATIONS
        radius = 0.03 + 0.04 * ((i * 5) % 4) / 4
        assets.append(
            Asset(
                f"air-{i + 1:02d}",
                AssetKind.AIR_STATION,
                english,
                chinese,
                lat=53.4 + radius * float(np.sin(angle)),
                lon=116.8 + radius * float(np.cos(angle)) / 0.6,
            )
        )
    assets.append(
        Asset("meter-silent", AssetKind.METER, "Silent meter", "静默电表", district="East")
    )
    assets.append(Asset("dma-1", AssetKind.WATER_DISTRICT, "District 1", "一区"))
    enterprises = tuple(
        Enterprise(f"ent-{i:02d}", english, chinese, "industry", "内蒙古", (f"load-{i:03d}",))
        for i, (english, chinese) in enumerate(firms)
    )
    variables = {
        AssetKind.METER: ["p_mw"],
        AssetKind.PV: ["p_mw"],
        AssetKind.WIND: ["p_mw"],
        AssetKind.BATTERY: ["p_mw", "soc"],
        AssetKind.SUBSTATION: ["import_mw", "export_mw"],
        AssetKind.WATER_DISTRICT: ["flow_m3_per_h", "billed_m3"],
    }
    listed = [
        Series("demo", a.id, v, QUARTER_HOUR, timezone="Asia/Shanghai", simulated=True)
        for a in assets
        for v in variables.get(a.kind, [])
    ]
    listed += [
        Series("demo", total, "p_mw", QUARTER_HOUR, SeriesKind.ESTIMATED, timezone="Asia/Shanghai")
        for total in ("load-total", "pv-total")
    ]
    return Site(
        "demo",
        "Verdigrid Demo City",
        "示范市",
        "Asia/Shanghai",
        53.4,
        116.8,
        True,
        network_json(),
        tuple(assets),
        enterprises,
        tuple(listed),
        (),
        parameters={
            "import_limit_mw": 6.0,
            "export_limit_mw": 3.0,
            "max_loading_percent": 90.0,
            "factor_region": "内蒙古",
        },
    )


def _day() -> np.ndarray:
    return steps(START, START + timedelta(days=1), QUARTER_HOUR)


def courses() -> dict[str, np.ndarray]:
    """96 quarter-hours of a June day, MW; the exchange balances them."""
    hour = np.arange(96) / 4.0
    load = 3.0 + 1.2 * np.exp(-((hour - 9) ** 2) / 8) + 1.8 * np.exp(-((hour - 19) ** 2) / 6)
    load += 0.05 * np.sin(hour * 7)
    pv = 4.2 * np.clip(np.sin((hour - 4.5) / 15 * np.pi), 0, None) ** 1.4
    wind = 0.6 + 0.3 * np.sin(hour / 3.0)
    battery = np.where((hour > 10) & (hour < 15), 0.9, 0.0) - np.where(
        (hour > 18) & (hour < 22), 0.95, 0.0
    )
    net = load + battery - pv - wind
    soc = np.clip(0.3 + np.cumsum(battery) * 0.25 / 6.0, 0.05, 0.98)
    return {
        "load": load,
        "pv": pv,
        "wind": wind,
        "battery": battery,
        "soc": soc,
        "import": np.clip(net, 0, None),
        "export": np.clip(-net, 0, None),
    }


def _write_readings(connection: Any, ids: dict[str, int], until: datetime) -> None:
    course, times = courses(), _day()
    known = times[times < np.datetime64(until.replace(tzinfo=None) - QUARTER_HOUR)]
    rng = np.random.default_rng(3)
    values: dict[str, np.ndarray] = {}
    share = rng.dirichlet(np.full(LOADS, 6.0))
    for i in range(LOADS):
        values[f"load-{i:03d}/p_mw"] = course["load"] * share[i] * rng.normal(1, 0.03, 96)
    for i in range(PVS):
        values[f"pv-{i:03d}/p_mw"] = course["pv"] / PVS * rng.normal(1, 0.02, 96)
    values["wind-000/p_mw"] = course["wind"] * rng.normal(1, 0.06, 96)
    for i in range(BATTERIES):
        values[f"battery-{i:03d}/p_mw"] = course["battery"] / BATTERIES * rng.normal(1, 0.02, 96)
        values[f"battery-{i:03d}/soc"] = course["soc"]
    values["substation/import_mw"] = course["import"] * rng.normal(1, 0.02, 96)
    values["substation/export_mw"] = course["export"] * rng.normal(1, 0.02, 96)
    hour = np.arange(96) / 4.0
    values["dma-1/flow_m3_per_h"] = (
        150 + 60 * np.sin((hour - 6) / 12 * np.pi) ** 2 + 20 * (hour > 9)
    )
    values["dma-1/billed_m3"] = (values["dma-1/flow_m3_per_h"] - 25 - 20 * (hour > 9)) * 0.25
    rows = np.concatenate(
        [
            np.array(
                [
                    (ids[f"demo/{key}"], t, v, 0)
                    for t, v in zip(
                        known.astype("datetime64[us]").astype(int), course_, strict=False
                    )
                ],
                dtype=READING_DTYPE,
            )
            for key, course_ in values.items()
        ]
    )
    writing.write(connection, rows)


def _write_forecasts(connection: Any) -> None:
    course = courses()
    for total, name, spread in (("load-total", "load", 0.06), ("pv-total", "pv", 0.14)):
        table = np.stack([course[name] * (1 + d * spread) for d in (-1, 0.05, 1)], axis=-1)
        forecasts.save(
            connection,
            "test",
            START - HOUR,
            xr.DataArray(
                table[:, None, :],
                dims=("time", "series", "quantile"),
                coords={
                    "time": _day(),
                    "series": [f"demo/{total}/p_mw@estimated"],
                    "quantile": [0.1, 0.5, 0.9],
                },
            ),
        )


def plan_arrays() -> tuple[xr.Dataset, xr.Dataset]:
    """A schedule and its power flow, shaped as optimization/planner.py documents them."""
    course, times = courses(), _day()
    hour = np.arange(96) / 4.0
    assets = [f"battery-{i:03d}" for i in range(BATTERIES)]
    per_battery = np.repeat(course["battery"][:, None] / BATTERIES, BATTERIES, axis=1)
    schedule = xr.Dataset(
        {
            "p_mw": (("time", "asset"), per_battery),
            "soc": (("time", "asset"), np.repeat(course["soc"][:, None], BATTERIES, axis=1)),
            "import_mw": (("time",), np.roll(course["import"], 1)),
            "export_mw": (("time",), np.roll(course["export"], 1)),
            "price_cny_per_mwh": (
                ("time",),
                np.where(hour < 7, 310.0, np.where(hour > 17, 880.0, 560.0)),
            ),
            "import_cny_per_mwh": (
                ("time",),
                np.where(hour < 7, 280.0, np.where(hour > 17, 820.0, 520.0)),
            ),
            "export_cny_per_mwh": (("time",), np.full(96, 200.0)),
        },
        coords={"time": times, "asset": assets},
    )
    loading = 25 + 50 * np.abs(course["load"] - course["pv"])[:, None] / 5 * (
        0.4 + np.arange(BUSES) / BUSES
    )
    ac = xr.Dataset(
        {
            "vm_pu": (
                ("time", "bus"),
                1.0 + 0.03 * np.sin(hour / 4)[:, None] * np.linspace(-1, 1, BUSES),
            ),
            "line_loading_percent": (("time", "line"), loading),
            "trafo_loading_percent": (("time", "trafo"), loading[:, :1] / 2),
        },
        coords={
            "time": times,
            "bus": np.arange(BUSES),
            "line": np.arange(BUSES),
            "trafo": [0],
        },
    )
    return schedule, ac


def _write_runs(connection: Any) -> None:
    figures = {
        "total_cny": 22_930.0,
        "cost_cny": 21_480.0,
        "emissions_kgco2e": 31_250.0,
        "peak_import_mw": 5.61,
        "peak_export_mw": 1.35,
        "losses_mwh": 1.92,
        "curtailed_mwh": 0.42,
        "vm_min_pu": 0.971,
        "vm_max_pu": 1.034,
        "max_line_loading_percent": 84.2,
        "max_trafo_loading_percent": 61.0,
        "violations": 0,
    }
    before = figures | {
        "total_cny": 26_410.0,
        "cost_cny": 24_905.0,
        "emissions_kgco2e": 32_800.0,
        "peak_import_mw": 6.72,
        "peak_export_mw": 2.21,
        "losses_mwh": 2.31,
        "max_line_loading_percent": 103.5,
        "violations": 7,
    }
    reasons = [
        {
            "asset": f"battery-{i % 3:03d}",
            "ts": (START + timedelta(hours=10 + i)).isoformat(),
            "binding": "price",
            "text_en": f"charges {0.3:.1f} MW: energy costs 560 CNY/MWh now and saves 880 CNY/MWh at 19:00.",
            "text_zh": "充电 0.3 MW：此时电价 560 元/MWh，19:00 可节省 880 元/MWh。",
        }
        for i in range(5)
    ]
    first = runs.start(connection, "day_ahead", "schedule", START - timedelta(hours=4))
    runs.fail(connection, first, "The network model lacks the table line.")
    run = runs.start(connection, "day_ahead", "schedule", START - timedelta(hours=3))
    schedule, ac = plan_arrays()
    summary = {
        "baseline": before,
        "planned": figures,
        "asked": [
            {
                "what": "reserve",
                "name": "spinning",
                "kept": True,
                "cny": -72.0,
                "text_en": "Reserve spinning: 0.30 MW held.",
                "text_zh": "备用“spinning”：保有 0.30 MW。",
            },
        ],
        "reasons": reasons,
        "solve_s": 4.8,
        "violations": [],
    }
    runs.finish(connection, run, "optimal", summary, schedule, ac)


def _write_environment(connection: Any) -> None:
    rng = np.random.default_rng(11)
    rows = []
    hours = [START + timedelta(hours=h) for h in range(-10, 14)]
    for number in range(STATIONS + 1):
        level = 62 + 9 * ((number * 7) % 9) if number < STATIONS else 88
        subject = f"demo/air-{number + 1:02d}" if number < STATIONS else "city"
        course = level + 22 * np.sin(np.arange(24) / 4 + number) + rng.normal(0, 4, 24)
        for ts, value in zip(hours, course, strict=True):
            aqi = float(max(round(value), 12))
            rows.append(
                indices.IndexRow(
                    subject,
                    "aqi",
                    ts,
                    aqi,
                    "hj633_2026",
                    {"primary": ["pm2_5"] if aqi > 50 else [], "level": 2, "iaqi": {"pm2_5": aqi}},
                )
            )
    for h in range(-34, 14):
        rows.append(
            indices.IndexRow(
                "dma-1", "leak_rwl", START + timedelta(hours=h), 13.5 + 0.12 * (h + 34), "rwl", {}
            )
        )
    rows.append(indices.IndexRow("dma-1", "night_flow", START, 42.5))
    indices.save(connection, rows)


def _write_carbon(connection: Any) -> None:
    known, course = factorset.load(), courses()["load"]
    made: list[footprint.HourlyFootprint] = []
    for i in range(ENTERPRISES):
        energy = [
            footprint.HourlyEnergy(
                START + h * HOUR,
                Decimal(str(round(course[h * 4] * (0.03 + 0.02 * i), 6))),
                Decimal(1),
            )
            for h in range(14)
        ]
        made += footprint.footprints(f"ent-{i:02d}", "内蒙古", energy, known)
        traced = {
            START + h * HOUR: footprint.Traced(Decimal("0.6479") - Decimal(h) / 40, Decimal(1), 1)
            for h in range(6, 14)
        }
        made += footprint.by_bus(f"ent-{i:02d}", "内蒙古", energy, known, traced)
    for h in range(6, 14):
        intensities.save(connection, _traced_hour(START + h * HOUR))
    footprints.save(connection, made)
    entries = [e for e in (footprint.hourly_entry(row) for row in made) if e is not None]
    ledger.append(connection, entries, recorded_at=START + 14 * HOUR)


def _traced_hour(hour: datetime) -> intensities.BusIntensity:
    """Cleaner round the ring; nothing passes the last bus."""
    values = np.linspace(647.9, 120.0, BUSES)
    values[-1] = np.nan
    return intensities.BusIntensity(
        hour=hour,
        buses=np.arange(BUSES),
        kgco2e_per_mwh=values,
        coverage=1.0,
        factor_id="mee_2023.electricity_location.inner_mongolia",
        import_kgco2e_per_mwh=647.9,
        source_kgco2e=1800.0,
        losses_kgco2e=20.0,
        contents={},
    )


def _write_alerts(connection: Any) -> None:
    told = [
        Condition(
            "leak",
            "dma-1",
            AlertSeverity.WARNING,
            19.1,
            "%",
            "District 1 loses 19.1 % of its inflow (RWL); the limit is 15 %.",
            "一区漏损率 19.1%（RWL），限值 15%。",
        ),
        Condition(
            "aqi",
            "air-09",
            AlertSeverity.NOTICE,
            131,
            "",
            "Central: AQI 131, lightly polluted, for 3 h.",
            "中心：AQI 131，轻度污染，已持续 3 小时。",
        ),
        Condition(
            "line",
            "line-7",
            AlertSeverity.CRITICAL,
            97.0,
            "%",
            "Line 7 nears its limit at 18:15: 97 % of its rating.",
            "线路 7 将于 18:15 接近限值：负载率 97%。",
        ),
    ]
    alerts.save(
        connection,
        [Alert(c, AlertState.OPEN, NOW - timedelta(hours=i + 1), NOW) for i, c in enumerate(told)],
    )


def _write_faults(connection: Any, ids: dict[str, int]) -> None:
    """A meter that fell silent two hours ago, its last value absurd; a message nobody knows."""
    silent = ids["demo/meter-silent/p_mw"]
    begin = NOW - timedelta(hours=4)
    rows = [(silent, begin, 0.4, 0), (silent, begin + timedelta(hours=2), 9e9, 1)]
    writing.write(connection, batch(rows))
    told = Rejected("senml/demo/gw-9", "unknown device 'gw-9'", b"[]", NOW)
    quarantine.add(connection, [told])


def fill(database: Database, site: Site, until: datetime = NOW) -> None:
    """The whole day, through the store's own functions."""
    with database.connection() as connection:
        sites.save(connection, site)
        ids = series.register(connection, site.series)
        _write_readings(connection, ids, until)
        _write_faults(connection, ids)
        latest.reconcile(connection, START)
        _write_forecasts(connection)
        _write_runs(connection)
        _write_environment(connection)
        _write_carbon(connection)
        _write_alerts(connection)


@dataclass
class Served:
    """A running application. ``account`` and ``now`` may be changed between requests."""

    url: str
    dash: Any
    database: Database
    account: Account = field(default_factory=lambda: Account("operator", Role.ADMIN))
    now: datetime = NOW
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def request_plan(self, account: Account) -> int:
        self.asked.append(("plan", account.name))
        with self.database.connection() as connection:
            return runs.request(connection, "intraday", account.name, self.now)

    def request_what_if(
        self, account: Account, changes: Changes, title_en: str, title_zh: str
    ) -> int:
        self.asked.append(("what-if", account.name, changes))
        told = {"what_if": {"title_en": title_en, "title_zh": title_zh}}
        with self.database.connection() as connection:
            return runs.request(connection, "what_if", account.name, self.now, told)

    def approve_plan(self, account: Account, run_id: int, comment: str) -> None:
        self.asked.append(("approve", account.name, run_id, comment))
        with self.database.connection() as connection:
            runs.approve(connection, run_id, account.name, comment, self.now)

    def refuse_plan(self, account: Account, run_id: int, comment: str) -> None:
        self.asked.append(("refuse", account.name, run_id, comment))
        with self.database.connection() as connection:
            runs.refuse(connection, run_id, account.name, comment, self.now)

    def acknowledge_alert(self, account: Account, alert_id: int, comment: str) -> None:
        self.asked.append(("alert", account.name, alert_id, comment))
        with self.database.connection() as connection:
            alerts.acknowledge(connection, alert_id, account.name, comment, self.now)


@contextmanager
def serving(database: Database) -> Iterator[Served]:
    """The pages over ``database`` on a free port of this machine, in a thread."""
    server = FastAPI()
    served = Served("", None, database)
    with database.connection() as connection:
        site = sites.load(connection)
    context = DashContext(
        database, lambda: served.now, lambda: served.account, lambda: site, served, 60.0
    )

    @server.get("/api/{rest:path}")
    def unknown(rest: str) -> Any:
        from fastapi.responses import JSONResponse

        return JSONResponse({"error": rest}, 404)

    served.dash = create(server, context)
    web = uvicorn.Server(uvicorn.Config(server, "127.0.0.1", 0, log_level="error"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not web.started and time.monotonic() < deadline:
        time.sleep(0.02)
    port = web.servers[0].sockets[0].getsockname()[1]
    served.url = f"http://127.0.0.1:{port}"
    try:
        yield served
    finally:
        web.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def embedded(
    tmp_path_factory: pytest.TempPathFactory, start_quick_server: Callable[[Path], EmbeddedServer]
) -> Iterator[EmbeddedServer]:
    server = start_quick_server(tmp_path_factory.mktemp("dashboards") / "database")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def site() -> Site:
    return city()


@pytest.fixture(scope="session")
def database(embedded: EmbeddedServer, site: Site) -> Iterator[Database]:
    with Database(embedded.url, timeout_s=2.0) as opened:
        migrate(opened)
        fill(opened, site)
        yield opened


@pytest.fixture(scope="session")
def served(database: Database) -> Iterator[Served]:
    with serving(database) as running:
        yield running


def _new_database(embedded: EmbeddedServer, name: str) -> str:
    with psycopg.connect(embedded.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER verdigrid")
    return embedded.url.replace("/verdigrid?", f"/{name}?")


@pytest.fixture(scope="module")
def own_city(
    request: pytest.FixtureRequest, embedded: EmbeddedServer, site: Site
) -> Iterator[Served]:
    """The same city and pages over a database that only this module changes."""
    url = _new_database(embedded, request.module.__name__.rpartition(".")[2])
    with Database(url, timeout_s=5.0) as opened:
        migrate(opened)
        fill(opened, site)
        with serving(opened) as running:
            yield running


@pytest.fixture(autouse=True)
def _as_admin(request: pytest.FixtureRequest) -> None:
    """Each test begins as the administrator at the same time of the city."""
    if "served" in request.fixturenames:
        running = request.getfixturevalue("served")
        running.account, running.now = Account("operator", Role.ADMIN), NOW
        running.asked.clear()


@pytest.fixture
def serve_anew(database: Database) -> Iterator[Served]:
    """A server that nobody has asked anything yet."""
    with serving(database) as running:
        yield running


@pytest.fixture(scope="session")
def empty_pages(embedded: EmbeddedServer) -> Iterator[Served]:
    """The pages over a database in which no city is described yet."""
    with Database(_new_database(embedded, "empty")) as opened:
        migrate(opened)
        with serving(opened) as running:
            yield running


@pytest.fixture(scope="session")
def chromium(chromium_program: str | None) -> str:
    if chromium_program is None:
        pytest.skip("chromium is not installed: apt-get install chromium fonts-noto-cjk")
    return chromium_program


@pytest.fixture(scope="session")
def artifacts() -> Path:
    folder = Path(__file__).parents[2] / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder
