"""``python -m sandbox.ocpp_charger``: a charging post, a process of its own that speaks OCPP.

It boots, tells its state, serves one simulated car after the other, meters every city minute, and
follows the charging profiles it is given. What belongs to a car is written into a small file first
and leaves it when the central system has answered: a line that is down, a central system that
refuses, or a kill -9 of either side lose nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import random
import signal
import sqlite3
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from core.clock import CityClock
from core.sites import AssetKind, DeviceProfile, Link, ProfileTag
from core.timeaxis import EPOCH, parse
from sandbox import ocpp_words as words
from sandbox.ev import Habits, LimitCurve, Visit, power_w, visit

_log = logging.getLogger("sandbox.ocpp_charger")

PASSWORD = "sandbox-charger"  # noqa: S105 - simulated devices have no secrets
PATTERN = "sandbox-post-*"

MINUTE_S = 60.0
_LONGEST_GAP_S = 3600.0
"""A post that slept longer passes the time over, as one that was switched off."""

_FIRST_REGISTER_WH = 1_000_000.0
_CALL_TIMEOUT_S = 10.0
_RETRY_S = 1.0
_RECONNECT_S = 1.0


def describe() -> tuple[tuple[DeviceProfile, ...], tuple[Link, ...]]:
    """The profile that makes an asset of every post."""
    tags = (
        ProfileTag("1:Power.Active.Import", "p_mw", "W"),
        ProfileTag("1:Energy.Active.Import.Register", "e_import_register_mwh", "Wh"),
        ProfileTag("1:SoC", "soc", "%"),
    )
    parameters = {"password": PASSWORD}
    profile = DeviceProfile(
        name="sandbox-charging-post",
        protocol="ocpp",
        pattern=PATTERN,
        kind=AssetKind.EV_CHARGER,
        tags=tags,
        register=True,
        parameters=parameters,
    )
    return (profile,), ()


@dataclass(frozen=True)
class Settings:
    """url: of the central system, without the post's name. state: the file that survives."""

    url: str
    name: str
    version: str
    password: str
    clock: CityClock
    state: Path
    seed: int = 1
    habits: Habits = field(default_factory=Habits)


@dataclass(frozen=True)
class Present:
    """What the post knows at ``ts_s``, seconds since 1970 in city time.

    car: the one that is here or comes next. transaction: while one is here. seq_no: of its next
    note. left_s: when the last one left.
    """

    ts_s: float
    register_wh: float
    car: Visit
    delivered_wh: float = 0.0
    transaction: str | None = None
    seq_no: int = 0
    left_s: float = 0.0


