"""A million terminals for a while: no growing lag, memory flat.

A million devices, each with one series, speak through gateways of a hundred. 16,700 readings a
second come over MQTT, so that each device is heard once a minute, and its readings are a quarter
of an hour apart; the receiver, its pipeline, the tag map and the store are the application's own.
The ingester is a process of its own, whose memory is looked at. Before the clock starts every
device was heard once, at full speed: what is remembered of each is there then.

    python -m bench replay --minutes 10
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.wiring import LiveTagMap, StoreSink
from bench.mqtt_bench import broker, server
from bench.mqtt_publisher import FIRST_S, PACK, STEP_S, publisher
from core.timeaxis import from_us
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.mqtt_access import Access
from ingest.pipeline import Status
from store import backend
from store.database import Database

TERMINALS = 1_000_000
ROWS_PER_S = 16_700
_LONGEST_START_S = 180.0
_TELL_S = 0.5

_DESCRIBE = (
    """
    INSERT INTO series (key, site, asset, variable, unit, kind, owner, timezone, simulated,
                        resolution)
    SELECT format('bench/m-%%s/p_mw', n), 'bench', 'm-' || n, 'p_mw', 'MW', 'measured', '', 'UTC',
           true, interval '15 min'
    FROM (SELECT lpad(i::text, 7, '0') AS n FROM generate_series(0, %(last)s) AS i) AS numbers
    """,
    """
    INSERT INTO device_tag (device, tag, unit, series_key)
    SELECT 'urn:dev:' || asset, 'p', 'kW', key FROM series
    """,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the ingester says now and then.

    late_s: of the readings committed since it spoke last, how long the one that waited longest
    came after reading 0, less the time that the plan has between them. rows: committed so far.
    """

    late_s: float
    rows: int
    rss_mb: float


