"""A vendor's tag becomes a series, its unit the variable's, and every refusal says why."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MappingError, UnitError
from core.readings import Quality, RawReading
from core.sites import Tag
from ingest.columns import Columns
from ingest.mapping import TagMap
from ingest.quality import STANDARD, flag, flags

METER = "urn:dev:meter-1"


@pytest.fixture
def map_one(tag_map, received_at):
    def run(device, tag, value, unit=None, ts=received_at, quality=Quality.GOOD):
        raw = RawReading(device, tag, ts, value, unit, quality)
        return tag_map.map([raw], received_at, source="topic", payload=b"as it came")

    return run


@pytest.mark.parametrize(
    ("device", "tag", "value", "unit", "series_id", "expected"),
    [
        (METER, "p", 250.0, None, 1, 0.25),  # declared kW to MW
        (METER, "p", 250.0, "W", 1, 0.00025),  # the wire's unit wins
        ("urn:dev:battery-1", "soc", 80.0, None, 2, 0.8),
        ("urn:dev:battery-1", "soc", 0.8, "/", 2, 0.8),  # SenML's symbol for a ratio
        ("0101010101010101", "pm2_5", 0.035, "mg/m3", 3, 35.0),
        ("urn:dev:weather", "t", 293.15, "K", 5, 20.0),
        ("urn:dev:weather", "t", 20.0, "Cel", 5, 20.0),
    ],
)
def test_units_become_the_variables(map_one, device, tag, value, unit, series_id, expected):
    batch, rejected = map_one(device, tag, value, unit)
    assert rejected == []
    assert batch["series_id"].tolist() == [series_id]
    assert batch["value"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("device", "tag", "unit", "reason"),
    [
        ("urn:dev:nobody", "p", None, "unknown device 'urn:dev:nobody'"),
        (METER, "q", None, "unknown tag 'q' of device 'urn:dev:meter-1'"),
        (METER, "p", "m/s", "Cannot convert"),
        (METER, "p", "furlong!", "Unknown unit"),
    ],
)
def test_what_cannot_be_mapped_keeps_its_payload_and_says_why(
    map_one, received_at, device, tag, unit, reason
):
    batch, (entry,) = map_one(device, tag, 1.0, unit)
    assert len(batch) == 0
    assert reason in entry.reason
    assert (entry.source, entry.payload) == ("topic", b"as it came")
    assert entry.received_at == received_at
    assert entry.detail == {"device": device, "tag": tag}


def test_the_rest_of_a_message_goes_on(tag_map, received_at):
    readings = [
        RawReading(METER, "p", received_at, 1.0),
        RawReading(METER, "nothing", received_at, 2.0),
        RawReading("urn:dev:weather", "t", received_at, 3.0),
    ]
    batch, rejected = tag_map.map(readings, received_at, source="t", payload=b"")
    assert batch["series_id"].tolist() == [1, 5]
    assert len(rejected) == 1


def test_a_conversion_that_overflows_is_refused(map_one):
    batch, (entry,) = map_one(METER, "p", 1e308, "TW")
    assert len(batch) == 0
    assert "not finite" in entry.reason


@pytest.mark.parametrize(
    ("value", "age", "expected"),
    [
        (1.0, timedelta(0), Quality.GOOD),
        (20_000_000.0, timedelta(0), Quality.OUT_OF_RANGE),  # kW: 20 GW at one meter
        (1.0, timedelta(minutes=-5), Quality.GOOD),
        (1.0, timedelta(minutes=-5, microseconds=-1), Quality.CLOCK_SKEW),
        (1.0, timedelta(hours=2), Quality.GOOD),
        (1.0, timedelta(hours=2, microseconds=1), Quality.LATE),
        (2e7, timedelta(days=-1), Quality.OUT_OF_RANGE | Quality.CLOCK_SKEW),
    ],
)
def test_flags_are_set_and_the_value_is_kept(map_one, received_at, value, age, expected):
    batch, _ = map_one(METER, "p", value, ts=received_at - age)
    assert batch["value"][0] == pytest.approx(value / 1000)
    assert Quality(int(batch["quality"][0])) == expected


def test_flags_of_the_device_stay(map_one):
    batch, _ = map_one(METER, "p", 2e7, quality=Quality.ESTIMATED)
    assert Quality(int(batch["quality"][0])) == Quality.ESTIMATED | Quality.OUT_OF_RANGE


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(-10, 0), st.floats(0, 10))
def test_flags_of_an_array_are_those_of_its_elements(values, minimum, maximum):
    count = len(values)
    together = flags(np.array(values), np.full(count, minimum), np.full(count, maximum))
    one_by_one = [int(flag(v, minimum, maximum, 0, STANDARD)) for v in values]
    assert together.tolist() == one_by_one


def test_columns_map_as_messages_do(tag_map, map_one, received_at):
    names = [(METER, "p", None), (METER, "p", "W"), ("urn:dev:weather", "t", "K"), ("x", "y", None)]
    code = np.array([0, 1, 2, 3, 0])
    value = np.array([250.0, 250.0, 1e5, 1.0, 1e8])
    ts_us = np.full(5, 1_782_086_400_000_000)
    columns = Columns(names, code, np.arange(2, 7), ts_us, value, np.zeros(5, np.int16), [])
    batch, (bad,) = tag_map.map_columns(columns)
    single = [map_one(*names[c][:2], v, names[c][2])[0] for c, v in zip(code, value, strict=True)]
    expected = np.concatenate(single)
    for field in ("series_id", "value", "quality"):
        np.testing.assert_array_equal(batch[field], expected[field])
    assert (bad.line, bad.reason) == (5, "unknown device 'x'")


@pytest.mark.parametrize(
    ("tags", "error", "message"),
    [
        ([Tag("d", "t", "MW", "demo/a/p_mw"), Tag("d", "t", "MW", "demo/a/p_mw")], MappingError,
         "described twice"),
        ([Tag("d", "t", "MW", "demo/b/p_mw")], MappingError, "does not exist"),
        ([Tag("d", "t", "MW", "demo/a/nonsense")], MappingError, "does not exist"),
        ([Tag("d", "t", "bar", "demo/a/p_mw")], UnitError, "bar"),
    ],
)  # fmt: skip
def test_a_wrong_description_stops_the_start(tags, error, message):
    with pytest.raises(error, match=message):
        TagMap(tags, {"demo/a/p_mw": 1, "demo/a/nonsense": 2})
