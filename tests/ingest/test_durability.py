"""Whatever is killed: a message that the broker acknowledged is in the table, once.

A publisher sends numbered readings without a pause. Meanwhile the ingester is killed by SIGKILL at
random moments, the database's postmaster too, and the broker is restarted by SIGTERM; amqtt, which
acknowledges from disk, is killed by SIGKILL as well. Nothing is done to help: each process is
started again as a supervisor would.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingest.broker import BrokerKind
from store.embedded import EmbeddedServer
from store.embedded_process import recorded

ROOT = Path(__file__).parents[2]
FIRST_S = 1_782_086_400
ROUNDS = 5
PER_SECOND = 1_000


class Ingester:
    """The ingester's process, and the program that makes one after the other."""

    def __init__(self, url: str, port: int) -> None:
        program = Path(__file__).with_name("ingester.py")
        self._maker = subprocess.Popen(
            [sys.executable, str(program), url, str(port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._pid = 0
        self.killed = 0

    def start(self) -> None:
        """Let one begin and wait until it receives."""
        self._maker.stdin.write("go\n")
        self._maker.stdin.flush()
        said = {self._maker.stdout.readline().strip() for _ in range(2)}
        assert "ready" in said
        self._pid = int((said - {"ready"}).pop())

    def kill(self) -> None:
        """SIGKILL; raises ProcessLookupError if it had ended by itself."""
        os.kill(self._pid, signal.SIGKILL)
        self._wait()
        self.killed += 1

    def stop(self) -> None:
        """Let it finish as at the end of a day."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
            self._wait()
        self._maker.stdin.close()
        assert self._maker.wait(20) == 0
        self._maker.stdout.close()

    def _wait(self) -> None:
        assert wait_until(lambda: not Path(f"/proc/{self._pid}").exists(), 20.0)


@pytest.fixture
def ingester(server: EmbeddedServer, broker) -> Iterator[Ingester]:
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE reading")
    program = Ingester(server.url, broker.port)
    program.start()
    yield program
    program.stop()


class Stream(threading.Thread):
    """Publishes numbers 1, 2, 3, ... until told to stop."""

    def __init__(self, sender) -> None:
        super().__init__()
        self._sender = sender
        self._stopped = threading.Event()
        self.last = 0

    def run(self) -> None:
        while not self._stopped.wait(0.02) and self.last < 60_000:
            for _ in range(PER_SECOND // 50):
                self.last += 1
                self._sender.meter(self.last, p_kw=self.last)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def stored(url: str) -> dict[int, tuple[int, float]]:
    """How often each number is in the table, and its value in MW."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM ts)::bigint, count(*), min(value) FROM reading GROUP BY ts"
        )
        return {second - FIRST_S: (count, value) for second, count, value in rows}


def wait_until(condition, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.slow
def test_every_acknowledged_message_is_stored_once(
    broker, start_broker, publisher, server, ingester
):
    rng = random.Random(7)
    sender = publisher(broker.port)
    stream = Stream(sender)
    stream.start()
    running = broker
    for round_ in range(ROUNDS):
        time.sleep(rng.uniform(0.1, 0.5))
        if round_ == 1:  # the database dies and comes back under a running ingester
            kill_database(server)
            time.sleep(rng.uniform(0.1, 0.5))
            start_database(server)
        if round_ == 2:  # the broker restarts under a running ingester
            running = restart(running, start_broker, signal.SIGTERM)
        if round_ == 4:  # the database dies, and the ingester with a batch that it cannot store
            kill_database(server)
            time.sleep(rng.uniform(0.3, 0.6))
        ingester.kill()
        if round_ == 4:
            start_database(server)
        if round_ == 3:  # and while nobody receives
            running = restart(running, start_broker, signal.SIGTERM)
        if round_ == 4 and broker.kind is BrokerKind.AMQTT:
            running = restart(running, start_broker, signal.SIGKILL)
        ingester.start()
    stream.stop()

    everything = set(range(1, stream.last + 1))
    assert wait_until(lambda: sender.acknowledged == everything, 15.0)
    assert wait_until(lambda: stored(server.url).keys() >= sender.acknowledged, 15.0)
    table = stored(server.url)
    assert table.keys() == everything
    assert {count for count, _ in table.values()} == {1}
    assert all(value == pytest.approx(n / 1000) for n, (_, value) in table.items())
    assert ingester.killed == ROUNDS
    assert len(everything) > 1_000


def kill_database(server: EmbeddedServer) -> None:
    os.kill(recorded((server.data_dir / "cluster").resolve()).pid, signal.SIGKILL)


def start_database(server: EmbeddedServer) -> None:
    again = EmbeddedServer.start(server.data_dir)
    assert (again.started_here, again.url) == (True, server.url)


def restart(running, start_broker, how: signal.Signals):
    """End the broker that way and start it again on the same folder and port."""
    os.kill(running.pid, how)
    assert wait_until(lambda: not running.alive(), 10.0)
    return start_broker(running.kind, running.port)
