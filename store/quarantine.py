"""Quarantine: messages that could not become readings, kept with the reason."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from psycopg.types.json import Jsonb

from core.readings import Rejected
from core.timeaxis import utc
from store import sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("quarantine")
LARGEST_PAYLOAD = 64 * 1024
"""Bytes of a payload that are kept; its whole length is noted."""


def add(connection: Connection, rejected: Iterable[Rejected]) -> None:
    """Stores what was rejected. The wire may hold anything: zero bytes in texts become U+FFFD,
    because PostgreSQL keeps none.
    """
    rows = [
        {
            "received_at": utc(r.received_at),
            "source": _text(r.source),
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
    """The newest first: id, received_at, source, reason, detail, payload (bytes, the first 64 KiB),
    payload_bytes (of the whole).
    """
    return frame(connection.execute(_SQL["recent"], {"limit": limit}))


def counts(connection: Connection) -> dict[str, int]:
    """How many messages for each reason, the most frequent first."""
    return dict(connection.execute(_SQL["counts"]).fetchall())
