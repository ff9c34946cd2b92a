"""What the central system answers to the calls of a charger, OCPP 1.6 and 2.0.1; no socket here.

Calls that carry data (``KEPT``) are answered after they are safe, whatever their form: what cannot
be read goes to quarantine, and a charger that was refused for it would only send it again. All
others are checked against the schemas of the standard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson
from ocpp.messages import MessageType, get_validator

from core.errors import VerdigridError
from core.timeaxis import utc
from ingest.protocols.ocpp_json import CALL, NEEDS_MESSAGE, V16, V201, VENDOR

RESULT = 3
ERROR = 4

VERSIONS = (V201, V16)
"""In the order of preference."""

KEPT = MappingProxyType(
    {
        V16: frozenset(
            {
                "MeterValues",
                "StartTransaction",
                "StopTransaction",
                "StatusNotification",
                "DataTransfer",
            }
        ),
        V201: frozenset(
            {
                "MeterValues",
                "TransactionEvent",
                "StatusNotification",
                "NotifyEVChargingNeeds",
                "DataTransfer",
            }
        ),
    }
)

_PRIVATE = frozenset(
    {
        "idTag",
        "parentIdTag",
        "idToken",
        "groupIdToken",
        "additionalInfo",
        "iso15118CertificateHashData",
        "certificate",
        "exiRequest",
    }
)
_LONGEST_DESCRIPTION = 255
_DEEPEST = 32


class RefusedError(VerdigridError):
    """The call cannot be answered; ``code`` is OCPP's name for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Facts:
    """What answers depend on.

    id_tags: the cards that may charge, None for all. transaction: the id of a 1.6 transaction that
    has just been given, or whether there is one for 2.0.1 NotifyEVChargingNeeds.
    """

    now: datetime
    heartbeat_s: int
    id_tags: frozenset[str] | None = None
    transaction: int | None = None


Payload = dict[str, Any]


def call(frame: Any) -> tuple[str, str, Payload]:
    """Id, action and payload of a CALL; raises RefusedError for a frame that is none."""
    if (
        not isinstance(frame, list)
        or len(frame) != 4
        or frame[0] != CALL
        or not isinstance(frame[1], str)
        or not 0 < len(frame[1]) <= 36
        or not isinstance(frame[2], str)
        or not isinstance(frame[3], dict)
    ):
        raise RefusedError("FormationViolation", "This is no [2, id, action, {...}].")
    return frame[1], frame[2], frame[3]


def checked(version: str, action: str) -> None:
    """Raises RefusedError for an action that has no answer here."""
    if action not in _ANSWERS[version]:
        raise RefusedError("NotImplemented", f"{action[:40]} is not implemented.")


def answer(version: str, action: str, payload: Payload, facts: Facts) -> Payload:
    """The payload of the CALLRESULT; raises RefusedError for a payload that cannot be answered."""
    checked(version, action)
    if action not in KEPT[version]:
        _validate(version, action, payload)
    return _ANSWERS[version][action](payload, facts)


def result(unique_id: str, payload: Payload) -> str:
    """A CALLRESULT as text."""
    return orjson.dumps([RESULT, unique_id, payload]).decode()


def error(unique_id: str, code: str, description: str) -> str:
    """A CALLERROR as text."""
    return orjson.dumps([ERROR, unique_id, code, description[:_LONGEST_DESCRIPTION], {}]).decode()


def worth_keeping(action: str, payload: Payload, *, in_transaction: bool) -> bool:
    """Whether a call of ``KEPT`` says something that can be read later.

    Other vendors' data may hold anything; what a car needs means nothing outside a transaction.
    Both are answered as refused.
    """
    if action == "DataTransfer":
        return (payload.get("vendorId"), payload.get("messageId")) == (VENDOR, NEEDS_MESSAGE)
    return in_transaction or action != "NotifyEVChargingNeeds"


def without_drivers(value: Any, depth: int = 0) -> Any:
    """``value`` without what tells who charges: cards, contracts and certificates.

    Raises RefusedError for a value that is nested deeper than anything of the standard.
    """
    if depth > _DEEPEST:
        raise RefusedError("FormationViolation", "The payload is nested too deeply.")
    if isinstance(value, dict):
        return {k: without_drivers(v, depth + 1) for k, v in value.items() if k not in _PRIVATE}
    if isinstance(value, list):
        return [without_drivers(item, depth + 1) for item in value]
    return value


def stamp(ts: datetime) -> str:
    """A time as OCPP writes it."""
    return utc(ts).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _validate(version: str, action: str, payload: Payload) -> None:
    validator = get_validator(MessageType.Call, action, version.removeprefix("ocpp"))
    for broken in validator.iter_errors(payload):
        code = _CODES.get(str(broken.validator), "PropertyConstraintViolation")
        if version == V16:
            code = _CODES_16.get(code, code)
        raise RefusedError(code, f"{action}: {'/'.join(map(str, broken.path)) or 'payload'}")


