"""SenML packs: the examples and the rules of RFC 8428, section by section."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.timeaxis import from_us
from ingest import senml_shape
from ingest.protocols import senml

TOPIC = "senml/demo/gateway"


def decode(pack, received_at=datetime(2026, 6, 22, 4, 0, tzinfo=UTC)):
    payload = pack if isinstance(pack, bytes) else json.dumps(pack).encode()
    return senml.decode(TOPIC, payload, received_at)


def shown(decoded):
    return [(*name, value) for name, value in zip(decoded.names, decoded.value, strict=True)]


def times(decoded):
    return [from_us(ts_us) for ts_us in decoded.ts_us]


def test_5_1_1_a_single_data_point_is_measured_now(frame, received_at):
    decoded = decode(frame("senml_rfc8428_5_1_1.json"), received_at)
    assert shown(decoded) == [("urn:dev:ow", "10e2073a01080063", "Cel", 23.1)]
    assert times(decoded) == [received_at]


def test_5_1_2_base_name_and_own_unit(frame):
    device = "urn:dev:ow:10e2073a01080063"
    assert shown(decode(frame("senml_rfc8428_5_1_2_a.json"))) == [
        (device, "voltage", "V", 120.1),
        (device, "current", "A", 1.2),
    ]


def test_5_1_2_times_before_the_base_time(frame):
    """Base unit A, the voltage's own unit wins; t = -5 ... -1, then none."""
    decoded = decode(frame("senml_rfc8428_5_1_2_b.json"))
    assert [unit for _, _, unit in decoded.names] == ["V", *["A"] * 6]
    assert decoded.value == [120.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    base = datetime(2010, 6, 8, 18, 1, 16, 1000, tzinfo=UTC)
    assert [(ts - base).total_seconds() for ts in times(decoded)] == [0, -5, -4, -3, -2, -1, 0]


def test_5_1_3_multiple_measurements(frame):
    """Resolved as section 5.1.4 shows it: humidity, position and battery over three minutes."""
    decoded = decode(frame("senml_rfc8428_5_1_3.json"))
    base = datetime(2011, 10, 31, 13, 24, 24, tzinfo=UTC)
    assert {name[:2] for name in decoded.names} == {("urn:dev:ow", "10e2073a01080063")}
    seconds = [(ts - base).total_seconds() for ts in times(decoded)]
    units = [unit for _, _, unit in decoded.names]
    assert list(zip(seconds, units, decoded.value, strict=True)) == [
        (0, "%RH", 20.0),
        (0, "lon", 24.30621),
        (0, "lat", 60.07965),
        (60, "%RH", 20.3),
        (60, "lon", 24.30622),
        (60, "lat", 60.07965),
        (120, "%RH", 20.7),
        (120, "lon", 24.30623),
        (120, "lat", 60.07966),
        (150, "%EL", 98.0),
        (180, "%RH", 21.2),
        (180, "lon", 24.30628),
        (180, "lat", 60.07967),
    ]


def test_4_5_3_small_times_are_relative_to_now(received_at):
    def ts(**fields):
        return times(decode([{"n": "a:b", "v": 1, **fields}], received_at))[0]

    assert ts(t=-60) == received_at - timedelta(minutes=1)
    assert ts(t=2**28 - 1) == received_at + timedelta(seconds=2**28 - 1)
    assert ts(t=2**28) == datetime(1978, 7, 4, 21, 24, 16, tzinfo=UTC)
    assert ts(bt=2**28, t=-1) == received_at + timedelta(seconds=2**28 - 1)
    assert ts(t=1_782_086_400.123457).microsecond == 123457


def test_4_5_4_base_value_and_base_sum_are_added():
    pack = [{"bn": "a:", "bu": "W", "bv": 100, "bs": 1000, "n": "b", "v": 1, "s": 2}, {"n": "c"}]
    assert shown(decode(pack)) == [
        ("a", "b", "W", 101.0),
        ("a", "b#sum", "W*s", 1002.0),
        ("a", "c", "W", 100.0),
        ("a", "c#sum", "W*s", 1000.0),
    ]


def test_a_sum_alone_is_a_reading_of_its_own_tag():
    assert shown(decode([{"n": "a:b", "s": 7}])) == [("a", "b#sum", None, 7.0)]


def test_texts_booleans_and_data_are_passed_over():
    pack = [
        {"bn": "a:", "n": "1", "vs": "open"},
        {"n": "2", "vb": True},
        {"n": "3", "vd": "aGk"},
        {"n": "4", "v": 4, "ut": 60},
        {"bt": 1_782_086_400},  # base fields may stand alone
    ]
    assert shown(decode(pack)) == [("a", "4", None, 4.0)]


def test_4_4_unknown_labels_are_passed_over_except_those_that_must_be_understood():
    assert shown(decode([{"n": "a:b", "v": 1, "note": "x"}])) == [("a", "b", None, 1.0)]
    with pytest.raises(DecodeError, match="must be understood"):
        decode([{"n": "a:b", "v": 1, "lock_": 1}])


def test_4_1_a_later_version_is_refused():
    assert shown(decode([{"bver": 10, "n": "a:b", "v": 1}])) == [("a", "b", None, 1.0)]
    with pytest.raises(DecodeError, match="version 11"):
        decode([{"bver": 11, "n": "a:b", "v": 1}])
    with pytest.raises(DecodeError, match="different versions"):
        decode([{"bver": 10, "n": "a:b", "v": 1}, {"bver": 9, "n": "a:b", "v": 1}])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff", "UTF-8"),
        (b"{}", "list"),
        (b"[]", "no number"),
        (b"[1]", "object"),
        (b'[{"n":"a:b","vs":"x"}]', "no number"),
        (b'[{"n":"a:b"}]', "no value"),
        (b'[{"n":"a:b","v":1,"vb":true}]', "more than one value"),
        (b'[{"n":"a:b","v":true}]', "v is not a number"),
        (b'[{"n":"a:b","v":"1"}]', "v is not a number"),
        (b'[{"n":"a:b","v":null}]', "v is not a number"),
        (b'[{"n":"a:b","v":NaN}]', "not JSON"),
        (b'[{"n":"a:b","v":1e999}]', "infinity"),
        (b'[{"n":"a:b","bv":1e308,"v":1e308}]', "finite"),
        (b'[{"n":"a:b","v":' + b"9" * 400 + b"}]", "infinity"),
        (b'[{"n":"a:b","v":' + b"9" * 5000 + b"}]", "not JSON"),
        (b'[{"n":"a:b","v":1,"t":9e99}]', "too far"),
        (b'[{"n":"a:b","v":1,"t":4.15e9}]', "1970 to 2099"),
        (b'[{"n":"a:b","v":1,"t":-3e9}]', "1970 to 2099"),
        (b'[{"n":"_a:b","v":1}]', "name"),
        (b'[{"n":"a b:c","v":1}]', "name"),
        (b'[{"v":1}]', "name"),
        (b'[{"n":1,"v":1}]', "text"),
        (b'[{"n":"a:b","v":1,"u":""}]', "u is empty"),
        (b'[{"n":"a:b","vb":1}]', "wrong type"),
        (b'[{"bver":true,"n":"a:b","v":1}]', "version"),
        (b"[" * 100_000, "depth"),
    ],
)
def test_what_is_no_senml_says_why(payload, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(payload)


usual = st.fixed_dictionaries(
    {"n": st.sampled_from(["a:b", "c", "d:"]), "v": st.floats(-1e9, 1e9) | st.integers(-9, 9)},
    optional={"u": st.sampled_from(["W", "kW"]), "t": st.sampled_from([0, -5, 1.25])},
)
bases = st.fixed_dictionaries(
    {},
    optional={
        "bn": st.sampled_from(["urn:", "x"]),
        "bt": st.sampled_from([1_782_086_400, -60]),
        "bu": st.just("A"),
        "bv": st.just(2),
        "bs": st.just(3),
    },
)


@given(st.lists(st.builds(lambda a, b: a | b, usual, bases), min_size=1, max_size=8))
def test_the_short_way_of_usual_records_ends_where_the_long_one_does(pack):
    """A label that is passed over takes a record off the short way."""
    assert decode(pack) == decode([{**record, "note": "x"} for record in pack])


def plainly(payload):
    """What a pack says when every record is read by itself, or the error."""
    return told(lambda: decode(payload.replace(b'"v":', b'"\\u0076":')))


def told(reads):
    try:
        return reads()
    except DecodeError as error:
        return str(error) if "JSON" not in str(error) else "no JSON"


numbers = st.sampled_from(["0", "-1.5", "2e3", " 7 ", "1e-9", "20000000000000000000"])
anything = st.sampled_from(["1", "-", "01", "", "true", "null", "[1]", '"1"', "1e999", "1,2", "e"])
before = st.sampled_from(['"n":"a:b",', '"n":"c",', '"u":"W","n":"d",', "", '"n":"\\"v\\":1",'])
behind = st.sampled_from(["", "", "", ',"u":"kW"', ',"n":"z:"', ',"v" : 0', ',"t":5', ',"u":null'])
between = st.sampled_from(["},{", "},{", "},{", "} , {", "}, {", "},{},{", "},", "{", "\0},{"])
heads = st.sampled_from(
    [
        '[{"bn":"urn:","bt":1782086400,',
        '[{"bn":"x:","bu":"A","bv":2,',
        "[{",
        '[{"n":"s:t","v" : 5},{',
        '[{"v" : 3,',
        "[[{",
        '{"x":[{',
        '[{"a_":1,',
        '[{"n":"s","x":{',
    ]
)
mostly = st.lists(numbers, min_size=12, max_size=12) | st.lists(
    numbers | anything, min_size=8, max_size=12
)


@given(heads, mostly, st.data())
def test_a_pack_read_by_its_shape_says_what_its_records_say(head, values, data):
    """Escaped labels are the same labels, and hide the numbers from the quick way."""
    same = data.draw(st.booleans())
    parts = [(data.draw(before), data.draw(behind), data.draw(between)) for _ in values]
    text = head
    for place, value in enumerate(values):
        front, back, gap = parts[0] if same else parts[place]
        last = place == len(values) - 1
        text += f'{front}"v":{value}{back}' + ("}]" if last else gap)
    payload = text.encode()
    assert told(lambda: decode(payload)) == plainly(payload)


def test_a_gateway_is_read_by_its_shape():
    """Names and units are the same objects in its next pack, however its numbers are written."""
    records = [{"n": f"m-{i}:p", "v": i / 8} for i in range(20)]
    first, second = (
        json.dumps([{"bn": "urn:", "bt": 1_782_086_400 + step, "bu": "kW"} | records[0]]).encode()[
            :-1
        ]
        + b", "
        + json.dumps([{**record, "v": record["v"] + step} for record in records[1:]]).encode()[1:]
        for step in (0, 900)
    )
    read, again = senml_shape.read(first), senml_shape.read(second)
    assert read is not None
    assert again is not None
    assert again.shape is read.shape
    assert decode(second).value == [0.0, *(i / 8 + 900 for i in range(1, 20))]
    assert decode(second).names[7] == ("urn:m-7", "p", "kW")


@pytest.mark.parametrize("record", [{"n": None, "v": 1}, {"n": "c", "u": None, "v": 1}])
def test_null_is_no_name_and_no_unit(record):
    with pytest.raises(DecodeError, match="text"):
        decode([{"n": "a:b", "v": 1}, record])
