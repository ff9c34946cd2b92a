"""Set-points of plans: prepared with the plan, sent when it is in force, answered by devices.

They are kept with the plan before anything goes out, so that a process that is killed on the way
leaves either a plan whose set-points the next one sends, or no plan at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from core.errors import StoreError
from core.setpoints import Acknowledgement, Setpoint
from core.timeaxis import from_datetime64, to_datetime64, utc
from store import readings, sqltext
from store.database import Connection

_SQL = sqltext.load("setpoints")


@dataclass(frozen=True, slots=True)
class Sent:
    """The newest set-point of an asset. status: sending, sent, accepted or refused.

    answered_at: city time, None while there is no answer. q_refused: whether the device leaves the
    reactive power out.
    """

    setpoint: Setpoint
    status: str
    answered_at: datetime | None
    answered_by: str
    reason: str
    q_refused: bool = False

    @property
    def issued_at(self) -> datetime:
        """When it was sent, city time."""
        assert self.setpoint.issued_at is not None
        return self.setpoint.issued_at

    @property
    def answered(self) -> bool:
        """Whether the device has accepted or refused it."""
        return self.answered_at is not None


def prepare(connection: Connection, run_id: int, setpoints: Sequence[Setpoint]) -> None:
    """Keeps what ``run_id`` will ask; the same call again changes nothing."""
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["prepare"], [_row(run_id, s) for s in setpoints])


def due(connection: Connection) -> int | None:
    """The newest run in force that still has set-points to send; None where all are out."""
    row = connection.execute(_SQL["due"]).fetchone()
    return None if row is None else row[0]


def of_run(connection: Connection, run_id: int) -> list[Setpoint]:
    """What a run asks, by asset."""
    return [_setpoint(row) for row in connection.execute(_SQL["of_run"], {"run_id": run_id})]


def sending(
    connection: Connection, run_id: int, setpoints: Sequence[Setpoint], issued_at: datetime
) -> None:
    """Notes what is about to go out; an answer may come before ``sent`` is called."""
    rows = [{**_row(run_id, s), "issued_at": utc(issued_at)} for s in setpoints]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["sending"], rows)


def sent(connection: Connection, run_id: int) -> None:
    """Notes that the broker has all of them."""
    connection.execute(_SQL["sent"], {"run_id": run_id})


def acknowledge(
    connection: Connection, answers: Iterable[Acknowledgement], at: datetime
) -> list[Acknowledgement]:
    """Keeps answers of devices; those that belong to no set-point of ours come back."""
    unknown = []
    for answer in answers:
        row = {
            "asset": answer.asset,
            "issued_at": utc(answer.issued_at),
            "answer": answer.answer.value,
            "at": utc(at),
            "by": answer.by,
            "reason": answer.reason,
            "q_refused": answer.q_refused,
        }
        if not connection.execute(_SQL["acknowledge"], row).rowcount:
            unknown.append(answer)
    return unknown


def in_force_at(connection: Connection, at: datetime) -> dict[str, Setpoint]:
    """The set-point that each asset had at ``at``, city time."""
    rows = connection.execute(_SQL["in_force_at"], {"at": utc(at)})
    return {row[0]: _setpoint(row) for row in rows}


def asked(connection: Connection, assets: Sequence[str], starts: Sequence[datetime]) -> np.ndarray:
    """What each asset was asked in the intervals that begin at ``starts``, MW, (interval, asset).

    NaN where it was free, or had no set-point when the interval began.
    """
    table = np.full((len(starts), len(assets)), np.nan)
    for row, start in enumerate(starts):
        in_force = in_force_at(connection, start)
        for column, asset in enumerate(assets):
            p_mw = in_force[asset].at(start) if asset in in_force else None
            table[row, column] = np.nan if p_mw is None else p_mw
    return table


def against_measured(
    connection: Connection,
    series_keys: Mapping[str, str],
    starts: Sequence[datetime],
    step: timedelta,
) -> tuple[np.ndarray, np.ndarray]:
    """What assets were asked and what they did, MW, both (interval, asset), NaN for nothing.

    series_keys: the measured power of each asset. starts: of the intervals of ``step``, rising.
    """
    measured = readings.read(
        connection, list(series_keys.values()), starts[0], starts[-1] + step, step
    )
    aligned = measured.transpose("time", "series").reindex(
        time=[to_datetime64(start) for start in starts]
    )
    return asked(connection, list(series_keys), starts), aligned.to_numpy()


def newest(connection: Connection) -> list[Sent]:
    """The newest set-point that each asset was sent, with its answer, by asset."""
    rows = connection.execute(_SQL["newest"])
    return [Sent(_setpoint(row[:8]), *row[8:]) for row in rows]


def forget(connection: Connection, *, before: datetime) -> int:
    """Removes set-points of plans made before ``before``; the newest of each asset stays."""
    return connection.execute(_SQL["forget"], {"before": utc(before)}).rowcount


def _row(run_id: int, setpoint: Setpoint) -> dict[str, Any]:
    if setpoint.times.shape != setpoint.p_mw.shape:
        raise StoreError(f"The set-point of {setpoint.asset} has other times than powers.")
    q_mvar = None if setpoint.q_mvar is None else [float(q) for q in setpoint.q_mvar]
    return {
        "run_id": run_id,
        "asset": setpoint.asset,
        "starts": [from_datetime64(t) for t in setpoint.times],
        "p_mw": [float(p) for p in setpoint.p_mw],
        "valid_until": None if setpoint.valid_until is None else utc(setpoint.valid_until),
        "fallback_mw": setpoint.fallback_mw,
        "q_mvar": q_mvar,
    }


def _setpoint(row: Sequence[Any]) -> Setpoint:
    asset, starts, p_mw, valid_until, fallback_mw, run_id, issued_at, q_mvar = row
    return Setpoint(
        asset=asset,
        times=np.array([to_datetime64(t) for t in starts], dtype="datetime64[ns]"),
        p_mw=np.array(p_mw, dtype=float),
        valid_until=valid_until,
        fallback_mw=fallback_mw,
        run_id=run_id,
        issued_at=issued_at,
        q_mvar=None if q_mvar is None else np.array(q_mvar, dtype=float),
    )