_CODES = MappingProxyType(
    {
        "type": "TypeConstraintViolation",
        "required": "OccurrenceConstraintViolation",
        "minItems": "OccurrenceConstraintViolation",
        "maxItems": "OccurrenceConstraintViolation",
        "enum": "PropertyConstraintViolation",
        "maxLength": "PropertyConstraintViolation",
        "additionalProperties": "FormatViolation",
    }
)
_CODES_16 = MappingProxyType(
    {  # OCPP-J 1.6 misspelled them
        "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
        "FormatViolation": "FormationViolation",
    }
)


def _status_of(token: object, facts: Facts) -> str:
    if facts.id_tags is None or (isinstance(token, str) and token in facts.id_tags):
        return "Accepted"
    return "Invalid"


def _nothing(_payload: Payload, _facts: Facts) -> Payload:
    return {}


def _rejected(_payload: Payload, _facts: Facts) -> Payload:
    return {"status": "Rejected"}


def _failed(_payload: Payload, _facts: Facts) -> Payload:
    return {"status": "Failed"}


def _boot(_payload: Payload, facts: Facts) -> Payload:
    return {
        "status": "Accepted",
        "currentTime": stamp(facts.now),
        "interval": facts.heartbeat_s,
    }


def _heartbeat(_payload: Payload, facts: Facts) -> Payload:
    return {"currentTime": stamp(facts.now)}


def _data_transfer(payload: Payload, _facts: Facts) -> Payload:
    if payload.get("vendorId") != VENDOR:
        return {"status": "UnknownVendorId"}
    known = payload.get("messageId") == NEEDS_MESSAGE
    return {"status": "Accepted" if known else "UnknownMessageId"}


def _authorize_16(payload: Payload, facts: Facts) -> Payload:
    return {"idTagInfo": {"status": _status_of(payload.get("idTag"), facts)}}


def _start_transaction(payload: Payload, facts: Facts) -> Payload:
    return {"transactionId": facts.transaction, **_authorize_16(payload, facts)}


def _stop_transaction(payload: Payload, facts: Facts) -> Payload:
    return _authorize_16(payload, facts) if "idTag" in payload else {}


def _authorize_201(payload: Payload, facts: Facts) -> Payload:
    token = payload.get("idToken")
    given = token.get("idToken") if isinstance(token, dict) else None
    return {"idTokenInfo": {"status": _status_of(given, facts)}}


def _transaction_event(payload: Payload, facts: Facts) -> Payload:
    return _authorize_201(payload, facts) if "idToken" in payload else {}


def _charging_needs(_payload: Payload, facts: Facts) -> Payload:
    """Processing: the next plan takes it into account. Rejected: for no car that we know of."""
    return {"status": "Rejected" if facts.transaction is None else "Processing"}


def _certificate_15118(_payload: Payload, _facts: Facts) -> Payload:
    return {"status": "Failed", "exiResponse": ""}


def _schedule_15118(_payload: Payload, _facts: Facts) -> Payload:
    return {"status": "Accepted"}


_Answers = MappingProxyType[str, Callable[[Payload, Facts], Payload]]

_ANSWERS: MappingProxyType[str, _Answers] = MappingProxyType(
    {
        V16: MappingProxyType(
            {
                "Authorize": _authorize_16,
                "BootNotification": _boot,
                "DataTransfer": _data_transfer,
                "DiagnosticsStatusNotification": _nothing,
                "FirmwareStatusNotification": _nothing,
                "Heartbeat": _heartbeat,
                "LogStatusNotification": _nothing,
                "MeterValues": _nothing,
                "SecurityEventNotification": _nothing,
                "SignCertificate": _rejected,
                "SignedFirmwareStatusNotification": _nothing,
                "StartTransaction": _start_transaction,
                "StatusNotification": _nothing,
                "StopTransaction": _stop_transaction,
            }
        ),
        V201: MappingProxyType(
            {
                "Authorize": _authorize_201,
                "BootNotification": _boot,
                "ClearedChargingLimit": _nothing,
                "DataTransfer": _data_transfer,
                "FirmwareStatusNotification": _nothing,
                "Get15118EVCertificate": _certificate_15118,
                "GetCertificateStatus": _failed,
                "Heartbeat": _heartbeat,
                "LogStatusNotification": _nothing,
                "MeterValues": _nothing,
                "NotifyChargingLimit": _nothing,
                "NotifyCustomerInformation": _nothing,
                "NotifyDisplayMessages": _nothing,
                "NotifyEVChargingNeeds": _charging_needs,
                "NotifyEVChargingSchedule": _schedule_15118,
                "NotifyEvent": _nothing,
                "NotifyMonitoringReport": _nothing,
                "NotifyReport": _nothing,
                "PublishFirmwareStatusNotification": _nothing,
                "ReportChargingProfiles": _nothing,
                "ReservationStatusUpdate": _nothing,
                "SecurityEventNotification": _nothing,
                "SignCertificate": _rejected,
                "StatusNotification": _nothing,
                "TransactionEvent": _transaction_event,
            }
        ),
    }
)


def actions(version: str) -> frozenset[str]:
    """Every action that is answered."""
    return frozenset(_ANSWERS[version])
