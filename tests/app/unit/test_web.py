"""The whole web application on a real server: who may see what, and what goes wrong politely."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import api
from app.accountgate import COOKIE
from app.auth import DEMO_PASSWORD, ensure_demo_accounts, hash_password
from app.headers import SECURITY_HEADERS
from app.settings import Settings
from app.web import create_app
from app.wiring import City
from core.accounts import Role
from core.series import Series
from store import runs, series, users
from store.embedded import EmbeddedServer


@contextmanager
def served(application: FastAPI) -> Iterator[str]:
    """The address of ``application`` on a real server."""
    web = uvicorn.Server(uvicorn.Config(application, "127.0.0.1", 0, log_config=None))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not web.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}"
    web.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def url(shared_city: City) -> Iterator[str]:
    ensure_demo_accounts(shared_city.database, "ent-a")
    with served(create_app(Settings(), shared_city)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A visitor's browser; it follows no redirect."""
    with httpx.Client(base_url=url, timeout=30) as browser:
        yield browser


@pytest.fixture
def signed_in(url: str) -> Iterator[Callable[[str], httpx.Client]]:
    """Browsers of the demo accounts."""
    opened: list[httpx.Client] = []

    def enter(name: str) -> httpx.Client:
        opened.append(httpx.Client(base_url=url, timeout=30))
        answer = opened[-1].post("/signin", data={"name": name, "password": DEMO_PASSWORD})
        assert answer.status_code == 303
        return opened[-1]

    yield enter
    for browser in opened:
        browser.close()


# --- sign-in -----------------------------------------------------------------------------------


def test_readiness_says_what_is_there(client: httpx.Client) -> None:
    found = client.get("/readyz").json()
    assert found["city"] == "tiny"
    assert found["simulated"] is True
    assert (found["readings"], found["last_reading"]) == (0, None)
    assert found["latest_plan"] is None
    assert found["schema_up_to_date"] is True
    assert not any(found["signs"].values())


@pytest.mark.parametrize(
    ("name", "password"), [("operator", "wrong"), ("nobody", DEMO_PASSWORD), ("a\0b", "x")]
)
def test_a_wrong_sign_in_is_a_page_that_says_so(
    client: httpx.Client, name: str, password: str
) -> None:
    answer = client.post("/signin", data={"name": name, "password": password})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert COOKIE not in answer.cookies
    chinese = client.post("/signin", data={"name": name, "password": password, "lang": "zh"})
    assert "账号或密码有误" in chinese.text


def test_the_right_password_sets_a_cookie_that_scripts_and_other_sites_cannot_use(
    client: httpx.Client,
) -> None:
    answer = client.post("/signin", data={"name": "operator", "password": DEMO_PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/app/")
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=lax" in attributes
    assert f"max-age={12 * 3600}" in attributes
    assert "secure" not in attributes  # plain http on loopback: the browser would drop it


def test_behind_https_the_cookie_is_for_https_only(client: httpx.Client) -> None:
    form = {"name": "operator", "password": DEMO_PASSWORD}
    answer = client.post("/signin", data=form, headers={"X-Forwarded-Proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/app//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "app/",
        "/signout",
        "",
        " /app/",
    ],
)
def test_nobody_is_sent_to_another_host(client: httpx.Client, target: str) -> None:
    form = {"name": "operator", "password": DEMO_PASSWORD, "next": target}
    assert client.post("/signin", data=form).headers["location"] == "/app/"
    assert (
        f'value="{target}"' not in client.get("/signin", params={"next": target}).text or not target
    )


def test_one_is_sent_back_to_the_page_one_came_from(client: httpx.Client) -> None:
    target = "/app/dispatch?lang=zh&asset=battery-000"
    form = {"name": "operator", "password": DEMO_PASSWORD, "next": target}
    assert client.post("/signin", data=form).headers["location"] == target
    # A line break would be a header of its own.
    form["next"] = "/app/\r\nSet-Cookie: a=b"
    answer = client.post("/signin", data=form)
    assert answer.headers["location"] == "/app/%0D%0ASet-Cookie:%20a=b"


def test_what_is_asked_back_is_text_and_not_markup(client: httpx.Client) -> None:
    page = client.get("/signin", params={"next": '/app/"><script>alert(1)</script>'}).text
    assert "<script" not in page


def test_the_demo_is_offered_in_a_simulated_city_only(
    client: httpx.Client, with_site: Callable[..., City]
) -> None:
    assert DEMO_PASSWORD in client.get("/signin").text
    with served(create_app(Settings(), with_site(simulated=False))) as real:
        page = httpx.get(f"{real}/signin").text
    assert DEMO_PASSWORD not in page
    assert 'name="password"' in page


def test_signing_out_ends_the_session_itself(signed_in: Callable[[str], httpx.Client]) -> None:
    browser = signed_in("operator")
    token = browser.cookies[COOKIE]
    assert browser.get("/api/v1/plans").status_code == 200
    assert browser.post("/signout").status_code == 303
    browser.cookies.set(COOKIE, token)  # kept by somebody
    assert browser.get("/api/v1/plans").status_code == 401


def test_a_disabled_account_is_a_visitor_at_once(
    signed_in: Callable[[str], httpx.Client], shared_city: City
) -> None:
    with shared_city.database.connection() as connection:
        users.add(connection, "temp", Role.OPERATOR, password_hash=hash_password(DEMO_PASSWORD))
    browser = signed_in("temp")
    assert browser.get("/api/v1/plans").status_code == 200
    with shared_city.database.connection() as connection:
        users.set_active(connection, "temp", active=False)
    assert browser.get("/api/v1/plans").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "a" * 4000, "ü", "%00"])
