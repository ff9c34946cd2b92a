"""``verdigrid ingest hj212-request`` against a running server and a simulated station."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import cli
from ingest import hj212_control
from ingest.hj212_server import Hj212Settings, Hj212Status, run_hj212
from ingest.hj212_stations import Stations
from sandbox import hj212_station

ROOT = Path(__file__).resolve().parents[3]
MN = hj212_station.mn_of(1)


@pytest.fixture(autouse=True)
def _own_logs_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("VERDIGRID_HOME", str(tmp_path))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: exit code, output, errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["ingest", "hj212-request", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def connected(tmp_path: Path, eventually: Callable[..., None]) -> Iterator[None]:
    """A server with one station that has measured for three hours."""
    stop, told = threading.Event(), list[Hj212Status]()
    settings = Hj212Settings(
        Stations(hj212_station.describe()[0], "Asia/Shanghai"),
        control=tmp_path / "run" / hj212_control.SOCKET_NAME,
    )
    arguments = (settings, lambda _: None, lambda: datetime.now(UTC), stop, told.append)
    server = threading.Thread(target=run_hj212, args=arguments)
    server.start()
    eventually("the server listens", lambda: told)
    program = [sys.executable, "-m", "sandbox.hj212_station", f"--port={told[0].port}"]
    station = subprocess.Popen([*program, "--memory-hours=3"], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        eventually("the station is connected", lambda: told[-1].stations)
        yield
    finally:
        station.kill()
        station.wait()
        stop.set()
        server.join()


@pytest.mark.usefixtures("connected")
def test_a_station_is_asked(ask):
    code, out, _ = ask(MN, "clock", "--json")
    shown = datetime.fromisoformat(json.loads(out)[0]["clock"])
    assert code == 0
    assert abs((shown - datetime.now(UTC)).total_seconds()) < 60
    assert ask(MN, "set-clock", "--at", "2026-06-22T00:00:00Z")[0] == 0
    assert json.loads(ask(MN, "clock", "--json")[1])[0]["clock"].startswith("2026-06-22T00:0")
    period = ("--begin", "2020-01-01T00:00:00Z", "--end", "2020-01-01T01:00:00Z")
    assert json.loads(ask(MN, "recollect", *period, "--json")[1]) == [{"station": MN, "packets": 0}]
    assert "is not connected" in ask("another", "clock")[2]


def test_what_is_missing_is_said_in_a_sentence(ask):
    code, out, err = ask(MN, "clock")
    assert (code, out) == (1, "")
    assert "No HJ 212 server listens" in err
    assert "--begin and --end" in ask(MN, "recollect")[2]
