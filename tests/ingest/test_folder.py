"""A drop folder: every file ends in done or failed, its readings in the store, whatever breaks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from core.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest.filemapping import of_tree
from ingest.folder import FolderSettings, FolderStatus, run_folder
from ingest.workshop import open_workshop

METER = "urn:dev:meter-1"
NOW = datetime(2026, 6, 23, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def csv_text(first: int = 0, rows: int = 3) -> str:
    lines = []
    for second in range(first, first + rows):
        hour, left = divmod(second, 3_600)
        lines.append(f"{METER},p,2026-06-22T{hour:02}:{left // 60:02}:{left % 60:02}Z,{second}")
    return "device,tag,ts,value\n" + "\n".join(lines) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "drop"


@pytest.fixture
def watch(root: Path, sink, tag_map) -> Iterator[Callable[..., Callable[[], FolderStatus]]]:
    """Starts watchers; gives a function that says what one has done. All are stopped at the end."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(own_sink: object = None, **changes: object) -> Callable[[], FolderStatus]:
        seen = [FolderStatus()]
        settings = FolderSettings(root, **{"still_s": 0.0, "poll_s": 0.01, **changes})  # type: ignore[arg-type]
        thread = threading.Thread(
            target=run_folder,
            args=(settings, own_sink or sink, lambda: tag_map, lambda: NOW, stop, seen.append),
        )
        thread.start()
        threads.append(thread)
        return lambda: seen[-1]

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    if threads:
        assert not any((root / "working").iterdir())


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def drop(root: Path, name: str, text: str | bytes) -> None:
    """As a careful sender does: written under another name, then renamed."""
    root.mkdir(exist_ok=True)
    part = root / f".{name}.part"
    part.write_bytes(text if isinstance(text, bytes) else text.encode())
    part.rename(root / name)


def lies(root: Path, folder: str) -> dict[str, dict]:
    """The reports in ``folder`` by the name of their file, which lies beside them."""
    found = {}
    for report in (root / folder).glob("*.report.json"):
        assert report.with_name(report.name.removesuffix(".report.json")).exists(), report
        tree = json.loads(report.read_text())
        found[tree["file"]] = tree
    return found


def test_files_are_imported_and_moved_with_a_report(root, watch, sink):
    drop(root, "a.csv", csv_text())
    drop(root, "b.csv", csv_text(3) + f"{METER},q,2026-06-22T00:00:09Z,1\n")
    status = watch()
    until(lambda: status().imported == 2)
    assert len(sink.readings) == 6
    reports = lies(root, "done")
    assert reports.keys() == {"a.csv", "b.csv"}
    assert (reports["b.csv"]["stored"], reports["b.csv"]["rejected"]) == (3, 1)
    assert reports["b.csv"]["reasons"][0]["row"] == 5
    assert not list(root.glob("*.csv"))
    drop(root, "a.csv", csv_text())  # the same name and content again
    until(lambda: status().imported == 3)
    assert (status().stored, status().duplicates) == (6, 3)
    assert len(list((root / "done").glob("*-a.csv"))) == 2


