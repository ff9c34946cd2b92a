"""The spool: what was received, safe on this machine's disk until the store has it.

For receivers that must answer a device at once and have no broker that would keep the message for
them: HJ 212, OCPP, Modbus. ``append`` returns after the commit; then the device may be answered. A
drainer takes what is oldest, hands it to the pipeline, and says ``done`` after the store's commit.
What was not done comes again after a restart; the store counts it as duplicates.

One SQLite file (WAL, synchronous FULL: a commit waits for the disk), one row for each append, one
process at a time. Threads that wait at the same moment share one commit. The spool is bounded: a
full one refuses, so that the sender keeps what it has. A file that is damaged is set aside under
another name, never deleted, and the spool begins anew.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DecodeError, ServiceError, SpoolFullError
from core.timeaxis import EPOCH
from ingest.messages import Message, pack, unpack

_log = logging.getLogger(__name__)

UNREADABLE = "spool/unreadable"
"""The topic of a row that cannot be taken apart any more: no protocol's, so it is quarantined."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bytes INTEGER NOT NULL,
    content BLOB NOT NULL
)
"""
_PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 16777216",
)
_ROW_BYTES = 64
"""What a row costs beside its content."""

_BUSY_S = 5.0
_SIDECARS = ("", "-wal", "-shm")


@dataclass(slots=True)
class _Waiting:
    """An append whose commit is awaited."""

    content: bytes
    decided: bool = False
    error: SpoolFullError | None = None

    @property
    def size(self) -> int:
        return len(self.content) + _ROW_BYTES


@dataclass(slots=True)
class _Queue:
    """Appends that nobody commits yet."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: list[_Waiting] = field(default_factory=list)

    def put(self, one: _Waiting) -> None:
        with self.lock:
            self.waiting.append(one)

    def take_all(self) -> list[_Waiting]:
        with self.lock:
            taken, self.waiting = self.waiting, []
        return taken


