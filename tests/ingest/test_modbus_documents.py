"""The documents of polls, of SunSpec devices and of plain registers, to readings."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError, DecodeError
from core.readings import Quality
from core.timeaxis import to_us
from ingest import register_map
from ingest.decoded import Decoded
from ingest.protocols import modbus_map, sunspec
from ingest.register_map import Register

FRAMES = Path(__file__).parent / "frames"
NOW = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)
TS = "2026-06-22T03:59:58.250000Z"

many = settings(max_examples=150, deadline=None)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def model(name: str, number: int) -> str:
    """The registers of a model, out of a map of the frames' folder."""
    lines = (FRAMES / f"sunspec_{name}.txt").read_text().splitlines()
    digits = "".join("".join(line.partition("#")[0].split()) for line in lines)[8:]
    while int(digits[:4], 16) != number:
        digits = digits[8 + 4 * int(digits[4:8], 16) :]
    return digits[: 8 + 4 * int(digits[4:8], 16)]


def poll(*registers: str, **fields: object) -> bytes:
    models = [{"address": 40_069, "registers": digits} for digits in registers]
    return json.dumps({"sunspec": 1, "ts": TS, "models": models, **fields}).encode()


def decoded(payload: bytes) -> Decoded:
    return sunspec.decode("sunspec/pv-7", payload, NOW)


def by_tag(found: Decoded) -> dict[str, float]:
    return {tag: value for (_, tag, _), value in zip(found.names, found.value, strict=True)}


INVERTER, METER = model("inverter_103", 103), model("inverter_103", 203)


def test_a_poll_is_an_instant_of_one_device():
    found = decoded(poll(INVERTER, METER))
    assert {device for device, _, _ in found.names} == {"pv-7"}
    assert set(found.ts_us) == {to_us(datetime(2026, 6, 22, 3, 59, 58, 250_000, tzinfo=UTC))}
    assert found.quality is None
    assert ("pv-7", "103.W", "W") in found.names
    assert ("pv-7", "203.TotWhImp", "Wh") in found.names
    assert by_tag(found)["203.TotWhImp"] == 34_567_890.0
    assert "103.DCA" not in by_tag(found)


def test_only_wanted_tags_are_given_and_a_minus_turns_the_sign():
    found = decoded(poll(INVERTER, METER, tags=["103.W", "-203.W", "203.nothing"]))
    assert by_tag(found) == {"103.W": -12_500.0, "-203.W": 8_270.0}
    assert found.names[1] == ("pv-7", "-203.W", "W")


def test_a_second_model_of_a_kind_has_a_number():
    assert set(by_tag(decoded(poll(METER, METER, tags=["203.W", "203#2.W"])))) == {
        "203.W",
        "203#2.W",
    }


def test_a_fault_flags_the_values_of_its_model_alone():
    faulty = INVERTER[: 4 * 38] + "0007" + INVERTER[4 * 39 :]  # St = FAULT
    found = decoded(poll(faulty, METER, tags=["103.W", "203.W"]))
    assert found.quality == [Quality.DEVICE_FLAG, Quality.GOOD]


def test_at_night_a_device_may_implement_nothing():
    night = "0067 0032" + "ffff" * 50
    assert decoded(poll(night.replace(" ", ""), tags=["103.A"])) == Decoded((), [], [])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{}", "version 1"),
        (b"[]", "version 1"),
        (poll(INVERTER, ts="2026-06-22T03:59:58"), "RFC 3339"),
        (poll(INVERTER, tags="103.W"), "tags"),
        (poll(INVERTER, models={}), "models"),
        (poll(INVERTER[:-1]), "hexadecimal"),
        (poll("0067"), "at least two"),
        (poll("fc180001ffff"), "no definition of the SunSpec model 64536"),
    ],
)
def test_what_is_no_poll_is_refused(payload, reason):
    with pytest.raises(DecodeError, match=reason):
        decoded(payload)


def check(found: Decoded) -> None:
    assert len(found.names) == len(found.ts_us) == len(found.value)
    assert all(math.isfinite(value) for value in found.value)
    assert all((device + tag + (unit or "")).isprintable() for device, tag, unit in found.names)


