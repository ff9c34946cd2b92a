"""Charging sessions: what chargers say of them, and what they add up to.

Chargers keep what they could not send and send again what was not answered, so that the events of
a session come in any order and more than once. ``fold`` therefore only takes earliest, latest and
newest: any order and any repetition of the same events gives the same session.

Who charges is not part of it: the card or contract of a driver is never kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.timeaxis import EPOCH


class SessionStep(StrEnum):
    """What an event says of its session."""

    START = "start"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class Needs:
    """What the car asks for. energy_mwh: until it leaves; max_p_mw: the most it can take."""

    departure: datetime | None = None
    energy_mwh: float | None = None
    max_p_mw: float | None = None


@dataclass(frozen=True, slots=True)
class ChargingEvent:
    """One message's word on a session.

    charger: as on the wire. transaction: unique for the charger. connector: 1 and up, None where
    the message does not name it. register_mwh: the meter's reading at ``ts``, counted from
    whenever; a session's energy is a difference.
    """

    step: SessionStep
    charger: str
    transaction: str
    ts: datetime
    connector: int | None = None
    register_mwh: float | None = None
    needs: Needs | None = None


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """The state of a connector since ``ts``, in the words of OCPP.

    connector: its number, ``EVSE.connector`` where chargers count both, 0 for the whole charger.
    error: empty where there is none.
    """

    charger: str
    connector: str
    ts: datetime
    status: str
    error: str = ""


Register = tuple[datetime, float]
"""When a meter showed which energy, MWh."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as far as it is known.

    first_at and last_at: of all its events. started_at, ended_at: None until the start or the end
    was told.
    """

    charger: str
    transaction: str
    first_at: datetime
    last_at: datetime
    connector: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    first_register: Register | None = None
    last_register: Register | None = None
    needs_at: datetime | None = None
    needs: Needs = Needs()

    @property
    def energy_mwh(self) -> float | None:
        """What was charged so far; None without two readings, or where the meter ran back."""
        if self.first_register is None or self.last_register is None:
            return None
        energy = self.last_register[1] - self.first_register[1]
        return energy if energy >= 0.0 else None


def fold(session: Session | None, event: ChargingEvent) -> Session:
    """``session`` with what ``event`` adds to it; None for the first event of a session."""
    if session is None:
        session = Session(event.charger, event.transaction, event.ts, event.ts)
    session = replace(
        session,
        first_at=min(session.first_at, event.ts),
        last_at=max(session.last_at, event.ts),
        connector=max((session.connector, event.connector), key=lambda c: -1 if c is None else c),
    )
    if event.step is SessionStep.START:
        session = replace(session, started_at=min(session.started_at or event.ts, event.ts))
    elif event.step is SessionStep.END:
        session = replace(session, ended_at=max(session.ended_at or event.ts, event.ts))
    if event.register_mwh is not None:
        shown = (event.ts, event.register_mwh)
        session = replace(
            session,
            first_register=min(session.first_register or shown, shown),
            last_register=max(session.last_register or shown, shown),
        )
    if event.needs is not None and _rank(event.ts, event.needs) > _rank(
        session.needs_at, session.needs
    ):
        session = replace(session, needs_at=event.ts, needs=event.needs)
    return session


def _rank(ts: datetime | None, needs: Needs) -> tuple[bool, datetime, datetime, float, float]:
    """The newest word counts; of two at one time, always the same one."""
    return (
        ts is not None,
        ts or EPOCH,
        needs.departure or EPOCH,
        -1.0 if needs.energy_mwh is None else needs.energy_mwh,
        -1.0 if needs.max_p_mw is None else needs.max_p_mw,
    )
