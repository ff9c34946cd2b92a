"""From the wire into the real table and the real quarantine, and the same again from a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import psycopg
import pytest

from app.wiring import StoreSink
from core.sites import AssetKind, DeviceProfile, ProfileTag, Tag
from core.timeaxis import parse
from ingest.files import ImportReport, import_file
from ingest.inbox import Inbox
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.pipeline import BatchSettings, Pipeline, Status
from ingest.protocols import find
from ingest.registration import Registrar
from store import readings, series
from store.database import Database

KEY = "demo/meter-1/p_mw"
START = "2026-06-22T00:00:00Z"


@pytest.fixture
def database(server) -> Iterator[Database]:
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE reading, quarantine")
    with Database(server.url) as opened:
        yield opened


@pytest.fixture
def stored_map(database) -> TagMap:
    with database.connection() as connection:
        ids = series.ids(connection)
    return TagMap([Tag("urn:dev:meter-1", "p", "kW", KEY)], ids)


def run(database, tag_map, messages):
    """Pass the messages through a pipeline; its last status and what was acknowledged."""
    inbox: Inbox[Message] = Inbox()
    inbox.put(messages)
    stop = threading.Event()
    acknowledged: list[Message] = []
    pipeline = Pipeline(
        find(),
        StoreSink(database),
        lambda: tag_map,
        acknowledged.extend,
        batch=BatchSettings(rows=100, wait_s=0.05),
        on_status=lambda s: stop.set() if s.received == len(messages) else None,
    )
    pipeline.run(inbox, stop)
    return pipeline.status, acknowledged


def table(database):
    with database.connection() as connection:
        found = readings.read(connection, [KEY], parse(START), parse("2026-06-23T00:00:00Z"))
    seconds = found.time.values.astype("datetime64[s]").astype(int)
    return dict(zip(seconds.tolist(), found.values[:, 0].tolist(), strict=True))


def test_a_message_and_a_file_end_in_the_same_table(database, stored_map, received_at, tmp_path):
    first_s = int(parse(START).timestamp())
    packs = [
        [{"n": "urn:dev:meter-1:p", "u": "kW", "bt": first_s + 900 * i, "v": 1000.0 * i}]
        for i in range(40)
    ]
    messages = [Message("senml/demo/g", json.dumps(p).encode(), received_at) for p in packs]
    status, acknowledged = run(database, stored_map, messages)
    assert acknowledged == messages
    assert (status.stored, status.duplicates, status.quarantined) == (40, 0, 0)
    assert table(database) == {first_s + 900 * i: pytest.approx(i) for i in range(40)}

    path = tmp_path / "again.csv"
    rows = [f"urn:dev:meter-1,p,W,{parse(START).isoformat()},7\n"]
    rows += ["urn:dev:meter-1,p,W,2026-06-22T23:45:00Z,8000000\n"]
    path.write_text("device,tag,unit,ts,value\n" + "".join(rows))
    report = import_file(path, StoreSink(database), stored_map, received_at=received_at)
    assert report == ImportReport(read=2, stored=1, duplicates=1, rejected=0)
    assert table(database)[first_s] == 0.0  # what is stored already stays
    assert table(database)[first_s + 85_500] == pytest.approx(8.0)


def test_whatever_comes_can_be_quarantined(database, stored_map, received_at):
    """A database refuses NUL and lone surrogates in texts: they must not stop the stream."""
    came = [
        ("senml/\0/\ud800", b"\0\xff"),
        ("senml/demo/g", b'[{"n":"urn:dev:\\ud800:p","v":1}]'),
        ("senml/demo/g", b'[{"n":"a:b","v":1,"\\u0000_":1}]'),
        ("senml/demo/g", b'[{"n":"urn:dev:meter-1:p","v":1,"u":"\xc2\xb5\xe2\x82\xac"}]'),
        ("somebody/elses", b""),
    ]
    messages = [Message(topic, payload, received_at) for topic, payload in came]
    status, acknowledged = run(database, stored_map, messages)
    assert acknowledged == messages
    assert (status.stored, status.quarantined) == (0, 5)
    with psycopg.connect(database._url) as connection:
        payloads = connection.execute("SELECT payload FROM quarantine").fetchall()
    assert {bytes(p) for (p,) in payloads} == {m.payload for m in messages}


AIR = DeviceProfile(
    "air", "senml", "urn:dev:air-*", AssetKind.AIR_STATION,
    (ProfileTag("pm2_5", "pm2_5", "µg/m3", 60.0),), register=True,
)  # fmt: skip


def test_two_receivers_side_by_side_meet_the_same_strangers(database, received_at):
    """Both get every message, as after a lost acknowledgement; each reading is there once."""
    first_s = int(parse(START).timestamp())
    packs = [
        [{"n": f"urn:dev:air-{i % 20}:pm2_5", "bt": first_s + 60 * (i // 20), "v": i}]
        for i in range(400)
    ]
    messages = [Message("senml/demo/g", json.dumps(p).encode(), received_at) for p in packs]
    statuses: list[Status] = []

    def receive(order: list[Message]) -> None:
        tag_map = TagMap(registrar=Registrar("demo", (AIR,)))
        statuses.append(run(database, tag_map, order)[0])

    threads = [threading.Thread(target=receive, args=(o,)) for o in (messages, messages[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(s.stored for s in statuses) == 400
    assert sum(s.stored + s.duplicates for s in statuses) == 800
    assert [s.quarantined for s in statuses] == [0, 0]
    with database.connection() as connection:
        known = [key for key in series.ids(connection) if key.startswith("demo/urn-dev-air-")]
    assert len(known) == 20
