"""POST /api/v1/readings: readings of machines, up to a million rows a request.

The body is read as it comes: a piece of it becomes readings and is committed before the next one
is asked for, so that memory stays small and a database that is slow slows the sender down.
What is acknowledged is stored; a request that broke off is sent again, and what is stored already
counts as a duplicate. With an ``Idempotency-Key`` a repeated request gets the same report.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from app.auth import current_account
from app.sameorigin import require_same_origin
from app.wiring import City, LiveTagMap, StoreSink, wall_now
from core.accounts import Account, Permission, check
from core.errors import DecodeError, StoreUnavailableError, TooLargeError
from ingest import bodies
from ingest.admission import READINGS, admit
from ingest.columns import BadRow, Columns
from ingest.quality import History, Tolerances
from ingest.uploads import PIECE_BYTES, Content, Limits, Upload
from store import machines, quarantine

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Pieces that are worked on at once, of however many requests; the others wait, unread."""

PATIENCE_S = 60.0
"""How long a sender may pause within its body."""

RETRY_AFTER_S = 5

TOLERANCES = Tolerances(neighbours=False)
"""The reading before one may have come another way."""
LONGEST_KEY = 200

_DRAINED_BYTES = 64 * 1024 * 1024
_DRAINED_S = 10.0
_FORMS = ", ".join(sorted(bodies.FORMATS))

_DOCUMENTED = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
            "description": "A repeated request with the same key gets the same report.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {}} for name in sorted(bodies.FORMATS)},
    },
}


