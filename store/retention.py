"""How long values are kept, by the kind of their asset and by how fine they are; and how old ones
are packed.

The levels are ``raw`` (instants and intervals below 15 minutes), ``15min``, ``hour`` and ``day``. A
policy is for the values of that fineness, whether they came so or were rolled up: where
quarter-hours are kept for five years, the readings of a meter that sends quarter-hours are. Nothing
is kept for less time than what is finer, and nothing is deleted before it has been rolled up. By
default all is kept for ever.

Packing has one age for all kinds, because what is packed is a part, and a part is a day of every
series. TimescaleDB moves whole chunks into the columnstore, and plain PostgreSQL rewrites a whole
partition in the order of its key; neither does it for some of the rows. Parts by kind would want
the kind in the key of every reading, make a dozen times as many parts to plan every query over,
and a series could not change its kind any more. Within a packed part each series lies by itself
all the same, whatever its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from psycopg.errors import LockNotAvailable
from psycopg.sql import Composed, Identifier, Literal

from core.errors import StoreError
from core.sites import AssetKind
from core.timeaxis import DAY, EPOCH, floor_to
from store import backend, locks, rollups, sqltext
from store.database import Connection, Database

LEVELS = ("raw", "15min", "hour", "day")
EVERY_KIND = "*"
SHORTEST = 7 * DAY
"""Late readings of some days must still find what their roll-ups are made of."""

PACK_AFTER = 7 * DAY
"""Unless somebody says otherwise; late readings have come by then."""
SOONEST_PACKED = DAY

_SQL = sqltext.load("retention")
_Owner = tuple[str, str]  # kind and level
_End = datetime | None
_ROLLED = 2 * DAY
"""Readings this long before the end of the roll-ups are in all of them, days of every zone too."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Values of ``level`` of assets of ``kind`` are kept for ``keep``, None: for ever.

    kind: of core.sites.AssetKind, or ``*`` for all that have no policy of their own.
    """

    kind: str
    level: str
    keep: timedelta | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What was deleted: how many rows one by one, and the tables that lost whole parts."""

    rows: int
    dropped: tuple[str, ...]


def policies(connection: Connection) -> list[Policy]:
    """All policies, those for every kind first."""
    return [Policy(*row) for row in connection.execute(_SQL["policies"]).fetchall()]


def set_policy(connection: Connection, kind: str, level: str, keep: timedelta | None) -> None:
    """Keeps values of ``level`` of assets of ``kind`` for ``keep``; None: for ever.

    Raises StoreError for an unknown kind or level, for less than a week, and when something finer
    would be kept for longer.
    """
    _check_names(kind, level)
    if keep is not None and keep < SHORTEST:
        raise StoreError(f"Values are kept for {SHORTEST.days} days at least, not for {keep}.")
    _check_order([*_without(connection, kind, level), Policy(kind, level, keep)])
    connection.execute(_SQL["set"], {"kind": kind, "level": level, "keep": keep})


def unset_policy(connection: Connection, kind: str, level: str) -> None:
    """Makes what is for every kind be for ``kind`` again. Raises StoreError as ``set_policy``."""
    _check_names(kind, level)
    if kind == EVERY_KIND:
        raise StoreError("What is for every kind can be changed, not taken away.")
    _check_order(_without(connection, kind, level))
    connection.execute(_SQL["unset"], {"kind": kind, "level": level})


def _without(connection: Connection, kind: str, level: str) -> list[Policy]:
    return [p for p in policies(connection) if (p.kind, p.level) != (kind, level)]


def _check_names(kind: str, level: str) -> None:
    kinds = [EVERY_KIND, *(k.value for k in AssetKind)]
    if kind not in kinds:
        raise StoreError(f"There is no kind of asset {kind!r}; the kinds are {', '.join(kinds)}.")
    if level not in LEVELS:
        raise StoreError(f"There is no level {level!r}; the levels are {', '.join(LEVELS)}.")


def _check_order(held: Sequence[Policy]) -> None:
    for kind in dict.fromkeys(policy.kind for policy in held):
        for finer, coarser in pairwise(LEVELS):
            fine, coarse = keep_of(held, kind, finer), keep_of(held, kind, coarser)
            if coarse is not None and (fine is None or fine > coarse):
                raise StoreError(
                    f"Of {kind!r}, level {coarser!r} would be kept for {coarse.days} days and "
                    f"{finer!r} {'for ever' if fine is None else f'for {fine.days}'}: what is "
                    "coarser must be kept for as long or longer. Shorten the finer one first."
                )


def keep_of(held: Sequence[Policy], kind: str, level: str) -> timedelta | None:
    """How long values of ``level`` of that kind are kept by the policies ``held``."""
    found = {(policy.kind, policy.level): policy.keep for policy in held}
    return found.get((kind, level), found.get((EVERY_KIND, level)))


