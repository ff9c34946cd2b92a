"""Vehicles at chargers: what sessions tell becomes what a plan has to serve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app import stays
from core.charging import ChargingEvent, Needs, SessionStep
from store import charging
from store.database import Database

NOW = datetime(2026, 6, 22, 10, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def event(
    step: SessionStep,
    charger: str,
    minutes: float,
    register_mwh: float | None = None,
    needs: Needs | None = None,
) -> ChargingEvent:
    return ChargingEvent(step, charger, "7", at(minutes), 1, register_mwh, needs)


def test_a_session_with_needs_is_a_stay(database: Database) -> None:
    with database.connection() as connection:
        charging.apply(
            connection,
            [
                event(SessionStep.START, "CP-1", -60, 2.0),
                event(SessionStep.UPDATE, "CP-1", -5, 2.01, Needs(at(300), 0.03, 0.011)),
                event(SessionStep.START, "CP-2", -60, 2.0),  # says nothing of its needs
                event(SessionStep.UPDATE, "CP-3", -5, 2.0, Needs(at(-1), 0.03)),  # has left
                event(SessionStep.UPDATE, "CP-4", -5, None, Needs(at(60), None)),  # wants nothing
                event(SessionStep.UPDATE, "CP-5", -9, 1.0, Needs(at(60), 0.02)),
                event(SessionStep.END, "CP-5", -1, 1.02),
            ],
        )
        found = stays.known(connection, NOW)
    assert set(found) == {"CP-1"}
    (stay,) = found["CP-1"]
    assert (stay.arrival, stay.departure) == (at(-60), at(300))
    assert stay.needed_mwh == pytest.approx(0.03)
    assert stay.charged_mwh == pytest.approx(0.01)
    assert stay.max_p_mw == pytest.approx(0.011)
