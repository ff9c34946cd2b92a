"""A vendor's tag becomes a series, its unit the variable's, and every refusal says why."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MappingError, UnitError
from core.readings import Quality, RawReading
from core.sites import Route, Tag
from ingest.columns import Columns
from ingest.decoded import Decoded
from ingest.draft import Item, draft
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.quality import STANDARD, History

METER = "urn:dev:meter-1"


def drafted(tag_map, readings, received_at):
    """The rows of one message, and why some of it cannot be stored."""
    decoded = Decoded.of(readings)
    item = Item(Message("t", b"", received_at), decoded, tag_map.resolve(decoded.names))
    rows = draft([item], tag_map.rules.table, STANDARD, History()).rows
    return rows, [p.reason for p in item.resolved.problems] + [item.reason] * bool(item.reason)


@pytest.fixture
def map_one(tag_map, received_at):
    def run(device, tag, value, unit=None, ts=received_at, quality=Quality.GOOD):
        raw = RawReading(device, tag, ts, value, unit, quality)
        return drafted(tag_map, [raw], received_at)

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
    batch, reasons = map_one(device, tag, value, unit)
    assert reasons == []
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
def test_what_cannot_be_mapped_says_why(map_one, device, tag, unit, reason):
    batch, (said,) = map_one(device, tag, 1.0, unit)
    assert len(batch) == 0
    assert reason in said


def test_the_rest_of_a_message_goes_on(tag_map, received_at):
    readings = [
        RawReading(METER, "p", received_at, 1.0),
        RawReading(METER, "nothing", received_at, 2.0),
        RawReading("urn:dev:weather", "t", received_at, 3.0),
    ]
    batch, reasons = drafted(tag_map, readings, received_at)
    assert batch["series_id"].tolist() == [1, 5]
    assert batch["value"].tolist() == [0.001, 3.0]
    assert len(reasons) == 1


def test_a_conversion_that_overflows_is_refused(map_one):
    batch, (reason,) = map_one(METER, "p", 1e308, "TW")
    assert len(batch) == 0
    assert reason == "value is too large in the unit of its variable: 'urn:dev:meter-1' 'p'"


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
        (1.0, timedelta(days=9), Quality.LATE),
    ],
)
def test_flags_are_set_and_the_value_is_kept(map_one, received_at, value, age, expected):
    batch, _ = map_one(METER, "p", value, ts=received_at - age)
    assert batch["value"][0] == pytest.approx(value / 1000)
    assert Quality(int(batch["quality"][0])) == expected


def test_flags_of_the_device_stay(map_one):
    batch, _ = map_one(METER, "p", 2e7, quality=Quality.ESTIMATED)
    assert Quality(int(batch["quality"][0])) == Quality.ESTIMATED | Quality.OUT_OF_RANGE


def test_a_time_of_tomorrow_is_no_reading(map_one, received_at):
    """It would be the newest of its series for ever."""
    late = received_at + timedelta(days=1, microseconds=1)
    batch, (reason,) = map_one(METER, "p", 1.0, ts=late)
    assert len(batch) == 0
    assert reason == "its time lies more than 24 h ahead of the city's: 'urn:dev:meter-1' 'p'"


def test_a_refused_value_does_not_take_its_message_along(tag_map, received_at):
    tomorrow = received_at + timedelta(days=2)
    readings = [
        RawReading("nobody", "p", received_at, 0.0),
        RawReading(METER, "p", received_at, 1.0),
        RawReading("urn:dev:weather", "t", tomorrow, 2.0),
        RawReading("urn:dev:weather", "t", received_at, 3.0),
    ]
    batch, reasons = drafted(tag_map, readings, received_at)
    assert batch[["series_id", "value"]].tolist() == [(1, 0.001), (5, 3.0)]
    assert reasons == [
        "unknown device 'nobody'",
        "its time lies more than 24 h ahead of the city's: 'urn:dev:weather' 't'",
    ]


def test_new_tags_of_a_device_join_the_known_ones():
    tag_map = TagMap([Tag("d", "p", "kW", "demo/a/p_mw")], {"demo/a/p_mw": 7})
    assert (
        tag_map.resolve((("d", "q", None),)).problems[0].reason == "unknown tag 'q' of device 'd'"
    )
    tag_map.add([Route("d", "q", "kvar", "q_mvar", 8), Route("d", "p", "W", "p_mw", 9)])
    resolved = tag_map.resolve((("d", "q", None), ("d", "p", None)))
    assert resolved.problems == ()
    assert resolved.series_id.tolist() == [8, 7]  # what was known stays
    assert tag_map.rules.table["factor"][resolved.rule].tolist() == [0.001, 0.001]


def test_names_are_resolved_anew_when_too_many_were_kept(tag_map, monkeypatch):
    monkeypatch.setattr("ingest.mapping.CACHE_BYTES", 10_000)
    names = [((METER, "p", "kW"), (f"d{i}", "p", None)) for i in range(50)]
    for name in names * 2:
        resolved = tag_map.resolve(name)
        assert resolved.series_id.tolist() == [1]
        assert resolved.places == (0,)
        assert resolved.problems[0].reason == f"unknown device {name[1][0]!r}"


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("pqrst")), st.integers(1, 99), min_size=1
    ),
    st.data(),
)
def test_a_map_is_a_dictionary_of_its_routes(wanted, data):
    """Whatever the order and the pieces in which it learns them."""
    left = list(wanted.items())
    tag_map = TagMap()
    while left:
        piece = left[: data.draw(st.integers(1, len(left)))]
        left = left[len(piece) :]
        routes = [Route(d, t, "MW", "p_mw", series_id) for (d, t), series_id in piece]
        tag_map.add(sorted(routes))
    for (device, tag), series_id in wanted.items():
        assert tag_map.find(device, tag)[0] == series_id
    names = tuple((d, t, None) for d in "abcd" for t in "pqrst")
    resolved = tag_map.resolve(names)
    places = range(len(names)) if resolved.places is None else resolved.places
    got = {names[i][:2]: s for i, s in zip(places, resolved.series_id.tolist(), strict=True)}
    assert got == wanted


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


def test_a_file_of_strangers_has_no_rows(tag_map):
    zeros = np.zeros(2, np.int64)
    columns = Columns(
        [("x", "y", None)], zeros, np.arange(2), zeros, np.ones(2), np.zeros(2, np.int16), []
    )
    batch, bad = tag_map.map_columns(columns)
    assert len(batch) == 0
    assert [row.reason for row in bad] == ["unknown device 'x'"] * 2
    assert len(TagMap().map_columns(columns)[1]) == 2


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
