"""Readings over HTTP, on a real server over a real database: every row once, whatever breaks."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from app import ingest_api
from app.accountgate import AccountGate
from app.auth import DEMO_PASSWORD, SessionLimits, ensure_demo_accounts
from app.ingest_api import ingest_router
from app.machinetokens import TokenCheck, new_token, token_hash
from app.settings import Settings
from app.web import create_app
from app.wiring import City, wall_now
from core.errors import ConfigurationError
from core.readings import Quality
from core.sites import AssetKind, DeviceProfile, ProfileTag
from core.timeaxis import parse
from ingest.uploads import PIECE_BYTES, Limits
from store import machines, readings, users
from store.database import Database
from store.embedded import EmbeddedServer

START = parse("2026-06-24T00:00:00Z")
KEY = "tiny/load-000/p_mw"


Served = Callable[[FastAPI], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def url(shared_city: City, served: Served) -> Iterator[str]:
    ensure_demo_accounts(shared_city.database, "ent-a")
    with served(create_app(Settings(), shared_city)) as address:
        yield address


@pytest.fixture(scope="module")
def token(shared_city: City) -> str:
    return new_token(shared_city.database, "gateway", label="test", now=wall_now(), days=1)[1]


@pytest.fixture
def client(url: str, token: str, shared_city: City) -> Iterator[httpx.Client]:
    """A gateway; the readings and the quarantine are empty."""
    empty(shared_city.database)
    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {token}"}) as c:
        yield c


def empty(database: Database) -> None:
    with psycopg.connect(database._url) as connection:
        connection.execute("TRUNCATE reading, quarantine, machine_request")


def row(second: int, value: object = 1.5, **other: object) -> dict[str, object]:
    ts = (START + timedelta(seconds=second)).isoformat()
    return {"device": "meter-0", "tag": "p", "unit": "kW", "ts": ts, "value": value, **other}


def ndjson(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(r).encode() + b"\n" for r in rows)


def post(client: httpx.Client, content: Any, kind: str = "application/x-ndjson", **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post(
        "/api/v1/readings", content=content, headers={"Content-Type": kind, **named}
    )
    return answer


def table(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database._url) as connection:
        return connection.execute(
            "SELECT extract(epoch FROM ts)::int8 - %s, value, quality FROM reading ORDER BY ts",
            (int(START.timestamp()),),
        ).fetchall()


def held(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database._url) as connection:
        return connection.execute(
            "SELECT source, device, reason, detail->>'line', payload FROM quarantine ORDER BY id"
        ).fetchall()


# --- who may -----------------------------------------------------------------------------------


def test_without_a_right_token_nothing_is_stored(client, shared_city):
    for header, status in (("", 401), ("Bearer x", 401), ("bearer", 401), ("Basic x", 401)):
        answer = post(client, ndjson([row(0)]), Authorization=header)
        assert answer.status_code == status, header
        assert answer.json()["error"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert table(shared_city.database) == []


def test_a_token_ends_by_time_by_revocation_and_with_its_account(client, shared_city):
    database = shared_city.database
    now = wall_now()
    ids, secrets = zip(
        *(new_token(database, name, label="", now=now, days=1) for name in ("gw-a", "gw-b")),
        strict=True,
    )
    assert secrets[0] != secrets[1]

    def status(secret: str) -> int:
        return post(client, ndjson([row(0)]), Authorization=f"Bearer {secret}").status_code

    assert [status(secret) for secret in secrets] == [200, 200]
    with database.connection() as connection:
        kept = {t.id: t for t in machines.tokens(connection)}
        assert kept[ids[0]].seen_at is not None
        later = now + timedelta(days=1, seconds=1)
        assert machines.account_of(connection, token_hash(secrets[0]), later) is None
        machines.revoke(connection, ids[0], now)
        users.set_active(connection, "gw-b", active=False)
    assert [status(secret) for secret in secrets] == [401, 401]


def test_the_secret_itself_is_nowhere_in_the_database(shared_city, token):
    with psycopg.connect(shared_city.database._url) as connection:
        for name in ("machine_token", "account"):
            rows = connection.execute(f"SELECT t::text FROM {name} t").fetchall()
            assert not any(token in text or token[4:] in text for (text,) in rows)


def test_a_person_s_account_gets_no_token(shared_city, url):
    with pytest.raises(ConfigurationError, match="is a person's"):
        new_token(shared_city.database, "operator", label="", now=wall_now(), days=1)


def test_a_session_may_with_the_permission_and_from_our_own_pages(url, shared_city):
    empty(shared_city.database)
    for name, headers, status in (
        ("operator", {}, 403),
        ("admin", {"Origin": "https://evil.example"}, 403),
        ("admin", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("admin", {"Origin": url, "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        with httpx.Client(base_url=url) as browser:
            browser.post("/signin", data={"name": name, "password": DEMO_PASSWORD})
            assert post(browser, ndjson([row(0)]), **headers).status_code == status


def test_who_guesses_has_to_wait(shared_city, token):
    clock = [0.0]
    tokens = TokenCheck(shared_city.database, most=3, clock=lambda: clock[0])
    for guess in ("a", "b", "b", "b", "c"):
        assert tokens.retry_after_s("1.2.3.4") == 0.0
        assert tokens.account(guess, "1.2.3.4", wall_now()) is None
    assert tokens.retry_after_s("1.2.3.4") == 60.0
    assert tokens.retry_after_s("1.2.3.5") == 0.0
    clock[0] = 61.0
    assert tokens.retry_after_s("1.2.3.4") == 0.0
    found = tokens.account(token, "1.2.3.4", wall_now())
    assert found is not None
    assert found.name == "gateway"


def test_the_gate_makes_who_guesses_wait(shared_city, served, token):
    with served(small(shared_city, Limits())) as address, gateway(address, token) as client:
        guesses = [post(client, b"", Authorization=f"Bearer {n}") for n in range(21)]
        assert [g.status_code for g in guesses] == [401] * 20 + [429]
        assert 0 < int(guesses[-1].headers["retry-after"]) <= 61
        assert post(client, b"").status_code == 429


# --- what --------------------------------------------------------------------------------------

AS_CSV = "device,tag,unit,ts,value\n" + "".join(
    f"meter-0,p,kW,{row(i)['ts']},1.5\n" for i in range(3)
)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", json.dumps([row(i) for i in range(3)]).encode()),
        ("application/x-ndjson", ndjson([row(i) for i in range(3)])),
        ("text/csv; charset=utf-8", AS_CSV.encode()),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_each_format_ends_in_the_same_rows(client, shared_city, kind, content, packed):
    headers = {"Content_Encoding": "gzip"} if packed else {}
    answer = post(client, gzip.compress(content) if packed else content, kind, **headers)
    assert answer.status_code == 200
    assert answer.json() == {
        "rows": 3, "accepted": 3, "duplicate": 0, "quarantined": 0, "reasons": []
    }  # fmt: skip
    late = int(Quality.LATE)
    assert table(shared_city.database) == [(i, 0.0015, late) for i in range(3)]


def test_a_row_may_name_its_series(client, shared_city):
    ts = row(0)["ts"]
    rows = [
        {"series": KEY, "ts": ts, "value": 2.0},
        {"series": "tiny/pv-000/p_mw", "ts": ts, "value": 500, "unit": "kW"},
        {"series": "tiny/nothing/p_mw", "ts": ts, "value": 1},
        {"series": "tiny/load-total/p_mw@estimated", "ts": ts, "value": 1},
        {"series": KEY, "ts": ts, "value": 1, "unit": "degC"},
    ]
    answer = post(client, ndjson(rows)).json()
    assert (answer["accepted"], answer["quarantined"]) == (2, 3)
    assert [r["row"] for r in answer["reasons"]] == [3, 4, 5]
    assert sorted(value for _, value, _ in table(shared_city.database)) == [0.5, 2.0]


def test_bad_rows_are_reported_and_kept_the_others_stored(client, shared_city):
    content = ndjson([row(0), row(1, "x"), row(2, device="nobody"), row(86_400 * 400)]) + b"{\n"
    answer = post(client, content).json()
    counts = {name: answer[name] for name in ("rows", "accepted", "duplicate", "quarantined")}
    assert counts == {"rows": 5, "accepted": 1, "duplicate": 0, "quarantined": 4}
    assert [(r["row"], r["column"]) for r in answer["reasons"]] == [
        (5, ""), (2, "value"), (4, ""), (3, "")
    ]  # fmt: skip
    kept = {line: (source, device) for source, device, _, line, _ in held(shared_city.database)}
    assert kept["3"] == ("http/gateway", "nobody")
    assert kept.keys() == {"2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"{}", {"kind": "text/plain"}, 415, "Content-Type"),
        (b"{}", {"Content_Encoding": "br"}, 415, "Content-Encoding"),
        (b"x" * 20, {"Content_Encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-3], {"Content_Encoding": "gzip"}, 400, "no end"),
        (gzip.compress(b"{}", mtime=0) + b"x", {"Content_Encoding": "gzip"}, 400, "goes on"),
        (b'[{"a":', {"kind": "application/json"}, 400, "breaks off at byte 6"),
        (b"device,tag\n", {"kind": "text/csv"}, 400, "no column ts, value"),
        (b"", {"Idempotency_Key": "x" * 201}, 400, "Idempotency-Key"),
    ],
)
def test_what_is_no_request_is_one_sentence(client, content, headers, status, words):
    answer = post(client, content, **headers)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_malformed_end_says_what_was_stored_before_it(client, shared_city):
    rows = json.dumps([row(i) for i in range(60_000)]).encode()
    assert len(rows) > PIECE_BYTES
    answer = post(client, rows[:-1] + b",oops]", "application/json")
    assert answer.status_code == 400
    assert "malformed near byte" in answer.json()["error"]
    stored = len(table(shared_city.database))
    assert 0 < stored <= 60_000
    assert f"{stored:,} readings before it are stored." in answer.json()["error"]


def test_a_device_of_a_profile_takes_itself_in(with_site, served):
    profile = DeviceProfile(
        "meter",
        "readings",
        "new-*",
        AssetKind.METER,
        (ProfileTag("p", "p_mw", "kW"),),
        register=True,
    )
    city = with_site(profiles=(profile,))
    secret = new_token(city.database, "gateway", label="", now=wall_now(), days=1)[1]
    with served(small(city, Limits())) as address, gateway(address, secret) as client:
        answer = post(client, ndjson([row(0, device="new-1"), row(0, device="old-1")])).json()
    assert (answer["accepted"], answer["quarantined"]) == (1, 1)
    with city.database.connection() as connection:
        found = readings.latest(connection, ["tiny/new-1/p_mw"])
    assert found["value"].tolist() == [0.0015]


# --- limits ------------------------------------------------------------------------------------


def small(city: City, limits: Limits) -> FastAPI:
    """The application with nothing but this interface."""
    application = FastAPI()
    session = SessionLimits(timedelta(hours=1), timedelta(hours=1))
    application.add_middleware(AccountGate, database=city.database, limits=session)
    application.include_router(ingest_router(city, limits))
    return application


@contextmanager
def gateway(address: str, secret: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=address, timeout=60, headers=headers) as client:
        yield client


@pytest.mark.parametrize(
    ("limits", "packed", "words"),
    [
        (Limits(rows=10), False, "more than 10 rows"),
        (Limits(sent_bytes=500), False, "at most 500 bytes"),
        (Limits(unpacked_bytes=500), True, "more than 500 bytes unpacked"),
    ],
)
def test_too_much_is_refused(shared_city, served, token, limits, packed, words):
    empty(shared_city.database)
    content = ndjson([row(i) for i in range(11)])
    headers = {"Content_Encoding": "gzip"} if packed else {}
    with served(small(shared_city, limits)) as address, gateway(address, token) as client:
        answer = post(client, gzip.compress(content) if packed else content, **headers)
    assert answer.status_code == 413
    assert words in answer.json()["error"]
    assert table(shared_city.database) == []


def test_who_stops_in_the_middle_is_not_waited_for(shared_city, served, token, monkeypatch):
    empty(shared_city.database)
    monkeypatch.setattr(ingest_api, "PATIENCE_S", 0.2)

    def slowly() -> Iterator[bytes]:
        yield ndjson([row(0)])
        time.sleep(1.0)
        yield ndjson([row(1)])

    with (
        served(small(shared_city, Limits())) as address,
        gateway(address, token) as client,
        suppress(httpx.TransportError),  # the line may be closed while we still sleep
    ):
        assert post(client, slowly()).status_code == 408
    assert table(shared_city.database) == []


# --- again -------------------------------------------------------------------------------------


def test_a_repeated_request_gets_the_same_report_and_writes_nothing(client, shared_city):
    content = ndjson([row(i) for i in range(10)] + [row(11, "x")])
    first = post(client, content, Idempotency_Key="a")
    with psycopg.connect(shared_city.database._url) as connection:
        connection.execute("DELETE FROM reading")  # so that a second write would be seen
    packed = post(client, gzip.compress(content), Idempotency_Key="a", Content_Encoding="gzip")
    again = post(client, content, Idempotency_Key="a")
    assert first.json()["accepted"] == 10
    assert first.json() == again.json() == packed.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert table(shared_city.database) == []
    assert len(held(shared_city.database)) == 1


def test_the_same_key_with_another_content_is_a_conflict(client, shared_city):
    post(client, ndjson([row(0)]), Idempotency_Key="a")
    answer = post(client, ndjson([row(0), row(1)]), Idempotency_Key="a")
    assert answer.status_code == 409
    assert "'a' was used for another content" in answer.json()["error"]
    assert len(table(shared_city.database)) == 1
    other = new_token(shared_city.database, "other-gateway", label="", now=wall_now(), days=1)[1]
    answer = post(client, ndjson([row(2)]), Idempotency_Key="a", Authorization=f"Bearer {other}")
    assert answer.json()["accepted"] == 1  # a key is its sender's own


def test_a_jump_from_one_request_to_the_next_is_flagged(shared_city, served, token):
    empty(shared_city.database)
    with served(small(shared_city, Limits())) as address, gateway(address, token) as client:
        for second, value in ((0, 20.0), (60, 20.1), (120, 59.0)):
            reading = {"series": "tiny/weather/temp_air", "ts": row(second)["ts"], "value": value}
            assert post(client, ndjson([reading])).json()["accepted"] == 1
    jump = Quality.RATE_OF_CHANGE
    assert [Quality(q) & jump for *_, q in table(shared_city.database)] == [0, 0, jump]


def test_without_a_key_duplicates_are_counted(client):
    content = ndjson([row(i) for i in range(10)])
    assert post(client, content).json()["accepted"] == 10
    again = post(client, content).json()
    assert (again["accepted"], again["duplicate"]) == (0, 10)


# --- what breaks -------------------------------------------------------------------------------


def test_while_the_database_is_away_nothing_is_acknowledged(
    server: EmbeddedServer, shared_city: City, url: str, token: str
) -> None:
    empty(shared_city.database)
    sent, stopped = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield ndjson([row(i) for i in range(40_000)])
        sent.set()
        assert stopped.wait(30)
        yield ndjson([row(i) for i in range(40_000, 41_000)])

    answers: list[httpx.Response] = []

    def send(content: Any) -> None:
        with gateway(url, token) as client:
            answers.append(post(client, content, Idempotency_Key="away"))

    thread = threading.Thread(target=send, args=(body(),))
    thread.start()
    assert sent.wait(30)
    server.stop()
    stopped.set()
    try:
        thread.join(60)
        send(ndjson([row(0)]))
        assert [a.status_code for a in answers] == [503, 503]
        assert all(a.headers["retry-after"] == "5" for a in answers)
    finally:
        EmbeddedServer.start(server.data_dir)
    send(ndjson([row(i) for i in range(41_000)]))
    assert answers[-1].status_code == 200
    report = answers[-1].json()
    assert report["accepted"] + report["duplicate"] == report["rows"] == 41_000
    assert len(table(shared_city.database)) == 41_000


SERVE = """
import sys
import uvicorn
from datetime import timedelta
from fastapi import FastAPI
from app.accountgate import AccountGate
from app.auth import SessionLimits
from app.ingest_api import ingest_router
from app.wiring import load_city
from store.database import Database

