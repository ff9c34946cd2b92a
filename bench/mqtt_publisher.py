"""A publisher that costs little: frames made from templates, one socket, PUBACKs counted.

Run as ``python -m bench.mqtt_publisher PORT KIND FIRST COUNT RATE SERIES``: it connects, says
"ready", publishes at QoS 1 when told "go", and says how many seconds that took. RATE is messages a
second, 0 as many as the broker takes. It runs as a process of its own, so that what is measured is
the receiver's process.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingest import mqtt_wire as wire

FIRST_S = 1_782_057_600  # 2026-06-22 00:00 +08:00
STEP_S = 900
PACK = 100
"""Readings of a gateway's message."""

_WINDOW = 1_000
_BURST = 100
_VERSION = wire.Version.V3_1_1

Frame = Callable[[int], bytes]
"""The frame of message number n; the packet id follows from n."""


def device(number: int) -> str:
    """The name of a device on the wire."""
    return f"urn:dev:m-{number:07d}"


def single(series: int) -> Frame:
    """One reading; message n is the next one of the series n modulo ``series``."""
    return lambda n: _publish(
        "senml/bench/single",
        n,
        b'[{"n":"%s:p","u":"kW","bt":%d,"v":%d.5}]'
        % (device(n % series).encode(), FIRST_S + n // series * STEP_S, n % 1000),
    )


def timed(series: int) -> Frame:
    """As ``single``; the value is the moment of sending, in seconds of the monotonic clock."""
    return lambda n: _publish(
        "senml/bench/timed",
        n,
        b'[{"n":"%s:p","u":"MW","bt":%d,"v":%.6f}]'
        % (device(n % series).encode(), FIRST_S + n // series * STEP_S, time.monotonic()),
    )


def pack(series: int) -> Frame:
    """A hundred readings of a hundred devices, one moment of one gateway after the other."""
    gateways = series // PACK
    tails = [_tail(gateway) for gateway in range(gateways)]

    def frame(n: int) -> bytes:
        step, gateway = divmod(n, gateways)
        head = b'[{"bn":"urn:dev:","bu":"kW","bt":%d,' % (FIRST_S + step * STEP_S)
        return _publish(f"senml/bench/gw-{gateway:05d}", n, head + tails[gateway])

    return frame


def _tail(gateway: int) -> bytes:
    """What does not change in the messages of a gateway."""
    names = [device(gateway * PACK + i).removeprefix("urn:dev:") for i in range(PACK)]
    records = [f'"n":"{name}:p","v":{i * 0.37:.2f}}}' for i, name in enumerate(names)]
    return (",{".join(records) + "]").encode()


def _publish(topic: str, number: int, payload: bytes) -> bytes:
    packet_id = number % 65_535 + 1
    return wire.publish(topic, payload, packet_id=packet_id, qos=1, version=_VERSION)


def send(line: socket.socket, frame: Frame, first: int, count: int, rate: float) -> float:
    """Publish messages first, first + 1, ...; the seconds until the last one was acknowledged."""
    sent = acknowledged = 0  # bytes of PUBACKs, four each
    began = time.monotonic()
    while acknowledged < 4 * count:
        due = min(count, int((time.monotonic() - began) * rate) + 1) if rate else count
        burst = min(due - sent, _WINDOW - (sent - acknowledged // 4), _BURST)
        if burst > 0:
            line.sendall(b"".join([frame(first + sent + i) for i in range(burst)]))
            sent += burst
        if select.select([line], [], [], 0.0 if burst == _BURST else 0.0005)[0]:
            acknowledged += len(line.recv(65_536))
    return time.monotonic() - began


class Publisher:
    """The process, seen from the one that measures."""

    def __init__(
        self, port: int, kind: str, *, first: int, count: int, series: int, rate: float = 0.0
    ) -> None:
        values = [port, kind, first, count, rate, series]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.mqtt_publisher", *map(str, values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._said() != "ready":
            raise RuntimeError("The publisher does not start.")

    def go(self) -> None:
        """Begin to publish."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def finish(self) -> float:
        """The seconds that publishing took; waits for the end."""
        seconds = float(self._said())
        self._process.communicate(timeout=10)
        return seconds

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate(timeout=10)

    def _said(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def publisher(*arguments: object, **named: object) -> Iterator[Publisher]:
    """A Publisher that is gone at the end."""
    made = Publisher(*arguments, **named)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.kill()


def main() -> None:
    """The program."""
    port, kind, first, count, rate, series = sys.argv[1:]
    frame = {"single": single, "timed": timed, "pack": pack}[kind](int(series))
    with socket.create_connection(("127.0.0.1", int(port))) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(wire.connect("bench", version=_VERSION, keep_alive_s=0, clean=True))
        if line.recv(4) != b"\x20\x02\x00\x00":
            raise RuntimeError("The broker refuses the publisher.")
        print("ready", flush=True)
        sys.stdin.readline()
        print(send(line, frame, int(first), int(count), float(rate)), flush=True)
        line.sendall(wire.DISCONNECT)


if __name__ == "__main__":
    main()