class Counted(StoreSink):
    """The application's sink, which watches how late commits are."""

    def __init__(self, opened: Database) -> None:
        super().__init__(opened)
        self._rows = 0
        self._late_s: list[float] = []

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """As the sink's."""
        result = super().write(batch)
        # The first reading of the batch is number _rows, counted from 0: it waited longest.
        self._late_s.append(time.monotonic() - self._rows / ROWS_PER_S)
        self._rows += result[0]
        return result

    def tell(self, stop: threading.Event) -> None:
        """Say it now and then, until ``stop``."""
        while not stop.wait(_TELL_S):
            late_s, self._late_s = self._late_s, []
            if late_s:
                print(max(late_s), self._rows, _rss_mb(), flush=True)


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def ingest(url: str, port: int) -> None:
    """The ingester's process, until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    said = False

    def note(status: Status) -> None:
        nonlocal said
        if status.connected and not said:
            said = True
            print("ready", flush=True)

    with Database(url) as opened:
        tag_map = LiveTagMap(opened)
        if len(tag_map()) != TERMINALS:
            raise RuntimeError("The tag map is not that of the bench.")
        sink = Counted(opened)
        threading.Thread(target=sink.tell, args=(stop,)).start()
        run_mqtt(
            MqttSettings(access=Access(port=port)),
            sink,
            tag_map,
            lambda: datetime.now(UTC),
            stop,
            note,
        )


class Ingester:
    """That process, and what it has said so far."""

    def __init__(self, url: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.replay_bench", "--ingest", url, str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told: list[Told] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line == "ready\n":
                self._ready.set()
            else:
                late_s, rows, rss_mb = line.split()
                self.told.append(Told(float(late_s), int(rows), float(rss_mb)))

    def start(self) -> None:
        """Wait until it receives."""
        if not self._ready.wait(_LONGEST_START_S):
            raise TimeoutError("The ingester does not start.")

    def wait(self, rows: int, longest_s: float) -> None:
        """Wait until it has committed about so many."""
        deadline = time.monotonic() + longest_s
        while not (self.told and self.told[-1].rows >= rows):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"The ingester stands at {self.told[-1:]}.")
            time.sleep(0.05)

    def end(self) -> None:
        """SIGTERM, and wait."""
        self._process.terminate()
        self._process.wait(30)
        self._thread.join()


@contextmanager
def ingester(url: str, port: int) -> Iterator[Ingester]:
    """An Ingester that receives, and is gone at the end."""
    made = Ingester(url, port)
    try:
        made.start()
        yield made
    finally:
        made.end()


def replay(minutes: float) -> list[dict[str, object]]:
    """The rows of a replay that takes so long."""
    gateways = TERMINALS // PACK
    messages_per_s = ROWS_PER_S / PACK
    count = int(minutes * 60 * messages_per_s)
    with server() as served, broker() as started:
        with Database(served.url) as opened:
            _describe(opened, steps=count // gateways + 2)
        with ingester(served.url, started.port) as receiving:
            _publish(started.port, 0, gateways, 0.0)
            receiving.wait(TERMINALS, 120.0)
            told = len(receiving.told)
            began = _publish(started.port, gateways, count, messages_per_s)
            receiving.wait(TERMINALS + count * PACK, 60.0)
        kind = started.kind.value
    run = receiving.told[told:]
    plan_s = began - TERMINALS / ROWS_PER_S  # when reading 0 would have been sent
    lag_ms = np.array([1e3 * (one.late_s - plan_s) for one in run])
    rss_mb = np.array([one.rss_mb for one in run])
    tenth = max(3, len(run) // 10)
    first, last = float(np.median(lag_ms[:tenth])), float(np.median(lag_ms[-tenth:]))
    early = rss_mb[: min(int(60 / _TELL_S), len(rss_mb) // 2 + 1)]
    name = f"{TERMINALS:,} terminals at {ROWS_PER_S:,} rows/s for {minutes:g} minutes, {kind}"
    return [
        {
            "figure": f"{name}: lag at the end",
            "ours": round(last, 1),
            "reference": round(first, 1),
            "ratio": round(first / last, 2),
            "unit": "ms",
            "note": "publish to commit, the longest of each half second, median over a tenth of "
            "the time; the reference is the lag at the beginning; longest of all "
            f"{lag_ms.max():.0f} ms; {run[-1].rows - TERMINALS:,} rows",
        },
        {
            "figure": f"{name}: memory of the ingester at the end",
            "ours": round(float(rss_mb[-1])),
            "reference": round(float(early[-1])),
            "ratio": round(float(early[-1] / rss_mb[-1]), 3),
            "unit": "MB",
            "note": "resident; the reference is after one minute, or half of a shorter run",
        },
    ]


def _describe(opened: Database, steps: int) -> None:
    """The devices, as registration would have left them, and the days of the run."""
    with opened.connection() as connection:
        for statement in _DESCRIBE:
            connection.execute(statement, {"last": TERMINALS - 1})
        connection.execute("ANALYZE series, device_tag")
        days = range(FIRST_S, FIRST_S + (steps + 1) * STEP_S, 86_400)
        backend.ensure(connection, (from_us(s * 1_000_000).date() for s in days))


def _publish(port: int, first: int, count: int, rate: float) -> float:
    """Publish, to the end; when it began."""
    with publisher(port, "pack", first=first, count=count, series=TERMINALS, rate=rate) as sender:
        began = time.monotonic()
        sender.go()
        sender.finish()
    return began


def arguments(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the replay takes")


def rows(asked: argparse.Namespace) -> list[dict[str, object]]:
    """figure, ours and reference, ratio, unit, note."""
    return replay(asked.minutes)


def main() -> None:
    """The ingester's own process, which ``replay`` starts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--ingest", nargs=2, metavar=("URL", "PORT"), required=True)
    chosen = parser.parse_args()
    ingest(chosen.ingest[0], int(chosen.ingest[1]))


if __name__ == "__main__":
    main()