def test_a_made_up_token_is_a_visitor(client: httpx.Client, token: str) -> None:
    headers = {"cookie": f"{COOKIE}={token}".encode()}
    assert client.get("/api/v1/plans", headers=headers).status_code == 401
    assert client.get("/api/v1/air", headers=headers).status_code == 200


# --- the open interface ------------------------------------------------------------------------

ADDRESSES = {
    "/api/v1/status": {"visitor", "enterprise", "bureau", "operator", "admin"},
    "/api/v1/air": {"visitor", "enterprise", "bureau", "operator", "admin"},
    "/api/v1/series": {"bureau", "operator", "admin"},
    "/api/v1/readings": {"bureau", "operator", "admin"},
    "/api/v1/online": {"bureau", "operator", "admin"},
    "/api/v1/gaps": {"bureau", "operator", "admin"},
    "/api/v1/plans": {"operator", "admin"},
    "/api/v1/setpoints": {"operator", "admin"},
    "/api/v1/calls": {"operator", "admin"},
    "/api/v1/quarantine": {"bureau", "admin"},
    "/api/v1/charging/sessions": {"operator", "admin"},
    "/api/v1/charging/sessions/open": {"operator", "admin"},
    "/api/v1/charging/connectors": {"operator", "admin"},
}
WRITING = {
    "/api/v1/readings",
    "/api/v1/quarantine/replay",
    "/api/v1/plans/{run_id}/approve",
    "/api/v1/plans/{run_id}/refuse",
    "/api/v1/calls",
    "/api/v1/calls/{call_id}/withdraw",
}
_A_DAY = {
    "key": "tiny/load-000/p_mw",
    "start": "2026-06-25T00:00:00+08:00",
    "end": "2026-06-26T00:00:00+08:00",
}
QUESTION = {
    "/api/v1/readings": _A_DAY,
    "/api/v1/gaps": _A_DAY,
    "/api/v1/charging/sessions": _A_DAY,
}


def test_the_document_lists_the_routes_and_nothing_else(client: httpx.Client) -> None:
    document = client.get("/api/openapi.json").json()
    reading = {path for path, methods in document["paths"].items() if "get" in methods}
    assert reading == {*ADDRESSES, "/healthz", "/readyz"}
    writing = {path: set(methods) - {"get"} for path, methods in document["paths"].items()}
    assert {path: {"post"} for path in WRITING} == {p: m for p, m in writing.items() if m}


@pytest.mark.parametrize("role", ["visitor", "enterprise", "bureau", "operator", "admin"])
def test_each_role_sees_what_is_granted_to_it(
    client: httpx.Client, signed_in: Callable[[str], httpx.Client], role: str
) -> None:
    browser = client if role == "visitor" else signed_in(role)
    for address, granted in ADDRESSES.items():
        answer = browser.get(address, params=QUESTION.get(address))
        refusal = 401 if role == "visitor" else 403  # to say who one is helps, or does not
        assert answer.status_code == (200 if role in granted else refusal), address
        assert answer.headers.get("www-authenticate") == (
            "Bearer" if answer.status_code == 401 else None
        )
        if role not in granted:
            assert "lacks the permission" in answer.json()["error"]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("address", ["/api/unknown", "/api/", "/api/v1/unknown", "/api/v2/air"])