class Memory:
    """The post's file: what it knows, and what it has still to tell."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT)")
        self._file.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body TEXT)")

    def load(self, name: str) -> Any:
        """What was saved under ``name``; None where nothing was."""
        row = self._file.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def save(self, name: str, value: Any) -> None:
        self._file.execute(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (name, json.dumps(value)),
        )

    def keep(self, present: Present, notes: Sequence[words.Note]) -> None:
        """The new present and its notes, or neither."""
        self._file.execute("BEGIN IMMEDIATE")
        self.save("present", asdict(present))
        bodies = [(note.to_json(),) for note in notes]
        self._file.executemany("INSERT INTO note (body) VALUES (?)", bodies)
        self._file.execute("COMMIT")

    def first(self) -> tuple[int, words.Note] | None:
        """The oldest note and its number."""
        row = self._file.execute("SELECT id, body FROM note ORDER BY id LIMIT 1").fetchone()
        return None if row is None else (row[0], words.Note.from_json(row[1]))

    def told(self, number: int) -> None:
        self._file.execute("DELETE FROM note WHERE id = ?", (number,))

    def present(self) -> Present | None:
        kept = self.load("present")
        return None if kept is None else Present(**kept | {"car": Visit(**kept["car"])})


def minute(
    present: Present, limit_w: float | None, settings: Settings, *, offline: bool
) -> tuple[Present, list[words.Note]]:
    """The next city minute: what the post knows then, and what it has to tell of its car."""
    ts_s = present.ts_s + MINUTE_S
    car = present.car
    notes: list[words.Note] = []

    def note(kind: str, p_w: float, **more: float) -> None:
        nonlocal present
        assert present.transaction is not None
        made = words.Note(
            kind=kind,
            transaction=present.transaction,
            ts_s=ts_s,
            register_wh=round(present.register_wh, 1),
            seq_no=present.seq_no,
            power_w=round(p_w, 1),
            soc_percent=round(car.soc_percent(present.delivered_wh), 1),
            offline=offline,
            **more,
        )
        notes.append(made)
        present = replace(present, seq_no=present.seq_no + 1)

    if present.transaction is None:
        present = replace(present, ts_s=ts_s)
        if ts_s >= car.arrival_s:
            name = str(uuid.uuid4())
            present = replace(present, transaction=name, delivered_wh=0.0, seq_no=0)
            note("start", 0.0)
            note(
                "needs",
                0.0,
                departure_s=car.departure_s,
                energy_wh=car.energy_wh,
                max_w=car.max_w,
            )
        return present, notes
    p_w = power_w(car, present.delivered_wh, limit_w, MINUTE_S)
    e_wh = p_w * MINUTE_S / 3600.0
    present = replace(
        present,
        ts_s=ts_s,
        register_wh=present.register_wh + e_wh,
        delivered_wh=present.delivered_wh + e_wh,
    )
    note("meter", p_w)
    if ts_s >= car.departure_s:
        note("stop", p_w)
        following = visit(settings.seed, settings.name, car.number + 1, ts_s, settings.habits)
        present = replace(present, transaction=None, car=following, left_s=ts_s)
    return present, notes


class Post:
    """The post itself: one task lives its minutes, another holds the line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memory = Memory(settings.state)
        self._present = self._beginning()
        curve = self._memory.load("limits")
        self._limits = None if curve is None else LimitCurve(**curve)
        self._line: ClientConnection | None = None
        self._news = asyncio.Event()
        self._occupied_told: bool | None = None
        self._idle_told_s = 0.0
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}

    def _now_s(self) -> float:
        return (self._settings.clock.at(datetime.now(UTC)) - EPOCH).total_seconds()

    def _beginning(self) -> Present:
        kept = self._memory.present()
        if kept is not None:
            return kept
        now_s = self._now_s() // MINUTE_S * MINUTE_S
        car = visit(self._settings.seed, self._settings.name, 0, now_s, self._settings.habits)
        return Present(now_s, _FIRST_REGISTER_WH, car)

    async def live(self) -> None:
        """Minute after minute of the city, whether anybody listens or not."""
        while True:
            ahead_s = self._present.ts_s + MINUTE_S - self._now_s()
            if ahead_s > 0:
                await asyncio.sleep(min(ahead_s / self._settings.clock.pace, 1.0))
                continue
            if ahead_s < -_LONGEST_GAP_S:
                passed_s = -ahead_s - -ahead_s % MINUTE_S
                self._present = replace(self._present, ts_s=self._present.ts_s + passed_s)
            limit_w = None if self._limits is None else self._limits.at(self._present.ts_s)
            self._present, notes = minute(
                self._present, limit_w, self._settings, offline=self._line is None
            )
            self._memory.keep(self._present, notes)
            self._news.set()
            await asyncio.sleep(0)

    async def hold_line(self) -> None:
        """Connect, boot, tell; and again after every end of the line."""
        settings = self._settings
        while True:
            try:
                async with connect(
                    f"{settings.url.rstrip('/')}/{quote(settings.name)}",
                    subprotocols=[Subprotocol(settings.version)],
                    additional_headers={"Authorization": _basic(settings)},
                    compression=None,
                    proxy=None,
                    close_timeout=1.0,
                ) as line:
                    await self._converse(line)
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                _log.info("no line: %s", error)
            self._line = None
            await asyncio.sleep(_RECONNECT_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _converse(self, line: ClientConnection) -> None:
        listening = asyncio.create_task(self._listen(line))
        telling = asyncio.create_task(self._tell(line))
        try:
            done, _ = await asyncio.wait((listening, telling), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (listening, telling):
                task.cancel()
            await asyncio.gather(listening, telling, return_exceptions=True)

    async def _tell(self, line: ClientConnection) -> None:
        settings = self._settings
        answer = await self._call(line, words.boot(settings.version, settings.name))
        if answer is None or answer.get("status") != "Accepted":
            return
        self._line = line
        self._occupied_told = None
        _log.info("accepted by the central system")
        while True:
            await self._tell_status(line)
            if not await self._tell_notes(line):
                await asyncio.sleep(_RETRY_S)
                continue
            self._news.clear()
            await self._news.wait()

    async def _tell_status(self, line: ClientConnection) -> None:
        occupied = self._present.transaction is not None
        version, ts_s = self._settings.version, self._present.ts_s
        if occupied != self._occupied_told:
            await self._call(line, words.status(version, ts_s, occupied=occupied))
            self._occupied_told = occupied
        if not occupied and ts_s > max(self._idle_told_s, self._present.left_s):
            await self._call(line, words.idle(version, ts_s, round(self._present.register_wh, 1)))
            self._idle_told_s = ts_s

    async def _tell_notes(self, line: ClientConnection) -> bool:
        """Tell what is kept, in its order; whether all of it was taken."""
        while (kept := self._memory.first()) is not None:
            number, note = kept
            given = self._memory.load("given") or {}
            known = given.get(note.transaction)
            answer = await self._call(line, words.told(self._settings.version, note, known))
            if answer is None:
                return False
            if "transactionId" in answer:
                self._memory.save("given", {note.transaction: answer["transactionId"]})
            self._memory.told(number)
        return True

    async def _call(self, line: ClientConnection, call: words.Call) -> dict[str, Any] | None:
        """The payload of the answer; None for an error. Raises TimeoutError where none comes."""
        unique_id = str(uuid.uuid4())
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[unique_id] = future
        try:
            await line.send(json.dumps([2, unique_id, *call]))
            answer = await asyncio.wait_for(future, _CALL_TIMEOUT_S)
        finally:
            del self._waiting[unique_id]
        if answer[0] == 3:
            payload: dict[str, Any] = answer[2]
            return payload
        _log.info("%s was refused: %s", call[0], answer[2:4])
        return None

    async def _listen(self, line: ClientConnection) -> None:
        async for text in line:
            frame = json.loads(text)
            if frame[0] == 2:
                await line.send(json.dumps(self._answer(*frame[1:])))
            elif frame[1] in self._waiting and not self._waiting[frame[1]].done():
                self._waiting[frame[1]].set_result(frame)

    def _answer(self, unique_id: str, action: str, payload: dict[str, Any]) -> list[Any]:
        if action == "SetChargingProfile":
            curve = words.limit_curve(self._settings.version, payload)
            if curve is not None:
                self._limit(curve)
            return [3, unique_id, {"status": "Rejected" if curve is None else "Accepted"}]
        if action == "ClearChargingProfile":
            known = self._limits is not None
            self._limit(None)
            return [3, unique_id, {"status": "Accepted" if known else "Unknown"}]
        answer = words.answer(self._settings.version, action, payload)
        if answer is None:
            return [4, unique_id, "NotImplemented", f"This post knows no {action}.", {}]
        return [3, unique_id, answer]

    def _limit(self, curve: LimitCurve | None) -> None:
        self._limits = curve
        self._memory.save("limits", None if curve is None else asdict(curve))
        _log.info("new limits: %s", curve)


def _basic(settings: Settings) -> str:
    return "Basic " + base64.b64encode(f"{settings.name}:{settings.password}".encode()).decode()


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    post = Post(settings)
    tasks = [asyncio.create_task(post.live()), asyncio.create_task(post.hold_line())]
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _cancel, tasks)
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run the post."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    now = datetime.now(UTC).isoformat()
    clock = CityClock(
        parse(options.origin_wall or now), parse(options.origin_city or now), options.pace
    )
    asyncio.run(
        run(
            Settings(
                url=options.url,
                name=options.id,
                version=f"ocpp{options.version}",
                password=options.password,
                clock=clock,
                state=options.state,
                seed=options.seed,
                habits=Habits(gap_s=60.0 * options.gap_minutes, stay_s=60.0 * options.stay_minutes),
            )
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.ocpp_charger",
        description="A simulated charging post that speaks OCPP to a central system.",
    )
    add = parser.add_argument
    add("--url", required=True, help="of the central system, such as ws://127.0.0.1:9000/ocpp")
    add("--id", required=True, help="name of the post")
    add("--state", required=True, type=Path, help="file that survives a restart")
    add("--version", choices=("1.6", "2.0.1"), default="1.6", help="of OCPP")
    add("--password", default=PASSWORD, help="for HTTP Basic, with the name as user")
    add("--origin-wall", help="wall time at which the city shows ...")
    add("--origin-city", help="... this city time; both ISO 8601 with zone; default: now")
    add("--pace", type=float, default=60.0, help="city seconds in a second")
    add("--seed", type=int, default=1, help="one seed is one sequence of cars")
    add("--gap-minutes", type=float, default=120.0, help="city minutes between two cars, mean")
    add("--stay-minutes", type=float, default=240.0, help="city minutes of a stay, mean")
    return parser


if __name__ == "__main__":
    main()
