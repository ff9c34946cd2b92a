"""The senders that speak MQTT: QoS 1, what has no PUBACK goes again after each reconnection."""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic, sleep, time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.fault_books import SECOND_US, Books, Device, Post, Reading
from bench.fault_city import JSON, PLANT_TOPIC, SENML
from bench.fault_line import HOST

_TURN_S = 0.02
_REPEATED = 0.05
"""Share of the messages that are published a second time, acknowledged or not."""

_REPEATED_AFTER_S = 3.0
_POISON = 0.005
_AHEAD_S = 3 * 86_400
"""Further ahead than any tolerance."""

GATEWAY = "senml/faults/gateway"


class Publisher:
    """A client that knows which post each PUBACK is for."""

    def __init__(self, name: str, port: int) -> None:
        self._lock = threading.Lock()
        self._posts: dict[int, Post] = {}
        self._early: set[int] = set()  # a PUBACK may be here before publish() has returned
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.max_inflight_messages_set(200)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._on_publish
        self._client.connect(HOST, port)
        self._client.loop_start()

    def publish(self, post: Post, topic: str, payload: bytes) -> None:
        """Send; paho keeps it until its PUBACK, through any number of connections."""
        post.sent += 1
        mid = self._client.publish(topic, payload, qos=1).mid
        with self._lock:
            if mid in self._early:
                self._early.discard(mid)
                post.acknowledged = True
            else:
                self._posts[mid] = post

    def _on_publish(self, _client: object, _data: object, mid: int, *_: object) -> None:
        with self._lock:
            post = self._posts.pop(mid, None)
            if post is None:
                self._early.add(mid)
            else:
                post.acknowledged = True

    @property
    def unanswered(self) -> int:
        """Messages without a PUBACK."""
        return len(self._posts)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()


class MqttSenders(threading.Thread):
    """Meters and plants behind one gateway, with clocks right and wrong, and poison in between."""

    def __init__(self, books: Books, port: int, rng: random.Random, begin_us: int) -> None:
        super().__init__(name="mqtt-senders")
        self._books = books
        self._rng = rng
        self._stopped = threading.Event()
        self._publisher = Publisher("faults-gateway", port)
        self._again: deque[tuple[float, Post]] = deque()
        self.devices = _meters(books, begin_us) + _plants(books, begin_us)

    def run(self) -> None:
        while not self._stopped.wait(_TURN_S):
            for device in self.devices:
                device.measure(int(time() * SECOND_US))
                while device.unsent:
                    self._publish(device.unsent.popleft())
            while self._again and self._again[0][0] <= monotonic():
                self._send(self._again.popleft()[1])

    def _publish(self, post: Post) -> None:
        self._send(post)
        if self._rng.random() < _REPEATED:
            self._again.append((monotonic() + _REPEATED_AFTER_S, post))
        if self._rng.random() < _POISON and not self._books.closed.is_set():
            self._poison()

    def _send(self, post: Post) -> None:
        self._publisher.publish(post, *written(post.wire, post.readings))

    def _poison(self) -> None:
        post = self._books.poison(SENML.protocol)
        token = post.token.encode()
        ahead = {"n": "urn:dev:faults-ahead:p", "u": "kW", "bt": time() + _AHEAD_S, "v": 1.0}
        topic, payload = self._rng.choice(
            (
                (GATEWAY, self._rng.randbytes(40) + token + self._rng.randbytes(40)),
                (GATEWAY, b"[" * 2_000 + token),
                (GATEWAY, json.dumps([ahead | {post.token: 0}]).encode()),
                (PLANT_TOPIC.format("faults-plant-0"), b'{"at": 1e300, "p": "' + token + b'"}'),
                (PLANT_TOPIC.format("stranger"), b'{"at": 0, "p": 1, "' + token + b'": 0}'),
            )
        )
        self._publisher.publish(post, topic, payload)

    @property
    def unanswered(self) -> int:
        """Messages without a PUBACK."""
        return self._publisher.unanswered + len(self._again)

    def close(self) -> None:
        """Stop sending; may be called again."""
        self._stopped.set()
        self.join()
        self._publisher.close()


def _meters(books: Books, begin_us: int) -> list[Device]:
    def meter(name: str, step_s: float, shift_s: float = 0.0, lifetime: int = 0) -> Device:
        return Device(
            books,
            SENML.protocol,
            f"{SENML.stem}{name}",
            SENML.tags,
            begin_us=begin_us,
            step_s=step_s,
            shift_s=shift_s,
            lifetime=lifetime,
        )

    steady = [meter(f"meter-{number}", 0.08) for number in range(5)]
    late, fast = meter("late", 0.2, shift_s=-2 * 86_400), meter("fast", 0.2, shift_s=3_600)
    return [*steady, late, fast, meter("young", 0.1, lifetime=200)]


def _plants(books: Books, begin_us: int) -> list[Device]:
    return [
        Device(
            books,
            JSON.protocol,
            f"{JSON.stem}{number}",
            JSON.tags,
            begin_us=begin_us // 1000 * 1000,  # this wire knows milliseconds
            step_s=0.2,
        )
        for number in range(3)
    ]


def written(protocol: str, readings: Sequence[Reading]) -> tuple[str, bytes]:
    """Topic and payload of readings; those of a plant are of one device and one time."""
    if protocol == JSON.protocol:
        first = readings[0]
        document = {"at": first.ts_us // 1000, **{r.tag: r.value for r in readings}}
        return PLANT_TOPIC.format(first.device), json.dumps(document).encode()
    unit = SENML.measured[0].unit
    records = [
        {"n": f"{r.device}:{r.tag}", "u": unit, "t": r.ts_us / SECOND_US, "v": r.value}
        for r in readings
    ]
    return GATEWAY, json.dumps(records).encode()


class Flood:
    """A meter that sends a thousand times what is usual, in packs, as fast as the broker takes it.

    count: readings; their times lie a millisecond apart before ``end_us``.
    """

    DEVICE = f"{SENML.stem}flood"
    PACK = 1_000

    def __init__(self, books: Books, port: int) -> None:
        self._books = books
        self._publisher = Publisher("faults-flood", port)

    def send(self, count: int, end_us: int) -> list[Post]:
        """All of it; returns when everything has its PUBACK or a minute has passed."""
        posts = []
        first_us = end_us - count * 1_000
        for begin in range(0, count, self.PACK):
            readings = [
                Reading(self.DEVICE, "p", first_us + number * 1_000, number % 997 / 8)
                for number in range(begin, min(begin + self.PACK, count))
            ]
            posts.append(self._books.post(SENML.protocol, readings))
            self._publisher.publish(posts[-1], *written(SENML.protocol, readings))
        until = monotonic() + 60.0
        while self._publisher.unanswered and monotonic() < until:
            sleep(_TURN_S)
        return posts

    def close(self) -> None:
        """Leave the broker."""
        self._publisher.close()