def test_an_unknown_address_is_json_and_no_page(
    client: httpx.Client, method: str, address: str
) -> None:
    answer = getattr(client, method)(address)
    assert answer.status_code == 404
    assert answer.json() == {"error": f"There is nothing at {address}."}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "2026-06-25T00:00:00"}, "has no zone"),
        ({"start": "yesterday"}, "no[t]? .*ISO 8601"),
        ({"start": "2026-06-26T00:00:00+08:00"}, "after its start"),
        ({"end": "2026-09-26T00:00:00+08:00"}, "31 days"),
        ({"key": "tiny/load-000/nothing"}, "no series 'tiny/load-000/nothing'"),
        ({"key": "tiny\0"}, "no series"),
        ({"day": "UTC", "pixels": 10}, "not for two of them"),
        ({"day": "Sea/Atlantis"}, "Unknown time zone 'Sea/Atlantis'"),
        ({"day": "UTC", "end": "2040-09-26T00:00:00+08:00"}, "3660 days"),
        ({"pixels": 10, "fill": "linear"}, "neither filled nor raw"),
        ({"exclude": "rotten"}, "no flag 'rotten'"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_by_a_sentence(
    signed_in: Callable[[str], httpx.Client], changes: dict[str, str], said: str
) -> None:
    answer = signed_in("operator").get(
        "/api/v1/readings", params={**QUESTION["/api/v1/readings"], **changes}
    )
    assert answer.status_code == 422
    assert re.search(said, answer.json()["error"])


def test_gaps_of_all_series_are_told_for_a_day(
    signed_in: Callable[[str], httpx.Client],
) -> None:
    asked = {"start": "2026-06-20T00:00:00+08:00", "end": "2026-06-26T00:00:00+08:00"}
    browser = signed_in("operator")
    assert "1 days" in browser.get("/api/v1/gaps", params=asked).json()["error"]
    asked["start"] = "2026-06-25T00:00:00+08:00"
    assert browser.get("/api/v1/gaps", params=asked).json() == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"box": "1,2,x,4"}, "south,west,north,east"), ({"flag": "rotten"}, "no flag 'rotten'")],
)
def test_a_search_that_makes_no_sense(
    signed_in: Callable[[str], httpx.Client], asked: dict[str, str], said: str
) -> None:
    answer = signed_in("operator").get("/api/v1/series", params=asked)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


class TestData:
    """What is asked of series, on a city of its own with a day and a half of readings."""

    KEY = "tiny/load-000/p_mw"

    @pytest.fixture
    def ask(
        self, city: City, write: Callable[..., None], now: datetime
    ) -> Iterator[Callable[..., object]]:
        """GET as the operator. Power is 1 MW until two hours ago, then 3; nothing an hour ago."""
        ensure_demo_accounts(city.database, "ent-a")
        hour = timedelta(hours=1)
        quarter = timedelta(minutes=15)
        write({self.KEY: 1.0}, now - 36 * hour, now - 2 * hour, quarter)
        write({self.KEY: 3.0}, now - 2 * hour, now - hour, quarter)
        with (
            served(create_app(Settings(), city)) as address,
            httpx.Client(base_url=address, timeout=30) as browser,
        ):
            browser.post("/signin", data={"name": "operator", "password": DEMO_PASSWORD})

            def get(what: str, **asked: object) -> object:
                answer = browser.get(f"/api/v1/{what}", params=asked)
                assert answer.status_code == 200, answer.text
                return answer.json()

            yield get

    def test_natural_days(self, ask: Callable[..., dict[str, object]]) -> None:
        """Noon in Shanghai: four hours into its second UTC day."""
        answer = ask(
            "readings",
            key=self.KEY,
            start="2026-06-24T00:00:00+08:00",
            end="2026-06-25T12:00:00+08:00",
            day="Asia/Shanghai",
        )
        assert answer["times"] == ["2026-06-23T16:00:00+00:00", "2026-06-24T16:00:00+00:00"]
        assert answer["series"] == {self.KEY: [1.0, pytest.approx((10 * 1 + 3) / 11)]}

    def test_pixels(self, ask: Callable[..., dict[str, object]]) -> None:
        asked = {"start": "2026-06-24T16:00:00Z", "end": "2026-06-25T04:00:00Z", "pixels": 4}
        answer = ask("readings", key=self.KEY, **asked)
        assert (answer["bucket_s"], len(answer["times"])) == (6 * 3600, 3)
        figures = answer["series"][self.KEY]
        assert figures["minimum"] == [1.0, 1.0, 1.0]
        assert figures["maximum"] == [1.0, 1.0, 3.0]
        assert figures["n"] == [8, 24, 12]

    def test_fill_and_raw(self, ask: Callable[..., dict[str, object]]) -> None:
        asked = {"start": "2026-06-25T02:30:00Z", "end": "2026-06-25T04:00:00Z"}
        asked |= {"bucket_minutes": 30, "key": self.KEY, "raw": True}
        assert ask("readings", **asked)["series"][self.KEY] == [3.0, None, None]
        answer = ask("readings", **asked, fill="previous", fill_minutes=30)
        assert answer["series"][self.KEY] == [3.0, 3.0, None]
        assert answer["filled"][self.KEY] == [False, True, False]

    def test_too_much_at_once(
        self, signed_in: Callable[[str], httpx.Client], shared_city: City
    ) -> None:
        fast = [Series("tiny", f"fast-{n}", "p_mw", timedelta(milliseconds=100)) for n in range(3)]
        with shared_city.database.connection() as connection:
            series.register(connection, fast)
        asked = {"start": "2026-06-01T00:00:00Z", "end": "2026-06-30T00:00:00Z"}
        asked |= {"key": [one.key for one in fast]}
        answer = signed_in("operator").get("/api/v1/readings", params=asked)
        assert answer.status_code == 422
        assert "ask for fewer" in answer.json()["error"]

    def test_search(self, ask: Callable[..., list[dict[str, object]]]) -> None:
        (row,) = ask("series", text="load-000 p_mw", kind="meter", limit=3)
        assert (row["key"], row["unit"], row["resolution_s"]) == (self.KEY, "MW", 900)
        assert [row["key"] for row in ask("series", variable="soc")] == ["tiny/battery-000/soc"]

    def test_gaps_and_online(self, ask: Callable[..., list[dict[str, object]]]) -> None:
        asked = {"start": "2026-06-24T16:00:00Z", "end": "2026-06-25T04:00:00Z"}
        (gap,) = ask("gaps", **asked)
        assert (gap["key"], gap["missing"], gap["cause"]) == (self.KEY, 4, "source")
        rates = {row["kind"]: row["total"] for row in ask("online")}
        assert rates["meter"] == 3


times = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "1969-12-31T00:00Z"]),
)
keys_asked = st.one_of(
    st.sampled_from(["tiny/load-000/p_mw", "tiny/battery-000/soc", "tiny/dma-1/billed_m3"]),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
numbers = st.one_of(
    st.integers(-5, 2000),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=5),
)


REFINEMENTS = (
    *("pixels", "day", "fill", "fill_minutes", "exclude", "raw", "text", "kind", "box", "flag"),
    *("after", "site", "fresher_than_minutes", "staler_than_minutes"),
)


@pytest.fixture
def signed_in_admin(signed_in: Callable[[str], httpx.Client]) -> httpx.Client:
    return signed_in("admin")


@given(
    start=times,
    end=times,
    key=st.lists(keys_asked, max_size=3),
    bucket_minutes=st.none() | numbers,
    limit=st.none() | numbers,
    hours=st.none() | st.integers(0, 24 * 40),
    extra=st.dictionaries(
        st.sampled_from(REFINEMENTS),
        numbers | st.sampled_from(["UTC", "linear", "late", "1,2,3,4", "Asia/Shanghai", "nan"]),
        max_size=3,
    ),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_question_whatever_ends_in_an_error_of_ours(
    signed_in_admin: httpx.Client,
    start: str,
    end: str,
    key: list[str],
    bucket_minutes: object,
    limit: object,
    hours: int | None,
    extra: dict[str, object],
) -> None:
    if hours is not None:  # so that some ranges make sense
        with suppress(ValueError, OverflowError, TypeError):
            first = datetime.fromisoformat(start)
            end = datetime.fromtimestamp(first.timestamp() + hours * 3600, UTC).isoformat()
    given_names = {"start": start, "end": end, "key": key, "bucket_minutes": bucket_minutes}
    given_names |= {"limit": limit, **extra}
    asked = {k: v for k, v in given_names.items() if v is not None}
    for address in ADDRESSES:
        answer = signed_in_admin.get(address, params=asked)
        assert answer.status_code in (200, 422), (address, asked, answer.text)
        answer.json()


def test_who_decides_on_a_plan(signed_in: Callable[[str], httpx.Client], shared_city: City) -> None:
    """Approved once, by an operator, from a page of ours; everybody else is told why not."""
    now = shared_city.now()
    with shared_city.database.connection() as connection:
        waiting = runs.start(connection, "intraday", "schedule", now)
        runs.finish(connection, waiting, "proposed", {})
        runs.propose(connection, waiting, now + timedelta(hours=1))
    address = f"/api/v1/plans/{waiting}/approve"
    wish = {"comment": "for the peak"}
    assert signed_in("bureau").post(address, json=wish).status_code == 403
    operator = signed_in("operator")
    foreign = {"origin": "http://elsewhere.example"}
    assert operator.post(address, json=wish, headers=foreign).status_code == 403
    assert operator.post(address, json={"comment": "x" * 2_001}).status_code == 422
    assert operator.post(address, json=wish).json() == {"id": waiting, "decision": "approved"}
    again = operator.post(f"/api/v1/plans/{waiting}/refuse", json={})
    assert (again.status_code, again.json()["error"]) == (
        409,
        f"Run {waiting} does not wait for approval: it is optimal.",
    )
    (found,) = [p for p in operator.get("/api/v1/plans").json() if p["id"] == waiting]
    assert (found["state"], found["decision"]["by"]) == ("optimal", "operator")
    assert found["decision"]["comment"] == "for the peak"


def test_who_announces_a_call(signed_in: Callable[[str], httpx.Client], shared_city: City) -> None:
    now = shared_city.now()
    call = {"name": "evening", "start": now.isoformat(), "limit_mw": 1.5, "breach_cny_per_mwh": 900}
    call["end"] = (now + timedelta(hours=2)).isoformat()
    assert signed_in("bureau").post("/api/v1/calls", json=call).status_code == 403
    operator = signed_in("operator")
    foreign = {"origin": "http://elsewhere.example"}
    assert operator.post("/api/v1/calls", json=call, headers=foreign).status_code == 403
    for change in ({"name": " "}, {"end": call["start"]}, {"start": "noon"}, {"limit_mw": None}):
        assert operator.post("/api/v1/calls", json=call | change).status_code == 422, change
    answer = operator.post("/api/v1/calls", json=call)
    assert answer.status_code == 201
    number = answer.json()["id"]
    assert signed_in("bureau").post(f"/api/v1/calls/{number}/withdraw").status_code == 403
    assert operator.post(f"/api/v1/calls/{number}/withdraw").json()["withdrawn"] is True
    assert operator.post(f"/api/v1/calls/{number}/withdraw").status_code == 409
    (found,) = operator.get("/api/v1/calls").json()
    assert (found["id"], found["name"], found["limit_mw"]) == (number, "evening", 1.5)
    assert (found["added_by"], found["withdrawn_by"]) == ("operator", "operator")


# --- every answer ------------------------------------------------------------------------------


def test_every_answer_carries_the_security_headers(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api.indices, "latest", broken)
    requests = {
        ("GET", "/"): 307,
        ("GET", "/app/"): 200,
        ("GET", "/signin"): 200,
        ("POST", "/signin"): 422,
        ("GET", "/healthz"): 200,
        ("GET", "/readyz"): 500,
        ("GET", "/api/v1/plans"): 401,
        ("GET", "/api/v1/air"): 500,
        ("GET", "/api/unknown"): 404,
        ("DELETE", "/api/v1/air"): 405,
        ("PUT", "/api/unknown"): 405,
        ("GET", "/api/openapi.json"): 200,
    }
    for (method, address), status in requests.items():
        answer = httpx.request(method, f"{url}{address}", timeout=30)
        assert answer.status_code == status, (method, address)
        missing = {k for k, v in SECURITY_HEADERS.items() if answer.headers.get(k) != v}
        assert not missing, (method, address, missing)
        assert "Traceback" not in answer.text
        assert "ZeroDivisionError" not in answer.text


# --- health ------------------------------------------------------------------------------------


def test_while_the_database_is_away_health_says_so_and_recovers(
    client: httpx.Client,
    signed_in: Callable[[str], httpx.Client],
    server: EmbeddedServer,
    eventually: Callable[..., None],
) -> None:
    assert client.get("/readyz").json()["status"] == "ready"
    operator = signed_in("operator")
    server.stop()
    try:
        assert client.get("/healthz").json() == {"status": "ok"}
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "unavailable"
        assert "cannot be reached" in answer.json()["reason"]
        assert client.get("/api/v1/air").status_code == 503
        sign_in = client.post("/signin", data={"name": "operator", "password": DEMO_PASSWORD})
        assert sign_in.status_code == 503
        # Whoever cannot be looked up is a visitor, who may not see this.
        assert operator.get("/api/v1/plans").status_code == 401
    finally:
        EmbeddedServer.start(server.data_dir)
    eventually("it is ready again", lambda: client.get("/readyz").status_code == 200)
    assert operator.get("/api/v1/plans").status_code == 200
