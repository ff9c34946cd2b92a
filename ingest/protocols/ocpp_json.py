"""OCPP-J of chargers, versions 1.6 and 2.0.1, on ``ocpp/<charger>``.

The payload is what ingest/ocpp_server.py made of a CALL of the charger, a JSON object:

- ``version``: ``ocpp1.6`` or ``ocpp2.0.1``;
- ``frame``: the CALL, ``[2, id, action, {...}]``, without the cards and contracts of drivers, which
  are never kept;
- ``transaction``, where the message does not name its transaction itself: the id the server gave
  (1.6 StartTransaction) or that is under way (2.0.1 NotifyEVChargingNeeds), a text;
- ``connector``, where a message of a transaction does not name it: as the start did;
- ``interval_s``, where the charger's profile says so: what interval energies stand for;
- ``tags``, where the city has described them: the only ones to read, since chargers tell much more.

A device is a charger, a tag ``<connector>:<measurand>``, then ``.<phase>`` where there is one and
``@<location>`` where it is not the usual one: ``1:Power.Active.Import``, ``1:Voltage.L1-N``,
``2:Energy.Active.Import.Register``, ``1:Temperature@Body``. Connectors are those of 1.6 and the
EVSEs of 2.0.1; 0 is the charger as a whole. A profile makes one asset of a charger: where that has
several connectors it names the tags of connector 0, or the city's description has an asset for
each connector.

Values are instants, except ``*.Interval`` energies: OCPP stamps their end, and they are no readings
where nobody said how long they are. Values that a charger has signed (format ``SignedData``) and
empty ones are passed over.

Besides readings a message gives the events of core/charging.py. What a car needs comes from 2.0.1
NotifyEVChargingNeeds, or in both versions from DataTransfer with vendorId ``verdigrid``, messageId
``ChargingNeeds`` and as data a JSON text ``{"transactionId", "departureTime", "energyAmount",
"maxPower", "timestamp"}`` (Wh, W), all but the first optional.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from core.charging import ChargingEvent, ConnectorStatus, Needs, Register, SessionStep
from core.errors import DecodeError, UnitError
from core.readings import RawReading
from core.units import linear
from ingest import wire
from ingest.decoded import Decoded

NAME = "ocpp"
SOURCES = ("ocpp/+",)

V16 = "ocpp1.6"
V201 = "ocpp2.0.1"
CALL = 2

VENDOR = "verdigrid"
NEEDS_MESSAGE = "ChargingNeeds"

REGISTER = "Energy.Active.Import.Register"
"""The measurand where none is named, and the one that session energy is taken from."""

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_NOTHING = frozenset(("", "nan", "null", "none", "n/a"))
_LONGEST_INTERVAL_S = 86_400.0
_WIDEST_MULTIPLIER = 30
_LARGEST_MWH = 1e9
_LARGEST_ID = 2.0**53

_UNITS = MappingProxyType(
    {
        "Percent": "%",
        "Celsius": "degC",
        "Celcius": "degC",  # as OCPP 1.6 misspelled it
        "Fahrenheit": "degF",
        "Hertz": "Hz",
        "kvarh": "kilovolt_ampere*hour",
        "VAh": "volt_ampere*hour",
        "kVAh": "kilovolt_ampere*hour",
    }
)
_PHASES = MappingProxyType({"AC_single_phase": 1, "AC_two_phase": 2, "AC_three_phase": 3})


@dataclass(frozen=True, slots=True)
class _Call:
    """A CALL and what the server knew besides."""

    charger: str
    payload: dict[str, Any]
    received_at: datetime
    transaction: str | None
    connector: int | None
    interval: timedelta | None
    tags: frozenset[str] | None


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:
    """The readings and events of one CALL; raises DecodeError when it cannot be read."""
    envelope = _object(wire.json_value(payload), "The message")
    frame = envelope.get("frame")
    if not isinstance(frame, list) or len(frame) != 4 or frame[0] != CALL:
        raise DecodeError("The OCPP frame is no CALL.")
    version, action = envelope.get("version"), frame[2]
    named = isinstance(version, str) and isinstance(action, str)
    read = _READERS.get((version, action)) if named else None
    if read is None:
        raise DecodeError("This action of this OCPP version holds nothing to read.")
    transaction = envelope.get("transaction")
    connector = envelope.get("connector")
    return read(
        _Call(
            charger=wire.name(topic.partition("/")[2], "The charger's name"),
            payload=_object(frame[3], f"The payload of {action}"),
            received_at=received_at,
            transaction=None if transaction is None else wire.name(transaction, "The transaction"),
            connector=None if connector is None else _index(connector, "The connector"),
            interval=_interval(envelope.get("interval_s")),
            tags=_tags(envelope.get("tags")),
        )
    )


def _meter_values_16(call: _Call) -> Decoded:
    connector = _index(call.payload.get("connectorId"), "connectorId")
    samples = _Samples.read(call, connector, call.payload.get("meterValue"))
    transaction = _transaction_16(call.payload.get("transactionId", 0))
    return samples.decoded(*samples.updates(transaction))


def _start_transaction(call: _Call) -> Decoded:
    connector = _index(call.payload.get("connectorId"), "connectorId")
    if call.transaction is None:
        raise DecodeError("The start of a transaction came without the id it was given.")
    ts = wire.rfc3339(call.payload.get("timestamp"), "The timestamp")
    meter_wh = wire.number(call.payload.get("meterStart"), "meterStart")
    samples = _Samples(call, connector, [], [])
    samples.add(REGISTER, ts, meter_wh, "Wh")
    return samples.decoded(
        ChargingEvent(
            SessionStep.START, call.charger, call.transaction, ts, connector, _mwh(meter_wh)
        )
    )


def _stop_transaction(call: _Call) -> Decoded:
    """The charger does not repeat the connector; where the server did not know it either, the
    session ends and nothing can be read.
    """
    transaction = _transaction_16(call.payload.get("transactionId"))
    if transaction is None:
        raise DecodeError("The end of a transaction names none.")
    ts = wire.rfc3339(call.payload.get("timestamp"), "The timestamp")
    meter_wh = wire.number(call.payload.get("meterStop"), "meterStop")
    samples = _Samples.read(call, call.connector, call.payload.get("transactionData", []))
    samples.add(REGISTER, ts, meter_wh, "Wh")
    end = ChargingEvent(
        SessionStep.END, call.charger, transaction, ts, call.connector, _mwh(meter_wh)
    )
    return samples.decoded(*samples.updates(transaction), end)


def _status_notification_16(call: _Call) -> Decoded:
    error = _text(call.payload, "errorCode")
    return _status(
        call,
        str(_index(call.payload.get("connectorId"), "connectorId")),
        _text(call.payload, "status"),
        "" if error == "NoError" else error,
    )


def _meter_values_201(call: _Call) -> Decoded:
    evse = _index(call.payload.get("evseId"), "evseId")
    return _Samples.read(call, evse, call.payload.get("meterValue")).decoded()


_STEPS = MappingProxyType(
    {"Started": SessionStep.START, "Updated": SessionStep.UPDATE, "Ended": SessionStep.END}
)


def _transaction_event(call: _Call) -> Decoded:
    """The EVSE need not be repeated after the first event; see ``_stop_transaction``."""
    kind = _text(call.payload, "eventType")
    if kind not in _STEPS:
        raise DecodeError("eventType is none of Started, Updated and Ended.")
    info = _object(call.payload.get("transactionInfo"), "transactionInfo")
    transaction = _text(info, "transactionId")
    connector = call.connector
    if "evse" in call.payload:
        connector = _index(_object(call.payload["evse"], "evse").get("id"), "The evse's id")
    ts = wire.rfc3339(call.payload.get("timestamp"), "The timestamp")
    samples = _Samples.read(call, connector, call.payload.get("meterValue", []))
    step = ChargingEvent(_STEPS[kind], call.charger, transaction, ts, connector)
    return samples.decoded(step, *samples.updates(transaction))


def _status_notification_201(call: _Call) -> Decoded:
    evse = _index(call.payload.get("evseId"), "evseId")
    connector = _index(call.payload.get("connectorId"), "connectorId")
    return _status(call, f"{evse}.{connector}", _text(call.payload, "connectorStatus"), "")


def _charging_needs(call: _Call) -> Decoded:
    if call.transaction is None:
        raise DecodeError("What a car needs came while no transaction was under way.")
    asked = _object(call.payload.get("chargingNeeds"), "chargingNeeds")
    energy_wh, max_w = _wanted(asked)
    needs = Needs(_optional_time(asked, "departureTime"), _mwh(energy_wh), _mw(max_w))
    evse = _index(call.payload.get("evseId"), "evseId")
    return _needed(call, call.transaction, call.received_at, evse, needs)


def _wanted(asked: dict[str, Any]) -> tuple[float | None, float | None]:
    """Energy in Wh and highest power in W, as ISO 15118 gave them to the charger."""
    if "dcChargingParameters" in asked:
        car = _object(asked["dcChargingParameters"], "dcChargingParameters")
        max_w = _optional(car, "evMaxPower")
        return _optional(car, "energyAmount"), _volt_ampere(car) if max_w is None else max_w
    if "acChargingParameters" in asked:
        car = _object(asked["acChargingParameters"], "acChargingParameters")
        phase_w = _volt_ampere(car)
        phases = _PHASES.get(_text(asked, "requestedEnergyTransfer"), 1)
        return _optional(car, "energyAmount"), None if phase_w is None else phases * phase_w
    return None, None


def _volt_ampere(car: dict[str, Any]) -> float | None:
    volt, ampere = _optional(car, "evMaxVoltage"), _optional(car, "evMaxCurrent")
    return None if volt is None or ampere is None else volt * ampere


def _data_transfer(call: _Call) -> Decoded:
    named = (call.payload.get("vendorId"), call.payload.get("messageId"))
    if named != (VENDOR, NEEDS_MESSAGE):
        raise DecodeError("This vendor's data cannot be read.")
    data = call.payload.get("data")
    if isinstance(data, str):
        data = wire.json_value(data.encode("utf-8", "replace"))
    asked = _object(data, "The data")
    transaction = asked.get("transactionId")
    if isinstance(transaction, int):
        transaction = _transaction_16(transaction)
    needs = Needs(
        _optional_time(asked, "departureTime"),
        _mwh(_optional(asked, "energyAmount")),
        _mw(_optional(asked, "maxPower")),
    )
    ts = _optional_time(asked, "timestamp") or call.received_at
    return _needed(call, wire.name(transaction, "transactionId"), ts, None, needs)


def _needed(
    call: _Call, transaction: str, ts: datetime, connector: int | None, needs: Needs
) -> Decoded:
    event = ChargingEvent(SessionStep.UPDATE, call.charger, transaction, ts, connector, needs=needs)
    return Decoded.of([], (event,))


def _status(call: _Call, connector: str, status: str, error: str) -> Decoded:
    ts = _optional_time(call.payload, "timestamp") or call.received_at
    return Decoded.of([], (ConnectorStatus(call.charger, connector, ts, status, error),))


_READERS: MappingProxyType[tuple[Any, Any], Callable[[_Call], Decoded]] = MappingProxyType(
    {
        (V16, "MeterValues"): _meter_values_16,
        (V16, "StartTransaction"): _start_transaction,
        (V16, "StopTransaction"): _stop_transaction,
        (V16, "StatusNotification"): _status_notification_16,
        (V16, "DataTransfer"): _data_transfer,
        (V201, "MeterValues"): _meter_values_201,
        (V201, "TransactionEvent"): _transaction_event,
        (V201, "StatusNotification"): _status_notification_201,
        (V201, "NotifyEVChargingNeeds"): _charging_needs,
        (V201, "DataTransfer"): _data_transfer,
    }
)


@dataclass(frozen=True, slots=True)
class _Samples:
    """The meter values of one message: readings, and the registers among them for sessions."""

    call: _Call
    connector: int | None
    readings: list[RawReading]
    registers: list[Register]

    @classmethod
    def read(cls, call: _Call, connector: int | None, meter_values: Any) -> _Samples:
        made = cls(call, connector, [], [])
        for meter_value in _list(meter_values, "meterValue"):
            ts = wire.rfc3339(
                _object(meter_value, "A meter value").get("timestamp"), "A meter value's timestamp"
            )
            for sample in _list(meter_value.get("sampledValue"), "sampledValue"):
                made._take(_object(sample, "A sampled value"), ts)
        return made

    def _take(self, sample: dict[str, Any], ts: datetime) -> None:
        value = _value(sample)
        if value is None:
            return
        measurand = _text(sample, "measurand", REGISTER)
        phase = _text(sample, "phase", "")
        location = _text(sample, "location", _usual_location(measurand))
        unit = _unit(sample, measurand)
        name = measurand
        name += f".{phase}" if phase else ""
        name += f"@{location}" if location != _usual_location(measurand) else ""
        if name == REGISTER:
            self.registers.append((ts, _energy_mwh(value, unit)))
        if measurand.endswith(".Interval"):
            if self.call.interval is None:
                return
            ts = wire.bounded(ts - self.call.interval)
        self.add(name, ts, value, unit)

    def add(self, name: str, ts: datetime, value: float, unit: str | None) -> None:
        """A reading of the connector, where that is known and anybody wants it."""
        tag = wire.name(f"{self.connector}:{name}", "The tag")
        wanted = self.call.tags is None or tag in self.call.tags
        if self.connector is not None and wanted:
            self.readings.append(RawReading(self.call.charger, tag, ts, value, unit))

    def updates(self, transaction: str | None) -> Iterator[ChargingEvent]:
        """The first and the last register of the message, where it belongs to a transaction."""
        if transaction is None or not self.registers:
            return
        for ts, register_mwh in sorted({min(self.registers), max(self.registers)}):
            yield ChargingEvent(
                SessionStep.UPDATE, self.call.charger, transaction, ts, self.connector, register_mwh
            )

    def decoded(self, *events: ChargingEvent) -> Decoded:
        return Decoded.of(self.readings, events)


def _value(sample: dict[str, Any]) -> float | None:
    """The number of a sampled value, None for one that holds none.

    1.6 writes numbers as texts, 2.0.1 as numbers with a power of ten beside the unit.
    """
    if sample.get("format") == "SignedData":
        return None
    given = sample.get("value")
    if isinstance(given, str):
        if given.strip().lower() in _NOTHING:
            return None
        if not _NUMBER.fullmatch(given):
            raise DecodeError("A sampled value is not a number.")
        given = float(given)
    value = wire.number(given, "A sampled value")
    measure = sample.get("unitOfMeasure")
    if isinstance(measure, dict) and "multiplier" in measure:
        multiplier = wire.number(measure["multiplier"], "The multiplier")
        if multiplier != int(multiplier) or abs(multiplier) > _WIDEST_MULTIPLIER:
            raise DecodeError("The multiplier is no small whole number.")
        value = wire.number(value * 10.0 ** int(multiplier), "A sampled value")
    return value


def _usual_location(measurand: str) -> str:
    return "EV" if measurand == "SoC" else "Outlet"


def _unit(sample: dict[str, Any], measurand: str) -> str | None:
    """In the spelling of core/units.py; OCPP's default where none is named."""
    measure = sample.get("unitOfMeasure")
    named = measure.get("unit") if isinstance(measure, dict) else sample.get("unit")
    if named is None:
        if measurand == "SoC":
            return "%"
        return "Wh" if measurand.startswith("Energy.") else None
    unit = wire.name(named, "The unit")
    return _UNITS.get(unit, unit)


