"""The sender that speaks HTTP: a request goes again, with its Idempotency-Key, until its 200."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections import deque
from datetime import UTC, datetime
from time import time
from typing import Any

from bench.fault_books import SECOND_US, Books, Device, Post
from bench.fault_city import HTTP
from bench.fault_line import HOST

BUILDINGS = 4
_MOST_POSTS = 2_000
_TURN_S = 0.3
_PAUSE_S = 0.5
_TIMEOUT_S = 10.0
_REPEATED = 0.1
_POISON = 0.2


class Uploader(threading.Thread):
    """A building manager's program that uploads what its meters have measured."""

    def __init__(
        self, books: Books, port: int, token: str, rng: random.Random, begin_us: int
    ) -> None:
        super().__init__(name="http-sender")
        self._books = books
        self._port = port
        self._rng = rng
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-ndjson",
            "Connection": "close",
        }
        self._stopped = threading.Event()
        self._number = 0
        self._unsent: deque[Post] = deque()
        self.devices = [
            Device(
                books,
                HTTP.protocol,
                f"{HTTP.stem}{number}",
                HTTP.tags,
                begin_us=begin_us,
                step_s=0.1,
            )
            for number in range(BUILDINGS)
        ]

    def run(self) -> None:
        while not self._stopped.wait(_TURN_S):
            for device in self.devices:
                device.measure(int(time() * SECOND_US))
                self._unsent.extend(device.unsent)
                device.unsent.clear()
            poisoned = self._unsent and self._rng.random() < _POISON
            if poisoned and not self._books.closed.is_set():
                self._unsent.append(self._books.poison(HTTP.protocol))
            posts = [self._unsent.popleft() for _ in range(min(len(self._unsent), _MOST_POSTS))]
            if posts:
                self._deliver(posts)

    def _deliver(self, posts: list[Post]) -> None:
        """Send until it is answered by 200, through whatever happens."""
        self._number += 1
        key, rows = f"upload-{self._number}", [row for post in posts for row in _rows(post)]
        body = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        while not self._stopped.is_set():
            for post in posts:
                post.sent += 1
            report = self._request(key, body)
            if report is None:
                self._stopped.wait(_PAUSE_S)
                continue
            self._check(report, posts, len(rows))
            for post in posts:
                post.acknowledged = True
            if self._rng.random() < _REPEATED:  # as if the answer had been lost
                again = self._request(key, body)
                if again not in (None, report):
                    self._books.problem(f"{key} was answered by {report}, then by {again}")
            return

    def _request(self, key: str, body: bytes) -> dict[str, Any] | None:
        """The report; None when there is none."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_TIMEOUT_S)
        try:
            headers = self._headers | {"Idempotency-Key": key}
            connection.request("POST", "/api/v1/readings", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._books.count("http requests without an answer")
            return None
        finally:
            connection.close()
        if answer.status == 200:
            report: dict[str, Any] = json.loads(text)
            return report
        self._books.count(f"http requests refused by {answer.status}")
        if answer.status not in (500, 502, 503):
            self._books.problem(f"an upload was refused: {answer.status} {text[:200]!r}")
        return None

    def _check(self, report: dict[str, Any], posts: list[Post], rows: int) -> None:
        bad = sum(bool(post.token) for post in posts)
        counted = report["accepted"] + report["duplicate"] + report["quarantined"]
        if (report["rows"], counted, report["quarantined"]) != (rows, rows, bad):
            self._books.problem(f"{rows} rows with {bad} bad ones were reported as {report}")

    @property
    def unanswered(self) -> int:
        """Posts that wait for their first request."""
        return len(self._unsent)

    def close(self) -> None:
        """Stop sending."""
        self._stopped.set()
        self.join()


def _rows(post: Post) -> list[dict[str, Any]]:
    if post.token:
        now = datetime.now(UTC).isoformat()
        return [{"device": f"{HTTP.stem}0", "tag": "p", "ts": now, "value": post.token}]
    return [
        {
            "device": r.device,
            "tag": r.tag,
            "ts": datetime.fromtimestamp(r.ts_us / SECOND_US, UTC).isoformat(),
            "value": r.value,
        }
        for r in post.readings
    ]
