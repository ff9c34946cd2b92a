"""What ``append`` returned from is on the disk: through kill -9, a torn file and a full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import ServiceError, SpoolFullError
from ingest.messages import Message
from ingest.spool import UNREADABLE, Spool

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)
MB = 1_000_000


def message(number: int, size: int = 0) -> Message:
    return Message(f"hj212/{number}/UTC", b"%d" % number + b"x" * size, AT)


def payloads(spool: Spool) -> list[bytes]:
    return [m.payload for m in spool.take(1_000_000)]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "spool" / "field.sqlite"


def test_messages_come_back_in_order_and_go_when_they_are_done(path):
    with Spool(path, capacity_bytes=MB) as spool:
        spool.append([message(1), message(2)])
        spool.append([message(3)])
        first, second, third = spool.take(10)
        assert [m.payload for m in (first, second, third)] == [b"1", b"2", b"3"]
        assert (first.topic, first.received_at) == ("hj212/1/UTC", AT)
        assert first.ticket == (second.ticket[0], 0, 2)
        assert second.ticket[1:] == (1, 2)
        assert spool.take(10, after=first.ticket[0]) == [third]
        spool.done([first.ticket[0]])
        assert spool.take(10) == [third]
        spool.done([third.ticket[0], 999])
        assert (len(spool), spool.held_bytes) == (0, 0)


def test_what_is_not_done_comes_again_after_a_restart(path):
    with Spool(path, capacity_bytes=MB) as spool:
        for number in range(5):
            spool.append([message(number)])
        spool.done([m.ticket[0] for m in spool.take(2)])
        held = spool.held_bytes
    with Spool(path, capacity_bytes=MB) as again:
        assert payloads(again) == [b"2", b"3", b"4"]
        assert again.held_bytes == held


def test_a_full_spool_refuses_and_takes_again_when_it_was_emptied(path):
    with Spool(path, capacity_bytes=10_000) as spool:
        for number in range(15):  # 15 times about 600 bytes fit
            spool.append([message(number, 500)])
        with pytest.raises(SpoolFullError, match="VERDIGRID_SPOOL_MB"):
            spool.append([message(15, 2_000)])
        assert len(payloads(spool)) == 15  # the refused one is not there
        spool.done([m.ticket[0] for m in spool.take(3)])
        spool.append([message(99, 500)])


def test_what_it_holds_grows_by_the_message_and_so_does_its_file(path):
    """So that what an hour takes can be said beforehand: the size of a message times their number.

    docs/ingest.md says it for some devices.
    """
    frame = (Path(__file__).parent / "frames" / "hj212_2051.txt").read_bytes()
    held: list[int] = []
    with Spool(path, capacity_bytes=100 * MB) as spool:
        for _ in range(3):
            for _ in range(10):
                spool.append([Message("hj212/A110000_0001/Asia%2FShanghai", frame, AT)] * 100)
            held.append(spool.held_bytes)
        assert held == [held[0], 2 * held[0], 3 * held[0]]
        assert len(frame) < held[0] / 1000 < len(frame) + 150
    on_disk = sum(file.stat().st_size for file in path.parent.iterdir())
    assert held[-1] < on_disk < 1.1 * held[-1] + 16 * 1.05 * MB  # what the log may be long


def test_it_refuses_what_is_beyond_and_nothing_before(path):
    one = [message(0, 2_000)]
    with Spool(path, capacity_bytes=100 * MB) as spool:
        spool.append(one)
        size = spool.held_bytes
    path.unlink()
    with Spool(path, capacity_bytes=50 * size) as spool:
        for _ in range(50):
            spool.append(one)
        assert spool.held_bytes == spool.capacity_bytes
        with pytest.raises(SpoolFullError):
            spool.append([message(0)])


def test_threads_that_wait_together_share_their_commits(path):
    with Spool(path, capacity_bytes=10 * MB) as spool:
        commits = []
        spool._connection.set_trace_callback(
            lambda text: commits.append(text) if text == "COMMIT" else None
        )
        barrier = threading.Barrier(16)

        def work(thread: int) -> None:
            barrier.wait(10)
            for number in range(20):
                spool.append([message(1000 * thread + number)])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        found = [int(p) for p in payloads(spool)]
        assert len(found) == len(set(found)) == 320
        for thread in range(16):  # each sender's messages are in its order
            own = [n for n in found if n // 1000 == thread]
            assert own == sorted(own)
        assert len(commits) < 320


KILLED = """
import sys, threading
from datetime import datetime, UTC
from pathlib import Path
from ingest.messages import Message
from ingest.spool import Spool
spool = Spool(Path(sys.argv[1]), capacity_bytes=10**8)
lock = threading.Lock()
def work(thread):
    number = thread
    while True:
        spool.append([Message("hj212/x/UTC", b"%d" % number, datetime(2026, 6, 22, tzinfo=UTC))])
        with lock:
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
        number += 4
