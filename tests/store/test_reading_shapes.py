"""What is filled and what a chart can show: the same whatever range is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from core.errors import StoreError, TimeError
from core.readings import READING_DTYPE
from core.series import Series
from core.timeaxis import HOUR, QUARTER_HOUR, to_us
from store import readings, series, writing
from store.database import Connection
from store.readings import Days, Fill

DAY = timedelta(days=1)
START = datetime(2026, 6, 22, tzinfo=UTC)


def hours(connection: Connection, variable: str, values: dict[int, float]) -> None:
    """A series of instants at hours after START."""
    (number,) = series.register(connection, [Series("demo", "a", variable)]).values()
    rows = np.zeros(len(values), READING_DTYPE)
    rows["series_id"] = number
    rows["ts_us"] = [to_us(START + n * HOUR) for n in values]
    rows["value"] = list(values.values())
    writing.write(connection, rows)


class TestFill:
    @pytest.fixture(autouse=True)
    def rows(self, connection: Connection) -> None:
        hours(connection, "p_mw", {0: 0, 1: 1, 4: 4, 9: 9})

    def read(
        self, connection: Connection, first: float, last: float, fill: Fill, limit: timedelta
    ) -> xr.DataArray:
        start, end = START + first * HOUR, START + last * HOUR
        return readings.read(
            connection, ["demo/a/p_mw"], start, end, HOUR, fill=fill, fill_limit=limit
        ).isel(series=0)

    def test_previous_holds_a_value_for_the_limit(self, connection: Connection) -> None:
        found = self.read(connection, 0, 12, Fill.PREVIOUS, 3 * HOUR)
        np.testing.assert_array_equal(found.values, [0, 1, 1, 1, 4, 4, 4, 4, np.nan, 9, 9, 9])
        assert np.flatnonzero(found.filled).tolist() == [2, 3, 5, 6, 7, 10, 11]

    def test_linear_joins_what_is_near_enough(self, connection: Connection) -> None:
        found = self.read(connection, 0, 12, Fill.LINEAR, 3 * HOUR)
        nothing = [np.nan] * 4
        np.testing.assert_allclose(found.values, [0, 1, 2, 3, 4, *nothing, 9, np.nan, np.nan])
        assert np.flatnonzero(found.filled).tolist() == [2, 3]

    @pytest.mark.parametrize("fill", Fill)
    def test_the_range_does_not_matter(self, connection: Connection, fill: Fill) -> None:
        """What a shorter range shows is a part of what the longer one shows."""
        for limit in (HOUR, 2 * HOUR, 3 * HOUR, 5 * HOUR, 30 * HOUR):
            whole = self.read(connection, -5, 20, fill, limit)
            for first, last in ((2, 3), (2.5, 4.25), (5, 9), (6, 7), (8, 12)):
                part = self.read(connection, first, last, fill, limit)
                expected = whole.sel(time=part.time)
                np.testing.assert_array_equal(part.values, expected.values)
                np.testing.assert_array_equal(part.filled.values, expected.filled.values)

    def test_times_without_buckets(self, connection: Connection) -> None:
        """Two series that report at different times, as one table without holes."""
        hours(connection, "vm_pu", {2: 1.0})
        found = readings.read(
            connection,
            ["demo/a/p_mw", "demo/a/vm_pu"],
            START + HOUR,
            START + 5 * HOUR,
            fill=Fill.LINEAR,
            fill_limit=4 * HOUR,
        )
        np.testing.assert_array_equal(found.values, [[1, np.nan], [2, 1], [4, np.nan]])
        assert found.filled.values.tolist() == [[False, False], [True, False], [False, False]]

    def test_nothing_is_filled_unasked(self, connection: Connection) -> None:
        found = readings.read(connection, ["demo/a/p_mw"], START, START + 3 * HOUR, HOUR)
        assert np.isnan(found.values[2, 0])
        assert "filled" not in found.coords

    def test_a_limit_of_nothing_is_refused(self, connection: Connection) -> None:
        with pytest.raises(StoreError, match="longer than nothing"):
            self.read(connection, 0, 1, Fill.LINEAR, timedelta(0))


class TestEnvelope:
    @pytest.mark.parametrize(
        ("length", "pixels", "bucket"),
        [
            (HOUR, 3600, timedelta(seconds=1)),
            (HOUR, 100, timedelta(minutes=1)),
            (DAY, 400, timedelta(minutes=5)),
            (DAY, 95, timedelta(minutes=30)),
            (7 * DAY, 800, QUARTER_HOUR),
            (365 * DAY, 800, 12 * HOUR),
            (365 * DAY, 2, timedelta(days=1000)),
            (20_000 * DAY, 2, timedelta(days=100_000)),
        ],
    )
    def test_the_shortest_round_bucket_that_fits(
        self,
        connection: Connection,
        length: timedelta,
        pixels: int,
        bucket: timedelta,
    ) -> None:
        hours(connection, "p_mw", {0: 1.0})
        shape = readings.envelope(connection, ["demo/a/p_mw"], START, START + length, pixels)
        assert timedelta(seconds=shape.attrs["bucket_s"]) == bucket
        assert 1 <= shape.sizes["time"] <= pixels
        assert shape["n"].values.sum() == 1
        assert shape["mean"].attrs == {"units": "MW"}

    def test_no_bucket_is_shorter_than_the_interval_of_a_reading(
        self, connection: Connection
    ) -> None:
        every = [Series("demo", "a", "p_mw", HOUR), Series("demo", "b", "p_mw", QUARTER_HOUR)]
        series.register(connection, every)
        end = START + DAY
        shape = readings.envelope(connection, [s.key for s in every], START, end, 5000)
        assert shape.attrs["bucket_s"] == 900
        shape = readings.envelope(connection, [every[0].key], START, end, 5000)
        assert shape.attrs["bucket_s"] == 3600

    def test_no_series_and_no_pixels(self, connection: Connection) -> None:
        assert readings.envelope(connection, [], START, START + DAY).sizes["series"] == 0
        with pytest.raises(StoreError, match="two pixels"):
            readings.envelope(connection, [], START, START + DAY, 1)


def test_a_zone_that_does_not_exist(connection: Connection) -> None:
    hours(connection, "p_mw", {0: 1.0})
    with pytest.raises(TimeError, match="Atlantis"):
        readings.read(connection, ["demo/a/p_mw"], START, START + DAY, Days("Sea/Atlantis"))


def test_a_range_the_wrong_way_round_holds_nothing(connection: Connection) -> None:
    hours(connection, "p_mw", {0: 1.0})
    for bucket in (None, HOUR, Days("Europe/Berlin")):
        found = readings.read(connection, ["demo/a/p_mw"], START + DAY, START, bucket)
        assert found.sizes["time"] == 0, bucket
