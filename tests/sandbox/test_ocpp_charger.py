"""The simulated charging post: its cars, what it says of them, and what it is told of limits."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ocpp.messages import MessageType, get_validator

from core.clock import CityClock
from core.sites import AssetKind
from core.units import linear
from core.variables import variable
from sandbox import ocpp_words as words
from sandbox.ev import Habits, LimitCurve, Visit, power_w, visit
from sandbox.ocpp_charger import Memory, Present, Settings, describe, minute

NOON = datetime(2026, 6, 22, 4, tzinfo=UTC)
NOON_S = NOON.timestamp()
HABITS = Habits(gap_s=600.0, stay_s=3600.0)
SETTINGS = Settings(
    "ws://127.0.0.1:1/ocpp", "post-1", words.V16, "", CityClock(NOON, NOON), Path(), 1, HABITS
)
VERSIONS = pytest.mark.parametrize("version", [words.V16, words.V201])


def lived(minutes: int, limit_w: float | None = None) -> tuple[list[Present], list[words.Note]]:
    """Every minute from noon on, and all notes."""
    present = Present(NOON_S, 1000.0, visit(1, "post-1", 0, NOON_S, HABITS))
    presents, notes = [present], []
    for _ in range(minutes):
        present, made = minute(present, limit_w, SETTINGS, offline=False)
        presents.append(present)
        notes += made
    return presents, notes


def test_one_seed_is_one_sequence_of_cars() -> None:
    first = visit(1, "post-1", 0, NOON_S, HABITS)
    assert first == visit(1, "post-1", 0, NOON_S, HABITS)
    assert first != visit(2, "post-1", 0, NOON_S, HABITS)
    assert first != visit(1, "post-2", 0, NOON_S, HABITS)
    assert NOON_S < first.arrival_s < first.departure_s


def test_a_car_takes_what_it_wants_and_no_more() -> None:
    car = Visit(0, 0.0, 3600.0, 1_000.0, 60_000.0, 11_000.0)
    assert power_w(car, 0.0, None, 60.0) == 11_000.0
    assert power_w(car, 0.0, 2_000.0, 60.0) == 2_000.0
    assert power_w(car, 0.0, -5.0, 60.0) == 0.0
    assert power_w(car, 990.0, None, 60.0) == pytest.approx(600.0)  # the last 10 Wh in a minute
    assert power_w(car, 1_000.0, None, 60.0) == 0.0
    assert car.soc_percent(1_000.0) == 90.0


def test_limits_hold_from_their_start_to_their_end() -> None:
    curve = LimitCurve([100.0, 200.0], [5.0, 7.0], 300.0)
    assert [curve.at(ts_s) for ts_s in (99.0, 100.0, 199.9, 200.0, 299.9, 300.0)] == [
        None,
        5.0,
        5.0,
        7.0,
        7.0,
        None,
    ]


def test_a_day_of_cars_is_metered_minute_by_minute() -> None:
    presents, notes = lived(1440)
    registers = [present.register_wh for present in presents]
    assert registers == sorted(registers)
    by_car: dict[str, list[words.Note]] = {}
    for note in notes:
        by_car.setdefault(note.transaction, []).append(note)
    whole = [told for told in by_car.values() if told[-1].kind == "stop"]
    assert len(whole) > 5
    for told in whole:
        assert [note.kind for note in told[:2]] == ["start", "needs"]
        assert {note.kind for note in told[2:-1]} == {"meter"}
        assert [note.seq_no for note in told] == list(range(len(told)))
        energy_wh = told[-1].register_wh - told[0].register_wh
        metered_wh = sum(note.power_w for note in told if note.kind == "meter") / 60.0
        assert energy_wh == pytest.approx(metered_wh, abs=0.5)
        assert energy_wh <= told[1].energy_wh + 0.5
        assert abs(told[-1].ts_s - told[1].departure_s) <= 60.0


def test_a_limit_keeps_the_power_down() -> None:
    assert max(note.power_w for note in lived(120)[1]) > 1_500.0
    assert max(note.power_w for note in lived(120, limit_w=1_500.0)[1]) == 1_500.0


@VERSIONS
def test_everything_it_says_is_as_the_standard_wants(version: str) -> None:
    notes = {note.kind: note for note in lived(120)[1]}
    calls = [words.told(version, note, 7) for note in notes.values()]
    calls += [words.boot(version, "post-1"), words.idle(version, NOON_S, 1000.0)]
    calls += [words.status(version, NOON_S, occupied=occupied) for occupied in (True, False)]
    assert set(notes) == {"start", "needs", "meter", "stop"}
    for action, payload in calls:
        validator = get_validator(MessageType.Call, action, version.removeprefix("ocpp"))
        validator.validate(json.loads(json.dumps(payload)))


def asked(version: str, **changes: Any) -> dict[str, Any]:
    schedule = {
        "startSchedule": "2026-06-22T04:00:00.000Z",
        "duration": 1800,
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [
            {"startPeriod": 0, "limit": 16.0},
            {"startPeriod": 900, "limit": 0},
        ],
    } | changes
    if version == words.V16:
        profile = {"chargingProfileKind": "Absolute", "chargingSchedule": schedule}
        return {"connectorId": 0, "csChargingProfiles": profile}
    profile = {"chargingProfileKind": "Absolute", "chargingSchedule": [{"id": 1, **schedule}]}
    return {"evseId": 0, "chargingProfile": profile}


@VERSIONS
def test_a_charging_profile_becomes_limits(version: str) -> None:
    curve = words.limit_curve(version, asked(version))
    assert curve == LimitCurve([NOON_S, NOON_S + 900], [16 * 690.0, 0.0], NOON_S + 1800)


@VERSIONS
@pytest.mark.parametrize(
    "changes",
    [
        {"startSchedule": "soon"},
        {"chargingSchedulePeriod": []},
        {"chargingSchedulePeriod": [{"startPeriod": n, "limit": 1} for n in range(25)]},
        {"duration": None},
    ],
)
def test_a_profile_it_cannot_follow_is_refused(version: str, changes: dict[str, Any]) -> None:
    assert words.limit_curve(version, asked(version, **changes)) is None


@VERSIONS
def test_it_answers_what_it_is_asked(version: str) -> None:
    component = {"component": {"name": "C"}, "variable": {"name": "RateUnit"}}
    questions: dict[str, dict[str, Any]] = {
        "ChangeConfiguration": {"key": "a", "value": "b"},
        "GetConfiguration": {},
        "SetVariables": {"setVariableData": [component | {"attributeValue": "1"}]},
        "GetVariables": {"getVariableData": [component]},
    }
    answered = 0
    for action, payload in questions.items():
        given = words.answer(version, action, payload)
        if given is not None:
            number = version.removeprefix("ocpp")
            get_validator(MessageType.CallResult, action, number).validate(given)
            answered += 1
    assert answered == 2


def test_its_file_keeps_what_was_not_told(tmp_path: Path) -> None:
    path = tmp_path / "post.sqlite"
    presents, notes = lived(60)
    memory = Memory(path)
    for present, note in zip(presents, notes, strict=False):
        memory.keep(present, [note])
    again = Memory(path)
    assert again.present() == presents[len(notes) - 1]
    told = []
    while (kept := again.first()) is not None:
        told.append(kept[1])
        again.told(kept[0])
    assert told == notes


def test_its_profile_makes_assets_with_units_that_fit() -> None:
    (profile,), links = describe()
    assert links == ()
    assert (profile.protocol, profile.kind) == ("ocpp", AssetKind.EV_CHARGER)
    assert profile.register
    for tag in profile.tags:
        linear(tag.unit, variable(tag.variable).unit)


def test_it_is_a_program_of_its_own_that_starts_light() -> None:
    code = (
        "import sys; from sandbox import ocpp_charger;"
        "heavy = {'pandas', 'pandapower', 'scipy', 'pint', 'ingest', 'store'};"
        "print(heavy & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    run = {"cwd": root, "capture_output": True, "text": True, "timeout": 60, "check": True}
    assert subprocess.run([sys.executable, "-c", code], **run).stdout.strip() == "set()"
    shown = subprocess.run([sys.executable, "-m", "sandbox.ocpp_charger", "--help"], **run)
    assert "--url" in shown.stdout
