"""Dead letters: looked at, mended by a description or a mapping, replayed; what fails stays."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import cli
from app.auth import DEMO_PASSWORD, ensure_demo_accounts
from app.machinetokens import new_token
from app.mending import dismiss_held, replay_held
from app.settings import Settings
from app.web import create_app
from app.wiring import City, StoreSink, read_tag_map, wall_now
from core.errors import DecodeError
from core.readings import Rejected
from core.sites import AssetKind, DeviceProfile, ProfileTag, Site, Tag
from ingest import filemapping
from ingest.columns import BY_KEY
from ingest.files import import_file
from ingest.messages import Message
from ingest.overflow import Overflow, Quota
from ingest.protocols import find, readings_json
from store import quarantine, sites
from store.quarantine import EVERYTHING, Filter

KEY = "tiny/load-001/p_mw"
TS = "2026-06-24T00:00:00+00:00"


def letter(source: str, payload: object, now: datetime, reason: str = "unknown", **detail: str):
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Rejected(source, reason, content, now, detail)


def reading(device: str, **other: object) -> dict[str, object]:
    return {"device": device, "tag": "p", "unit": "kW", "ts": TS, "value": 1000.0, **other}


def hold(city: City, *rejected: Rejected) -> None:
    with city.database.connection() as connection:
        quarantine.add(connection, rejected)


def waiting(city: City) -> dict[str, str]:
    """The reasons of unresolved letters by source."""
    with city.database.connection() as connection:
        return {h.source: h.reason for h in quarantine.pending(connection)}


def values(city: City, key: str) -> dict[str, float]:
    with psycopg.connect(city.database._url) as connection:
        rows = connection.execute(
            "SELECT r.ts, r.value FROM reading r JOIN series s ON s.id = r.series_id "
            "WHERE s.key = %s ORDER BY r.ts",
            (key,),
        ).fetchall()
    return {ts.astimezone(UTC).isoformat(): value for ts, value in rows}


def describe(city: City, site: Site) -> None:
    with city.database.connection() as connection:
        sites.save(connection, site)


def test_a_new_tag_lets_letters_of_every_source_in(city: City, site: Site) -> None:
    now = city.now()
    pack = [{"n": "meter-1:p", "u": "kW", "bt": 1_782_259_200 + 900, "v": 2000.0}]
    hold(
        city,
        letter("senml/tiny/gateway", pack, now),
        letter("file/a.csv", reading("meter-1"), now, line="2"),
        letter("http/gw", {"series": KEY, "ts": "2026-06-24T00:30:00Z", "value": 3.0}, now),
        letter("http/other", reading("meter-2"), now, reason="an old reason"),
    )
    first = replay_held(city, Filter(source="senml"))
    assert (first.looked_at, first.resolved, first.failed) == (1, 0, 1)
    assert waiting(city)["senml/tiny/gateway"].startswith("unknown device 'meter-1'")

    describe(city, replace(site, tags=(*site.tags, Tag("meter-1", "p", "kW", KEY))))
    done = replay_held(city, EVERYTHING)
    assert (done.looked_at, done.resolved, done.failed, done.stored) == (4, 3, 1, 3)
    assert values(city, KEY) == {
        TS: 1.0, "2026-06-24T00:15:00+00:00": 2.0, "2026-06-24T00:30:00+00:00": 3.0
    }  # fmt: skip
    (left,) = waiting(city).values()
    assert left.startswith("unknown device 'meter-2'")
    assert replay_held(city, EVERYTHING).looked_at == 1  # what is in is not asked again


def test_what_of_a_letter_can_go_in_goes_in_and_again_is_harmless(city: City) -> None:
    hold(city, letter("http/gw", [reading("meter-0"), reading("nobody")], city.now()))
    for stored in (1, 0):
        done = replay_held(city, EVERYTHING)
        assert (done.failed, done.stored, done.duplicates) == (1, stored, 1 - stored)
    assert values(city, "tiny/load-000/p_mw") == {TS: 1.0}


def test_a_profile_lets_a_device_in(city: City, site: Site) -> None:
    tags = (ProfileTag("p", "p_mw", "kW"),)
    profile = DeviceProfile("m", "readings", "new-*", AssetKind.METER, tags, register=True)
    hold(city, letter("file/a.csv", reading("new-7"), city.now()))
    assert replay_held(city, EVERYTHING).failed == 1
    describe(city, replace(site, profiles=(profile,)))
    assert replay_held(city, EVERYTHING).resolved == 1
    assert values(city, "tiny/new-7/p_mw") == {TS: 1.0}


def test_rows_that_could_not_be_read_go_in_by_a_mapping(city: City, tmp_path: Path) -> None:
    """A file of a local clock, imported without saying so: the repeated hour comes out right."""
    clocks = ["01:00", "02:00", "02:30", "02:00", "02:30", "03:00"]
    rows = [f"meter-0,p,kW,2025-10-26 {clock},{1000 * i}" for i, clock in enumerate(clocks)]
    path = tmp_path / "local.csv"
    path.write_text("device,tag,unit,ts,value\n" + "\n".join(rows))
    tag_map = read_tag_map(city.database)
    report = import_file(path, StoreSink(city.database), tag_map, received_at=city.now())
    assert report.rejected == 6
    assert replay_held(city, EVERYTHING).failed == 6
    assert waiting(city) == {"file/local.csv": "The row as it stood cannot be read; a mapping may."}
    mapping = filemapping.of_tree({"time": {"timezone": "Europe/Berlin"}}, "m")
    done = replay_held(city, Filter(source="local.csv"), mapping=mapping)
    assert (done.resolved, done.failed) == (6, 0)
    hours = [f"2025-10-{d}:00+00:00" for d in
             ("25T23:00", "26T00:00", "26T00:30", "26T01:00", "26T01:30", "26T02:00")]  # fmt: skip
    assert values(city, "tiny/load-000/p_mw") == dict(zip(hours, map(float, range(6)), strict=True))


def test_what_is_not_whole_or_not_kept_says_so(city: City, monkeypatch) -> None:
    monkeypatch.setattr(quarantine, "LARGEST_PAYLOAD", 10)
    hold(
        city,
        letter("http/long", reading("meter-0"), city.now()),
        letter("file/count.csv", b"", city.now()),
        letter("nobody/knows", {}, city.now()),
    )
    assert replay_held(city, EVERYTHING).failed == 3
    reasons = waiting(city)
    assert "Only the beginning" in reasons["http/long"]
    assert "import them again" in reasons["file/count.csv"]
    assert "No protocol" in reasons["nobody/knows"]


def test_dismissed_letters_are_not_asked_again(city: City) -> None:
    hold(city, *(letter(f"http/{n}", reading("meter-0"), city.now()) for n in range(3)))
    assert dismiss_held(city, Filter(source="http/1")) == 1
    assert replay_held(city, EVERYTHING).looked_at == 2
    assert dismiss_held(city, EVERYTHING) == 0


def test_many_letters_are_taken_page_by_page(city: City) -> None:
    stamps = [f"2026-06-24T{h:02}:{m:02}:00Z" for h in range(20) for m in range(60)]
    hold(city, *(letter("http/gw", reading("meter-0", ts=ts), city.now()) for ts in stamps))
    seen: list[int] = []
    done = replay_held(city, EVERYTHING, most=1_100, progress=lambda d: seen.append(d.looked_at))
    assert seen == [500, 1_000, 1_100]
    assert (done.resolved, done.stored) == (1_100, 1_100)


# --- who may, and by which door ----------------------------------------------------------------


@pytest.fixture
def url(city: City, served: Any) -> Iterator[str]:
    ensure_demo_accounts(city.database, "ent-a")
    with served(create_app(Settings(), city)) as address:
        yield address


def test_the_bureau_looks_and_replays_over_http_and_others_may_not(city: City, url: str) -> None:
    hold(city, letter("http/gw", reading("meter-0"), city.now(), device="meter-0", line="3"))
    secret = new_token(city.database, "gw", label="", now=wall_now(), days=1)[1]
    for name in ("", "operator", "enterprise", "machine"):
        with httpx.Client(base_url=f"{url}/api/v1", timeout=30) as browser:
            if name == "machine":
                browser.headers["Authorization"] = f"Bearer {secret}"
            elif name:
                browser.post(f"{url}/signin", data={"name": name, "password": DEMO_PASSWORD})
            refusal = 403 if name else 401
            assert browser.get("/quarantine").status_code == refusal, name
            assert browser.post("/quarantine/replay", json={}).status_code == refusal, name
    with httpx.Client(base_url=f"{url}/api/v1", timeout=30) as browser:
        browser.post(f"{url}/signin", data={"name": "bureau", "password": DEMO_PASSWORD})
        (row,) = browser.get("/quarantine", params={"device": "meter-0"}).json()
        assert (row["source"], row["detail"]["line"]) == ("http/gw", "3")
        assert browser.get("/quarantine", params={"device": "other"}).json() == []
        foreign = {"Origin": "https://evil.example"}
        wanted = {"ids": [row["id"]]}
        answer = browser.post("/quarantine/replay", json=wanted, headers=foreign)
        assert answer.status_code == 403
        done = browser.post("/quarantine/replay", json=wanted).json()
        assert (done["resolved"], done["stored"]) == (1, 1)


Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(
    city: City, monkeypatch, capsys, tmp_path: Path
) -> Iterator[Callable[..., tuple[int, Any]]]:
    """Runs ``verdigrid quarantine ARGUMENTS --json`` in this process."""
    for name in [name for name in os.environ if name.startswith("VERDIGRID_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VERDIGRID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", city.database._url)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def call(*arguments: object) -> tuple[int, Any]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["quarantine", *map(str, arguments), "--json"])
        said = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(said.out) if said.out else said.err

    yield call
    root.handlers[:], root.level = handlers, level


def test_the_command_line_looks_mends_and_puts_aside(city: City, run: Any, tmp_path: Path) -> None:
    bad = {"cells": {"device": "meter-0", "tag": "p", "ts": "24.06.2026 08:00", "value": "1000"}}
    hold(
        city,
        letter("file/a.csv", bad, city.now(), reason="ts is not a time"),
        letter("http/gw", reading("nobody"), city.now(), device="nobody"),
    )
    code, rows = run("list", "--reason", "not a time")
    assert (code, [r["source"] for r in rows]) == (0, ["file/a.csv"])
    number = rows[0]["id"]
    assert run("show", number)[1]["payload"] == json.dumps(bad)
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        '[time]\nformat = "%d.%m.%Y %H:%M"\ntimezone = "Asia/Shanghai"\n[constants]\nunit = "kW"'
    )
    code, done = run("replay", number, "--mapping", mapping)
    assert (code, done["resolved"]) == (0, 1)
    assert values(city, "tiny/load-000/p_mw") == {TS: 1.0}
    assert run("show", number)[0] == 1
    code, sentence = run("dismiss")
    assert code == 1
    assert "Say which messages" in sentence
    assert run("dismiss", "--device", "nobody") == (0, {"dismissed": 1})
    assert run("counts") == (0, {})


# --- any payload -------------------------------------------------------------------------------

ROWS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(TS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["device", "tag", "unit", "ts", "value", "quality", "series", "cells"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=10,
)


def test_a_bundle_is_replayed_message_by_message(city: City) -> None:
    """What a device sent beyond its measure, once somebody says that it was right."""
    at = city.now()

    def pack(second: int, value: float) -> Message:
        record = {"n": "meter-0:p", "u": "kW", "bt": 1_782_086_400 + second, "v": value}
        return Message("senml/tiny/g", json.dumps([record]).encode(), at)

    flood = Overflow(Quota(readings_per_s=1.0))
    came = [("meter-0", pack(n, n)) for n in range(50)]
    (whole,) = flood.entries([], came)
    (broken,) = flood.entries([], [("meter-1", pack(99, 1.0)._replace(topic="senml/x"))])
    hold(city, whole, broken)
    mended = replay_held(city, EVERYTHING)
    assert (mended.resolved, mended.failed, mended.stored) == (1, 1, 50)
    assert waiting(city) == {"meter-1": "No protocol reads this topic."}


@given(st.binary(max_size=60) | ROWS.map(lambda row: json.dumps(row).encode()))
def test_no_payload_raises_anything_but_a_decode_error(payload: bytes) -> None:
    now = datetime(2026, 6, 25, tzinfo=UTC)
    try:
        decoded = readings_json.decode("file/x", payload, now)
    except DecodeError:
        return
    count = len(decoded.names)
    assert count == len(decoded.ts_us) == len(decoded.value) > 0


def test_nobody_names_a_series_by_the_sign_for_it() -> None:
    payload = json.dumps(reading("tiny/load-000/p_mw", tag=BY_KEY)).encode()
    with pytest.raises(DecodeError, match="tag"):
        find().decode("http/gw", payload, datetime(2026, 6, 25, tzinfo=UTC))