def ingest_router(city: City, limits: Limits | None = None) -> APIRouter:
    """POST /api/v1/readings."""
    intake = Intake(city, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(intake.sink.close)

    router = APIRouter(prefix="/api/v1", lifespan=lifespan)

    @router.post("/readings", tags=["data"], openapi_extra=_DOCUMENTED)
    async def take(request: Request) -> Response:
        """Store readings: [{device, tag, unit?, ts, value}] or {series, ts, value, unit?}.

        JSON, NDJSON or CSV, gzip or not; ts is ISO 8601 with its zone and labels the beginning of
        an interval. The report counts rows, accepted, duplicate and quarantined ones.
        """
        account = check(current_account(), Permission.READINGS_WRITE)
        require_same_origin(request)
        return await intake.serve(request, account)

    return router


class Intake:
    """Takes requests with readings; shared by all of an application's."""

    def __init__(self, city: City, limits: Limits) -> None:
        self.city = city
        self.limits = limits
        self.sink = StoreSink(city.database)
        self._tag_map = LiveTagMap(city.database, with_keys=True)
        self._map_lock = threading.Lock()  # a tag map grows, and not under the eyes of others
        self._history: History | None = None
        self._workers = CapacityLimiter(AT_ONCE)

    def map_piece(self, columns: Columns, received_us: int) -> tuple[np.ndarray, list[BadRow]]:
        """A piece as readings, unknown devices of a profile taken in; raises StoreError."""
        with self._map_lock:
            if self._history is None:
                self._history = History()
                self._history.seed(self.sink.latest())
            tag_map = self._tag_map()
            admit(columns.names, READINGS, tag_map, self.sink)
            return tag_map.map_columns(
                columns, received_us=received_us, history=self._history, tolerances=TOLERANCES
            )

    async def serve(self, request: Request, account: Account) -> Response:
        """Read the body to its end; the report, or the sentence that says what is wrong."""
        made = _deposit(self, request, account)
        if isinstance(made, Response):
            return made
        stream = request.stream()
        try:
            await to_thread.run_sync(made.begin)
            async for data in _pieces(stream):
                await to_thread.run_sync(made.take, data, limiter=self._workers)
            return await to_thread.run_sync(made.end, limiter=self._workers)
        except ClientDisconnect:
            log.info("sender went away", extra={"account": account.name})
            return Response(status_code=400)  # nobody reads it
        except TimeoutError:
            return _answer(408, f"The body paused for more than {PATIENCE_S:.0f} s.{made.so_far}")
        except TooLargeError as error:
            answer = _answer(413, f"{error}{made.so_far}")
        except DecodeError as error:
            answer = _answer(400, f"{error}{made.so_far}")
        except StoreUnavailableError:
            sentence = "The database is away; send the request again.{}"
            answer = _answer(503, sentence.format(made.so_far), {"Retry-After": str(RETRY_AFTER_S)})
        await _drain(stream)
        return answer


def _deposit(intake: Intake, request: Request, account: Account) -> Deposit | Response:
    """The request's work, or why it is refused unread."""
    form = bodies.of_type(request.headers.get("content-type", ""))
    if form is None:
        return _answer(415, f"The Content-Type must be one of {_FORMS}, in UTF-8.")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        return _answer(415, "The Content-Encoding must be gzip, or none.")
    key = request.headers.get("idempotency-key")
    if key is not None and not (
        0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()
    ):
        return _answer(400, f"An Idempotency-Key has 1 to {LONGEST_KEY} printable characters.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > intake.limits.sent_bytes:
        return _answer(413, f"A request holds at most {intake.limits.sent_bytes:,} bytes.")
    content = Content(intake.limits, gzip=encoding == "gzip")
    now = intake.city.now()
    source = f"http/{account.name}"
    upload = Upload(
        content,
        form(),
        intake.sink,
        intake.map_piece,
        source=source,
        now=now,
        limits=intake.limits,
    )
    return Deposit(intake, account.name, key, content, upload)


class Deposit:
    """One request's way into the store. Its methods block; each is called in a thread."""

    def __init__(
        self, intake: Intake, account: str, key: str | None, content: Content, upload: Upload
    ) -> None:
        self._database = intake.city.database
        self._account = account
        self._key = key
        self._content = content
        self._upload = upload
        self._earlier: machines.Finished | None = None

    @property
    def so_far(self) -> str:
        """What is stored already, as a sentence."""
        return "" if self._earlier else self._upload.so_far

    def begin(self) -> None:
        """Find out whether the request was answered before."""
        if self._key is not None:
            with self._database.connection() as connection:
                self._earlier = machines.begin(connection, self._account, self._key, wall_now())

    def take(self, data: bytes) -> None:
        """Take a part of the body. What was answered before is compared, not written."""
        if self._earlier is None:
            self._upload.take(data)
            return
        for _ in self._content.take(data):
            pass

    def end(self) -> Response:
        """The answer, after everything is committed."""
        if self._earlier is not None:
            return self._repeated(self._earlier, self._content.end())
        report, rejected, digest = self._upload.end()
        with self._database.connection() as connection:
            if rejected:
                quarantine.add(connection, rejected)
            if self._key is None:
                return JSONResponse(report.tree())
            stands = machines.finish(
                connection,
                self._account,
                self._key,
                content_hash=digest,
                report=report.tree(),
                at=wall_now(),
            )
        if stands.report == report.tree():
            return JSONResponse(stands.report)
        return self._repeated(stands, digest)  # somebody else was faster

    def _repeated(self, earlier: machines.Finished, digest: bytes) -> Response:
        if digest != earlier.content_hash:
            return _answer(
                409,
                f"The Idempotency-Key {self._key!r} was used for another content; "
                "choose a new one for each request.",
            )
        return JSONResponse(earlier.report, headers={"Idempotency-Replayed": "true"})


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in parts of PIECE_BYTES or a little more; raises TimeoutError for a long pause."""
    held: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(PATIENCE_S):
                part = await anext(stream)
        except StopAsyncIteration:
            break
        held.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            whole = b"".join(held)
            held, size = [], 0
            yield whole
    if size:
        yield b"".join(held)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read on for a while: who is still sending would not see the answer."""
    left = _DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAINED_S):
            async for part in stream:
                left -= len(part)
                if left < 0:
                    return
    except (ClientDisconnect, TimeoutError):
        return


def _answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence}, status, headers)
