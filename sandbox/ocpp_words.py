"""What a charging post says, in OCPP 1.6 and in 2.0.1, and what it understands of limits.

A post has one connector. Cards and contracts are made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from core.errors import VerdigridError
from core.timeaxis import parse
from sandbox.ev import LimitCurve

V16 = "ocpp1.6"
V201 = "ocpp2.0.1"
MAX_PERIODS = 24
PHASES = 3
VOLTAGE_V = 230.0

_VENDOR, _MODEL, _FIRMWARE = "Verdigrid sandbox", "Post 22", "1.0"
_REGISTER, _POWER = "Energy.Active.Import.Register", "Power.Active.Import"

Call = tuple[str, dict[str, Any]]
"""Action and payload."""


@dataclass(frozen=True)
class Note:
    """Something to tell of a car; kept until it was told.

    kind: start, needs, meter or stop. transaction: the post's own id for it; seq_no: counts its
    notes. offline: it happened while nobody listened.
    """

    kind: str
    transaction: str
    ts_s: float
    register_wh: float
    seq_no: int
    power_w: float = 0.0
    soc_percent: float = 0.0
    departure_s: float = 0.0
    energy_wh: float = 0.0
    max_w: float = 0.0
    offline: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Note:
        return cls(**json.loads(text))


def iso(ts_s: float) -> str:
    """Seconds since 1970 as OCPP writes times."""
    text = datetime.fromtimestamp(ts_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def boot(version: str, charger: str) -> Call:
    """BootNotification."""
    if version == V16:
        return "BootNotification", {
            "chargePointVendor": _VENDOR,
            "chargePointModel": _MODEL,
            "chargePointSerialNumber": charger[:25],
            "firmwareVersion": _FIRMWARE,
        }
    station = {
        "vendorName": _VENDOR,
        "model": _MODEL,
        "serialNumber": charger[:25],
        "firmwareVersion": _FIRMWARE,
    }
    return "BootNotification", {"reason": "PowerUp", "chargingStation": station}


def status(version: str, ts_s: float, *, occupied: bool) -> Call:
    """StatusNotification of the connector."""
    if version == V16:
        word = "Charging" if occupied else "Available"
        return "StatusNotification", {
            "connectorId": 1,
            "errorCode": "NoError",
            "status": word,
            "timestamp": iso(ts_s),
        }
    return "StatusNotification", {
        "timestamp": iso(ts_s),
        "connectorStatus": "Occupied" if occupied else "Available",
        "evseId": 1,
        "connectorId": 1,
    }


def idle(version: str, ts_s: float, register_wh: float) -> Call:
    """MeterValues while no car is there."""
    samples = [_sample(version, _POWER, 0.0, "W"), _sample(version, _REGISTER, register_wh, "Wh")]
    place = {"connectorId": 1} if version == V16 else {"evseId": 1}
    return "MeterValues", place | {"meterValue": [_meter_value(ts_s, samples)]}


def told(version: str, note: Note, given: int | None) -> Call:
    """The call for a note. given: the id the central system gave (1.6), once it has."""
    return _TOLD[version, note.kind](note, given or 0)


def _sample(version: str, measurand: str, value: float, unit: str, context: str = "") -> Any:
    about = {"measurand": measurand} | ({"context": context} if context else {})
    if version == V16:
        return about | {"value": f"{value:.1f}", "unit": unit}
    return about | {"value": round(value, 1), "unitOfMeasure": {"unit": unit}}


def _meter_value(ts_s: float, samples: list[Any]) -> dict[str, Any]:
    return {"timestamp": iso(ts_s), "sampledValue": samples}


def _samples(version: str, note: Note, context: str = "") -> list[Any]:
    return [
        _sample(version, _POWER, note.power_w, "W", context),
        _sample(version, _REGISTER, note.register_wh, "Wh", context),
        _sample(version, "SoC", note.soc_percent, "Percent", context),
    ]


def _start_16(note: Note, _: int) -> Call:
    return "StartTransaction", {
        "connectorId": 1,
        "idTag": "SANDBOX-CARD",
        "meterStart": round(note.register_wh),
        "timestamp": iso(note.ts_s),
    }


def _needs_16(note: Note, given: int) -> Call:
    data = {
        "transactionId": given,
        "timestamp": iso(note.ts_s),
        "departureTime": iso(note.departure_s),
        "energyAmount": round(note.energy_wh),
        "maxPower": round(note.max_w),
    }
    return "DataTransfer", {
        "vendorId": "verdigrid",
        "messageId": "ChargingNeeds",
        "data": json.dumps(data),
    }


def _meter_16(note: Note, given: int) -> Call:
    return "MeterValues", {
        "connectorId": 1,
        "transactionId": given,
        "meterValue": [_meter_value(note.ts_s, _samples(V16, note))],
    }


def _stop_16(note: Note, given: int) -> Call:
    return "StopTransaction", {
        "transactionId": given,
        "meterStop": round(note.register_wh),
        "timestamp": iso(note.ts_s),
        "reason": "EVDisconnected",
    }


def _event(note: Note, kind: str, trigger: str, context: str, **more: Any) -> Call:
    info = {"transactionId": note.transaction, "chargingState": "Charging"}
    info |= more.pop("info", {})
    return "TransactionEvent", {
        "eventType": kind,
        "timestamp": iso(note.ts_s),
        "triggerReason": trigger,
        "seqNo": note.seq_no,
        "offline": note.offline,
        "transactionInfo": info,
        "meterValue": [_meter_value(note.ts_s, _samples(V201, note, context))],
        **more,
    }


def _start_201(note: Note, _: int) -> Call:
    token = {"idToken": "SANDBOX-CARD", "type": "ISO14443"}
    evse = {"id": 1, "connectorId": 1}
    return _event(note, "Started", "CablePluggedIn", "Transaction.Begin", evse=evse, idToken=token)


def _needs_201(note: Note, _: int) -> Call:
    car = {
        "energyAmount": round(note.energy_wh),
        "evMinCurrent": 6,
        "evMaxCurrent": round(note.max_w / VOLTAGE_V / PHASES),
        "evMaxVoltage": round(VOLTAGE_V),
    }
    needs = {
        "requestedEnergyTransfer": "AC_three_phase",
        "departureTime": iso(note.departure_s),
        "acChargingParameters": car,
    }
    return "NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": needs}


def _meter_201(note: Note, _: int) -> Call:
    return _event(note, "Updated", "MeterValuePeriodic", "Sample.Periodic")


def _stop_201(note: Note, _: int) -> Call:
    info = {"chargingState": "Idle", "stoppedReason": "EVDisconnected"}
    return _event(note, "Ended", "EVDeparted", "Transaction.End", info=info)


_TOLD: MappingProxyType[tuple[str, str], Callable[[Note, int], Call]] = MappingProxyType(
    {
        (V16, "start"): _start_16,
        (V16, "needs"): _needs_16,
        (V16, "meter"): _meter_16,
        (V16, "stop"): _stop_16,
        (V201, "start"): _start_201,
        (V201, "needs"): _needs_201,
        (V201, "meter"): _meter_201,
        (V201, "stop"): _stop_201,
    }
)


def limit_curve(version: str, payload: Mapping[str, Any]) -> LimitCurve | None:
    """What SetChargingProfile asks for; None where this post cannot do it."""
    try:
        if version == V16:
            profile = payload["csChargingProfiles"]
            schedule = profile["chargingSchedule"]
        else:
            profile = payload["chargingProfile"]
            (schedule,) = profile["chargingSchedule"]
        if profile["chargingProfileKind"] != "Absolute":
            return None
        periods = schedule["chargingSchedulePeriod"]
        start_s = parse(schedule["startSchedule"]).timestamp()
        factor = 1.0 if schedule["chargingRateUnit"] == "W" else VOLTAGE_V * PHASES
        if not 0 < len(periods) <= MAX_PERIODS:
            return None
        return LimitCurve(
            [start_s + float(p["startPeriod"]) for p in periods],
            [factor * float(p["limit"]) for p in periods],
            start_s + float(schedule["duration"]),
        )
    except (KeyError, TypeError, ValueError, VerdigridError):
        return None


def answer(version: str, action: str, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the post answers to a call other than those of limits; None where it knows none."""
    if version == V16:
        return _answer_16(action)
    return _answer_201(action, payload)


def _answer_16(action: str) -> dict[str, Any] | None:
    if action == "ChangeConfiguration":
        return {"status": "Accepted"}
    if action == "GetConfiguration":
        known = {
            "ChargingScheduleMaxPeriods": str(MAX_PERIODS),
            "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
        }
        rows = [{"key": k, "readonly": True, "value": v} for k, v in known.items()]
        return {"configurationKey": rows}
    return None


def _answer_201(action: str, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    if action == "SetVariables":
        named = [_named(row) for row in payload.get("setVariableData", [])]
        return {"setVariableResult": [n | {"attributeStatus": "Accepted"} for n in named]}
    if action == "GetVariables":
        known = {"PeriodsPerSchedule": str(MAX_PERIODS), "RateUnit": "A,W"}
        rows = []
        for row in map(_named, payload.get("getVariableData", [])):
            value = known.get(row["variable"]["name"])
            found = {"attributeStatus": "UnknownVariable"}
            if value is not None:
                found = {"attributeStatus": "Accepted", "attributeValue": value}
            rows.append(row | found)
        return {"getVariableResult": rows}
    return None


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"component": row["component"], "variable": row["variable"]}