for i in range(4):
    threading.Thread(target=work, args=(i,)).start()
"""


def test_kill_9_loses_nothing_that_was_accepted(path):
    for rounds in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        accepted = [int(child.stdout.readline()) for _ in range(50 + 37 * rounds)]
        os.kill(child.pid, signal.SIGKILL)
        accepted += [int(line) for line in child.stdout.read().splitlines() if line.strip()]
        child.stdout.close()
        child.wait(10)
        with Spool(path, capacity_bytes=100 * MB) as spool:
            messages = spool.take(1_000_000)
            found = [int(m.payload) for m in messages]
            assert set(accepted) <= set(found)
            assert len(found) == len(set(found)) <= len(accepted) + 4
            spool.done([m.ticket[0] for m in messages])


def test_two_processes_do_not_share_a_spool(path, monkeypatch):
    monkeypatch.setattr("ingest.spool._BUSY_S", 0.1)
    with Spool(path, capacity_bytes=MB), pytest.raises(ServiceError, match="another process"):
        Spool(path, capacity_bytes=MB)


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 300, bytes(8192)])
def test_a_file_that_is_no_database_is_set_aside(path, damage):
    with Spool(path, capacity_bytes=MB) as spool:
        spool.append([message(1)])
    path.write_bytes(damage)
    with Spool(path, capacity_bytes=MB) as spool:
        spool.append([message(2)])
        assert payloads(spool) == [b"2"]
    aside = [p for p in path.parent.iterdir() if "damaged" in p.name]
    assert [p.read_bytes() for p in aside] == ([damage] if damage else [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The file of a spool that holds a hundred appends."""
    path = tmp_path_factory.mktemp("whole") / "whole.sqlite"
    with Spool(path, capacity_bytes=MB) as spool:
        for number in range(100):
            spool.append([message(number, 400)])
    return path.read_bytes()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 60_000), junk=st.binary(min_size=1, max_size=5_000), cut=st.booleans())
def test_a_torn_file_never_stops_the_start(whole, tmp_path, place, junk, cut):
    """Whatever bytes are lost: a spool opens, takes and gives, now and after another start."""
    path = tmp_path / "torn.sqlite"
    for old in tmp_path.iterdir():
        old.unlink()
    content = whole
    place %= len(content)
    rest = b"" if cut else content[place + len(junk) :]
    path.write_bytes(content[:place] + (b"" if cut else junk) + rest)
    for attempt in (1, 2):
        with Spool(path, capacity_bytes=MB) as spool:
            fresh = message(1000 + attempt)
            try:
                spool.append([fresh])
            except SpoolFullError:  # the damage shows while writing: set aside, and again
                spool.append([fresh])
            before = spool.take(1_000_000) or spool.take(1_000_000)
            assert fresh.payload in [m.payload for m in before]
            spool.done([m.ticket[0] for m in before])


def test_damage_under_a_running_spool_sets_it_aside_and_no_id_is_used_twice(path):
    """Else a drainer that still holds an old id would forget a new message."""
    with Spool(path, capacity_bytes=100 * MB) as spool:
        for number in range(100):
            spool.append([message(number, 50_000)])
    with Spool(path, capacity_bytes=100 * MB) as spool:
        taken = spool.take(5)  # the rest is not in the process's memory
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (path.stat().st_size - 8192))
        assert spool.take(1000, after=50) == []
        spool.append([message(1000)])
        (fresh,) = spool.take(10)
        assert fresh.payload == b"1000"
        assert fresh.ticket[0] > taken[-1].ticket[0]
        spool.done([m.ticket[0] for m in taken])
        assert payloads(spool) == [b"1000"]
    assert any("damaged" in p.name for p in path.parent.iterdir())


def test_a_row_that_cannot_be_taken_apart_goes_to_quarantine_by_its_topic(path):
    with Spool(path, capacity_bytes=MB) as spool:
        spool.append([message(1)])
        spool.append([message(2)])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE batch SET content = x'00ff' WHERE id = 1")
    connection.close()
    with Spool(path, capacity_bytes=MB) as spool:
        broken, whole = spool.take(10)
    assert (broken.topic, broken.payload, broken.ticket[1:]) == (UNREADABLE, b"\x00\xff", (0, 1))
    assert whole.payload == b"2"


def test_a_full_disk_refuses_and_forgets_later(path):
    """SQLite's own limit of pages fails as a full disk does, with SQLITE_FULL."""
    with Spool(path, capacity_bytes=100 * MB) as spool:
        spool.append([message(1)])
        spool._connection.execute("PRAGMA max_page_count = 40")
        with pytest.raises(SpoolFullError, match="room on the disk"):
            spool.append([message(2, 300_000)])
        spool.append([message(3)])
        assert payloads(spool) == [b"1", b"3"]
        spool._connection.execute("PRAGMA max_page_count = 4000")
        spool.append([message(4, 300_000)])
        assert [p[:1] for p in payloads(spool)] == [b"1", b"3", b"4"]
