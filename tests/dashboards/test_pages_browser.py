"""The pages in a real browser: complete, quiet, at home on a phone, and honest when data fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from core.accounts import Account, Role
from store import alerts
from store.database import Database
from store.embedded import EmbeddedServer

pytestmark = pytest.mark.browser

PATHS = {
    "overview": "",
    "dispatch": "dispatch",
    "environment": "environment",
    "carbon": "carbon",
    "data": "data",
}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture(scope="module")  # while it is open, this thread has a running event loop
def browser(chromium: str) -> Iterator[BrowserContext]:
    """One visitor for all tests, to whom a script is sent and compiled once."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started.new_context()
        started.close()


def settled(page: Page) -> None:
    """Wait until every chart of the page is drawn and every grid shows its rows."""
    page.wait_for_function(
        """() => [...document.querySelectorAll('.dash-graph')].every(
            (g) => g.querySelector('.main-svg')) && !document.querySelector('.skeleton')
            && [...document.querySelectorAll('.dash-ag-grid, [id$="-alerts"], [id$="-runs"]')]
               .every((g) => g.querySelector('.ag-root-wrapper'))""",
        timeout=20_000,
    )


class Visit:
    """A page with its console errors and the hosts that it asked."""

    def __init__(self, browser: BrowserContext, width: int, height: int = 900) -> None:
        self.page: Page = browser.new_page()
        self.page.set_viewport_size({"width": width, "height": height})
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.hosts.add(urlsplit(r.url).netloc))

    def open(self, url: str, ready: str = ".js-plotly-plot .main-svg") -> Page:
        self.page.goto(url)
        expect(self.page.locator(ready).first).to_be_visible(timeout=20_000)
        return self.page


@pytest.fixture
def visit(browser: BrowserContext) -> Iterator[Any]:
    """Opens pages that remember nothing of the tests before."""
    browser.clear_cookies()
    opened: list[Visit] = []

    def start(width: int = 1440) -> Visit:
        opened.append(Visit(browser, width))
        return opened[-1]

    yield start
    for one in opened:
        if one.page.url.startswith("http"):
            one.page.evaluate("localStorage.clear()")
        one.page.close()


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("zh", "dark")])
@pytest.mark.parametrize("name", list(PATHS))
def test_each_page_is_drawn_without_an_error_or_another_host(
    name: str, language: str, theme: str, served: Any, visit: Any, artifacts: Path
) -> None:
    seen = visit()
    page = seen.open(f"{served.url}/app/{PATHS[name]}?lang={language}&theme={theme}")
    expect(page.locator(".sentence").first).to_be_visible()
    settled(page)
    page.screenshot(path=artifacts / f"{name}_{language}_{theme}.png", full_page=True)
    assert page.evaluate("document.documentElement.lang") == ("zh-CN" if language == "zh" else "en")
    assert page.evaluate("document.body.dataset.agThemeMode") == theme
    assert page.locator("#simulated").inner_text() in ("Simulated data", "仿真数据")
    assert page.locator("#clock").inner_text().split() == ["2026-06-22", "14:20", "UTC+8"]
    shared = page.locator("[data-title*='Share'], [data-title*='Cloud' i]")
    assert shared.count() == 0  # plotly's own button would give the data to another host
    assert seen.errors == []
    assert seen.hosts - {""} == {urlsplit(served.url).netloc}  # data: addresses have no host


