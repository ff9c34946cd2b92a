"""The sandbox's HJ 212 station: what it measures, says of itself, and remembers."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from core.timeaxis import to_us
from core.units import linear
from core.variables import VARIABLES
from sandbox import hj212_air, hj212_station
from sandbox.hj212_station import DAY, HOUR, LENGTHS_S, MINUTE, Memory

MONDAY_S = to_us(datetime(2026, 6, 21, 16, tzinfo=UTC)) // 1_000_000  # midnight in Shanghai
FIVE = LENGTHS_S[MINUTE]


def test_the_crc_is_the_standard_s():
    segment = (
        b"QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
        b"CP=&&RtdInterval=30&&"
    )
    assert hj212_station.frame(segment.decode()).endswith(b"1C80\r\n")


def test_every_value_is_plausible_in_the_unit_that_is_declared():
    (profile,), _ = hj212_station.describe()
    units = {tag.variable: tag.unit for tag in profile.tags}
    for begin_s in range(MONDAY_S, MONDAY_S + 86_400, FIVE):
        for one in hj212_air.measure(7, begin_s, FIVE):
            variable = VARIABLES[one.factor.variable]
            factor, offset = linear(units[variable.name], variable.unit)
            assert variable.minimum <= one.average * factor + offset <= variable.maximum
            assert one.minimum <= one.average <= one.maximum


def test_the_profile_names_what_the_station_sends():
    (profile,), links = hj212_station.describe()
    assert (profile.register, links) == (True, ())
    assert fnmatchcase(hj212_station.mn_of(12), profile.pattern)
    assert len(hj212_station.mn_of(12)) == 24
    said = hj212_station.content(1, (MINUTE, MONDAY_S))
    sent = {part.split("=")[0] for part in said.replace(";", ",").split(",")}
    assert {tag.tag.partition("@")[0] for tag in profile.tags} <= sent
    assert len(hj212_station.frame(said)) < 1024 - 150  # with the head it fits into a segment


def test_an_hour_is_the_mean_of_its_minutes_and_sound_that_of_its_energy():
    hour = {m.factor.variable: m.average for m in hj212_air.measure(1, MONDAY_S, 3600)}
    fives = [hj212_air.measure(1, MONDAY_S + n * FIVE, FIVE) for n in range(12)]
    by_name = {m.factor.variable: [] for m in fives[0]}
    for five in fives:
        for one in five:
            by_name[one.factor.variable].append(one.average)
    assert hour["no2"] == pytest.approx(np.mean(by_name["no2"]))
    energy = np.mean(10 ** (np.array(by_name["laeq"]) / 10))
    assert hour["laeq"] == pytest.approx(10 * np.log10(energy))


def test_gases_are_marked_while_they_are_calibrated():
    at_s = MONDAY_S + int(1.75 * 3600)
    marks = {m.factor.code: m.mark for m in hj212_air.measure(1, at_s, FIVE)}
    assert marks["a21026"] == "C"
    assert marks["a34004"] == "N"
    assert {m.mark for m in hj212_air.measure(1, at_s + FIVE, FIVE)} == {"N"}


def test_an_interval_is_measured_when_the_station_was_on_for_all_of_it():
    memory = Memory(None)
    memory.switch_on(MONDAY_S + 100)
    assert memory.measured_until(MONDAY_S + 2 * FIVE - 1) == []
    assert memory.measured_until(MONDAY_S + 2 * FIVE) == [(MINUTE, MONDAY_S + FIVE)]
    assert memory.measured_until(MONDAY_S + 2 * FIVE) == []
    rest = memory.measured_until(MONDAY_S + 2 * 3600)
    assert [v for v in rest if v[0] == HOUR] == [(HOUR, MONDAY_S + 3600)]
    assert len([v for v in rest if v[0] == MINUTE]) == 22
    memory.switch_on(MONDAY_S + 3 * 3600)
    memory.measured_until(MONDAY_S + 4 * 3600)
    assert memory.measured(HOUR, MONDAY_S, MONDAY_S + 86_400) == [
        (HOUR, MONDAY_S + 3600), (HOUR, MONDAY_S + 3 * 3600)
    ]  # fmt: skip


def test_days_are_those_of_the_station():
    memory = Memory(None)
    memory.switch_on(MONDAY_S - 100)
    ended = memory.measured_until(MONDAY_S + 86_400)
    assert [v for v in ended if v[0] == DAY] == [(DAY, MONDAY_S)]
    assert "DataTime=20260622000000" in hj212_station.content(1, (DAY, MONDAY_S))


def test_memory_survives_a_restart_and_a_damaged_file(tmp_path: Path):
    path = tmp_path / "station.json"
    memory = Memory.load(path)
    memory.switch_on(MONDAY_S)
    memory.measured_until(MONDAY_S + FIVE)
    memory.save()
    assert Memory.load(path) == memory
    path.write_text('{"runs": [')
    assert Memory.load(path) == Memory(path)
