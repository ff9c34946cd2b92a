"""One charger on the line: its calls are answered, and it is called where it is steered."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeGuard

import orjson
import websockets
from websockets.asyncio.server import ServerConnection

from core.errors import SpoolFullError, VerdigridError
from core.setpoints import Acknowledgement, Answer
from core.sites import DeviceProfile
from ingest import ocpp_answers as answers
from ingest import ocpp_configuration
from ingest.charging_profile import Limits, ProfileCall, charging_profile, clear_profile
from ingest.ocpp_transactions import Known, Transactions
from ingest.pipeline import Message
from ingest.protocols.ocpp_json import CALL, NAME, V16
from ingest.setpoint_listener import Schedule

_log = logging.getLogger(__name__)

Accept = Callable[[Sequence[Message]], None]

_CALL_TIMEOUT_S = 15.0
_RETRY_AFTER = timedelta(seconds=30)
_BURST_S = 5.0
"""After this long a silence a charger may say at once what it held back for as long."""
_LONGEST_ID_16 = 2**31 - 1


class Central(Protocol):
    """What all chargers share.

    calls_per_s: what one charger may say; what is faster is read more slowly.
    schedules: the newest of each asset that is followed. last_error: why data is refused, empty
    while it is not. count: adds one to a figure of the status. note: changes fields of it.
    acknowledge: passes on what the charger answers to its schedule.
    """

    accept: Accept
    now: Callable[[], datetime]
    transactions: Transactions
    threads: ThreadPoolExecutor
    heartbeat_s: int
    calls_per_s: float
    id_tags: frozenset[str] | None

    @property
    def schedules(self) -> Mapping[str, Schedule]: ...

    @property
    def last_error(self) -> str: ...

    def count(self, name: str) -> None: ...

    def note(self, **changes: Any) -> None: ...

    def acknowledge(self, answer: Acknowledgement) -> None: ...


class Charger:
    """One connection: answers its calls one after the other, and calls it where it is steered."""

    def __init__(
        self,
        central: Central,
        connection: ServerConnection,
        name: str,
        profile: DeviceProfile,
        *,
        asset: str,
        tags: frozenset[str],
        limits: Limits,
    ) -> None:
        self.name = name
        self.asset = asset
        self.version = str(connection.subprotocol)
        self._central = central
        self._connection = connection
        self._profile = profile
        self._tags = tags
        self._limits = limits
        self._waiting: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._awake = asyncio.Event()  # a charger is called after it has spoken
        self._changed = asyncio.Event()
        self._again_at: datetime | None = None
        self._limited = False
        self._free_at = 0.0

    async def serve(self) -> None:
        """Until the line ends."""
        steering = asyncio.create_task(self._steer())
        try:
            async for text in self._connection:
                await self._receive(text)
                await self._slow_down()
        except websockets.ConnectionClosed as error:  # while it was answered, or without a word
            _log.info("lost a charger", extra={"charger": self.name, "reason": str(error)})
        finally:
            steering.cancel()
            with suppress(asyncio.CancelledError, websockets.ConnectionClosed):
                await steering

    async def leave(self, reason: str) -> None:
        await self._connection.close(1001, reason)

    def steer(self) -> None:
        """Send the schedule in force, soon."""
        self._changed.set()

    def remind(self, now: datetime) -> None:
        """Send again what is due at ``now``: the rest of a long schedule, or what got no answer."""
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._changed.set()

    async def _slow_down(self) -> None:
        """What waits at the charger meanwhile stays there: nothing more is read from the line."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - _BURST_S) + 1.0 / self._central.calls_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    async def _receive(self, text: str | bytes) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            _log.warning("a frame is no JSON", extra={"charger": self.name, "bytes": len(text)})
            if self.version != V16:  # where a frame without a readable id has an answer
                await self._send(answers.error("-1", "RpcFrameworkError", "This is no JSON."))
            return
        if isinstance(frame, list) and frame and frame[0] in (answers.RESULT, answers.ERROR):
            self._take_answer(frame)
            return
        try:
            unique_id, action, payload = answers.call(frame)
        except answers.RefusedError as refusal:
            given = frame[1] if isinstance(frame, list) and len(frame) > 1 else None
            unique_id = given[:36] if isinstance(given, str) else "-1"
            await self._send(answers.error(unique_id, refusal.code, str(refusal)))
            return
        await self._send(await self._answer(unique_id, action, payload))
        self._awake.set()

    async def _answer(self, unique_id: str, action: str, payload: dict[str, Any]) -> str:
        central = self._central
        try:
            answers.checked(self.version, action)
            if action in answers.KEPT[self.version]:
                loop = asyncio.get_running_loop()
                keep = partial(self._keep, unique_id, action, payload)
                transaction = await loop.run_in_executor(central.threads, keep)
                central.count("accepted")
                if central.last_error:
                    central.note(last_error="")
            else:
                transaction = None
            facts = answers.Facts(
                central.now(),
                central.heartbeat_s,
                central.id_tags,
                transaction,
            )
            return answers.result(unique_id, answers.answer(self.version, action, payload, facts))
        except answers.RefusedError as refusal:
            return answers.error(unique_id, refusal.code, str(refusal))
        except VerdigridError as error:
            # InternalError: the charger keeps what belongs to a transaction and tries again.
            central.count("refused")
            if str(error) != central.last_error:
                _log.warning("chargers are refused", extra={"reason": str(error)})
                central.note(last_error=str(error))
            why = "The spool is full" if isinstance(error, SpoolFullError) else "A disk fails"
            return answers.error(unique_id, "InternalError", f"{why}; try again later.")

    def _keep(self, unique_id: str, action: str, payload: dict[str, Any]) -> int | None:
        """Commit a message with data, in a thread; the id of its transaction, if there is one."""
        known = self._transaction(action, payload)
        envelope: dict[str, Any] = {
            "version": self.version,
            "frame": [CALL, unique_id, action, answers.without_drivers(payload)],
        }
        if known is not None:
            by_number = self.version == V16
            envelope["transaction"] = str(known.id) if by_number else known.name
            envelope["connector"] = known.connector
        if "interval_s" in self._profile.parameters:
            envelope["interval_s"] = self._profile.parameters["interval_s"]
        if self._tags:
            envelope["tags"] = sorted(self._tags)
        central = self._central
        if answers.worth_keeping(action, payload, in_transaction=known is not None):
            message = Message(f"{NAME}/{self.name}", orjson.dumps(envelope), central.now())
            central.accept([message])
        if known is not None and _ends(action, payload):
            central.transactions.end(known.id)
        return None if known is None else known.id

    def _transaction(self, action: str, payload: dict[str, Any]) -> Known | None:
        transactions = self._central.transactions
        if action == "StartTransaction":
            connector = payload.get("connectorId")
            if not _is_index(connector):
                raise answers.RefusedError("PropertyConstraintViolation", "connectorId is missing.")
            name = f"{connector} {payload.get('timestamp')} {payload.get('meterStart')}"[:200]
            return Known(transactions.begin(self.name, name, connector), name, connector)
        if action == "StopTransaction":
            number = payload.get("transactionId")
            if not isinstance(number, int) or not 0 < number <= _LONGEST_ID_16:
                return None
            return transactions.by_id(self.name, number)
        if action == "TransactionEvent":
            return self._transaction_201(payload)
        if action == "NotifyEVChargingNeeds":
            evse = payload.get("evseId")
            return transactions.under_way(self.name, evse) if _is_index(evse) else None
        return None

    def _transaction_201(self, payload: dict[str, Any]) -> Known | None:
        info, evse = payload.get("transactionInfo"), payload.get("evse")
        name = info.get("transactionId") if isinstance(info, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= 36:
            return None
        transactions = self._central.transactions
        known = transactions.by_name(self.name, name)
        number = evse.get("id") if isinstance(evse, dict) else None
        if known is None and _is_index(number):
            return Known(transactions.begin(self.name, name, number), name, number)
        return known

    async def _steer(self) -> None:
        await self._awake.wait()
        await self._prepare()
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            schedule = self._central.schedules.get(self.asset)
            now = self._central.now()
            wanted = schedule and charging_profile(
                self.version, schedule.steps, now, self._limits, schedule.valid_until
            )
            if schedule and wanted:
                await self._limit(schedule, wanted)
            elif self._limited:
                await self._call("ClearChargingProfile", clear_profile(self.version))
                self._limited = False

    async def _limit(self, schedule: Schedule, wanted: ProfileCall) -> None:
        answer = await self._call(wanted.action, wanted.payload)
        status = "no answer" if answer is None else str(answer.get("status"))
        if answer is not None:  # without one nobody knows whether it follows
            self._central.acknowledge(self._acknowledgement(schedule, status))
        facts = {"charger": self.name, "status": status, "until": wanted.until.isoformat()}
        if status == "Accepted":
            self._limited = True
            self._central.count("limited")
            _log.info("a charger follows its schedule", extra=facts)
            self._again_at = None if wanted.complete else wanted.until
        else:
            self._central.count("unlimited")
            _log.warning("a charger does not follow its schedule", extra=facts)
            self._again_at = None if answer else self._central.now() + _RETRY_AFTER

    def _acknowledgement(self, schedule: Schedule, status: str) -> Acknowledgement:
        accepted = status == "Accepted"
        return Acknowledgement(
            asset=self.asset,
            issued_at=schedule.issued_at,
            answer=Answer.ACCEPTED if accepted else Answer.REFUSED,
            by=self.name,
            reason="" if accepted else f"SetChargingProfile: {status}"[:200],
        )

    async def _prepare(self) -> None:
        """Tell the charger to be patient, set what its profile asks for, learn what it can take."""
        chosen = self._profile.parameters.get("configuration", {})
        for action, payload in ocpp_configuration.settings(self.version, chosen):
            await self._call(action, payload)
        answer = await self._call(*ocpp_configuration.question(self.version))
        self._limits = ocpp_configuration.capable(self._limits, answer or {})

    async def _call(self, action: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """The payload of the charger's answer; None where it gave none, or an error."""
        unique_id = str(uuid.uuid4())
        future = asyncio.get_running_loop().create_future()
        self._waiting[unique_id] = future
        try:
            await self._send(orjson.dumps([CALL, unique_id, action, payload]).decode())
            answer: dict[str, Any] | None = await asyncio.wait_for(future, _CALL_TIMEOUT_S)
            return answer
        except TimeoutError:
            _log.warning("a charger gave no answer", extra={"charger": self.name, "call": action})
            return None
        finally:
            del self._waiting[unique_id]

    def _take_answer(self, frame: list[Any]) -> None:
        future = self._waiting.get(frame[1]) if _is_answer(frame) else None
        if future is None or future.done():
            _log.info("an answer to nothing we asked", extra={"charger": self.name})
        elif frame[0] == answers.RESULT:
            future.set_result(frame[2])
        else:
            _log.info(
                "a charger refuses a call", extra={"charger": self.name, "code": str(frame[2])[:60]}
            )
            future.set_result({"status": str(frame[2])[:60]})

    async def _send(self, text: str) -> None:
        await self._connection.send(text)


def _is_index(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10_000


def _is_answer(frame: list[Any]) -> bool:
    if len(frame) < 3 or not isinstance(frame[1], str):
        return False
    return frame[0] == answers.ERROR or isinstance(frame[2], dict)


def _ends(action: str, payload: dict[str, Any]) -> bool:
    return action == "StopTransaction" or payload.get("eventType") == "Ended"
