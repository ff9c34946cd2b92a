"""A session is what its events add up to, in whatever order and however often they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from core.charging import ChargingEvent, Needs, Session, SessionStep, fold

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def event(step: SessionStep, minutes: float, register_mwh: float | None = None) -> ChargingEvent:
    return ChargingEvent(step, "CP-1", "7", at(minutes), 1, register_mwh)


STORY = (
    event(SessionStep.START, 0, 1.200),
    ChargingEvent(SessionStep.UPDATE, "CP-1", "7", at(1), needs=Needs(at(480), 0.03, 0.011)),
    event(SessionStep.UPDATE, 30, 1.205),
    event(SessionStep.END, 90, 1.215),
)


def total(events: tuple[ChargingEvent, ...] | list[ChargingEvent]) -> Session:
    session = reduce(fold, events, None)
    assert session is not None
    return session


def test_a_session_from_its_start_to_its_end() -> None:
    session = total(STORY)
    assert (session.started_at, session.ended_at) == (at(0), at(90))
    assert session.energy_mwh is not None
    assert abs(session.energy_mwh - 0.015) < 1e-12
    assert session.needs == Needs(at(480), 0.03, 0.011)
    assert session.connector == 1


def test_any_order_gives_the_same_session() -> None:
    assert {total(order) for order in permutations(STORY)} == {total(STORY)}


def test_a_session_without_its_start_is_open_at_its_beginning() -> None:
    session = total(STORY[2:])
    assert session.started_at is None
    assert session.first_at == at(30)
    assert session.ended_at == at(90)


def test_a_meter_that_ran_back_gives_no_energy() -> None:
    ran_back = [event(SessionStep.START, 0, 5.0), event(SessionStep.END, 9, 0.1)]
    assert total(ran_back).energy_mwh is None


def test_the_newest_word_on_what_the_car_needs_counts() -> None:
    told = [
        ChargingEvent(SessionStep.UPDATE, "CP-1", "7", at(5), needs=Needs(at(60))),
        ChargingEvent(SessionStep.UPDATE, "CP-1", "7", at(9), needs=Needs(None, 0.02)),
    ]
    assert total(told).needs == Needs(None, 0.02)
    assert total(told[::-1]).needs == Needs(None, 0.02)


minutes = st.integers(0, 6)
needs = st.builds(
    Needs,
    st.none() | minutes.map(at),
    st.none() | st.sampled_from([0.0, 0.02, 0.03]),
    st.none() | st.sampled_from([0.007, 0.011]),
)
events = st.lists(
    st.builds(
        ChargingEvent,
        st.sampled_from(SessionStep),
        st.just("CP-1"),
        st.just("7"),
        minutes.map(at),
        st.none() | st.integers(0, 2),
        st.none() | st.sampled_from([1.0, 1.1, 1.2]),
        st.none() | needs,
    ),
    min_size=1,
    max_size=8,
)


@given(events, st.data())
def test_order_and_repetition_change_nothing(
    told: list[ChargingEvent], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(told), max_size=4))
    shuffled = data.draw(st.permutations(told + again))
    assert total(shuffled) == total(told)
