"""The dispatch desk at work: the network at any step, devices, comparisons, a plan to approve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from core.accounts import Account, Role
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.timeaxis import HOUR, QUARTER_HOUR, steps
from core.whatif import Changes
from store import calls, runs, setpoints

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000
"""What an element may take to appear on a machine that does other things too."""
NOTHING_TO_ASK = "--no-sandbox --disable-gpu --disable-background-networking --no-first-run"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[BrowserContext]:
    """One visitor for all tests, to whom a script is sent and compiled once."""
    with sync_playwright() as playwright:
        arguments = NOTHING_TO_ASK.split()
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        expect.set_options(timeout=PATIENCE_MS)
        yield started.new_context()
        expect.set_options(timeout=5_000)
        started.close()


def newest(connection: Any, kind: str) -> runs.Run:
    found = runs.latest(connection, kind)
    assert found is not None
    return found


def steer(connection: Any, now: Any) -> None:
    """Three batteries: one follows, one does not and says so, one has not answered."""
    run = newest(connection, "day_ahead")
    start = now - 2 * HOUR
    times = steps(start, start + 8 * HOUR, QUARTER_HOUR)
    for number, p_mw in enumerate((0.3, 0.6, 0.3)):
        asked = Setpoint(
            f"battery-{number:03d}",
            times,
            np.full(len(times), p_mw),
            start + 6 * HOUR,
            0.0,
            q_mvar=np.full(len(times), -0.05) if number == 0 else None,
        )
        setpoints.prepare(connection, run.id, [asked])
        setpoints.sending(connection, run.id, [asked], start)
    setpoints.sent(connection, run.id)
    told = [
        Acknowledgement("battery-000", start, Answer.ACCEPTED, "b0", q_refused=True),
        Acknowledgement("battery-001", start, Answer.REFUSED, "b1", "inverter too hot"),
    ]
    setpoints.acknowledge(connection, told, start)


def try_out(connection: Any, now: Any) -> None:
    """A what-if run beside its base: no line 3."""
    base = newest(connection, "day_ahead")
    run_id = runs.start(connection, "what_if", "console", now)
    planned = base.summary["planned"] | {"total_cny": 25_930.0, "violations": 2}
    notes = {"base_run": base.id, "title_en": "without line 3", "title_zh": "线路 3 停运"}
    summary = {**base.summary, "planned": planned, "what_if": notes}
    schedule, ac = runs.schedule(connection, base.id), runs.ac(connection, base.id)
    runs.finish(connection, run_id, "optimal", summary, schedule, ac)


@pytest.fixture(scope="module")
def desk(own_city: Any) -> Any:
    """The pages of a city whose devices have been sent their set-points."""
    with own_city.database.connection() as connection:
        steer(connection, own_city.now)
        try_out(connection, own_city.now)
        tomorrow = own_city.now + 24 * HOUR
        window = {"start": tomorrow, "end": tomorrow + 2 * HOUR, "limit_mw": 3.0}
        calls.add(connection, name="evening", **window, breach_cny_per_mwh=900.0, by="li",
                  at=own_city.now)  # fmt: skip
    return own_city


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: BrowserContext, desk: Any) -> Iterator[Open]:
    """The desk in a browser, which fails on errors of the page."""
    opened: list[Page] = []
    troubles: list[str] = []
    desk.account = Account("li", Role.OPERATOR)

    def start(query: str = "lang=en&theme=light", width: int = 1440) -> Page:
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": 1000})
        page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: troubles.append(str(e)))
        opened.append(page)
        page.goto(f"{desk.url}/app/dispatch?{query}")
        expect(page.locator("#dispatch-step-text")).to_contain_text("pu")
        expect(page.locator("#dispatch-devices .ag-root-wrapper")).to_be_visible()
        return page

    yield start
    for page in opened:
        page.close()
    assert troubles == []


@pytest.mark.parametrize(
    ("name", "query", "width"),
    [
        ("en_light", "lang=en&theme=light", 1440),
        ("zh_dark", "lang=zh&theme=dark", 1440),
        ("phone", "lang=en&theme=light", 390),
        ("phone_zh_dark", "lang=zh&theme=dark", 390),
    ],
)
def test_the_desk_is_whole(
    name: str, query: str, width: int, visit: Open, artifacts: Path, desk: Any
) -> None:
    with desk.database.connection() as connection:
        waiting = propose(connection, desk.now)
    page = visit(query, width)
    expect(page.locator("#dispatch-proposal")).to_be_visible()
    page.wait_for_function(
        """() => [...document.querySelectorAll('.dash-graph')].every(
            (graph) => graph.querySelector('.main-svg'))"""
    )
    page.screenshot(path=artifacts / f"desk_{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    with desk.database.connection() as connection:
        runs.refuse(connection, waiting, "test", "", desk.now)


def propose(connection: Any, now: Any) -> int:
    base = newest(connection, "day_ahead")
    run_id = runs.start(connection, "intraday", "schedule", now)
    planned = base.summary["planned"] | {"total_cny": 21_930.0}
    schedule, ac = runs.schedule(connection, base.id), runs.ac(connection, base.id)
    gives = {
        "hard": True,
        "subject": "battery-001",
        "text_en": "battery-001 is full by 08:00: no schedule keeps it.",
        "text_zh": "battery-001 在 08:00 前充满：任何计划都守不住。",
    }
    summary = base.summary | {"planned": planned, "given": [gives]}
    runs.finish(connection, run_id, "proposed", summary, schedule, ac)
    runs.propose(connection, run_id, now + timedelta(minutes=15))
    return run_id


def test_any_step_of_the_network_is_a_key_away(visit: Open) -> None:
    page = visit()
    text = page.locator("#dispatch-step-text")
    expect(text).to_contain_text("2026-06-22 14:15 (now)")
    before = text.inner_text()
    thumb = page.locator("#dispatch-step [role=slider], .stepper [role=slider]").first
    thumb.focus()
    page.keyboard.press("ArrowRight")
    expect(text).to_contain_text("2026-06-22 14:30")
    assert text.inner_text() != before
    page.keyboard.press("Home")
    expect(text).to_contain_text("2026-06-22 00:00")
    legend = page.locator("[id*='dispatch-network'] .legendtext").all_text_contents()
    assert any("Line 0" in entry for entry in legend)
    assert "Bus within its band" in legend
    # The map stays where somebody put it while the page keeps itself up to date.
    with page.expect_response(lambda r: "dispatch-tick" in (r.request.post_data or "")):
        pass
    expect(text).to_contain_text("2026-06-22 00:00")


def test_the_network_of_a_step_is_a_table_too(visit: Open) -> None:
    page = visit()
    card = page.locator(".chart-card", has=page.locator("#dispatch-step"))
    card.get_by_role("button", name="Table").click()
    rows = card.locator("table.data tbody tr")
    expect(rows).to_have_count(14 + 14 + 1)  # lines, buses with a voltage, the transformer
    expect(card.locator("table.data thead")).to_contain_text("Highest, pu")
    expect(rows.first).to_contain_text("Line 0")


def test_devices_that_need_a_look_stand_first(visit: Open) -> None:
    page = visit()
    grid = page.locator("#dispatch-devices")
    expect(grid).to_contain_text("Refused")
    expect(grid).to_contain_text("inverter too hot")
    expect(grid).to_contain_text("Not acknowledged")
    expect(grid).to_contain_text("Acknowledged without Mvar")
    expect(grid).to_contain_text("\u22120.050")
    rows = grid.locator(".ag-center-cols-container .ag-row")
    expect(rows).to_have_count(3)
    expect(page.locator(".sentence").first).to_contain_text("Set-points refused: 1.")
    expect(page.locator("#dispatch-figures")).to_contain_text("of 3")


def test_what_is_asked_of_the_plan_stands_with_whether_it_is_kept(visit: Open) -> None:
    """The reserve of the plan in force, and a call of tomorrow that no plan has reached."""
    english = visit().locator("#dispatch-asked tbody tr")
    expect(english).to_have_count(2)
    expect(english.nth(0)).to_contain_text("Reserve spinning: 0.30 MW held.")
    expect(english.nth(0)).to_contain_text("Kept")
    expect(english.nth(1)).to_contain_text("Call evening, 2026-06-23 14:20")
    expect(english.nth(1)).to_contain_text("Not in a plan yet")
    chinese = visit("lang=zh&theme=light").locator("#dispatch-asked tbody tr")
    expect(chinese.nth(0)).to_contain_text("备用“spinning”：保有 0.30 MW。")
    expect(chinese.nth(1)).to_contain_text("尚未列入计划")


def test_runs_are_compared_and_the_address_says_which(visit: Open) -> None:
    page = visit()
    table = page.locator("#dispatch-comparison")
    expect(table).to_contain_text("Uncontrolled")
    what_if = page.locator("#dispatch-what-ifs")
    expect(what_if).to_contain_text("without line 3")
    expect(what_if).to_contain_text("+3\u2009000")
    what_if.locator(".row-link").click()
    page.wait_for_url("**base=*run=*")
    expect(table).to_contain_text("without line 3")
    expect(table).to_contain_text("+3\u2009000")
    assert "What-if" not in page.locator("#dispatch-runs").inner_text()  # nobody follows them


def test_a_what_if_run_is_asked_for_by_keyboard_and_stands_in_the_list(
    visit: Open, desk: Any, artifacts: Path
) -> None:
    page = visit()
    said, card = page.locator("#what-if-said"), page.locator("#dispatch-what-ifs")
    page.locator("#what-if-try").click()
    expect(said).to_contain_text("Choose the line or transformer")
    page.locator("#what-if-element").focus()
    page.keyboard.type("Line 4")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#what-if-try").press("Enter")
    expect(said).to_contain_text("is asked for")
    expect(card).to_contain_text("without Line 4")
    assert desk.asked[-1] == ("what-if", "li", Changes(lines=(4,)))
    page.locator("#what-if-kind").click()
    page.get_by_role("option", name="PV").click()
    page.get_by_label("By how much").fill("-2000")
    page.locator("#what-if-try").click()  # before any timer could have sent the number
    expect(said).to_contain_text("from \u2212100 to 1000")
    page.get_by_label("By how much").fill("12.5")
    page.locator("#what-if-try").click()
    expect(card).to_contain_text("PV +12.5 %")
    expect(card).to_contain_text("Requested")
    assert desk.asked[-1] == ("what-if", "li", Changes(pv_factor=1.125))
    page.locator(".columns", has=card).last.screenshot(path=artifacts / "what_if_en_light.png")
    with desk.database.connection() as connection:
        first = runs.take_requested(connection, "what_if", 1)[0]
        runs.fail(connection, first.id, "The network has no line 4.")
    expect(card).to_contain_text("The network has no line 4.")
    phone = visit("lang=zh&theme=dark", 390)
    expect(phone.locator("#dispatch-what-ifs")).to_contain_text("停运 Line 4")
    assert phone.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    shown = phone.locator("section", has=phone.locator("#dispatch-what-ifs")).last
    shown.screenshot(path=artifacts / "what_if_phone_zh_dark.png")
    runs_left(desk)


def runs_left(desk: Any) -> None:
    """What nobody makes here must not stay asked for."""
    with desk.database.connection() as connection:
        for run in runs.take_requested(connection, "what_if"):
            runs.fail(connection, run.id, "The test is over.")


def test_an_operator_approves_with_a_comment_by_keyboard(visit: Open, desk: Any) -> None:
    with desk.database.connection() as connection:
        waiting = propose(connection, desk.now)
    page = visit()
    card = page.locator("#dispatch-proposal")
    expect(card).to_contain_text(f"run {waiting}")
    expect(card).to_contain_text("\u22121\u2009000")  # cheaper than the plan in force
    expect(card).to_contain_text("battery-001 is full by 08:00")  # what gives with the approval
    slow = page.context.new_cdp_session(page)  # the words must not lie behind the press
    slow.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.locator("#decision-comment").focus()
    page.keyboard.type("For the evening peak.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    slow.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    expect(page.locator("#dispatch-job")).to_contain_text(f"Run {waiting} is approved")
    expect(card).to_be_hidden()
    assert desk.asked[-1] == ("approve", "li", waiting, "For the evening peak.")
    with desk.database.connection() as connection:
        decided = runs.decision(connection, waiting)
        there = runs.by_id(connection, waiting)
    assert decided is not None
    assert (decided.decision, decided.decided_by) == ("approved", "li")
    assert there is not None
    assert there.state == "optimal"


def test_refusing_leaves_the_plan_in_force(visit: Open, desk: Any) -> None:
    with desk.database.connection() as connection:
        waiting = propose(connection, desk.now)
    page = visit("lang=zh&theme=dark")
    page.locator("#decision-comment").fill("三号储能检修")
    page.locator("#plan-refuse").click()
    expect(page.locator("#dispatch-job")).to_contain_text("已否决")
    expect(page.locator("#dispatch-runs")).to_contain_text("三号储能检修")
    with desk.database.connection() as connection:
        there = runs.by_id(connection, waiting)
    assert there is not None
    assert there.state == "refused"
