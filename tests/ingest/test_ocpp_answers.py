"""What chargers are answered: by the schemas of the standard, and nothing told of drivers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocpp.messages import MessageType, get_validator

from ingest import ocpp_answers
from ingest.ocpp_answers import KEPT, VERSIONS, Facts, RefusedError, actions, answer
from ingest.protocols.ocpp_json import V16, V201

NOW = datetime(2026, 6, 22, 4, 30, tzinfo=UTC)
FACTS = Facts(NOW, 300, None, 217_000_001)


def minimal(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The least that a schema allows."""
    if "$ref" in schema:
        return minimal(root["definitions"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "object":
        parts = schema.get("properties", {})
        return {name: minimal(parts[name], root) for name in schema.get("required", ())}
    if kind == "array":
        return [minimal(schema["items"], root)]
    if schema.get("format") == "date-time":
        return "2026-06-22T04:00:00Z"
    return {"string": "x", "integer": 1, "number": 1.0, "boolean": True}[kind]


def least(version: str, action: str) -> dict[str, Any]:
    schema = get_validator(MessageType.Call, action, version.removeprefix("ocpp")).schema
    payload: dict[str, Any] = minimal(schema, schema)
    return payload


EVERY = [(version, action) for version in VERSIONS for action in sorted(actions(version))]


@pytest.mark.parametrize(("version", "action"), EVERY)
def test_every_answer_is_as_the_standard_wants(version: str, action: str) -> None:
    given = answer(version, action, least(version, action), FACTS)
    number = version.removeprefix("ocpp")
    get_validator(MessageType.CallResult, action, number).validate(json.loads(json.dumps(given)))


@pytest.mark.parametrize(("version", "action"), EVERY)
def test_what_carries_no_data_is_checked(version: str, action: str) -> None:
    payload = {"noSuchField": 1}
    if action in KEPT[version]:
        answer(version, action, payload, FACTS)  # what is wrong with it is for the quarantine
        return
    with pytest.raises(RefusedError):
        answer(version, action, payload, FACTS)


def test_a_charger_learns_the_time_of_the_city() -> None:
    given = answer(V16, "BootNotification", least(V16, "BootNotification"), FACTS)
    assert given["currentTime"] == "2026-06-22T04:30:00.000Z"


def test_only_listed_cards_may_charge() -> None:
    listed = Facts(NOW, 300, frozenset({"RED"}))
    assert answer(V16, "Authorize", {"idTag": "RED"}, listed) == {
        "idTagInfo": {"status": "Accepted"}
    }
    assert answer(V16, "Authorize", {"idTag": "BLUE"}, listed) == {
        "idTagInfo": {"status": "Invalid"}
    }
    token = {"idToken": {"idToken": "BLUE", "type": "ISO14443"}}
    assert answer(V201, "Authorize", token, listed) == {"idTokenInfo": {"status": "Invalid"}}


@pytest.mark.parametrize(
    ("vendor", "message", "status"),
    [
        ("verdigrid", "ChargingNeeds", "Accepted"),
        ("verdigrid", "Other", "UnknownMessageId"),
        ("acme", "ChargingNeeds", "UnknownVendorId"),
    ],
)
def test_vendor_data_is_taken_where_it_is_known(vendor: str, message: str, status: str) -> None:
    payload = {"vendorId": vendor, "messageId": message, "data": ""}
    assert answer(V16, "DataTransfer", payload, FACTS) == {"status": status}
    kept = ocpp_answers.worth_keeping("DataTransfer", payload, in_transaction=False)
    assert kept == (status == "Accepted")


def test_what_a_car_needs_is_refused_where_no_car_is_known() -> None:
    payload = least(V201, "NotifyEVChargingNeeds")
    assert answer(V201, "NotifyEVChargingNeeds", payload, FACTS) == {"status": "Processing"}
    nobody = Facts(NOW, 300)
    assert answer(V201, "NotifyEVChargingNeeds", payload, nobody) == {"status": "Rejected"}


def test_nothing_of_a_driver_is_left_at_any_depth() -> None:
    payload = {
        "idTag": "SECRET",
        "idToken": {"idToken": "SECRET", "type": "eMAID"},
        "deep": [{"groupIdToken": {"idToken": "SECRET"}, "timestamp": "kept"}],
        "certificate": "SECRET",
    }
    assert ocpp_answers.without_drivers(payload) == {"deep": [{"timestamp": "kept"}]}


@pytest.mark.parametrize(
    "frame", [[], {}, [2], [2, "x", "Heartbeat"], [2, "", "Heartbeat", {}], [2, "x", 7, {}], 2]
)
def test_what_is_no_call_is_refused(frame: Any) -> None:
    with pytest.raises(RefusedError):
        ocpp_answers.call(frame)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(EVERY), st.data())
def test_no_payload_makes_an_answer_raise_anything_else(
    named: tuple[str, str], data: st.DataObject
) -> None:
    version, action = named
    payload = least(version, action)
    for name in data.draw(st.lists(st.sampled_from([*payload, "idTag", "idToken"]), max_size=3)):
        payload[name] = data.draw(anything)
    try:
        answer(version, action, ocpp_answers.without_drivers(payload), FACTS)
        answer(version, action, payload, FACTS)
    except RefusedError as refusal:
        ocpp_answers.error("x", refusal.code, str(refusal))


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(RefusedError, match="nested"):
        ocpp_answers.without_drivers({"data": deep})


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(RefusedError) as refusal:
        answer(V16, "TransactionEvent", {}, FACTS)
    assert refusal.value.code == "NotImplemented"