@many
@given(payload=st.binary(max_size=200) | anything.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_readings_or_refused(payload):
    for protocol in (sunspec, modbus_map):
        with pytest.raises(DecodeError):
            protocol.decode("x/device", payload, NOW)


@many
@given(
    key=st.sampled_from(["sunspec", "ts", "models", "tags", "unit"]),
    value=anything,
    digits=st.text("0123456789abcdefABCDEF ", max_size=40),
)
def test_polls_with_a_field_exchanged(key, value, digits):
    for payload in (poll(INVERTER, METER, **{key: value}), poll(INVERTER[:8] + digits)):
        try:
            check(decoded(payload))
        except DecodeError:
            continue


# Plain registers.

REGISTERS = [
    {"tag": "p", "address": 12, "type": "float32", "unit": "W", "table": "input"},
    {"tag": "u", "address": 0, "type": "uint16", "scale": 0.1, "unit": "V", "table": "input"},
    {"tag": "e", "address": 342, "type": "uint32", "unit": "kWh", "word_order": "little"},
    {"tag": "t", "address": 1, "type": "int16", "scale": 0.1, "absent": 32767, "table": "input"},
]


def document(*words: str, **changes: object) -> bytes:
    entries = [{**r, "words": w} for r, w in zip(REGISTERS, words, strict=False)]
    return json.dumps({"modbus": 1, "ts": TS, "registers": entries, **changes}).encode()


def test_plain_registers():
    payload = document("447a0000", "08fc", "86a10001", "ffce")
    found = modbus_map.decode("modbus/meter-12", payload, NOW)
    assert found.names == (
        ("meter-12", "p", "W"),
        ("meter-12", "u", "V"),
        ("meter-12", "e", "kWh"),
        ("meter-12", "t", None),
    )
    assert found.value == pytest.approx([1000.0, 230.0, 100_001.0, -5.0])


@pytest.mark.parametrize("words", ["7fc00000", "7f800000", "0000", ""])
def test_a_register_without_a_number_is_no_reading(words):
    found = modbus_map.decode("modbus/m", document(words, "08fc", "00000000", "7fff"), NOW)
    assert [tag for _, tag, _ in found.names] == ["u", "e"]


@pytest.mark.parametrize(
    ("kind", "order", "words", "expected"),
    [
        ("int16", "big", "ff38", -200.0),
        ("uint16", "big", "ff38", 65_336.0),
        ("int32", "big", "fffffff6", -10.0),
        ("uint32", "little", "000a0001", 65_546.0),
        ("int64", "big", "ffffffffffffffff", -1.0),
        ("uint64", "little", "0001000000000000", 1.0),
        ("float32", "little", "0000447a", 1000.0),
        ("float64", "big", "408f400000000000", 1000.0),
    ],
)
def test_types_and_word_orders(kind, order, words, expected):
    assert register_map.number(kind, order, bytes.fromhex(words)) == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "int24"}, "type of the register 'p' must be one of int16"),
        ({"type": []}, "'p' cannot be used"),
        ({"table": "coil"}, "table"),
        ({"word_order": "middle"}, "word_order"),
        ({"address": -1}, "address"),
        ({"address": 65_535}, "address"),
        ({"address": "12"}, "address"),
        ({"scale": 0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"unit": 3}, "unit"),
        ({"tag": ""}, "no tag"),
        ({"adress": 3}, "adress"),
    ],
)
def test_a_wrong_register_is_named(change, reason):
    with pytest.raises(ConfigurationError, match=reason):
        register_map.parse([{**REGISTERS[0], **change}])


@pytest.mark.parametrize("description", [None, [], {}, [3], [REGISTERS[0], REGISTERS[0]]])
def test_a_wrong_list_of_registers_is_refused(description):
    with pytest.raises(ConfigurationError):
        register_map.parse(description)


def test_neighbours_share_a_reading():
    spans = register_map.spans(register_map.parse(REGISTERS), 125)
    assert [(s.table, s.address, s.count) for s in spans] == [
        ("holding", 342, 2),
        ("input", 0, 2),
        ("input", 12, 2),
    ]


registers = st.lists(
    st.builds(
        Register,
        tag=st.text("abc", min_size=1, max_size=9),
        address=st.integers(0, 300),
        type=st.sampled_from(sorted(register_map.CODES)),
        table=st.sampled_from(register_map.TABLES),
    ),
    min_size=1,
    max_size=40,
)


@many
@given(registers=registers, most=st.integers(4, 125))
def test_readings_fetch_every_register_once_and_nothing_else(registers, most):
    spans = register_map.spans(registers, most)
    assert sorted(r.tag for s in spans for r in s.registers) == sorted(r.tag for r in registers)
    for span in spans:
        assert span.count <= most
        memory = b"".join(a.to_bytes(2, "big") for a in range(span.address, span.address + most))
        for register in span.registers:
            words = span.words(register, memory[: 2 * span.count])
            assert len(words) == 2 * register.size
            assert int.from_bytes(words[:2], "big") == register.address
        touched = {a for r in span.registers for a in range(r.address, r.last + 1)}
        assert touched == set(range(span.address, span.address + span.count))


@many
@given(
    key=st.sampled_from([*REGISTERS[0], "words", "scale", "offset", "absent", "other"]),
    value=anything,
)
def test_documents_with_a_field_exchanged(key, value):
    entry = {**REGISTERS[0], "words": "447a0000", key: value}
    payload = json.dumps({"modbus": 1, "ts": TS, "registers": [entry]}).encode()
    try:
        check(modbus_map.decode("modbus/meter-12", payload, NOW))
    except DecodeError:
        return
