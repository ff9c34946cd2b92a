"""Time: exact in microseconds, aware at the door, natural days as long as they are."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import CityClock
from core.errors import ConfigurationError, TimeError
from core.timeaxis import (
    HOUR,
    QUARTER_HOUR,
    floor_to,
    from_datetime64,
    from_us,
    local_date,
    local_day,
    localize,
    midnights,
    parse,
    steps,
    to_datetime64,
    to_us,
    utc,
    zone,
)

AWARE = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds
    max_value=datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3))]),
)


@given(AWARE)
def test_microseconds_and_numpy_round_trip_exactly(ts: datetime) -> None:
    assert from_us(to_us(ts)) == ts
    assert from_datetime64(to_datetime64(ts)) == ts
    assert parse(ts.isoformat()) == ts


@given(AWARE, st.sampled_from([QUARTER_HOUR, HOUR, timedelta(days=1)]))
def test_floor_is_the_last_beginning(ts: datetime, resolution: timedelta) -> None:
    floor = floor_to(ts, resolution)
    assert floor <= ts < floor + resolution
    assert to_us(floor) % (resolution // timedelta(microseconds=1)) == 0


def test_a_naive_time_is_refused_at_the_door() -> None:
    with pytest.raises(TimeError, match="has no zone"):
        utc(datetime(2026, 6, 22))  # noqa: DTZ001 - that is the point
    with pytest.raises(TimeError, match="has no zone"):
        parse("2026-06-22T00:00:00")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00Z", "9999-12-31T23:59-12:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TimeError):
        parse(text)


def test_steps_label_the_beginning() -> None:
    start = datetime(2026, 6, 22, tzinfo=UTC)
    axis = steps(start, start + HOUR, QUARTER_HOUR)
    assert axis.dtype == np.dtype("datetime64[ns]")
    assert [from_datetime64(t).minute for t in axis] == [0, 15, 30, 45]
    with pytest.raises(TimeError, match="no whole number"):
        steps(start, start + timedelta(minutes=20), QUARTER_HOUR)
    with pytest.raises(TimeError):
        steps(start, start, QUARTER_HOUR)


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 22), 24)],
)
def test_the_two_days_of_the_clock_change_in_berlin(day: date, hours: int) -> None:
    start, end = local_day(day, zone("Europe/Berlin"))
    assert end - start == timedelta(hours=hours)
    assert local_date(start, zone("Europe/Berlin")) == day
    assert local_date(end, zone("Europe/Berlin")) == day + timedelta(days=1)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(TimeError, match="Mars/Olympus"):
        zone("Mars/Olympus")


@given(AWARE, AWARE, st.floats(0.01, 3600), st.timedeltas(timedelta(0), timedelta(days=3)))
def test_the_city_clock_runs_at_its_pace(
    wall: datetime, city: datetime, pace: float, later: timedelta
) -> None:
    clock = CityClock(wall, city, pace)
    assert clock.at(wall) == city
    gained = clock.at(wall + later) - city
    assert abs(gained - later * pace) < timedelta(milliseconds=1)
    assert abs(clock.wall(clock.at(wall + later)) - (wall + later)) < timedelta(milliseconds=1)


@pytest.mark.parametrize("pace", [0.0, -1.0, float("nan"), 1e9])
def test_a_clock_that_cannot_run_is_refused(pace: float) -> None:
    now = datetime(2026, 6, 22, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="pace"):
        CityClock(now, now, pace)


ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]


def wall(text: str) -> int:
    """What a clock without a zone shows, in microseconds."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


CLOCKS = st.one_of(  # any time, and times around the changes of 2026 in the north and south
    st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1)),  # noqa: DTZ001 - local clocks
    *(
        st.datetimes(datetime(2026, month, day), datetime(2026, month, day, 4))  # noqa: DTZ001
        for month, day in [(3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1)]
    ),
)


@given(st.lists(CLOCKS, max_size=20), st.sampled_from(ZONES))
def test_localize_says_what_the_zone_itself_says(clocks: list[datetime], name: str) -> None:
    tz = zone(name)
    shown = np.array([to_us(c.replace(tzinfo=UTC)) for c in clocks], dtype=np.int64)
    first, last = localize(shown, tz)
    assert first.tolist() == [to_us(c.replace(tzinfo=tz, fold=0)) for c in clocks]
    assert last.tolist() == [to_us(c.replace(tzinfo=tz, fold=1)) for c in clocks]


def test_the_hour_that_never_was_and_the_hour_that_was_twice() -> None:
    """Berlin, 2026: forward at 2 on 29 March, back at 3 on 25 October."""
    clocks = ["2026-03-29T01:59:59", "2026-03-29T02:00:00", "2026-03-29T02:59:59"]
    clocks += ["2026-03-29T03:00:00", "2026-10-25T01:59:59", "2026-10-25T02:00:00"]
    clocks += ["2026-10-25T02:59:59", "2026-10-25T03:00:00"]
    first, last = localize(np.array([wall(c) for c in clocks]), zone("Europe/Berlin"))
    assert np.sign(last - first).tolist() == [0, -1, -1, 0, 0, 1, 1, 0]
    assert from_us(first[5]) == datetime(2026, 10, 25, 0, tzinfo=UTC)
    assert from_us(last[5]) == datetime(2026, 10, 25, 1, tzinfo=UTC)
    assert from_us(first[7]) == datetime(2026, 10, 25, 2, tzinfo=UTC)


def test_nothing_is_localized_to_nothing() -> None:
    first, last = localize(np.empty(0, dtype=np.int64), zone("Europe/Berlin"))
    assert len(first) == len(last) == 0


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC), 23),
        ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC), 25),
        ("Europe/Berlin", datetime(2026, 6, 22, tzinfo=UTC), 24),
        ("Asia/Shanghai", datetime(2026, 3, 29, tzinfo=UTC), 24),
        ("Asia/Shanghai", datetime(1986, 5, 4, tzinfo=UTC), 23),
    ],
)
def test_natural_days_have_23_24_or_25_hours(name: str, day: datetime, hours: int) -> None:
    edges = midnights(day + 6 * HOUR, day + 8 * HOUR, zone(name))
    assert (np.diff(edges) // 3_600_000_000).tolist() == [hours]
    assert [from_us(edge) for edge in edges] == list(local_day(day.date(), zone(name)))


@given(
    st.integers(315_532_800, 2_082_758_400).map(lambda second: from_us(second * 1_000_000)),
    st.timedeltas(timedelta(0), timedelta(days=400)),
    st.sampled_from([*ZONES, "America/Havana", "Pacific/Apia"]),
)
def test_midnights_are_those_of_the_days_themselves(
    start: datetime, length: timedelta, name: str
) -> None:
    tz = zone(name)
    edges = midnights(start, start + length, tz)
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= to_us(start)
    assert edges[-1] >= to_us(start + length)
    assert from_us(edges[0]) == local_day(local_date(start, tz), tz)[0]
    assert len(edges) < 2 or edges[-2] <= to_us(start + length)


def test_a_day_that_never_was_is_no_day() -> None:
    """Apia went from 29 to 31 December 2011."""
    apia = zone("Pacific/Apia")
    start = local_day(datetime(2011, 12, 28, tzinfo=UTC).date(), apia)[0]
    edges = midnights(start, start + timedelta(days=3), apia)
    assert (np.diff(edges) // 3_600_000_000).tolist() == [24, 24, 24]