class Spool:
    """Messages on disk, in the order they came. All methods may be called from any thread.

    path: the file; its folder is made. capacity_bytes: of all messages together; the file is
    somewhat larger. Raises ServiceError when the file cannot be opened or another process has it.
    """

    def __init__(self, path: Path, *, capacity_bytes: int) -> None:
        self.path = path
        self.capacity_bytes = capacity_bytes
        self._lock = threading.Lock()  # one connection, one statement at a time
        self._queue = _Queue()
        self._arrived = threading.Condition()
        self._appended = 0
        self._highest = 0  # id of what was taken: a new file must not use it again
        self._undone: list[int] = []  # done, but the disk was too full to forget it
        self._connection = self._open()
        self._held = self._sum()

    def append(self, messages: Sequence[Message]) -> None:
        """Keep ``messages``; they are on the disk when this returns. Their tickets are forgotten.

        Raises SpoolFullError when there is no room, in the spool or on the disk: then none of them
        is kept.
        """
        if not messages:
            return
        mine = _Waiting(pack(messages))
        self._queue.put(mine)
        with self._lock:  # whoever comes first commits for all that wait behind it
            if not mine.decided:
                self._commit(self._queue.take_all())
        if mine.error is not None:
            raise mine.error
        with self._arrived:
            self._appended += 1
            self._arrived.notify_all()

    def take(self, count: int, after: int = 0) -> list[Message]:
        """The messages of the oldest ``count`` appends with an id greater than ``after``, in order.

        ticket: the append's id, the message's place in it, and how many messages it has. They stay
        in the spool until ``done``.
        """
        with self._lock:
            try:
                rows = self._connection.execute(
                    "SELECT id, content FROM batch WHERE id > ? ORDER BY id LIMIT ?", (after, count)
                ).fetchall()
            except sqlite3.DatabaseError as error:
                self._begin_anew(error)
                return []
            if rows:
                self._highest = max(self._highest, rows[-1][0])
        return [message for number, content in rows for message in _decode(number, content)]

    def done(self, ids: Sequence[int]) -> None:
        """Forget appends: the store has them. What cannot be forgotten now is with the next ones;
        after a restart it comes again.
        """
        with self._lock:
            self._undone.extend(ids)
            try:
                self._held -= self._delete(self._undone)
                self._undone = []
            except sqlite3.DatabaseError as error:
                self._rollback()
                if _damaged(error):
                    self._begin_anew(error)
                else:
                    _log.warning("the spool cannot forget yet", extra={"reason": str(error)})

    def wait(self, seen: int, timeout_s: float) -> int:
        """Wait until there were more than ``seen`` appends in this process; how many there were."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._appended > seen, timeout_s)
            return self._appended

    @property
    def held_bytes(self) -> int:
        """Bytes of what waits."""
        return self._held

    def __len__(self) -> int:
        """How many appends wait."""
        with self._lock:
            count: int = self._connection.execute("SELECT count(*) FROM batch").fetchone()[0]
        return count

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit(self, group: list[_Waiting]) -> None:
        """Decide the fate of every append in ``group``."""
        held = self._held
        fitting = []
        for one in group:
            if held + one.size > self.capacity_bytes:
                one.error = SpoolFullError(
                    f"The spool {self.path} is full ({self.capacity_bytes / 1e6:.0f} MB): the "
                    "database has been away for long. Senders keep what they have; let the "
                    "database come back, or set VERDIGRID_SPOOL_MB higher."
                )
            else:
                fitting.append(one)
                held += one.size
        try:
            self._insert(fitting)
            self._held = held
        except SpoolFullError as error:
            for one in fitting:
                one.error = error
        finally:
            for one in group:
                one.decided = True

    def _insert(self, fitting: list[_Waiting]) -> None:
        if not fitting:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO batch (bytes, content) VALUES (?, ?)",
                [(one.size, one.content) for one in fitting],
            )
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._rollback()
            if _damaged(error):
                self._begin_anew(error)
            raise SpoolFullError(
                f"The spool {self.path} cannot be written: {error}. Make room on the disk."
            ) from error

    def _delete(self, ids: list[int]) -> int:
        freed = 0
        self._connection.execute("BEGIN IMMEDIATE")
        for number in ids:
            statement = "DELETE FROM batch WHERE id = ? RETURNING bytes"
            row = self._connection.execute(statement, (number,)).fetchone()
            freed += row[0] if row else 0
        self._connection.execute("COMMIT")
        return freed

    def _rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        """Put an empty file in the place of a damaged one; any other trouble is raised."""
        if not _damaged(error):
            raise ServiceError(f"The spool {self.path} cannot be read: {error}.") from error
        self._connection.close()
        _set_aside(self.path, error)
        self._connection = self._open()
        self._held = self._sum()
        self._undone = []

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connect(self.path, self._highest)
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                _set_aside(self.path, error)
                return _connect(self.path, self._highest)
        except (OSError, sqlite3.Error) as error:
            reason = "another process uses it" if _locked(error) else str(error)
            raise ServiceError(f"The spool {self.path} cannot be opened: {reason}.") from error

    def _sum(self) -> int:
        row = self._connection.execute("SELECT coalesce(sum(bytes), 0) FROM batch").fetchone()
        return int(row[0])


def _connect(path: Path, highest: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        connection.execute(_SCHEMA)
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'batch', ? "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'batch')",
            (highest,),
        )
        for (verdict,) in connection.execute("PRAGMA quick_check(1)"):
            if verdict != "ok":
                raise _DamagedError(verdict)
    except BaseException:
        connection.close()
        raise
    return connection


class _DamagedError(sqlite3.DatabaseError):
    """The file's structure does not hold together."""


def _code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # without the extended part


def _damaged(error: Exception) -> bool:
    broken = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, _DamagedError) or _code(error) in broken


def _locked(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _set_aside(path: Path, error: Exception) -> None:
    """Rename the file and what belongs to it; a person may still save something out of it."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for suffix in _SIDECARS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    _log.error(
        "the spool was damaged and is set aside; a new one begins",
        extra={"file": str(aside), "reason": str(error)},
    )


def _decode(number: int, content: bytes) -> list[Message]:
    try:
        messages = unpack(content)
    except DecodeError as error:
        _log.error("a row of the spool cannot be read", extra={"id": number, "reason": str(error)})
        messages = [Message(UNREADABLE, content, EPOCH)]
    count = len(messages)
    return [m._replace(ticket=(number, place, count)) for place, m in enumerate(messages)]
