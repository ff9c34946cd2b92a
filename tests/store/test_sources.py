"""Which roll-ups make up a range: all of it, once, and only what they hold whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.timeaxis import DAY, HOUR, QUARTER_HOUR, from_us, to_us
from store import buckets, sources
from store.buckets import Days
from store.series import Known

START = datetime(2026, 10, 23, tzinfo=UTC)  # two days before the clocks of Berlin go back
BERLIN = "Europe/Berlin"


def known(resolution: timedelta | None, zone: str = BERLIN) -> Known:
    return Known(1, "p_mw", "MW", zone, resolution)


@given(
    first=st.integers(0, 5 * 24 * 60),
    length=st.integers(-10, 5 * 24 * 60),
    rolled=st.integers(-2 * 24, 12 * 24),
    bucket=st.sampled_from([QUARTER_HOUR, HOUR, DAY, Days(BERLIN), timedelta(minutes=10)]),
    resolution=st.sampled_from([None, QUARTER_HOUR, HOUR, DAY]),
)
def test_the_pieces_are_the_range(
    first: int,
    length: int,
    rolled: int,
    bucket: timedelta | Days,
    resolution: timedelta | None,
) -> None:
    start = START + first * timedelta(minutes=1)
    end = start + length * timedelta(minutes=1)
    rolled_to = START + rolled * HOUR
    cut = buckets.cut(bucket, start, end)
    levels = sources.levels(bucket, cut, rolled_to).of(known(resolution))
    found = sources.pieces(to_us(start), to_us(end), levels)
    at = to_us(start)
    for piece in found:
        assert piece.start_us == at < piece.end_us
        at = piece.end_us
        if piece.level is not None:
            whole = piece.level.buckets
            assert whole.floor(piece.start_us) == piece.start_us
            assert whole.ceil(piece.end_us) == piece.end_us
            assert from_us(piece.end_us) <= rolled_to
    assert at == max(to_us(end), to_us(start))


@pytest.mark.parametrize(
    ("bucket", "resolution", "zone", "names"),
    [
        (timedelta(minutes=10), None, BERLIN, []),
        (timedelta(minutes=45), None, BERLIN, ["15min"]),
        (HOUR, None, BERLIN, ["hour", "15min"]),
        (HOUR, QUARTER_HOUR, BERLIN, ["hour"]),
        (HOUR, HOUR, BERLIN, []),
        (DAY, None, BERLIN, ["hour", "15min"]),
        (DAY, None, "UTC", ["day", "hour", "15min"]),
        (2 * DAY, HOUR, "UTC", ["day"]),
        (Days("UTC"), HOUR, "UTC", ["day"]),
        (Days(BERLIN), None, BERLIN, ["day", "hour", "15min"]),
        (Days(BERLIN), None, "Asia/Shanghai", ["hour", "15min"]),
        (Days(BERLIN), DAY, BERLIN, []),
        (Days("Asia/Kolkata"), None, BERLIN, ["15min"]),  # midnight is at half past
    ],
)
def test_the_coarsest_that_make_up_the_bucket(
    bucket: timedelta | Days, resolution: timedelta | None, zone: str, names: list[str]
) -> None:
    cut = buckets.cut(bucket, START, START + DAY)
    found = sources.levels(bucket, cut, START).of(known(resolution, zone))
    assert [level.name for level in found] == names
