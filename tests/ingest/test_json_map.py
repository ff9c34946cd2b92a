"""Plain JSON, read by what a profile says of it; what the profile says wrongly stops the start."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError, DecodeError
from core.sites import AssetKind, DeviceProfile, ProfileTag
from core.timeaxis import from_us, parse
from ingest import wire
from ingest.protocols import find, json_map

NOW = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)
P = ProfileTag("p", "p_mw", "kW", 900.0)
T = ProfileTag("t", "temp_air", "degC")


def profile(*tags: ProfileTag, name="inverter", pattern="*", **parameters: object) -> DeviceProfile:
    return DeviceProfile(name, "json", pattern, AssetKind.PV, tags or (P,), parameters=parameters)


def decode(*profiles: DeviceProfile, message: object, topic="plant/inv-7/telemetry"):
    """Rows (device, tag, time, value) of one message."""
    ((_, decoder),) = json_map.configure(profiles)
    decoded = decoder(topic, json.dumps(message).encode(), NOW)
    assert all(unit is None for _, _, unit in decoded.names)
    rows = zip(decoded.names, decoded.ts_us, decoded.value, strict=True)
    return [(device, tag, from_us(us), value) for (device, tag, _), us, value in rows]


def test_a_flat_message_of_a_device_named_by_its_topic():
    """The simplest there is: what tags are called is where they stand."""
    found = decode(
        profile(P, T, topic="plant/+/telemetry", device=2, time="ts"),
        message={"ts": "2026-06-22T12:00:00+08:00", "p": 3, "t": 21.5, "state": "on"},
    )
    noon = parse("2026-06-22T04:00:00Z")
    assert found == [("inv-7", "p", noon, 3.0), ("inv-7", "t", noon, 21.5)]


def test_paths_into_objects_and_lists():
    meter = profile(
        P,
        T,
        topic="plant/#",
        device="meta.id",
        time=["head", "a.b"],
        time_format="unix_ms",
        tags={"p": "phases.1.p", "t": ["air", "t.2m"]},
    )
    message = {
        "meta": {"id": 4711},
        "head": {"a.b": 1_782_100_800_250},
        "phases": [{"p": 1}, {"p": 2}],
        "air": {"t.2m": -3},
    }
    ts = parse("2026-06-22T04:00:00.250Z")
    assert decode(meter, message=message) == [("4711", "p", ts, 2.0), ("4711", "t", ts, -3.0)]


def test_records_with_a_part_of_the_whole_message():
    gateway = profile(
        P, topic="gw/+", device="$.site", records="data", time="at", time_format="unix_s"
    )
    message = {
        "site": "s-1",
        "data": [{"at": 1_782_100_800, "p": 1}, {"at": 1_782_101_700, "p": 2}],
    }
    assert decode(gateway, message=message) == [
        ("s-1", "p", parse("2026-06-22T04:00:00Z"), 1.0),
        ("s-1", "p", parse("2026-06-22T04:15:00Z"), 2.0),
    ]


def test_a_list_of_records_and_a_bare_number():
    listed = profile(P, topic="x", device="id", records="$")
    assert decode(listed, message=[{"id": "a", "p": 1}, {"id": "b", "p": 2}], topic="x") == [
        ("a", "p", NOW, 1.0),
        ("b", "p", NOW, 2.0),
    ]
    bare = profile(T, topic="home/+/temperature", device=2, tags={"t": "$"})
    assert decode(bare, message=21.5, topic="home/hall/temperature") == [("hall", "t", NOW, 21.5)]


def test_without_a_time_the_arrival_counts():
    assert decode(profile(topic="x", device=1), message={"p": 1}, topic="x") == [("x", "p", NOW, 1)]


def test_times_that_label_the_end_of_their_interval():
    """The quarter-hour's mean moves to its beginning, the instant stays."""
    meter = profile(P, T, topic="+", device=1, time="ts", label="end")
    message = {"ts": "2026-06-22T04:00:00Z", "p": 1, "t": 2}
    assert [(tag, ts) for _, tag, ts, _ in decode(meter, message=message, topic="m")] == [
        ("p", parse("2026-06-22T03:45:00Z")),
        ("t", NOW),
    ]