def apply(database: Database, now: datetime) -> Applied | None:
    """Rolls up, then deletes what is older than its policy at ``now``, in whole UTC days.

    Parts of a table that nobody keeps are dropped, the other rows deleted. Returns None when
    roll-ups are made elsewhere at the moment. Raises StoreUnavailableError as ``rollups.refresh``
    does.
    """
    with locks.held(database, rollups.LOCK_NAME) as lock:
        if lock is None:
            return None
        rollups.refresh_under(lock, now)
        return _apply(lock.connection, now)


def _apply(connection: Connection, now: datetime) -> Applied:
    kinds = connection.execute(_SQL["kinds"]).fetchall()
    ends = _ends(connection, {kind for kind, _ in kinds}, now)
    rows, dropped = 0, []
    for table, owners in _owners(kinds).items():
        try:
            if _drop(connection, table, [ends[owner] for owner in owners], owners):
                dropped.append(table)
        except LockNotAvailable:
            continue  # a table that is never free for a moment has its turn the next time
        rows += _delete(connection, table, {owner: ends[owner] for owner in owners})
    return Applied(rows, tuple(dropped))


def _owners(kinds: Sequence[tuple[str, str]]) -> dict[str, list[_Owner]]:
    """Of each table, whose values it holds: kinds and levels."""
    every = sorted({kind for kind, _ in kinds})
    return {
        "reading": sorted(kinds),
        **{level.table: [(kind, level.name) for kind in every] for level in rollups.LEVELS},
    }


def _ends(connection: Connection, kinds: Iterable[str], now: datetime) -> dict[_Owner, _End]:
    """Before when values are deleted; never before roll-ups have been made of them."""
    held = policies(connection)
    rolled = rollups.rolled_to(connection) - _ROLLED
    ends: dict[_Owner, _End] = {}
    for kind in kinds:
        for level in LEVELS:
            keep = keep_of(held, kind, level)
            ends[kind, level] = None if keep is None else floor_to(min(now - keep, rolled), DAY)
    return ends


def _drop(
    connection: Connection, table: str, ends: Sequence[_End], owners: Sequence[_Owner]
) -> bool:
    """Drops the parts of ``table`` that nobody keeps; whether there were any."""
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return False
    before, seam = min(known), backend.backend(connection)
    if not any(part.end <= before for part in seam.parts(connection, table)):
        return False
    with connection.transaction():
        for owner in owners:
            _record(connection, table, owner, before)
        seam.drop_before(connection, table, before)
    return True


def _delete(connection: Connection, table: str, ends: Mapping[_Owner, _End]) -> int:
    """Deletes the rows that their owners no longer keep, part by part; how many they were."""
    rows = 0
    found = connection.execute(_SQL["done"], {"table": table}).fetchall()
    done = {(kind, level): before for kind, level, before in found}
    parts = backend.backend(connection).parts(connection, table)
    for owner, end in ends.items():
        start = done.get(owner, EPOCH)
        for part in parts:
            first, last = max(start, part.start), min(end or EPOCH, part.end)
            if first < last:
                with connection.transaction():
                    _record(connection, table, owner, last)
                    statement = _statement(table, owner, first, last)
                    rows += connection.execute(statement).rowcount
    return rows


def _record(connection: Connection, table: str, owner: _Owner, before: datetime) -> None:
    kind, level = owner
    given = {"kind": kind, "table": table, "level": level, "before": before}
    connection.execute(_SQL["record"], given)


def _statement(table: str, owner: _Owner, start: datetime, end: datetime) -> Composed:
    kind, level = owner
    return _SQL["delete_readings" if table == "reading" else "delete_rollups"].format(
        table=Identifier(table),
        kind=Literal(kind),
        level=Literal(level),
        start=Literal(start),
        end=Literal(end),
    )


def pack_after(connection: Connection) -> timedelta | None:
    """From which age on parts of the readings are packed; None for never."""
    row = connection.execute(_SQL["pack_after"]).fetchone()
    after: timedelta | None = row[0] if row else PACK_AFTER
    return after


def set_pack_after(connection: Connection, after: timedelta | None) -> None:
    """Packs parts of the readings from the age ``after`` on, None: never. What is packed stays so.

    Raises StoreError for less than a day: readings of today are still to come.
    """
    if after is not None and after < SOONEST_PACKED:
        raise StoreError(f"Readings are packed at the age of a day or later, not at {after}.")
    connection.execute(_SQL["set_pack_after"], {"after": after})


def pack(database: Database, now: datetime, *, after: timedelta | None = None) -> list[str]:
    """Packs the parts of the readings that ended ``after`` before ``now``, each once, so that they
    take less room or fewer pages a series; late readings go into them all the same. The names of
    the parts packed now; what others are using is left for the next time.

    after: None for the age that is set, which may be never.
    """
    with database.session() as connection:
        age = pack_after(connection) if after is None else after
        return [] if age is None else backend.backend(connection).pack(connection, now - age)
