"""Intervals for which a series has no reading, and on which side of the wire they went missing.

The rule. The value of an interval comes when the interval is over. It is missing in the PIPELINE

- when no receiver was listening within a minute from then on (store/beats.py). Asked are the
  receivers of the device's protocol, where its profile names one, otherwise all; before their
  first beat on record nothing is known of them, and nothing is held against them;
- or when a message of its device lies in quarantine, not dismissed, that came during the run of
  missing intervals or in the quarter-hour after it. The message may hold them, and a replay bring
  them; what was replayed and is missing still did not get through either.

Everything else is missing at the SOURCE: the device or its network did not send it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import pandas as pd

from core.timeaxis import QUARTER_HOUR, utc
from store import beats, sqltext
from store.beats import Listening
from store.database import Connection

_SQL = sqltext.load("gaps")
_COLUMNS = ("key", "start", "end", "missing", "cause")
PATIENCE = beats.PAUSE
"""A value comes within this time after its interval; a receiver may be away for shorter."""
AFTERWARDS = QUARTER_HOUR
"""How long after a gap a message that was refused may still explain it."""


class Cause(StrEnum):
    """On which side of the wire an interval went missing."""

    SOURCE = "source"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Run:
    """``missing`` intervals of length ``step`` in a row, the first beginning at ``start``."""

    key: str
    asset: str
    start: datetime
    step: timedelta
    missing: int

    @property
    def end(self) -> datetime:
        """Where the last one ends."""
        return self.start + self.missing * self.step


@dataclass(frozen=True, slots=True)
class Silence:
    """No receiver was listening in (since, until)."""

    since: datetime
    until: datetime


def find(
    connection: Connection, keys: Sequence[str] | None, start: datetime, end: datetime
) -> pd.DataFrame:
    """Missing intervals of measured series in [start, end): key, start, end, missing (how many)
    and cause (``source`` or ``pipeline``), by key and time.

    keys: None for all series; those without a resolution miss nothing, nor does a series before
    its first reading. An interval that ends after ``end`` is not missing yet.
    """
    start, end = utc(start), utc(end)
    given = {"keys": None if keys is None else list(keys), "start": start, "end": end}
    runs = [Run(*row) for row in connection.execute(_SQL["runs"], given)]
    silent = _silences(connection, runs, start, end)
    held = _held(connection, runs)
    rows = [
        (run.key, run.start + first * run.step, run.start + last * run.step, last - first, cause)
        for run in runs
        for first, last, cause in causes(run, silent[run.asset], held=_explained(run, held))
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def of_device(
    connection: Connection, device: str, start: datetime, end: datetime
) -> list[tuple[str, datetime, datetime]]:
    """Tag, begin and end of each run of missing intervals of a device's series in [start, end),
    whatever went wrong: what a device is asked for that can send a period again.
    """
    tags = connection.execute(_SQL["tags"], {"device": device}).fetchall()
    given = {"keys": sorted({key for key, _ in tags}), "start": utc(start), "end": utc(end)}
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for key, tag in tags:
        by_key[key].append(tag)
    runs = [Run(*row) for row in connection.execute(_SQL["runs"], given)] if tags else []
    return [(tag, run.start, run.end) for run in runs for tag in sorted(by_key[run.key])]


def causes(run: Run, silent: Sequence[Silence], *, held: bool) -> list[tuple[int, int, Cause]]:
    """The run cut where the cause changes: first interval, the one behind the last, and why.

    silent: when nobody listened, in order and apart. held: whether a refused message explains it.
    """
    if held:
        return [(0, run.missing, Cause.PIPELINE)]
    parts: list[tuple[int, int, Cause]] = []
    done = 0
    for silence in silent:
        # Interval k was due at start + (k + 1) steps, inside the silence with patience to spare.
        first = max((silence.since - run.start) // run.step, done)
        last = min((silence.until - PATIENCE - run.start) // run.step, run.missing)
        if first >= last:
            continue
        if first > done:
            parts.append((done, first, Cause.SOURCE))
        parts.append((first, last, Cause.PIPELINE))
        done = last
    if done < run.missing:
        parts.append((done, run.missing, Cause.SOURCE))
    return parts


def silences(
    listening: Iterable[Listening], known_since: datetime, start: datetime, end: datetime
) -> list[Silence]:
    """When nobody of ``listening`` was, from ``start`` and ``known_since`` on, up to ``end``; what
    has not ended by then reaches beyond it.
    """
    found = []
    heard_to = max(start, known_since)
    for one in sorted(listening, key=lambda one: one.since):
        if one.since > heard_to:
            found.append(Silence(heard_to, min(one.since, end)))
        heard_to = max(heard_to, one.until)
    if end - heard_to > beats.PAUSE:  # a shorter time may lie between two beats
        found.append(Silence(heard_to, end + PATIENCE))
    return found


def _silences(
    connection: Connection, runs: Sequence[Run], start: datetime, end: datetime
) -> Mapping[str, list[Silence]]:
    """When nobody listened to an asset, for the assets of ``runs``."""
    assets = sorted({run.asset for run in runs})
    protocols: dict[str, str] = dict(
        connection.execute(_SQL["protocols"], {"assets": assets}).fetchall()
    )
    listening, first = beats.read(connection, start, end), beats.first(connection)
    known: dict[str | None, list[Silence]] = {}
    found = {}
    for asset in assets:
        protocol = protocols.get(asset)
        if protocol not in known:
            known[protocol] = _of_protocol(protocol, listening, first, start, end)
        found[asset] = known[protocol]
    return found


def _of_protocol(
    protocol: str | None,
    listening: Sequence[Listening],
    first: Mapping[str, datetime],
    start: datetime,
    end: datetime,
) -> list[Silence]:
    own = {name for name in first if name.partition(":")[0] == protocol} or set(first)
    if not own:
        return []
    known_since = min(first[name] for name in own)
    return silences((one for one in listening if one.receiver in own), known_since, start, end)


def _held(connection: Connection, runs: Sequence[Run]) -> Mapping[str, list[datetime]]:
    """When messages came that lie in quarantine, in order, for the keys of ``runs``."""
    found: defaultdict[str, list[datetime]] = defaultdict(list)
    if not runs:
        return found
    keys = sorted({run.key for run in runs})
    devices = connection.execute(_SQL["devices"], {"keys": keys}).fetchall()
    given = {
        "devices": sorted({device for _, device in devices}),
        "start": min(run.start for run in runs),
        "end": max(run.end for run in runs) + AFTERWARDS,
    }
    came: defaultdict[str, list[datetime]] = defaultdict(list)
    for device, received_at in connection.execute(_SQL["held"], given):
        came[device].append(received_at)
    for key, device in devices:
        found[key] = sorted([*found[key], *came[device]])
    return found


def _explained(run: Run, held: Mapping[str, list[datetime]]) -> bool:
    came = held.get(run.key, [])
    place = bisect_left(came, run.start)
    return place < len(came) and came[place] <= run.end + AFTERWARDS