@pytest.mark.parametrize("name", list(PATHS))
def test_a_phone_needs_no_horizontal_scrolling(
    name: str, served: Any, visit: Any, artifacts: Path
) -> None:
    page = visit(390).open(f"{served.url}/app/{PATHS[name]}?lang=en&theme=light")
    settled(page)
    page.screenshot(path=artifacts / f"{name}_phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.locator("#burger").click()
    expect(page.locator("#navigation .desk").first).to_be_in_viewport()


def test_grid_rows_become_lists_on_a_phone(served: Any, visit: Any) -> None:
    page = visit(390).open(f"{served.url}/app/?lang=en&theme=light")
    expect(page.locator("#overview-alerts dl.stacked")).to_have_count(3)
    assert "Line 7 nears its limit" in page.locator("#overview-alerts").inner_text()


def test_chinese_reaches_axes_and_tables(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/?lang=zh&theme=light")
    settled(page)
    ticks = " ".join(page.locator(".xaxislayer-above text").all_text_contents())
    assert re.search(r"6月22日", ticks)
    assert not re.search(r"[A-Z][a-z]{2}", ticks)
    expect(page.locator("#overview-alerts")).to_contain_text("负载率 97%")


def test_language_and_theme_keep_the_view_and_live_in_the_address(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/environment?lang=en&theme=light&station=air-03&days=2")
    expect(page.locator("h1")).to_have_text("Environment")
    page.get_by_title("Show in Chinese").click()
    expect(page.locator("h1")).to_have_text("环境")
    page.get_by_title("深色主题").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    for part in ("lang=zh", "theme=dark", "station=air-03", "days=2"):
        assert part in page.url
    expect(page.locator(".row-link.chosen")).to_have_text("港区")


def test_picking_a_station_changes_the_address_and_the_trend(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/environment?lang=en&theme=light")
    page.locator("input.mantine-Select-input").click()
    page.get_by_role("option", name="Harbour").click()
    page.wait_for_url("**station=air-03**")
    expect(page.locator(".legendtext").filter(has_text="Harbour")).to_be_visible()


def test_a_search_and_a_choice_live_in_the_address(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/data?lang=en&theme=light")
    settled(page)
    page.get_by_placeholder("Search name").fill("pv-001")
    expect(page.locator("#data-found tbody tr")).to_have_count(1, timeout=10_000)
    page.locator("#data-found .row-link").first.click()
    page.wait_for_url("**/app/data?*series=demo%2Fpv-001%2Fp_mw*")
    assert "q=pv-001" in page.url
    expect(page.locator("#data-found .row-link.chosen")).to_have_count(1)
    expect(page.locator(".js-plotly-plot .scatterlayer .trace").first).to_be_attached()


def test_the_data_desk_says_what_is_silent_missing_and_held(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/data?lang=en&theme=light&q=meter-silent")
    settled(page)
    expect(page.locator(".sentence")).to_contain_text("devices are on line")
    expect(page.locator(".sentence")).to_contain_text("1 messages wait in quarantine")
    expect(page.locator("#data-missing")).to_contain_text("at the source")
    expect(page.locator("#data-held")).to_contain_text("unknown device")
    expect(page.locator("#data-found")).to_contain_text("out of range")


def test_a_chart_gives_its_data_as_table_and_csv(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/?lang=en&theme=light")
    card = page.locator(".chart-card").first
    card.get_by_role("button", name="Table").click()
    rows = card.locator("table.data tbody tr")
    expect(rows).to_have_count(96)
    expect(rows.first).to_contain_text("2026-06-22 00:00")
    with page.expect_download() as download:
        card.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    assert text.splitlines()[0].startswith(",")
    assert "Load, forecast" in text.splitlines()[0]
    assert len(text.splitlines()) == 97


def test_acknowledging_with_a_comment(served: Any, visit: Any, database: Database) -> None:
    page = visit().open(f"{served.url}/app/?lang=en&theme=light")
    row = page.locator("#overview-alerts .ag-center-cols-container .ag-row").filter(
        has_text="Central"
    )
    number = row.get_attribute("row-id")
    page.locator(f"#overview-alerts .ag-row[row-id='{number}'] input[type=checkbox]").first.click()
    page.locator("#acknowledge-open").click()
    page.locator("#acknowledge-comment").fill("Dust from the east, watched.")
    page.locator("#acknowledge-do").click()
    expect(row).to_contain_text("Acknowledged", timeout=10_000)
    assert served.asked == [("alert", "operator", int(number), "Dust from the east, watched.")]
    with database.connection() as connection:
        stored = {str(a.id): a for a in alerts.active(connection)}[number]
    assert (stored.acknowledged_by, stored.comment) == ("operator", "Dust from the east, watched.")


def test_plan_now_asks_for_a_run_and_shows_its_state(served: Any, visit: Any) -> None:
    page = visit().open(f"{served.url}/app/dispatch?lang=en&theme=light")
    page.locator("#plan-now").click()
    expect(page.locator("#dispatch-job")).to_contain_text("is requested")
    expect(page.locator("#dispatch-runs")).to_contain_text("Requested", timeout=10_000)
    assert served.asked == [("plan", "operator")]


def test_the_public_cannot_open_dispatch_and_is_told_so(served: Any, visit: Any) -> None:
    served.account = Account("public", Role.PUBLIC)
    page = visit().open(f"{served.url}/app/dispatch?lang=en&theme=light", ".plain-page")
    expect(page.locator(".plain-page")).to_contain_text("not open to this account")
    expect(page.locator(".plain-page a")).to_have_attribute("href", "/signin")
    page.locator(".desk", has_text="Overview").click()
    expect(page.locator("#overview-figures .figure")).to_have_count(6)
    expect(page.get_by_text("Sign in as grid operator")).to_be_visible()
    assert page.locator("#acknowledge-open").count() == 0


def test_an_enterprise_sees_only_its_own(served: Any, visit: Any) -> None:
    served.account = Account("brewery", Role.ENTERPRISE, owner="ent-04")
    page = visit().open(f"{served.url}/app/carbon?lang=en&theme=light&enterprise=ent-00")
    expect(page.locator(".sentence").first).to_contain_text("Lake Brewery")
    assert "Verde Steel" not in page.locator("main").inner_text()
    assert "Metro Line 1" not in page.locator("main").inner_text()


def test_what_did_not_change_is_not_sent_again(served: Any, visit: Any) -> None:
    seen = visit()
    page = seen.open(f"{served.url}/app/environment?lang=en&theme=light")
    with page.expect_response(
        lambda r: (
            "_dash-update-component" in r.url and "environment-tick" in (r.request.post_data or "")
        ),
        timeout=15_000,
    ) as answer:
        pass
    assert answer.value.ok
    sent = json.loads(answer.value.text())["response"] if answer.value.text() else {}
    assert not any("chart" in component for component in sent)


def test_a_link_to_a_desk_is_whole_as_the_very_first_request(serve_anew: Any) -> None:
    page = urlopen(f"{serve_anew.url}/app/environment").read().decode()
    assert "assets/app.css" in page
    assert "assets/app.js" in page


def test_an_empty_database_says_how_to_fill_it(empty_pages: Any, visit: Any) -> None:
    seen = visit()
    page = seen.open(f"{empty_pages.url}/app/?lang=en&theme=light", ".sentence")
    expect(page.locator(".sentence").first).to_contain_text("make up")
    expect(page.locator("#city-name")).to_have_text("No city yet")
    assert seen.errors == []


def test_a_stopped_database_is_told_and_the_page_recovers(
    served: Any, visit: Any, embedded: EmbeddedServer, tmp_path: Path
) -> None:
    page = visit().open(f"{served.url}/app/environment?lang=en&theme=light")
    drawn = page.locator("#environment-stations tr").count()
    folder = embedded.data_dir
    embedded.stop()
    try:
        expect(page.locator("#environment-notice")).to_contain_text("recovers", timeout=25_000)
        assert page.locator("#environment-stations tr").count() == drawn
        other = visit().open(f"{served.url}/app/?lang=en&theme=light", ".notice")
        expect(other.locator(".notice").first).to_contain_text("tries again")
    finally:
        EmbeddedServer.start(folder)
    expect(page.locator("#environment-notice .notice")).to_have_count(0, timeout=25_000)
    expect(other.locator("#overview-figures .figure")).to_have_count(6, timeout=25_000)
