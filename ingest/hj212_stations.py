"""Which HJ 212 stations may speak, and how each is to be understood; out of device profiles.

Parameters of a profile of protocol ``hj212``:

- ``password``: of six characters by the standard; every station of the profile has it. An empty
  one lets every password in, and has to be written down as such.
- ``passwords``: ``{MN: password}`` for stations that have their own.
- ``timezone``: IANA name of the zone in which the stations' clocks run; default the city's.
- ``label``: ``begin`` (default, as in the standard) or ``end``: what the DataTime of minute and
  hour values labels. ``minute_s``: length of a minute value, needed with ``end``.
- ``keep``: patterns of the tags to read, such as ``["*-Avg@2051"]`` (ingest/keep.py); default all.
- ``sm4_key``, ``sm4_keys``: keys of the 2025 edition, 32 hexadecimal digits (experimental).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from core.errors import ConfigurationError, TimeError
from core.sites import DeviceProfile
from core.timeaxis import zone
from ingest.keep import keep_of
from ingest.protocols.hj212 import NAME, Address

_PARAMETERS = frozenset(
    ("password", "passwords", "timezone", "label", "minute_s", "keep", "sm4_key", "sm4_keys")
)
_UNSAFE = frozenset(";,/")
"""What parts a topic; a pattern cannot hold it."""


@dataclass(frozen=True, slots=True)
class Station:
    """How one station is spoken with. password: empty for any. sm4_key: empty for none."""

    address: Address
    password: str = field(repr=False)
    sm4_key: bytes = field(default=b"", repr=False)

    def knows(self, password: str) -> bool:
        """Whether ``password`` is this station's."""
        return not self.password or hmac.compare_digest(self.password.encode(), password.encode())


@dataclass(frozen=True, slots=True)
class _Rule:
    """The checked parameters of one profile."""

    pattern: str
    password: str
    passwords: Mapping[str, str]
    timezone: str
    end_s: int
    keep: tuple[str, ...]
    sm4_key: bytes
    sm4_keys: Mapping[str, bytes]


class Stations:
    """The stations of all profiles of this protocol.

    timezone: the city's. Raises ConfigurationError for parameters that cannot be used.
    """

    def __init__(self, profiles: Iterable[DeviceProfile], timezone: str) -> None:
        self._rules = tuple(_rule(p, timezone) for p in profiles if p.protocol == NAME)

    def find(self, mn: str) -> Station | None:
        """The station of that MN, whether heard of before or not; None when no profile fits."""
        for rule in self._rules:
            if fnmatchcase(mn, rule.pattern):
                return Station(
                    Address(mn, rule.timezone, rule.end_s, rule.keep),
                    rule.passwords.get(mn, rule.password),
                    rule.sm4_keys.get(mn, rule.sm4_key),
                )
        return None


def _rule(profile: DeviceProfile, timezone: str) -> _Rule:
    given = profile.parameters
    if unknown := set(given) - _PARAMETERS:
        raise _unusable(profile, f"it has no parameter {min(unknown)!r}")
    if "password" not in given:
        raise _unusable(profile, "it needs a password; an empty one lets every station in")
    return _Rule(
        pattern=profile.pattern,
        password=_text(profile, "password"),
        passwords=_texts(profile, "passwords"),
        timezone=_zone(profile, timezone),
        end_s=_end_s(profile),
        keep=_keep(profile),
        sm4_key=_key(profile, given.get("sm4_key", "")),
        sm4_keys={mn: _key(profile, key) for mn, key in _texts(profile, "sm4_keys").items()},
    )


def _unusable(profile: DeviceProfile, why: str) -> ConfigurationError:
    return ConfigurationError(f"The device profile {profile.name!r} cannot be used: {why}.")


def _text(profile: DeviceProfile, name: str, default: str = "") -> str:
    value = profile.parameters.get(name, default)
    if not isinstance(value, str):
        raise _unusable(profile, f"{name!r} is not a text")
    return value


def _texts(profile: DeviceProfile, name: str) -> Mapping[str, str]:
    value = profile.parameters.get(name, {})
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise _unusable(profile, f"{name!r} is not a table of texts by MN")
    return dict(value)


def _zone(profile: DeviceProfile, timezone: str) -> str:
    name = _text(profile, "timezone", timezone)
    try:
        zone(name)
    except TimeError as error:
        raise _unusable(profile, f"{name!r} is no time zone") from error
    return name


def _end_s(profile: DeviceProfile) -> int:
    label = profile.parameters.get("label", "begin")
    if label == "begin":
        return 0
    minute_s: Any = profile.parameters.get("minute_s")
    if label != "end":
        raise _unusable(profile, "'label' is neither 'begin' nor 'end'")
    if not isinstance(minute_s, int) or not 0 < minute_s <= 3600:
        raise _unusable(profile, "with the label 'end' it needs 'minute_s', of 1 to 3600")
    return minute_s


def _keep(profile: DeviceProfile) -> tuple[str, ...]:
    patterns = keep_of(profile)
    if any(_UNSAFE & set(pattern) for pattern in patterns):
        raise _unusable(profile, "a pattern of 'keep' holds a ';', ',' or '/'")
    return patterns


def _key(profile: DeviceProfile, digits: str) -> bytes:
    try:
        key = bytes.fromhex(digits)
    except (TypeError, ValueError) as error:
        raise _unusable(profile, "an SM4 key is not hexadecimal") from error
    if len(key) not in (0, 16):
        raise _unusable(profile, "an SM4 key has 32 hexadecimal digits")
    return key