@pytest.mark.parametrize(
    ("text", "arrived", "expected"),
    [
        ("2026-06-22 12:00", "2026-06-22T10:00:00Z", "2026-06-22T10:00:00Z"),
        ("2026-06-22T12:00:00.5", "2026-06-22T10:00:01Z", "2026-06-22T10:00:00.5Z"),
        ("2026-06-22T12:00:00+08:00", "2026-06-22T10:00:00Z", "2026-06-22T04:00:00Z"),
        # clocks are put back at 01:00 UTC: shown twice, and told apart by the time of arrival
        ("2026-10-25 02:30", "2026-10-25T00:30:05Z", "2026-10-25T00:30:00Z"),
        ("2026-10-25 02:30", "2026-10-25T01:30:05Z", "2026-10-25T01:30:00Z"),
    ],
)
def test_local_times(text, arrived, expected):
    meter = profile(topic="+", device=1, time="ts", timezone="Europe/Berlin")
    ((_, decoder),) = json_map.configure([meter])
    message = json.dumps({"ts": text, "p": 1}).encode()
    assert from_us(decoder("m", message, parse(arrived)).ts_us[0]) == parse(expected)


def test_profiles_that_share_a_topic_are_told_apart_by_the_device():
    inverter = profile(P, name="inverter", pattern="inv-*", topic="p/+", device=2)
    weather = profile(T, name="weather", pattern="w-*", topic="p/+", device=2)
    message = {"p": 1, "t": 2}
    assert decode(weather, inverter, message=message, topic="p/inv-1")[0][:2] == ("inv-1", "p")
    assert decode(weather, inverter, message=message, topic="p/w-1")[0][:2] == ("w-1", "t")
    # nobody's device is handed on all the same, to be seen in the quarantine
    assert decode(weather, inverter, message=message, topic="p/x")[0][:2] == ("x", "t")


def test_what_is_missing_or_null_is_no_reading():
    meter = profile(P, T, topic="x", device=1)
    assert [row[1] for row in decode(meter, message={"t": 1}, topic="x")] == ["t"]
    assert [row[1] for row in decode(meter, message={"p": None, "t": 1}, topic="x")] == ["t"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"id": "a", "ts": 1}, "none of the numbers"),
        ({"id": "a", "ts": 1, "p": "3"}, "The value of p is not a number"),
        ({"id": "a", "ts": 1, "p": True}, "The value of p is not a number"),
        ({"id": "a", "ts": "1", "p": 3}, "The time is not a number"),
        ({"id": "a", "p": 3}, "The time is not a number"),
        ({"id": "a", "ts": 1e300, "p": 3}, "too far away"),
        ({"id": "a", "ts": 4_150_000_000, "p": 3}, "lies outside 1970 to 2099"),
        ({"ts": 1, "p": 3}, "The device's name is not a text"),
        ({"id": "", "ts": 1, "p": 3}, "The device's name is empty"),
        ({"id": True, "ts": 1, "p": 3}, "The device's name is not a text"),
        ([1], "The device's name is not a text"),
    ],
)
def test_messages_that_cannot_be_read(message, reason):
    meter = profile(topic="x", device="id", time="ts", time_format="unix_s")
    with pytest.raises(DecodeError, match=reason):
        decode(meter, message=message, topic="x")


