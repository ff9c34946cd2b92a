"""The senders that speak OCPP: a CALL goes again and again until its CALLRESULT comes."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bench.fault_books import SECOND_US, Books, Device, Post
from bench.fault_city import OCPP, PASSWORD
from bench.fault_line import HOST

POSTS = 6
_CALL, _RESULT, _ERROR = 2, 3, 4
_ANSWER_S = 3.0
_PAUSE_S = 0.3
_TURN_S = 0.05
_REPEATED = 0.05
_POISON = 0.02
REFUSED = "ocpp calls refused because the spool is full"
_FULL = "The spool is full"


class ChargingPost:
    """One charger that meters, in OCPP 1.6 or 2.0.1."""

    def __init__(self, device: Device, version: str, port: int, rng: random.Random) -> None:
        self.device = device
        self._version = version
        self._url = f"ws://{device.name}:{PASSWORD}@{HOST}:{port}/ocpp/{device.name}"
        self._rng = rng
        self._number = 0

    async def run(self) -> None:
        """Measure and send until cancelled."""
        while True:
            with suppress(OSError, TimeoutError, WebSocketException):
                async with connect(
                    self._url,
                    subprotocols=[Subprotocol(self._version)],
                    open_timeout=_ANSWER_S,
                    close_timeout=0.1,
                    compression=None,
                    proxy=None,
                ) as line:
                    await self._talk(line)
            await asyncio.sleep(_PAUSE_S)

    async def _talk(self, line: ClientConnection) -> None:
        books, unsent = self.device.books, self.device.unsent
        while True:
            self.device.measure(int(time() * SECOND_US))
            if not unsent:
                await asyncio.sleep(_TURN_S)
                continue
            post = unsent[0]
            if not await self._call(line, post):
                await asyncio.sleep(_PAUSE_S)
                continue
            unsent.popleft()
            if self._rng.random() < _REPEATED:  # as if the answer had been lost
                await self._call(line, post)
            if not books.closed.is_set() and self._rng.random() < _POISON:
                unsent.appendleft(books.poison(OCPP.protocol))
                await line.send("\x7f" + self._rng.randbytes(30).hex())  # this has no answer

    async def _call(self, line: ClientConnection, post: Post) -> bool:
        """Whether the central system took it; TimeoutError without an answer."""
        self._number += 1
        unique = f"{self._number}"
        post.sent += 1
        await line.send(json.dumps([_CALL, unique, "MeterValues", _payload(self._version, post)]))
        async with asyncio.timeout(_ANSWER_S):
            frame = await _answer(line, unique)
        if frame[0] == _RESULT:
            post.acknowledged = True
            return True
        self.device.books.count(REFUSED if _FULL in frame[3] else f"ocpp calls refused: {frame[3]}")
        return False


async def _answer(line: ClientConnection, unique: str) -> list[Any]:
    """The answer to ``unique``; what the central system asks meanwhile is declined."""
    while True:
        frame = json.loads(await line.recv())
        if frame[0] == _CALL:
            await line.send(json.dumps([_ERROR, frame[1], "NotImplemented", "", {}]))
        elif frame[1] == unique:
            return list(frame)


def _payload(version: str, post: Post) -> dict[str, Any]:
    if post.token:
        now = datetime.now(UTC).isoformat()
        values = [{"timestamp": now, "sampledValue": [{"value": post.token}]}]
    else:
        at = datetime.fromtimestamp(post.readings[0].ts_us / SECOND_US, UTC)
        sampled = [_sampled(version, r.tag, r.value) for r in post.readings]
        values = [{"timestamp": at.isoformat(), "sampledValue": sampled}]
    place = "connectorId" if version == "ocpp1.6" else "evseId"
    return {place: 1, "meterValue": values}


def _sampled(version: str, tag: str, value: float) -> dict[str, Any]:
    measurand = tag.partition(":")[2]
    unit = next(one.unit for one in OCPP.measured if one.tag == tag)
    name = "Percent" if unit == "%" else unit
    if version == "ocpp1.6":
        return {"value": str(value), "measurand": measurand, "unit": name}
    return {"value": value, "measurand": measurand, "unitOfMeasure": {"unit": name}}


def charging_posts(
    books: Books, port: int, rng: random.Random, *, begin_us: int
) -> list[ChargingPost]:
    """Chargers of both versions; a measurement every half second."""
    made = []
    for number in range(POSTS):
        device = Device(
            books,
            OCPP.protocol,
            f"{OCPP.stem}{number}",
            OCPP.tags,
            begin_us=begin_us,
            step_s=0.5,
        )
        version = ("ocpp1.6", "ocpp2.0.1")[number % 2]
        made.append(ChargingPost(device, version, port, random.Random(rng.random())))
    return made
