"""ChirpStack v4 uplinks: numbers of ``object`` become readings, labelled with the beginning."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from core.errors import DecodeError
from core.timeaxis import from_us
from ingest.protocols import chirpstack

TOPIC = "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/0101010101010101/event/up"


def test_every_number_of_the_object_is_a_reading(frame, received_at):
    decoded = chirpstack.decode(TOPIC, frame("chirpstack_v4_up_object.json"), received_at)
    tags = [tag for _, tag, _ in decoded.names]
    assert dict(zip(tags, decoded.value, strict=True)) == {
        "pm2_5": 35.5,
        "pm10": 61.0,
        "o3.value": 48.25,
        "alarms.0": 0.0,
        "alarms.1": 1.0,
    }
    assert {(device, unit) for device, _, unit in decoded.names} == {("0101010101010101", None)}
    assert len(set(decoded.ts_us)) == 1


def test_the_label_is_the_beginning_of_the_interval(frame, received_at):
    """Received at 09:34:15.775023242 after an interval of 300 s; nanoseconds are cut off."""
    decoded = chirpstack.decode(TOPIC, frame("chirpstack_v4_up_object.json"), received_at)
    assert from_us(decoded.ts_us[0]) == datetime(2022, 7, 18, 9, 29, 15, 775023, tzinfo=UTC)


def test_without_an_interval_the_time_counts(frame, received_at):
    event = json.loads(frame("chirpstack_v4_up_object.json"))
    del event["object"]["interval_s"]
    decoded = chirpstack.decode(TOPIC, json.dumps(event).encode(), received_at)
    assert from_us(decoded.ts_us[0]) == datetime(2022, 7, 18, 9, 34, 15, 775023, tzinfo=UTC)


def test_the_documentations_event_has_no_codec(frame, received_at):
    with pytest.raises(DecodeError, match="codec"):
        chirpstack.decode(TOPIC, frame("chirpstack_v4_up.json"), received_at)


def test_a_device_cannot_speak_for_another(frame, received_at):
    other = TOPIC.replace("0101010101010101", "0202020202020202")
    with pytest.raises(DecodeError, match="topic"):
        chirpstack.decode(other, frame("chirpstack_v4_up_object.json"), received_at)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"object": {"x": float("inf")}}, "not JSON"),
        ({"object": {"x": float("nan")}}, "not JSON"),
        ({"object": {"x": 10**400}}, "infinity"),
        ({"object": {"x": True, "y": "1"}}, "no number"),
        ({"object": {"a\u0000b": 1}}, "printable"),
        ({"object": {"\ud800": 1}}, "surrogate"),
        ({"object": {"x": 1, "interval_s": -1}}, "interval_s"),
        ({"object": {"x": 1, "interval_s": "5"}}, "interval_s"),
        ({"object": None}, "codec"),
        ({"time": "2022-07-18T09:34:15"}, "zone"),
        ({"time": "2022-02-30T09:34:15Z"}, "time"),
        ({"time": "1969-12-31T23:59:59Z"}, "1970"),
        ({"time": 1658136855}, "RFC 3339"),
        ({"deviceInfo": {"devEui": "01"}}, "devEui"),
        ({"deviceInfo": []}, "devEui"),
    ],
)
def test_what_cannot_be_a_reading_says_why(frame, received_at, change, reason):
    event = json.loads(frame("chirpstack_v4_up_object.json")) | change
    with pytest.raises(DecodeError, match=reason):
        chirpstack.decode(TOPIC, json.dumps(event).encode(), received_at)


def test_one_level_of_json_after_the_other(received_at):
    deep = b'{"a":' * 30 + b"1" + b"}" * 30
    event = (
        b'{"time":"2022-07-18T09:34:15Z","deviceInfo":{"devEui":"0101010101010101"},"object":%s}'
    )
    with pytest.raises(DecodeError, match="deeply"):
        chirpstack.decode(TOPIC, event % deep, received_at)
