"""What a page weighs and how soon its first chart stands, against Dash's default and plain HTML.

The reference for the weight is the same chart in Dash as it comes (full plotly bundle, no
compression); for the time it is a static HTML page in the same browser on the same server.
"""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from dash import Dash, dcc, html
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, sync_playwright

from core.accounts import Account, Role
from core.readings import batch
from core.series import Series
from core.sites import Asset, AssetKind, Site
from core.timeaxis import HOUR, QUARTER_HOUR
from core.whatif import Changes
from dashboards.application import create
from dashboards.context import DashContext
from store import series, sites, writing
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

ROUNDS = 3
NOW = datetime(2026, 6, 22, 6, 0, tzinfo=UTC)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
DRAWN = ".js-plotly-plot .scatterlayer .trace"
STATIC = "<!doctype html><title>static</title><h1 class='ready'>A page</h1>"


def _small_city(database: Database) -> None:
    """One meter with half a day of readings: enough for the Overview's chart to be drawn."""
    key = Series("city", "meter", "p_mw", QUARTER_HOUR, timezone="Asia/Shanghai")
    meter = Asset("meter", AssetKind.METER, "Meter", "电表", lat=53.4, lon=116.8)
    site = Site(
        "city", "City", "城市", "Asia/Shanghai", 53.4, 116.8, True, "", (meter,), (), (key,), ()
    )
    with database.connection() as connection:
        sites.save(connection, site)
        series_id = series.register(connection, site.series)[key.key]
        midnight = NOW - 14 * HOUR
        values = ((series_id, midnight + i * QUARTER_HOUR, 3.0 + i / 50, 0) for i in range(56))
        writing.write(connection, batch(values))


class _NoActions:
    def request_plan(self, account: Account) -> int:
        raise NotImplementedError(account)

    def request_what_if(
        self, account: Account, changes: Changes, title_en: str, title_zh: str
    ) -> int:
        raise NotImplementedError(account, changes, title_en, title_zh)

    def approve_plan(self, account: Account, run_id: int, comment: str) -> None:
        raise NotImplementedError(account, run_id, comment)

    def refuse_plan(self, account: Account, run_id: int, comment: str) -> None:
        raise NotImplementedError(account, run_id, comment)

    def acknowledge_alert(self, account: Account, alert_id: int, comment: str) -> None:
        raise NotImplementedError(account, alert_id, comment)


@contextmanager
def _listening(server: FastAPI) -> Iterator[str]:
    web = uvicorn.Server(uvicorn.Config(server, "127.0.0.1", 0, log_level="error"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}"
    finally:
        web.should_exit = True
        thread.join(10)


def _visit(browser: Browser, url: str, ready: str) -> tuple[int, float]:
    """Transferred bytes and seconds until ``ready`` stands, with an empty cache."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    begin = time.perf_counter()
    page.goto(url)
    page.wait_for_selector(ready, timeout=30_000)
    seconds = time.perf_counter() - begin
    page.wait_for_timeout(300)
    context.close()
    return int(sum(sizes)), seconds


def _median(browser: Browser, url: str, ready: str) -> tuple[int, float]:
    seen = [_visit(browser, url, ready) for _ in range(ROUNDS)]
    return int(statistics.median(b for b, _ in seen)), statistics.median(s for _, s in seen)


def _default_dash() -> FastAPI:
    """Dash as it comes, with one chart of as many points as ours."""
    server = FastAPI()
    app = Dash("default", server=server, assets_folder="none", pages_folder="", use_pages=False)
    points = list(range(96))
    figure = {"data": [{"x": points, "y": points, "type": "scatter"}]}
    app.layout = html.Div(dcc.Graph(figure=figure))
    return server


def _ours(database: Database) -> FastAPI:
    server = FastAPI()

    @server.get("/static", response_class=HTMLResponse)
    def static() -> str:
        return STATIC

    account = Account("bench", Role.ADMIN)
    with database.connection() as connection:
        site = sites.load(connection)
    context = DashContext(database, lambda: NOW, lambda: account, lambda: site, _NoActions())
    create(server, context)
    return server


def rows() -> list[dict[str, Any]]:
    """Rows for docs/benchmarks.md; none where chromium is not installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if chromium is None:
        return []
    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        with _listening(_default_dash()) as url:
            default_bytes, default_s = _median(browser, f"{url}/", DRAWN)
        database_server = EmbeddedServer.start(Path(folder) / "database")
        try:
            with Database(database_server.url) as database:
                migrate(database)
                _small_city(database)
                with _listening(_ours(database)) as url:
                    address = f"{url}/app/?lang=en&theme=light"
                    our_bytes, our_s = _median(browser, address, DRAWN)
                    _, static_s = _median(browser, f"{url}/static", ".ready")
        finally:
            database_server.stop()
            browser.close()
    return [
        _row(
            "page weight, transferred",
            our_bytes / 1e6,
            default_bytes / 1e6,
            "MB",
            "whole Overview with tables and components; reference: one chart in Dash as it comes",
        ),
        _row(
            "time to a drawn chart",
            our_s,
            default_s,
            "s",
            "empty cache; reference: one chart in Dash as it comes",
        ),
        _row(
            "time to a drawn chart",
            our_s,
            static_s,
            "s",
            "empty cache; reference: a static HTML page in the same browser",
        ),
    ]


def _row(figure: str, ours: float, reference: float, unit: str, note: str) -> dict[str, Any]:
    return {
        "figure": figure,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "ratio": round(ours / reference, 3),
        "unit": unit,
        "note": note,
    }


if __name__ == "__main__":
    for row in rows():
        print(row)