def _energy_mwh(value: float, unit: str | None) -> float:
    try:
        factor, offset = linear(unit or "Wh", "MWh")
    except UnitError as error:
        raise DecodeError(f"The unit of {REGISTER} measures no energy.") from error
    return _plausible(value * factor + offset)


def _mwh(energy_wh: float | None) -> float | None:
    return None if energy_wh is None else _plausible(energy_wh * linear("Wh", "MWh")[0])


def _plausible(energy_mwh: float) -> float:
    """Registers are subtracted later, which must not overflow."""
    if not abs(energy_mwh) <= _LARGEST_MWH:
        raise DecodeError("An energy is larger than any charger's.")
    return energy_mwh


def _mw(power_w: float | None) -> float | None:
    return None if power_w is None else power_w * linear("W", "MW")[0]


def _transaction_16(value: object) -> str | None:
    """Some chargers send 0 or -1 outside of transactions."""
    number = wire.number(value, "transactionId")
    if number != int(number) or abs(number) > _LARGEST_ID:
        raise DecodeError("transactionId is no whole number of a usual size.")
    return str(int(number)) if number > 0 else None


def _interval(value: object) -> timedelta | None:
    if value is None:
        return None
    seconds = wire.number(value, "interval_s")
    if not 0.0 < seconds <= _LONGEST_INTERVAL_S:
        raise DecodeError("interval_s is no length of a day at most.")
    return timedelta(seconds=seconds)


def _tags(value: object) -> frozenset[str] | None:
    return None if value is None else frozenset(map(str, _list(value, "tags")))


def _optional(values: dict[str, Any], name: str) -> float | None:
    found = values.get(name)
    return None if found is None else wire.number(found, name)


def _optional_time(values: dict[str, Any], name: str) -> datetime | None:
    found = values.get(name)
    return None if found is None else wire.rfc3339(found, name)


def _index(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10_000:
        raise DecodeError(f"{what} is no small whole number.")
    return value


def _text(values: dict[str, Any], name: str, default: str | None = None) -> str:
    if default is not None and values.get(name) is None:
        return default
    return wire.name(values.get(name), name)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DecodeError(f"{what} is not a JSON object.")
    return value


def _list(value: object, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise DecodeError(f"{what} is not a list.")
    return value