def test_what_cannot_be_imported_is_put_aside_and_the_rest_goes_on(root, watch, sink, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text(csv_text(50))
    drop(root, "good.csv", csv_text())
    drop(root, "letter.txt", "hello")
    drop(root, "empty.csv", "")
    drop(root, "broken.xlsx", b"PK no")
    drop(root, "new\nline.parquet", b"PAR1")
    (root / "link.csv").symlink_to(secret)
    os.mkfifo(root / "pipe.csv")
    (root / "folder.csv").mkdir()
    status = watch()
    until(lambda: status().imported + status().failed == 7)
    refused = {name: report["error"] for name, report in _failed(root).items()}
    assert refused.keys() == {
        "letter.txt", "empty.csv", "broken.xlsx", "new\ufffdline.parquet", "link.csv", "pipe.csv"
    }  # fmt: skip
    assert "only .csv" in refused["letter.txt"]
    assert "link" in refused["link.csv"]
    assert all(reason.endswith(".") for reason in refused.values())
    assert len(sink.readings) == 3
    assert secret.read_text() == csv_text(50)
    assert (root / "folder.csv").is_dir()


def _failed(root: Path) -> dict[str, dict]:
    reports = (root / "failed").glob("*.report.json")
    return {t["file"]: t for t in (json.loads(r.read_text()) for r in reports)}


def test_a_file_is_taken_when_it_stands_still_and_renamed_ones_at_once(root, watch, sink):
    root.mkdir()
    status = watch(still_s=0.4)
    with (root / "growing.csv").open("w") as file:
        for line in csv_text(rows=8).splitlines(keepends=True):
            file.write(line)
            file.flush()
            time.sleep(0.1)
            assert status().imported == 0
    until(lambda: status().imported == 1)
    assert len(sink.readings) == 8
    (root / "later.csv.part").write_text(csv_text(20))
    time.sleep(0.6)
    assert status().imported == 1


def test_mappings_by_pattern_beside_the_file_and_from_the_description(root, watch, sink):
    (root / "mappings").mkdir(parents=True)
    wide = '[time]\ntimezone = "Asia/Shanghai"\n[[values]]\ncolumn = "P"\ndevice = "%s"\ntag = "p"'
    (root / "mappings" / "meters.toml").write_text('files = "meter_*.csv"\n' + wide % METER)
    (root / "other.csv.toml").write_text(wide % METER)
    described = of_tree({"files": "city_*.csv", "constants": {"device": METER}}, "city")
    drop(root, "meter_1.csv", "ts,P\n2026-06-22 08:00,1\n")
    drop(root, "other.csv", "ts,P\n2026-06-22 08:01,2\n")
    drop(root, "city_1.csv", "tag,ts,value\np,2026-06-22T00:02Z,3\n")
    status = watch(mappings=(described,))
    until(lambda: status().imported == 3)
    assert sorted(sink.readings.values()) == pytest.approx([0.001, 0.002, 0.003])
    names = {name: report["mapping"] for name, report in lies(root, "done").items()}
    assert names == {
        "meter_1.csv": "meters.toml", "other.csv": "other.csv.toml", "city_1.csv": "city"
    }  # fmt: skip
    assert (root / "other.csv.toml").exists()  # for the next file of that name


def test_files_wait_for_a_mapping_that_is_broken(root, watch):
    (root / "mappings").mkdir(parents=True)
    broken = root / "mappings" / "meters.toml"
    broken.write_text('files = "meter_*.csv')
    (root / "known.csv.toml").write_text("")
    drop(root, "meter_1.csv", "ts,P\n2026-06-22T00:00Z,1\n")
    drop(root, "known.csv", csv_text())
    status = watch()
    until(lambda: status().imported == 1 and status().waiting == 1)
    until(lambda: "meters.toml" in status().last_error)
    broken.write_text(f'files="meter_*.csv"\n[[values]]\ncolumn="P"\ndevice="{METER}"\ntag="p"')
    until(lambda: status().imported == 2 and not status().last_error)


class Away:
    """A store that is away for some calls, and refuses one content for good."""

    def __init__(self, sink, calls: int) -> None:
        self._sink, self._left = sink, calls

    def write(self, batch):
        if self._left:
            self._left -= 1
            raise StoreUnavailableError("The database is away.")
        if batch["value"].max() > 0.1:
            raise StoreError("The database refused.")
        return self._sink.write(batch)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sink, name)


def test_a_store_that_is_away_is_waited_for_and_a_refusal_is_a_failed_file(root, watch, sink):
    drop(root, "a.csv", csv_text())
    drop(root, "refused.csv", csv_text(200))
    status = watch(own_sink=Away(sink, 3))
    until(lambda: status().imported == 1 and status().failed == 1)
    assert "refused" in _failed(root)["refused.csv"]["error"]
    assert len(sink.readings) == 3


def test_two_watchers_share_a_folder(root, watch, sink):
    for number in range(60):
        drop(root, f"{number}.csv", csv_text(10 * number, 10))
    one, two = watch(), watch()
    until(lambda: one().imported + two().imported == 60)
    assert len(sink.readings) == 600
    assert len(sink.rejected) == 0
    assert len(lies(root, "done")) == 60
    assert one().duplicates + two().duplicates == 0


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "done").symlink_to(tmp_path)
    for path in (tmp_path / "file", tmp_path / "drop"):
        with pytest.raises(ConfigurationError, match=path.name), open_workshop(path):
            pass


def test_a_watcher_that_lives_is_not_robbed(root):
    with open_workshop(root) as one, open_workshop(root) as two:
        drop(root, "a.csv", csv_text())
        claim = one.claim("a.csv")
        assert claim is not None
        assert two.claim("a.csv") is None
        assert list(two.left_behind()) == []
        one.finish(claim, "done", b"{}", "now")
    assert list((root / "working").iterdir()) == []


@pytest.fixture
def nursery(server, root: Path) -> Iterator[Callable[[], int]]:
    """Starts watchers as processes; whatever lives at the end is killed."""
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE reading, quarantine")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = Path(__file__).with_name("watcher.py")
    mother = subprocess.Popen(
        [sys.executable, str(program), server.url, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    born: list[int] = []

    def start() -> int:
        assert mother.stdin is not None
        assert mother.stdout is not None
        mother.stdin.write("\n")
        mother.stdin.flush()
        born.append(int(mother.stdout.readline()))
        return born[-1]

    yield start
    for child in born:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    mother.communicate(timeout=10)


def test_killed_at_any_moment_every_row_is_there_once(server, root, nursery):
    """kill -9 of one of two watchers, again and again, while they import."""
    files, rows, kills = 20, 4_000, 8
    for number in range(files):
        drop(root, f"{number}.csv", csv_text(rows * number, rows) + "bad,row\n")
    chance = random.Random(7)
    watchers = [nursery(), nursery()]
    for _ in range(kills):
        time.sleep(chance.uniform(0.1, 0.5))
        os.kill(watchers.pop(0), signal.SIGKILL)
        watchers.append(nursery())
    until(lambda: not list(root.glob("*.csv")) and len(lies(root, "done")) == files, 60)
    with psycopg.connect(server.url) as connection:
        count = connection.execute("SELECT count(*) FROM reading").fetchone()
        held = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    assert count == (files * rows,)
    assert files <= held[0] <= files + kills  # a kill between the quarantine and the move
    assert lies(root, "failed") == {}
