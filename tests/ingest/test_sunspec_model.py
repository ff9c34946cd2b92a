"""SunSpec registers to numbers: what the definitions say, and what damaged devices do."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sunspec2.device import Model

from core import units
from core.errors import DecodeError
from ingest import sunspec_model
from ingest.sunspec_model import BASES, MEASURING, Block, Read

FRAMES = Path(__file__).parent / "frames"
MAPS = ("inverter_103", "meter_213", "der_701", "storage_802")

many = settings(max_examples=200, deadline=None)


def registers_of(name: str) -> bytes:
    """A register map of the frames' folder: hexadecimal words, comments behind #."""
    lines = (FRAMES / f"sunspec_{name}.txt").read_text().splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


class Device:
    """Registers from ``base`` on; what lies outside is refused. reads: what was asked."""

    def __init__(self, registers: bytes, base: int) -> None:
        self.registers, self.base = registers, base
        self.reads: list[Read] = []

    def read(self, wish: Read) -> bytes | None:
        self.reads.append(wish)
        start = 2 * (wish.address - self.base)
        data = self.registers[start : start + 2 * wish.count] if start >= 0 else b""
        return data if len(data) == 2 * wish.count else None

    def discover(self, bases: tuple[int, ...] = BASES) -> tuple[Block, ...]:
        search = sunspec_model.discover(bases)
        wish = next(search)
        while True:
            try:
                wish = search.send(self.read(wish))
            except StopIteration as found:
                return found.value

    def model(self, block: Block) -> bytes:
        parts = [self.read(wish) for wish in sunspec_model.reads(block, 125)]
        return b"".join(part or b"" for part in parts)


def values(registers: bytes) -> dict[str, float]:
    return {value.name: value.value for value in sunspec_model.values(registers)}


def models(name: str) -> dict[int, bytes]:
    device = Device(registers_of(name), 0)
    return {block.model: device.model(block) for block in device.discover()}


def changed(registers: bytes, offset: int, words: str) -> bytes:
    """``registers`` with the words at an offset, counted in registers, replaced."""
    new = bytes.fromhex(words)
    return registers[: 2 * offset] + new + registers[2 * offset + len(new) :]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", MAPS)
def test_a_device_is_found_at_each_base(name, base):
    chain = Device(registers_of(name), base).discover()
    assert chain[0].model == sunspec_model.COMMON
    assert chain[0].address == base + 2
    for before, after in pairwise(chain):
        assert after.address == before.address + 2 + before.length


def test_the_chain_of_a_device():
    chain = Device(registers_of("inverter_103"), 40_000).discover()
    assert chain == (Block(1, 40_002, 65), Block(103, 40_069, 50), Block(203, 40_121, 105))


def test_some_devices_have_no_length_behind_the_end():
    device = Device(registers_of("inverter_103")[:-2], 40_000)
    assert [block.model for block in device.discover()] == [1, 103, 203]


def test_a_base_may_hold_something_else():
    other = Device(b"\0\1" * 30, 40_000)
    real = Device(registers_of("meter_213"), 50_000)
    search = sunspec_model.discover()
    wish = next(search)
    assert wish == Read(40_000, 2)
    wish = search.send(other.read(wish))
    assert wish == Read(50_000, 2)
    assert search.send(real.read(wish)) == Read(50_002, 2)


@pytest.mark.parametrize(
    ("registers", "reason"),
    [
        (b"", "no SunSpec device at 40000, 50000, 0"),
        (b"SunS", "breaks off at 2"),
        (b"SunS\0\1\0\x42", "breaks off at 70"),
        (b"SunS\0\1\0\0" * 10, "breaks off at 2"),  # a model of no length would never end
        (b"SunS" + b"\0\1\0\1\0\0" * 5000, "breaks off"),
    ],
)
def test_what_is_no_chain_ends_the_search(registers, reason):
    device = Device(registers, 0)
    with pytest.raises(DecodeError, match=reason):
        device.discover()
    assert len(device.reads) < 210


def test_an_inverter_of_integers():
    assert values(models("inverter_103")[103]) == {
        "A": 12.34,
        "AphA": 4.11,
        "AphB": 4.12,
        "AphC": 4.11,
        "PhVphA": 230.1,
        "PhVphB": 229.9,
        "PhVphC": 230.0,
        "W": -12_500.0,
        "Hz": 50.01,
        "VA": 12_600.0,
        "VAr": -300.0,
        "PF": -99.2,
        "WH": 4_294_967_295.0,  # the last count before it rolls over
        "DCV": 620.3,
        # DCA has a value, but no scale factor: nobody knows whether 200 A or 2 A.
        "TmpCab": -5.0,
        "St": 4.0,
        "Evt1": 0.0,
        "Evt2": 0.0,
    }


