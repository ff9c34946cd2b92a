"""Quarantine: messages that could not become readings, kept with the reason until they are
replayed or dismissed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import pandas as pd
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from core.readings import Rejected
from core.timeaxis import utc
from store import sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("quarantine")
LARGEST_PAYLOAD = 1024 * 1024
"""Bytes of a payload that are kept; its whole length is noted."""


class Resolution(StrEnum):
    """What became of a message that was held."""

    REPLAYED = "replayed"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages: those that fit everything that is given.

    source, reason: a part of it. [since, until) of their arrival.
    """

    ids: tuple[int, ...] | None = None
    source: str | None = None
    device: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A message in quarantine. device: as on the wire, empty where it was not read so far."""

    id: int
    received_at: datetime
    source: str
    device: str
    reason: str
    detail: dict[str, str]
    payload: bytes
    payload_bytes: int

    @property
    def whole(self) -> bool:
        """Whether all of the payload was kept; only then can it be replayed."""
        return len(self.payload) == self.payload_bytes


EVERYTHING = Filter()


def add(connection: Connection, rejected: Iterable[Rejected]) -> None:
    """Stores what was rejected; ``detail["device"]`` is kept where it can be searched.

    The wire may hold anything: zero bytes in texts become U+FFFD, because PostgreSQL keeps none.
    """
    rows = [
        {
            "received_at": utc(r.received_at),
            "source": _text(r.source),
            "device": _text(r.detail.get("device", "")),
            "reason": _text(r.reason),
            "detail": Jsonb({_text(k): _text(v) for k, v in r.detail.items()}),
            "payload": r.payload[:LARGEST_PAYLOAD],
            "payload_bytes": len(r.payload),
        }
        for r in rejected
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["add"], rows)


def _text(text: str) -> str:
    clean = str(text).replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return clean.encode("utf-8", "replace").decode("utf-8")


def recent(connection: Connection, limit: int = 100) -> pd.DataFrame:
    """The newest first, resolved or not: id, received_at, source, device, reason, detail, payload
    (bytes, the first MiB), payload_bytes (of the whole), resolution (None while it is held).
    """
    return frame(connection.execute(_SQL["recent"], {"limit": limit}))


def pending(
    connection: Connection,
    wanted: Filter = EVERYTHING,
    *,
    after: int = 0,
    limit: int = 100,
    newest_first: bool = False,
) -> list[Held]:
    """Unresolved messages in the order of their ids, those behind the id ``after``."""
    rows = connection.execute(
        _SQL["pending"].format(order=SQL("DESC" if newest_first else "ASC")),
        {
            "ids": None if wanted.ids is None else list(wanted.ids),
            "source": wanted.source,
            "device": wanted.device,
            "reason": wanted.reason,
            "since": wanted.since and utc(wanted.since),
            "until": wanted.until and utc(wanted.until),
            "after": after,
            "limit": limit,
        },
    ).fetchall()
    return [Held(*row) for row in rows]


def resolve(connection: Connection, ids: Sequence[int], how: Resolution, at: datetime) -> int:
    """Notes what became of the messages ``ids``; how many of them were unresolved until now."""
    given = {"ids": list(ids), "how": how.value, "at": utc(at)}
    return connection.execute(_SQL["resolve"], given).rowcount


def renew(connection: Connection, reasons: Mapping[int, str]) -> int:
    """Notes why unresolved messages still cannot be read, by id; for how many that has changed."""
    given = {"ids": list(reasons), "reasons": [_text(reason) for reason in reasons.values()]}
    return connection.execute(_SQL["renew"], given).rowcount


def forget(connection: Connection, *, before: datetime) -> int:
    """Removes what was resolved before that time; unresolved messages stay. How many went."""
    return connection.execute(_SQL["forget"], {"before": utc(before)}).rowcount


def counts(connection: Connection) -> dict[str, int]:
    """How many unresolved messages for each reason, the most frequent first."""
    return dict(connection.execute(_SQL["counts"]).fetchall())
