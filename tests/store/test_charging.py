"""Sessions and connectors in the database: the same rows in any order, beside any other writer."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pandas as pd
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.charging import ChargingEvent, ConnectorStatus, Needs, SessionStep
from store import charging
from store.database import Database

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)
DAY = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def event(
    step: SessionStep, minutes: float, register_mwh: float | None = None, transaction: str = "7"
) -> ChargingEvent:
    return ChargingEvent(step, "CP-1", transaction, at(minutes), 1, register_mwh)


STORY = [
    event(SessionStep.START, 0, 1.0),
    ChargingEvent(SessionStep.UPDATE, "CP-1", "7", at(1), needs=Needs(at(480), 0.03, 0.011)),
    event(SessionStep.UPDATE, 30, 1.25),
    event(SessionStep.END, 90, 1.5),
]


def the_one(table: pd.DataFrame) -> dict[str, object]:
    assert len(table) == 1
    return table.iloc[0].to_dict()


def test_a_session_is_one_row(connection: psycopg.Connection) -> None:
    for told in STORY:
        charging.apply(connection, [told])
    row = the_one(charging.sessions(connection, *DAY))
    assert row["state"] == "ended"
    assert (row["asset"], row["connector"], row["transaction"]) == ("CP-1", 1, "7")
    assert (row["started_at"], row["ended_at"]) == (at(0), at(90))
    assert row["energy_mwh"] == 0.5
    assert (row["expected_departure"], row["requested_mwh"]) == (at(480), 0.03)
    assert row["max_p_mw"] == 0.011
    assert charging.open_sessions(connection).empty


def test_a_session_is_open_until_its_end_is_told(connection: psycopg.Connection) -> None:
    charging.apply(connection, STORY[:3])
    row = the_one(charging.open_sessions(connection))
    assert row["state"] == "open"
    assert row["energy_mwh"] == 0.25
    assert pd.isna(row["ended_at"])


def test_a_session_whose_end_was_never_told_is_overtaken(connection: psycopg.Connection) -> None:
    charging.apply(connection, [*STORY[:3], event(SessionStep.START, 60, 1.25, transaction="8")])
    assert charging.open_sessions(connection)["transaction"].tolist() == ["8"]
    states = charging.sessions(connection, *DAY).set_index("transaction")["state"]
    assert states.to_dict() == {"7": "overtaken", "8": "open"}


def test_the_range_and_the_asset_select(connection: psycopg.Connection) -> None:
    charging.apply(connection, STORY)
    assert len(charging.sessions(connection, at(80), at(100))) == 1
    assert charging.sessions(connection, at(91), at(100)).empty
    assert charging.sessions(connection, at(-10), at(0)).empty
    assert len(charging.sessions(connection, *DAY, asset="CP-1")) == 1
    assert charging.sessions(connection, *DAY, asset="CP-2").empty


def test_a_session_carries_the_asset_its_charger_registered_as(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "INSERT INTO asset (id, site, kind, name_en, name_zh, district, owner, device)"
        " VALUES ('charger-1', 'demo', 'ev_charger', '', '', '', '', 'CP-1')"
    )
    charging.apply(connection, STORY)
    assert the_one(charging.sessions(connection, *DAY, asset="charger-1"))["charger"] == "CP-1"


def test_the_newest_state_of_a_connector_stays(connection: psycopg.Connection) -> None:
    newer = ConnectorStatus("CP-1", "1", at(5), "Faulted", "GroundFailure")
    charging.apply(connection, [newer, ConnectorStatus("CP-1", "1", at(0), "Available")])
    charging.apply(connection, [newer])
    row = the_one(charging.statuses(connection))
    assert (row["status"], row["error"], row["since"]) == ("Faulted", "GroundFailure", at(5))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_repetition_and_division_give_the_same_row(
    connection: psycopg.Connection, data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(STORY), max_size=3))
    told = data.draw(st.permutations(STORY + again))
    middle = data.draw(st.integers(0, len(told)))
    with connection.transaction(force_rollback=True):
        charging.apply(connection, STORY)
        expected = the_one(charging.sessions(connection, *DAY))
    with connection.transaction(force_rollback=True):
        charging.apply(connection, told[:middle])
        charging.apply(connection, told[middle:])
        assert the_one(charging.sessions(connection, *DAY)) == expected


def test_two_writers_lose_nothing_of_each_other(database: Database) -> None:
    def write(updates: range) -> None:
        for minute in updates:
            with database.connection() as connection:
                charging.apply(connection, [event(SessionStep.UPDATE, minute, 1.0 + minute / 1000)])

    writers = [threading.Thread(target=write, args=(range(n, 40, 2),)) for n in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    with database.connection() as connection:
        row = the_one(charging.sessions(connection, *DAY))
    assert (row["first_at"], row["last_at"]) == (at(0), at(39))
    assert abs(float(str(row["energy_mwh"])) - 0.039) < 1e-9
