"""Charging sessions as people and programs ask for them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app import cli
from app.auth import DEMO_PASSWORD, ensure_demo_accounts
from app.settings import Settings
from app.web import create_app
from app.wiring import City, LiveTagMap, StoreSink
from core.charging import ChargingEvent, ConnectorStatus, Needs, SessionStep
from ingest.inbox import Inbox
from ingest.pipeline import BatchSettings, Message, Pipeline
from ingest.protocols import find
from sandbox import ocpp_charger
from sandbox import ocpp_words as words
from sandbox.ev import Habits, visit
from store import charging, readings


@pytest.fixture(scope="module")
def charged(shared_city: City) -> City:
    """The tiny city where one car was charged this morning and another one is still there."""
    now = shared_city.now()

    def event(step: SessionStep, transaction: str, hours: float, **more: Any) -> ChargingEvent:
        ts = now - timedelta(hours=hours)
        return ChargingEvent(step, "CP-1", transaction, ts, 1, **more)

    needs = Needs(now + timedelta(hours=5), 0.03, 0.011)
    with shared_city.database.connection() as connection:
        charging.apply(
            connection,
            [
                event(SessionStep.START, "1", 5, register_mwh=1.0),
                event(SessionStep.END, "1", 3, register_mwh=1.015),
                event(SessionStep.START, "2", 1, register_mwh=1.015),
                event(SessionStep.UPDATE, "2", 0.5, register_mwh=1.02, needs=needs),
                ConnectorStatus("CP-1", "1", now, "Charging"),
            ],
        )
    ensure_demo_accounts(shared_city.database, "ent-a")
    return shared_city


def get(city: City, account: str | None, path: str, **query: Any) -> httpx.Response:
    """The answer to ``account``, or to a visitor."""

    async def ask() -> httpx.Response:
        wire = httpx.ASGITransport(create_app(Settings(), city))
        async with httpx.AsyncClient(transport=wire, base_url="http://test") as browser:
            if account:
                given = {"name": account, "password": DEMO_PASSWORD}
                assert (await browser.post("/signin", data=given)).status_code == 303
            return await browser.get(path, params=query)

    return asyncio.run(ask())


def test_the_operator_sees_the_sessions_of_the_day(charged: City) -> None:
    first, second = get(charged, "operator", "/api/v1/charging/sessions").json()
    assert (first["state"], second["state"]) == ("ended", "open")
    assert first["energy_mwh"] == pytest.approx(0.015)
    assert second["connector"] == 1
    assert second["ended_at"] is None
    assert datetime.fromisoformat(second["expected_departure"]) > charged.now()


def test_open_sessions_and_connectors(charged: City) -> None:
    (session,) = get(charged, "operator", "/api/v1/charging/sessions/open").json()
    assert session["transaction"] == "2"
    (connector,) = get(charged, "operator", "/api/v1/charging/connectors").json()
    assert connector["status"] == "Charging"


@pytest.mark.parametrize("part", ["sessions", "sessions/open", "connectors"])
@pytest.mark.parametrize("account", [None, "bureau", "enterprise"])
def test_nobody_else_sees_them(charged: City, account: str | None, part: str) -> None:
    refusal = 403 if account else 401
    assert get(charged, account, f"/api/v1/charging/{part}").status_code == refusal


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2026-06-25T00:00:00Z", "end": "2026-06-24T00:00:00Z"},
        {"start": "2026-01-01T00:00:00Z"},
        {"start": "yesterday"},
    ],
)
def test_a_range_that_makes_no_sense_is_said(charged: City, query: dict[str, str]) -> None:
    answer = get(charged, "operator", "/api/v1/charging/sessions", **query)
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.fixture
def verdigrid(
    charged: City, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs ``verdigrid ARGUMENTS --json`` on the city; what it says."""
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", charged.database._url)
    monkeypatch.setenv("VERDIGRID_LOG_LEVEL", "error")

    def run(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--json"])
        assert not ended.value.code
        return json.loads(capsys.readouterr().out)

    return run


def test_the_command_line_lists_them(verdigrid: Callable[..., Any], charged: City) -> None:
    end = charged.now().isoformat()
    listed = verdigrid("charging", "sessions", "--end", end)
    assert [row["state"] for row in listed] == ["ended", "open"]
    assert verdigrid("charging", "sessions", "--end", end, "--asset", "CP-2") == []
    (only,) = verdigrid("charging", "sessions", "--open")
    assert only["transaction"] == "2"
    (connector,) = verdigrid("charging", "connectors")
    assert connector["connector"] == "1"


def spoken(city: City) -> list[Message]:
    """A day of a simulated post as its central system keeps it."""
    now_s = city.now().timestamp() - 86_400.0
    habits = Habits(gap_s=3600.0, stay_s=7200.0)
    post = ocpp_charger.Settings(
        "", "sandbox-post-9", words.V201, "", city.clock, Path(), habits=habits
    )
    present = ocpp_charger.Present(now_s, 1000.0, visit(1, post.name, 0, now_s, habits))
    messages: list[Message] = []
    for _ in range(1440):
        present, notes = ocpp_charger.minute(present, None, post, offline=False)
        for note in notes:
            action, payload = words.told(post.version, note, None)
            envelope = {
                "version": post.version,
                "frame": [2, str(len(messages)), action, payload],
                "transaction": note.transaction,
                "connector": 1,
                "tags": [tag.tag for tag in ocpp_charger.describe()[0][0].tags],
            }
            received_at = datetime.fromtimestamp(note.ts_s, UTC)
            messages.append(
                Message(f"ocpp/{post.name}", json.dumps(envelope).encode(), received_at)
            )
    return messages


def test_a_new_charger_registers_itself_and_its_sessions_are_those_of_its_asset(
    with_site: Callable[..., City],
) -> None:
    city = with_site(profiles=ocpp_charger.describe()[0])
    messages = spoken(city)
    inbox: Inbox[Message] = Inbox()
    stop = threading.Event()
    pipeline = Pipeline(
        find(),
        StoreSink(city.database),
        LiveTagMap(city.database),
        lambda _: None,
        batch=BatchSettings(rows=1000, wait_s=0.05),
        quota=None,
        on_status=lambda status: stop.set() if status.received == len(messages) else None,
    )
    inbox.put(messages)
    pipeline.run(inbox, stop)
    assert pipeline.status.quarantined == 0
    assert pipeline.status.registered == 1
    with city.database.connection() as connection:
        first, last = city.now() - timedelta(days=1), city.now()
        sessions = charging.sessions(connection, first, last, "sandbox-post-9")
        key = f"{city.site.id}/sandbox-post-9/p_mw"
        power_mw = readings.read(connection, [key], first, last).to_numpy()
    ended = sessions[sessions["state"] == "ended"]
    assert len(ended) > 3
    assert ended["expected_departure"].notna().all()
    metered_mwh = float(np.nansum(power_mw)) / 60.0
    assert metered_mwh == pytest.approx(sessions["energy_mwh"].sum(), rel=1e-3)