def test_times_that_cannot_be_read():
    meter = profile(topic="x", device=1, time="ts", timezone="Europe/Berlin")
    for text, reason in (
        ("2026-03-29 02:30", "never shown"),  # clocks are put forward over it
        ("2026-02-30 00:00", "day is out of range"),
        ("0001-01-01 00:00", "The time"),
        ("yesterday", "not an RFC 3339 time"),
    ):
        with pytest.raises(DecodeError, match=reason):
            decode(meter, message={"ts": text, "p": 1}, topic="x")
    with pytest.raises(DecodeError, match="no list of records"):
        decode(profile(topic="x", device=1, records="d"), message={"d": 1}, topic="x")
    with pytest.raises(DecodeError, match="device's name"):
        decode(profile(topic="x/#", device=3), message={"p": 1}, topic="x/y")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"device": 1}, "needs a topic"),
        ({"topic": "$SYS/#", "device": 1}, "needs a topic"),
        ({"topic": "a/b+", "device": 1}, "no MQTT filter"),
        ({"topic": "a/#/b", "device": 1}, "no MQTT filter"),
        ({"topic": "a"}, "path of keys for 'device'"),
        ({"topic": "a", "device": 0}, "from 1"),
        ({"topic": "a", "device": True}, "from 1"),
        ({"topic": "a", "device": "id..x"}, "path of keys for 'device'"),
        ({"topic": "a", "device": ["id", None]}, "path of keys for 'device'"),
        ({"topic": "a", "device": 1, "records": ""}, "path of keys for 'records'"),
        ({"topic": "a", "device": 1, "time_format": "excel"}, "iso, unix_s, unix_ms"),
        ({"topic": "a", "device": 1, "timezone": "Mars"}, "timezone of no use"),
        ({"topic": "a", "device": 1, "timezone": 8}, "timezone of no use"),
        ({"topic": "a", "device": 1, "label": "middle"}, "neither begin nor end"),
        ({"topic": "a", "device": 1, "tags": ["p"]}, "no table of paths"),
        ({"topic": "a", "device": 1, "tags": {"q": "q"}}, "'q', which is none of its tags"),
        ({"topic": "a", "device": 1, "tags": {"p": 1}}, "path of keys for 'p'"),
        ({"topic": "a", "device": 1, "tsformat": "iso"}, "'tsformat', which JSON does not know"),
    ],
)
def test_a_profile_of_no_use_stops_the_start(parameters, reason):
    with pytest.raises(ConfigurationError, match=f"The JSON profile 'inverter' .*{reason}"):
        json_map.configure([profile(**parameters)])


def test_profiles_of_one_topic_that_read_it_differently_stop_the_start():
    one = profile(topic="a", device=1)
    other = profile(name="other", topic="a", device=1, time="ts")
    with pytest.raises(ConfigurationError, match="'other' reads 'a' otherwise"):
        json_map.configure([one, other])


def test_a_wide_filter_takes_nothing_from_other_protocols():
    found = find(profiles=[profile(topic="#", device=1)])
    assert found.of("senml/demo/gateway").name == "senml"
    assert found.of("anything/else").name == "json"
    assert "#" in found.topics


def test_profiles_of_other_protocols_are_not_ours():
    assert json_map.configure([DeviceProfile("x", "hj212", "*", AssetKind.PV, (P,))]) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "d", "ts", "p", "0"]), inner, max_size=4)
    ),
    max_leaves=12,
)
paths = st.lists(st.sampled_from(["$", "id", "d", "ts", "p", "0", "1"]), min_size=1, max_size=3)
layouts = st.fixed_dictionaries(
    {"topic": st.just("x/+"), "device": st.integers(1, 3) | paths, "tags": st.just({"p": "p"})},
    optional={
        "records": paths,
        "time": paths,
        "time_format": st.sampled_from(["iso", "unix_s", "unix_ms"]),
        "timezone": st.sampled_from(["Asia/Shanghai", "America/New_York", "Pacific/Apia"]),
        "label": st.sampled_from(["begin", "end"]),
    },
)
times = st.datetimes().map(str) | st.datetimes().map(datetime.isoformat)


def check(parameters: dict[str, object], payload: bytes) -> None:
    ((_, decoder),) = json_map.configure([profile(P, T, **parameters)])
    try:
        decoded = decoder("x/y", payload, NOW)
    except DecodeError:
        return
    assert len(decoded.names) == len(decoded.ts_us) == len(decoded.value) > 0
    assert all(math.isfinite(value) for value in decoded.value)
    assert all(wire.EARLIEST <= from_us(us) < wire.LATEST for us in decoded.ts_us)
    assert all(device.isprintable() for device, _, _ in decoded.names)


@settings(max_examples=300, deadline=None)
@given(parameters=layouts, message=anything, ts=times | st.floats() | st.integers())
def test_any_json(parameters, message, ts):
    check(parameters, json.dumps(message).encode())
    check(parameters | {"time": "ts"}, json.dumps({"id": "a", "ts": ts, "p": 1}).encode())


@settings(max_examples=100, deadline=None)
@given(parameters=layouts, payload=st.binary(max_size=100))
def test_any_bytes(parameters, payload):
    check(parameters, payload)


@settings(max_examples=200, deadline=None)
@given(
    parameters=st.dictionaries(
        st.sampled_from(sorted(("topic", "device", "records", "time", "time_format", "label"))),
        st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=2) | st.integers()),
    )
)
def test_any_parameters(parameters):
    """A description by people: used, or refused in words."""
    with suppress(ConfigurationError):
        json_map.configure([profile(**parameters)])
