"""Replay: dead letters once more through decoding, mapping, flags and writing.

What kept them out may be gone: a tag was described, a device registered, a unit learned. What goes
in now is resolved, what fails again says why it does. Writing again is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from core.errors import DecodeError, StoreError, StoreUnavailableError
from ingest.admission import READINGS, admit
from ingest.columns import Columns
from ingest.decoded import Decoded
from ingest.draft import Draft, Item, draft
from ingest.filemapping import FileMapping
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.overflow import open_bundle
from ingest.protocols import Protocols
from ingest.quality import History, Tolerances
from ingest.sinks import Sink
from ingest.table import Table, used_columns

_log = logging.getLogger(__name__)

TOLERANCES = Tolerances(neighbours=False)
"""Replayed readings are picked out of many: that the one before is missing says nothing."""

_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. whole: whether all of its payload was kept. bundle: whether it holds several
    messages (ingest/overflow.py).
    """

    id: int
    source: str
    payload: bytes
    received_at: datetime
    whole: bool = True
    bundle: bool = False


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What became of letters: those that went in, and why the others did not, by id.

    Readings of a letter that failed in part are stored all the same.
    """

    resolved: tuple[int, ...] = ()
    failed: dict[int, str] = field(default_factory=dict)
    stored: int = 0
    duplicates: int = 0


def replay(
    letters: Sequence[Letter],
    protocols: Protocols,
    tag_map: TagMap,
    sink: Sink,
    *,
    mapping: FileMapping | None = None,
    tolerances: Tolerances = TOLERANCES,
) -> ReplayReport:
    """Take ``letters`` in as far as they can be read now; committed when this returns.

    mapping: how rows of files are to be read that could not be read as they stood.
    Raises StoreUnavailableError when the store is away.
    """
    reader = _Reader(protocols, mapping)
    owned = [(letter.id, item) for letter in letters for item in reader.items(letter)]
    items = [item for _, item in owned]
    for item in items:
        _resolve(item, tag_map, sink)
    whole = draft(items, tag_map.rules.table, tolerances, History())
    stored, duplicates = _write(whole, sink)
    for item in items:
        _keep_events(item, sink)
    failed: dict[int, str] = {}
    for number, item in owned:
        if item.reason:
            failed.setdefault(number, item.reason)
    resolved = tuple(letter.id for letter in letters if letter.id not in failed)
    return ReplayReport(resolved, failed, stored, duplicates)


class _Reader:
    """Decodes letters: by the protocol of their source, or as rows of a file."""

    def __init__(self, protocols: Protocols, mapping: FileMapping | None) -> None:
        self._protocols = protocols
        self._mapping = mapping
        self._tables: dict[str, Table] = {}  # by file: its local times go on from row to row

    def items(self, letter: Letter) -> list[Item]:
        """What a letter says, message by message; what is wrong with one is noted there."""
        plain = Message(letter.source, letter.payload, letter.received_at)
        if not letter.whole:
            return [_failed(plain, "Only the beginning was kept; have the message sent again.")]
        if not letter.bundle:
            return [self._item(plain)]
        try:
            return [self._item(message) for message in open_bundle(letter.payload)]
        except DecodeError as error:
            return [_failed(plain, str(error))]

    def _item(self, message: Message) -> Item:
        item = Item(message)
        try:
            self._decode(item)
        except DecodeError as error:
            item.refuse(str(error))
        except Exception as error:  # noqa: BLE001 - one letter must not keep the others out
            _log.error("a letter made the replay fail", exc_info=error)
            item.refuse(f"our error, please report it: {error!r}"[:_LONGEST_REASON])
        return item

    def _decode(self, item: Item) -> None:
        message = item.message
        protocol = self._protocols.of(message.topic)
        item.protocol = protocol.name
        cells = _cells(message.payload) if protocol.name == READINGS else None
        if cells is not None and self._mapping is not None:
            item.decoded = self._row(message.topic, cells, self._mapping)
        else:
            item.decoded = protocol.decode(message.topic, message.payload, message.received_at)

    def _row(self, source: str, cells: dict[str, str], mapping: FileMapping) -> Decoded:
        used = used_columns(mapping, list(cells), "The row")
        batch = pa.RecordBatch.from_arrays(
            [pa.array([cells[name]], pa.string()) for name in used], names=list(used)
        )
        table = self._tables.setdefault(source, Table(mapping, "The row"))
        columns = table.columns(batch, np.ones(1, dtype=np.int64), [])
        if columns.bad:
            raise DecodeError(columns.bad[0].reason)
        if not len(columns.code):
            raise DecodeError("The row holds no value.")
        return _decoded(columns)


def _failed(message: Message, reason: str) -> Item:
    item = Item(message)
    item.refuse(reason)
    return item


def _cells(payload: bytes) -> dict[str, str] | None:
    """The cells of a row that was kept as it stood."""
    try:
        kept: Any = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    cells = kept.get("cells") if isinstance(kept, dict) else None
    if not isinstance(cells, dict) or not all(isinstance(c, str) for c in cells.values()):
        return None
    return cells


def _decoded(columns: Columns) -> Decoded:
    quality = columns.quality.tolist()
    return Decoded(
        tuple(columns.names[code] for code in columns.code),
        columns.ts_us.tolist(),
        columns.value.tolist(),
        quality if any(quality) else None,
    )


def _resolve(item: Item, tag_map: TagMap, sink: Sink) -> None:
    """Find where the readings of a letter lead, unknown devices of a profile taken in."""
    names = item.decoded.names
    if not names:
        return
    refused = admit(names, item.protocol, tag_map, sink)
    item.resolved = tag_map.resolve(names, item.protocol)
    for problem in item.resolved.problems:
        item.refuse(refused.get(problem.device, problem.reason))


def _write(part: Draft, sink: Sink) -> tuple[int, int]:
    """Write the rows of ``part``; where the store refuses, halve until the culprit is alone."""
    if not len(part.rows):
        return 0, 0
    try:
        return sink.write(part.rows)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        if len(part.items) == 1:
            part.items[0].refuse(f"store: {error}")
            return 0, 0
    first, second = (_write(half, sink) for half in part.half())
    return first[0] + second[0], first[1] + second[1]


def _keep_events(item: Item, sink: Sink) -> None:
    if not item.decoded.events:
        return
    try:
        sink.charging(item.decoded.events)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        item.refuse(f"store: {error}")
