"""An upload: the body of a request becomes readings, piece by piece, each committed on its own.

Nothing of a body is held but the piece at hand. Sending the same body again is harmless: what is
stored already counts as a duplicate. Bad rows are handed over at the end, so that a request that
breaks off and is sent again leaves them once.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from core.errors import DecodeError, TooLargeError
from core.readings import Rejected
from core.timeaxis import to_us
from ingest.badrows import BadRows, Reason
from ingest.bodies import Body
from ingest.columns import BadRow, Columns
from ingest.files import without_future
from ingest.sinks import Sink

MapPiece = Callable[[Columns, int], tuple[np.ndarray, list[BadRow]]]
"""A piece and its time of arrival (microseconds since 1970 UTC) as READING_DTYPE (n,), and its rows
that could not be mapped.
"""

PIECE_BYTES = 4 * 1024 * 1024
"""Bytes of a body, unpacked, that become readings at once: some 50,000 rows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a single request may hold; bytes are counted as sent and as unpacked."""

    rows: int = 1_000_000
    sent_bytes: int = 512 * 1024 * 1024
    unpacked_bytes: int = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadReport:
    """What became of the rows; rows = accepted + duplicate + quarantined.

    reasons: why the first ones were quarantined.
    """

    rows: int
    accepted: int
    duplicate: int
    quarantined: int
    reasons: tuple[Reason, ...]

    def tree(self) -> dict[str, Any]:
        """As plain JSON values."""
        reasons = [{"row": r.row, "column": r.column, "reason": r.reason} for r in self.reasons]
        return {
            "rows": self.rows,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "quarantined": self.quarantined,
            "reasons": reasons,
        }


class Content:
    """The bytes of a body, unpacked and measured; ``digest`` is that of what was unpacked."""

    def __init__(self, limits: Limits, *, gzip: bool) -> None:
        self._limits = limits
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if gzip else None
        self._sent = self._unpacked = 0
        self._hash = hashlib.sha256()

    def take(self, data: bytes) -> Iterator[bytes]:
        """``data`` unpacked, in parts of PIECE_BYTES at most.

        Raises TooLargeError beyond the limits, DecodeError for what is not gzip.
        """
        self._sent += len(data)
        if self._sent > self._limits.sent_bytes:
            raise TooLargeError(_too_large("bytes", self._limits.sent_bytes))
        for part in self._parts(data):
            self._unpacked += len(part)
            if self._unpacked > self._limits.unpacked_bytes:
                raise TooLargeError(_too_large("bytes unpacked", self._limits.unpacked_bytes))
            self._hash.update(part)
            yield part

    def _parts(self, data: bytes) -> Iterator[bytes]:
        if self._gzip is None:
            for start in range(0, len(data), PIECE_BYTES):
                yield data[start : start + PIECE_BYTES]
            return
        while data:
            if self._gzip.eof:
                raise DecodeError("The request goes on behind its gzip stream.")
            try:
                yield self._gzip.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise DecodeError(f"The request is not gzip: {error}.") from error
            data = self._gzip.unconsumed_tail or self._gzip.unused_data

    def end(self) -> bytes:
        """The digest of all that was taken; raises DecodeError when gzip has no end."""
        if self._gzip is not None and not self._gzip.eof:
            raise DecodeError("The request's gzip stream has no end.")
        return self._hash.digest()


class Upload:
    """One request's readings on their way into ``sink``.

    source: what stands on bad rows (``http/<account>``); now: their city time of arrival.
    """

    def __init__(
        self,
        content: Content,
        body: Body,
        sink: Sink,
        map_piece: MapPiece,
        *,
        source: str,
        now: datetime,
        limits: Limits,
    ) -> None:
        self._content = content
        self._body = body
        self._sink = sink
        self._map_piece = map_piece
        self._bad = BadRows(source, now)
        self._now_us = to_us(now)
        self._rejected: list[Rejected] = []
        self._limits = limits
        self._rows = self._stored = self._duplicates = 0

    def take(self, data: bytes) -> None:
        """Take the next bytes as they were sent; complete rows are committed when this returns.

        Raises DecodeError for a malformed document, TooLargeError beyond the limits, StoreError.
        What was committed before stays.
        """
        for part in self._content.take(data):
            self._store(self._body.feed(part))

    def end(self) -> tuple[UploadReport, list[Rejected], bytes]:
        """Take what is left; the report, what belongs into the quarantine, and the digest."""
        digest = self._content.end()
        self._store(self._body.close())
        rejected = [*self._rejected, *self._bad.rest()]
        bad = self._bad
        report = UploadReport(self._rows, self._stored, self._duplicates, bad.count, bad.first)
        return report, rejected, digest

    @property
    def so_far(self) -> str:
        """What has been stored, as a sentence for an answer that says why the rest was not."""
        done = self._stored + self._duplicates
        return f" {done:,} readings before it are stored." if done else " Nothing was stored."

    def _store(self, pieces: Iterator[Columns]) -> None:
        for columns in pieces:
            if self._rows + columns.rows > self._limits.rows:
                raise TooLargeError(_too_large("rows", self._limits.rows))
            self._rows += columns.rows
            columns = without_future(columns, self._now_us)
            batch, unmapped = self._map_piece(columns, self._now_us)
            if len(batch):
                stored, duplicates = self._sink.write(batch)
                self._stored += stored
                self._duplicates += duplicates
            self._rejected += self._bad.take([*columns.bad, *unmapped])


def _too_large(what: str, most: int) -> str:
    return f"The request holds more than {most:,} {what}: send the rest in another one."
