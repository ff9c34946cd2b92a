"""OCPP frames to readings and events, by frames made after the examples of the specifications."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ocpp.messages import MessageType, get_validator

from core.charging import ChargingEvent, ConnectorStatus
from core.errors import DecodeError
from core.timeaxis import parse, to_us
from core.units import known
from ingest import protocols
from ingest.decoded import Decoded
from ingest.protocols import ocpp_json

NOW = datetime(2026, 6, 22, 4, 30, tzinfo=UTC)
FRAMES = [
    frame
    for name in ("ocpp16.json", "ocpp201.json")
    for frame in json.loads((Path(__file__).parent / "frames" / name).read_text())
]


def decode(envelope: Any) -> Decoded:
    return ocpp_json.decode("ocpp/CP-1", json.dumps(envelope).encode(), NOW)


def told(event: Any) -> list[Any]:
    """An event as the frames spell it."""
    if isinstance(event, ConnectorStatus):
        return ["status", event.connector, event.ts, event.status, event.error]
    assert isinstance(event, ChargingEvent)
    if event.needs is not None:
        wanted = event.needs
        return [
            "needs",
            event.transaction,
            event.ts,
            wanted.departure,
            wanted.energy_mwh,
            wanted.max_p_mw,
        ]
    return [str(event.step), event.transaction, event.ts, event.connector, event.register_mwh]


def same(spelled: Any, found: Any) -> bool:
    if isinstance(found, datetime):
        return spelled is not None and parse(spelled) == found
    return spelled == (pytest.approx(found) if isinstance(found, float) else found)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f["what"])
def test_a_frame_says(frame: dict[str, Any]) -> None:
    decoded = decode(frame["envelope"])
    readings = [
        [tag, ts_us, value, unit]
        for (_, tag, unit), ts_us, value in zip(
            decoded.names, decoded.ts_us, decoded.value, strict=True
        )
    ]
    assert readings == [
        [tag, to_us(parse(ts)), pytest.approx(value), unit]
        for tag, ts, value, unit in frame["readings"]
    ]
    events = [told(event) for event in decoded.events]
    assert len(events) == len(frame["events"])
    for spelled, found in zip(frame["events"], events, strict=True):
        assert all(map(same, spelled, found)), (spelled, found)
    assert {device for device, _, _ in decoded.names} <= {"CP-1"}
    assert all(event.charger == "CP-1" for event in decoded.events)
    assert all(unit is None or known(unit) for _, _, unit in decoded.names)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f["what"])
def test_the_frames_are_such_as_the_standard_allows(frame: dict[str, Any]) -> None:
    version = frame["envelope"]["version"].removeprefix("ocpp")
    _, _, action, payload = frame["envelope"]["frame"]
    if action == "StartTransaction":
        payload = payload | {"idTag": "taken out before it is kept"[:20]}
    get_validator(MessageType.Call, action, version).validate(payload)


def test_the_protocol_is_found_by_its_source() -> None:
    found = protocols.find().of("ocpp/CP-1")
    assert found.name == "ocpp"
    assert found.topics == ()


def meter_value(**sample: Any) -> dict[str, Any]:
    values = [{"timestamp": "2026-06-22T04:00:00Z", "sampledValue": [sample]}]
    payload = {"connectorId": 1, "transactionId": 5, "meterValue": values}
    return {"version": "ocpp1.6", "frame": [2, "x", "MeterValues", payload]}


@pytest.mark.parametrize("text", ["", " ", "NaN", "null", "N/A"])
def test_an_empty_value_is_no_reading(text: str) -> None:
    assert decode(meter_value(value=text)) == Decoded((), [], [])


@pytest.mark.parametrize("text", ["1_000", "0x10", "inf", "1,5", "1e999", "٣", "twelve"])
def test_what_is_no_number_goes_to_quarantine(text: str) -> None:
    with pytest.raises(DecodeError):
        decode(meter_value(value=text))


def test_an_interval_energy_of_unknown_length_is_no_reading() -> None:
    sample = {"value": "2.5", "measurand": "Energy.Active.Import.Interval", "unit": "kWh"}
    assert decode(meter_value(**sample)).names == ()


def test_a_register_that_measures_no_energy_is_refused() -> None:
    with pytest.raises(DecodeError, match="measures no energy"):
        decode(meter_value(value="7", unit="V"))


@pytest.mark.parametrize("number", [0, -1])
def test_no_transaction_is_no_event(number: int) -> None:
    envelope = meter_value(value="7")
    envelope["frame"][3]["transactionId"] = number
    assert decode(envelope).events == ()


@pytest.mark.parametrize(
    "envelope",
    [
        [],
        {"version": "ocpp1.6", "frame": [3, "x", {}]},
        {"version": "ocpp1.6", "frame": [2, "x", "Heartbeat", {}]},
        {"version": "ocpp2.1", "frame": [2, "x", "MeterValues", {}]},
        {"version": "ocpp1.6", "frame": [2, "x", ["MeterValues"], {}]},
        {"version": ["ocpp1.6"], "frame": [2, "x", "MeterValues", {}]},
    ],
)
def test_what_is_no_call_with_data_is_refused(envelope: Any) -> None:
    with pytest.raises(DecodeError):
        decode(envelope)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2026-06-22T04:00:00Z", "0001-01-01T00:00:00+23:59", "Wh", "1e308", 1e308])
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything within ``value``."""
    found = [path]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


@given(st.data())
def test_a_frame_with_anything_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    envelope = data.draw(st.sampled_from(FRAMES))["envelope"]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(envelope)))
        envelope = changed(envelope, path, data.draw(anything))
        if not isinstance(envelope, dict):
            break
    read_or_refused(json.dumps(envelope).encode())


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
def test_no_payload_makes_it_raise_anything_else(payload: bytes) -> None:
    read_or_refused(payload)


def read_or_refused(payload: bytes) -> None:
    try:
        decoded = ocpp_json.decode("ocpp/CP-1", payload, NOW)
    except DecodeError:
        return
    assert len(decoded.names) == len(decoded.ts_us) == len(decoded.value)
    for device, tag, _ in decoded.names:
        assert (device + tag).isprintable()
    for event in decoded.events:
        assert isinstance(event, ChargingEvent | ConnectorStatus)