def test_a_meter_of_floats():
    found = values(models("meter_213")[213])
    assert found == {
        "A": -12.5,
        "PhV": 230.25,
        "Hz": 49.984375,
        "W": -8640.0,
        "PF": -0.96875,
        "TotWhExp": 120_000.0,
        "TotWhImp": 34_567_888.0,  # 34,567,890 in 24 bits
        "Evt": 128.0,
    }


def test_a_source_with_counters_of_64_bits():
    registers = models("der_701")[701]
    found = values(registers)
    assert len(registers) == 2 * 155
    assert found["TotWhInj"] == 5_000_000_000_123
    assert found["TotWhInjL3"] == 1_666_666_666_708
    assert found["TotVarhInj"] == 0.0  # a whole number, where 0 is a count, not an absence
    assert found["W"] == 43_210.0
    assert found["Hz"] == 49.98
    assert found["LLV"] == 400.1
    assert "WL2" not in found


def test_storage_and_its_strings():
    found = models("storage_802")
    assert values(found[124])["ChaState"] == 87.3
    assert values(found[713])["SoC"] == 87.1
    assert values(found[713])["WHAvail"] == 52_300.0
    assert values(found[802])["SoC"] == 87.2
    assert values(found[802])["W"] == -9_150.0
    strings = values(found[803])
    assert strings["string.1.StrSoC"] == 87.1
    assert strings["string.2.StrSoC"] == 87.3
    assert strings["string.2.StrCellVMax"] == 4.01
    # The third string is counted, but the model ends before it.
    assert not [name for name in strings if name.startswith("string.3")]


def test_a_group_without_a_count_fills_the_model():
    module = "0001" + "0000" * 8 + "0064 0258 1770 00000bb8 00000000 0019 0004 00000000"
    head = "00a0 0030 ffff 0000 0000 0000 0000 0000 0002 0001".replace(" ", "")
    found = values(bytes.fromhex((head + 2 * module).replace(" ", "")))
    assert found["module.1.DCW"] == found["module.2.DCW"] == 6_000.0
    assert found["module.2.ID"] == 1.0
    assert "module.3.DCW" not in found


def test_units_are_ours():
    by_name = {value.name: value.unit for value in sunspec_model.values(models("der_701")[701])}
    assert (by_name["W"], by_name["TotWhInj"], by_name["Var"]) == ("W", "Wh", "var")
    assert (by_name["TmpCab"], by_name["St"], by_name["ThrotPct"]) == ("degC", None, "%")
    storage = {v.name: v.unit for v in sunspec_model.values(models("storage_802")[802])}
    assert (storage["SoC"], storage["WHRtg"], storage["AHRtg"]) == ("%", "Wh", "A*hour")


def test_every_measuring_model_has_a_definition_and_usable_units():
    for model in MEASURING:
        assert sunspec_model.known(model)
        layout = sunspec_model.layout_of(model.to_bytes(2, "big") + b"\0\2" * 400)
        assert layout.points
        for point in layout.points:
            assert point.unit is None or units.known(point.unit), (model, point.name)


@pytest.mark.parametrize("factor", ["8000", "000b", "fff5", "7fff"])
def test_without_a_scale_factor_there_is_no_value(factor):
    registers = changed(models("inverter_103")[103], 6, factor)  # A_SF
    found = values(registers)
    assert not {"A", "AphA", "AphB", "AphC"} & set(found)
    assert found["W"] == -12_500.0


def test_scaling_is_exact_to_the_last_digit():
    registers = changed(models("inverter_103")[103], 2, "0003 fff0 fff0 fff0 fffd")  # A .. A_SF
    assert values(registers)["A"] == 0.003  # 3 * 10.0 ** -3 is 0.003 only by luck: 3 / 1000 is


@pytest.mark.parametrize("top", ["80000000", "80000001", "ffffffff", "c0000000"])
def test_the_top_bit_of_a_bit_field_says_not_implemented(top):
    registers = changed(models("inverter_103")[103], 40, top)
    assert "Evt1" not in values(registers)


def test_a_model_cut_short_keeps_what_it_has():
    registers = models("inverter_103")[103][: 2 * 15]  # W is there, its scale factor is not
    assert list(values(registers)) == ["A", "AphA", "AphB", "AphC", "PhVphA", "PhVphB", "PhVphC"]


