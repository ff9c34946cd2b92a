"""What a charger is told and asked when it connects, in the words of OCPP 1.6 and 2.0.1; no socket.

Keys are those of 1.6, or ``Component.Variable`` and ``Component.Variable.Instance`` in 2.0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ingest.charging_profile import Limits
from ingest.protocols.ocpp_json import V16

Call = tuple[str, dict[str, Any]]
"""Action and payload."""

_ATTEMPTS = "1000"
_ATTEMPT_INTERVAL_S = "10"

PATIENCE_16 = MappingProxyType(
    {
        "TransactionMessageAttempts": _ATTEMPTS,
        "TransactionMessageRetryInterval": _ATTEMPT_INTERVAL_S,
    }
)
PATIENCE_201 = MappingProxyType(
    {
        "OCPPCommCtrlr.MessageAttempts.TransactionEvent": _ATTEMPTS,
        "OCPPCommCtrlr.MessageAttemptInterval.TransactionEvent": _ATTEMPT_INTERVAL_S,
    }
)
"""How often a charger sends again what it was refused, and how long it waits, longer each time."""

_PERIODS = ("ChargingScheduleMaxPeriods", "SmartChargingCtrlr.PeriodsPerSchedule")
_UNITS = ("ChargingScheduleAllowedChargingRateUnit", "SmartChargingCtrlr.RateUnit")
_UNIT_NAMES = MappingProxyType({"Current": "A", "Power": "W", "A": "A", "W": "W"})


def settings(version: str, configuration: Mapping[str, Any]) -> Iterator[Call]:
    """The calls that make a charger patient and set what its profile asks for."""
    chosen = {str(key): str(value) for key, value in configuration.items()}
    if version == V16:
        for key, value in (PATIENCE_16 | chosen).items():
            yield "ChangeConfiguration", {"key": key, "value": value}
    else:
        wanted = [_variable(key, value) for key, value in (PATIENCE_201 | chosen).items()]
        yield "SetVariables", {"setVariableData": wanted}


def question(version: str) -> Call:
    """The call that asks what the charger can be told about limits."""
    if version == V16:
        return "GetConfiguration", {"key": [_PERIODS[0], _UNITS[0]]}
    return "GetVariables", {"getVariableData": [_variable(_PERIODS[1]), _variable(_UNITS[1])]}


def capable(limits: Limits, answer: Mapping[str, Any]) -> Limits:
    """``limits`` as the charger can take them, by its answer to ``question``."""
    found = _values_16(answer) | _values_201(answer)
    periods = next((found[name] for name in _PERIODS if name in found), "")
    if periods.isascii() and periods.isdigit() and int(periods) > 0:
        limits = replace(limits, max_periods=min(limits.max_periods, int(periods)))
    named = next((found[name] for name in _UNITS if name in found), "")
    units = [_UNIT_NAMES[u.strip()] for u in named.split(",") if u.strip() in _UNIT_NAMES]
    if units and limits.unit not in units:
        limits = replace(limits, unit=units[0])
    return limits


def _values_16(answer: Mapping[str, Any]) -> dict[str, str]:
    found = answer.get("configurationKey")
    rows = found if isinstance(found, list) else []
    return {str(r.get("key")): str(r.get("value", "")) for r in rows if isinstance(r, dict)}


def _values_201(answer: Mapping[str, Any]) -> dict[str, str]:
    found = answer.get("getVariableResult")
    values: dict[str, str] = {}
    for row in found if isinstance(found, list) else []:
        with suppress(TypeError, KeyError):
            name = f"{row['component']['name']}.{row['variable']['name']}"
            values[name] = str(row["attributeValue"])
    return values


def _variable(key: str, value: str | None = None) -> dict[str, Any]:
    component, _, rest = key.partition(".")
    name, _, instance = rest.partition(".")
    variable = {"name": name} | ({"instance": instance} if instance else {})
    made: dict[str, Any] = {"component": {"name": component}, "variable": variable}
    return made if value is None else made | {"attributeValue": value}