with Database(sys.argv[1]) as database:
    application = FastAPI()
    limits = SessionLimits(timedelta(hours=1), timedelta(hours=1))
    application.add_middleware(AccountGate, database=database, limits=limits)
    application.include_router(ingest_router(load_city(database)))
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[2]), log_config=None)
"""
Serve = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def serve(program, shared_city: City, free_port: int, eventually) -> Serve:
    """Starts this interface as a process of its own, on the same port each time."""

    def start() -> subprocess.Popen[str]:
        process = program(SERVE, shared_city.database._url, free_port)

        def answers() -> bool:
            assert process.poll() is None, process.communicate()
            with suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{free_port}/").status_code == 404
            return False

        eventually("the interface answers", answers)
        return process

    return start


def resident_mb(process: subprocess.Popen[str]) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def million() -> Iterator[bytes]:
    """A million rows, in parts of 10,000."""
    head = b'{"device":"meter-0","tag":"p","unit":"kW","value":1.5,"ts":"2026-06-'
    for part in range(100):
        rows = []
        for second in range(part * 10_000, (part + 1) * 10_000):
            day, left = divmod(second, 86_400)
            hour, left = divmod(left, 3_600)
            rows.append(b'%02dT%02d:%02d:%02dZ"}\n' % (day + 1, hour, left // 60, left % 60))
        yield head + head.join(rows)


def test_a_million_rows_survive_a_broken_line_and_a_killed_server_in_little_memory(
    serve: Serve, shared_city: City, token: str, free_port: int
) -> None:
    """First the sender goes away, then the server is killed, then all of it is sent again."""
    empty(shared_city.database)
    address = f"http://127.0.0.1:{free_port}"
    process = serve()
    before_mb = resident_mb(process)

    class GoneError(Exception):
        pass

    def leaves() -> Iterator[bytes]:
        for number, part in enumerate(million()):
            if number == 12:
                raise GoneError
            yield part

    with gateway(address, token) as client, pytest.raises(GoneError):
        post(client, leaves(), Idempotency_Key="million")

    def kills() -> Iterator[bytes]:
        for number, part in enumerate(million()):
            if number == 30:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(10)
            yield part

    with gateway(address, token) as client, pytest.raises(httpx.TransportError):
        post(client, kills(), Idempotency_Key="million")
    stored = len(table(shared_city.database))
    assert 40_000 < stored < 1_000_000

    process = serve()
    peaks: list[float] = []

    def watched() -> Iterator[bytes]:
        for part in million():
            peaks.append(resident_mb(process))
            yield part

    with gateway(address, token) as client:
        answer = post(client, watched(), Idempotency_Key="million")
    report = answer.json()
    assert report["rows"] == report["accepted"] + report["duplicate"] == 1_000_000
    assert report["duplicate"] == stored
    with shared_city.database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM reading").fetchone() == (1_000_000,)
    # The body is 93 MB, its rows as objects several times that.
    assert max(peaks) - before_mb < 250