@pytest.mark.parametrize(
    ("model", "offset", "words", "faulty"),
    [
        (103, 38, "0004", False),
        (103, 38, "0007", True),  # FAULT
        (103, 40, "00000400", False),  # over-voltage of the grid
        (103, 40, "00004000", True),  # memory loss
        (203, 105, "00000018", False),  # under-voltage, low power factor
        (203, 105, "00000080", True),  # a sensor is missing
    ],
)
def test_which_states_speak_against_the_values(model, offset, words, faulty):
    registers = changed(models("inverter_103")[model], offset, words)
    assert sunspec_model.faulty(model, sunspec_model.values(registers)) is faulty


def test_faults_name_points_that_exist():
    for model, rules in sunspec_model.FAULTS.items():
        layout = sunspec_model.layout_of(model.to_bytes(2, "big") + b"\0\2" * 400)
        assert {rule.point for rule in rules} <= {point.name for point in layout.points}


def test_who_answers():
    common = models("inverter_103")[1]
    texts = [sunspec_model.text(common, name) for name in ("Mn", "Md", "Vr", "SN", "Opt", "None")]
    assert texts == ["Example Power", "Inverter 30", "1.2", "E30-0001", "", ""]
    damaged = changed(common, 2, "41ff 0741 0000")
    assert sunspec_model.text(damaged, "Mn") == "A\ufffd\ufffdA"


@many
@given(
    model=st.sampled_from([*sorted(MEASURING), 705, 1, 64_001]),
    length=st.integers(1, 700),
    most=st.integers(4, 125),
)
def test_readings_are_small_whole_and_tear_no_point(model, length, most):
    block = Block(model, 40_070, length)
    parts = sunspec_model.reads(block, most)
    assert all(1 <= part.count <= most for part in parts)
    covered = [a for part in parts for a in range(part.address, part.address + part.count)]
    assert covered == list(range(block.address, block.address + 2 + length))
    if most >= 32 and sunspec_model.known(model):  # the longest text has 32 registers
        header = model.to_bytes(2, "big") + length.to_bytes(2, "big")
        layout = sunspec_model.layout_of(header + (b"\xff" * 2) * length)
        ends = {part.address - block.address for part in parts[1:]}
        assert all(end in layout.starts or end > max(layout.starts) for end in ends)


@many
@given(data=st.data(), model=st.sampled_from(sorted(MEASURING | {1, 705, 712, 64_001, 7})))
def test_any_registers_are_numbers_or_refused(data, model):
    rest = data.draw(st.binary(max_size=500))
    registers = model.to_bytes(2, "big") + rest
    try:
        found = sunspec_model.values(registers)
    except DecodeError:
        assert len(registers) % 2 or len(registers) < 4 or not sunspec_model.known(model)
        return
    assert all(math.isfinite(value.value) for value in found)
    assert len({value.name for value in found}) == len(found)
    sunspec_model.faulty(model, found)
    sunspec_model.text(registers, "Mn")


@many
@given(answers=st.lists(st.none() | st.binary(max_size=8) | st.just(b"SunS"), max_size=40))
def test_any_answers_end_the_search(answers):
    search = sunspec_model.discover()
    wish = next(search)
    try:
        for answer in [*answers, *[None] * 10]:
            assert 0 <= wish.address <= 0xFFFF
            assert 1 <= wish.count <= 2
            wish = search.send(answer)
    except DecodeError:
        return
    except StopIteration:
        return
    pytest.fail("the search goes on for ever")


@many
@given(data=st.data(), model=st.sampled_from([101, 103, 113, 124, 203, 213, 701, 713, 802]))
def test_pysunspec2_reads_the_same(data, model):
    """Our judge, where it is right: factors implemented and in range, no infinity, no top bit."""
    length = Model(model).len - 2
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=length, max_size=length))
    registers = b"".join(word.to_bytes(2, "big") for word in (model, length, *words))
    theirs = Model(model, model_len=length, data=registers)
    for name in [name for name in theirs.points if name.endswith("_SF")]:
        offset = theirs.points[name].offset
        factor = data.draw(st.integers(-10, 10)) & 0xFFFF
        registers = changed(registers, offset, f"{factor:04x}")
    theirs = Model(model, model_len=length, data=registers)
    ours = values(registers)
    for name, point in theirs.points.items():
        kind, number = point.pdef["type"], point.cvalue
        no_number = name in ("ID", "L") or kind in ("string", "sunssf", "pad")
        if no_number or number is None or not math.isfinite(number):
            assert name not in ours
        elif kind.startswith("bitfield"):
            assert ours.get(name, number) == number
        else:
            assert ours[name] == pytest.approx(number, rel=1e-9)
