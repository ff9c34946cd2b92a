"""Plain JSON over MQTT, read by what a device profile says of it.

A profile with ``protocol = "json"`` names the topic and where things stand; its tags are the
numbers to take. Its parameters, all but ``topic`` and ``device`` optional:

    topic        "plant/+/telemetry", an MQTT filter
    device       2: the second level of the topic; or "id": a path to a text or a whole number
    records      "data": a path to a list of records, for messages with several
    time         "time": a path; without it the time of arrival counts
    time_format  "iso" (default), "unix_s" or "unix_ms"
    timezone     "Asia/Shanghai", of iso times that name no zone
    label        "end" where times label the end of their interval; "begin" unless said
    tags         {"p": "power.active"}: paths of tags; a tag that is missing here is its own path

A path is keys joined by dots, a number counts the elements of a list from 0: "phases.0.p". A key
with a dot in it wants the path as a list: ["a.b", 0]. In a message with records a path that begins
with "$" starts at the whole message, any other at the record; "$" alone is the message, as records
a list of them, as a tag a bare number. A tag that a message does not have, or has as null, is no
reading; anything else but a number is an error, as is a message without any number. Paths are
followed, nothing is evaluated.

Profiles that share a topic agree on all but their tags: the first whose pattern fits the device's
name says which; for a device that none is for, the first of all, so that it is not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from core.errors import ConfigurationError, DecodeError, TimeError
from core.sites import DeviceProfile
from core.timeaxis import MICROSECOND, to_us, zone
from ingest import wire
from ingest.decoded import Decoded, Name

NAME = "json"

Decode = Callable[[str, bytes, datetime], Decoded]

_PARAMETERS = frozenset(
    ("topic", "device", "records", "time", "time_format", "timezone", "label", "tags")
)
_UNIX_US = {"unix_s": 1e6, "unix_ms": 1e3}
_FARTHEST_US = 4.2e15  # the year 2103: no float of this size loses a microsecond
_LOCAL = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?", re.ASCII)
_MOST_RECORDS = 100_000


Path = tuple[str, ...]
Tags = tuple[tuple[str, Path, int], ...]
"""Name, path, and the microseconds that are taken off the time."""


def configure(profiles: Iterable[DeviceProfile]) -> list[tuple[str, Decode]]:
    """For each topic of the JSON profiles among ``profiles`` its filter and what decodes it.

    Raises ConfigurationError, naming the profile, for parameters of no use.
    """
    layouts: dict[str, _Layout] = {}
    tags: dict[str, list[tuple[str, Tags]]] = {}
    for profile in profiles:
        if profile.protocol == NAME:
            topic, layout = _topic(profile), _layout(profile)
            if layouts.setdefault(topic, layout) != layout:
                _refuse(profile, f"reads {topic!r} otherwise than another profile does")
            tags.setdefault(topic, []).append((profile.pattern, _tags(profile)))
    return [(topic, _Decoder(layout, tuple(tags[topic]))) for topic, layout in layouts.items()]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in the messages of a topic."""

    device: int | Path
    records: Path
    time: Path | None
    time_format: str
    zone: ZoneInfo | None


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Decodes the messages of one topic. tags: of each pattern of device names."""

    layout: _Layout
    tags: tuple[tuple[str, Tags], ...]

    def __call__(self, topic: str, payload: bytes, received_at: datetime) -> Decoded:
        """The readings of one message; raises DecodeError."""
        message = wire.json_value(payload)
        names: list[Name] = []
        ts_us: list[int] = []
        value: list[float] = []
        for record in _records(self.layout, message):
            device = _device(self.layout, topic, message, record)
            at_us = _time(self.layout, message, record, received_at)
            for tag, path, back_us in self._tags_of(device):
                found = _look(message, record, path)
                if found is not None:
                    names.append((device, tag, None))
                    ts_us.append(wire.bounded_us(at_us - back_us))
                    value.append(wire.number(found, f"The value of {tag}"))
        if not names:
            raise DecodeError("The message holds none of the numbers that its profile names.")
        return Decoded(tuple(names), ts_us, value)

    def _tags_of(self, device: str) -> Tags:
        for pattern, tags in self.tags:
            if fnmatchcase(device, pattern):
                return tags
        return self.tags[0][1]


def _records(layout: _Layout, message: Any) -> list[Any]:
    if not layout.records:
        return [message]
    found = _look(message, message, layout.records)
    if not isinstance(found, list) or len(found) > _MOST_RECORDS:
        raise DecodeError("The message has no list of records where its profile says.")
    return found


def _look(message: Any, record: Any, path: Path) -> Any:
    """What stands at ``path``, None where nothing does."""
    found, keys = (message, path[1:]) if path[0] == "$" else (record, path)
    for key in keys:
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isascii() and key.isdecimal() and len(key) < 7:
            found = found[int(key)] if int(key) < len(found) else None
        else:
            return None
    return found


def _device(layout: _Layout, topic: str, message: Any, record: Any) -> str:
    if isinstance(layout.device, int):
        levels = topic.split("/")
        found: Any = levels[layout.device - 1] if layout.device <= len(levels) else None
    else:
        found = _look(message, record, layout.device)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    return wire.name(found, "The device's name")


def _time(layout: _Layout, message: Any, record: Any, received_at: datetime) -> int:
    """Microseconds since 1970 UTC, as the message labels them."""
    if layout.time is None:
        return to_us(received_at)
    found = _look(message, record, layout.time)
    if layout.time_format in _UNIX_US:
        us = wire.number(found, "The time") * _UNIX_US[layout.time_format]
        if not abs(us) < _FARTHEST_US:
            raise DecodeError("The time lies too far away.")
        return wire.bounded_us(round(us))
    if layout.zone and isinstance(found, str) and _LOCAL.fullmatch(found):
        return wire.bounded_us(to_us(_local(found, layout.zone, received_at)))
    return to_us(wire.rfc3339(found, "The time"))


def _local(text: str, tz: ZoneInfo, received_at: datetime) -> datetime:
    """What a clock in ``tz`` showed; of two such moments the one nearer to the arrival."""
    try:
        shown = datetime.fromisoformat(text.upper())
        moments = {shown.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1)}
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"The time is none: {error}.") from error
    real = [m for m in moments if m.astimezone(tz).replace(tzinfo=None) == shown]
    if not real:
        raise DecodeError("The time was never shown: clocks were put forward over it.")
    return min(real, key=lambda moment: abs(moment - received_at))


def _topic(profile: DeviceProfile) -> str:
    topic = profile.parameters.get("topic")
    if not isinstance(topic, str) or not topic or topic.startswith("$"):
        _refuse(profile, "needs a topic, such as plant/+/telemetry")
    levels = topic.split("/")
    wild = [level for level in levels if set(level) & set("+#")]
    if any(level not in ("+", "#") for level in wild) or "#" in levels[:-1]:
        _refuse(profile, f"has the topic {topic!r}, which is no MQTT filter")
    return topic


def _layout(profile: DeviceProfile) -> _Layout:
    given = profile.parameters
    unknown = sorted(given.keys() - _PARAMETERS)
    if unknown:
        _refuse(profile, f"has the parameter {unknown[0]!r}, which JSON does not know")
    device = given.get("device")
    if isinstance(device, bool) or (isinstance(device, int) and device < 1):
        _refuse(profile, "counts the levels of the topic from 1")
    time_format = given.get("time_format", "iso")
    if time_format not in ("iso", *_UNIX_US):
        _refuse(profile, "has a time_format that is none of iso, unix_s, unix_ms")
    return _Layout(
        device if isinstance(device, int) else _path(profile, "device", device),
        _path(profile, "records", given["records"]) if "records" in given else (),
        _path(profile, "time", given["time"]) if "time" in given else None,
        time_format,
        _zone(profile, given["timezone"]) if "timezone" in given else None,
    )


def _tags(profile: DeviceProfile) -> Tags:
    label = profile.parameters.get("label", "begin")
    if label not in ("begin", "end"):
        _refuse(profile, "has a label that is neither begin nor end")
    paths = profile.parameters.get("tags", {})
    if not isinstance(paths, dict):
        _refuse(profile, "has tags that are no table of paths")
    stray = sorted(paths.keys() - {tag.tag for tag in profile.tags})
    if stray:
        _refuse(profile, f"gives a path to {stray[0]!r}, which is none of its tags")
    return tuple(
        (
            tag.tag,
            _path(profile, tag.tag, paths.get(tag.tag, tag.tag)),
            timedelta(seconds=tag.resolution_s) // MICROSECOND if label == "end" else 0,
        )
        for tag in profile.tags
    )


def _path(profile: DeviceProfile, what: str, given: object) -> Path:
    """A path as text or as a list of keys."""
    keys: Sequence[Any] = given.split(".") if isinstance(given, str) else ()
    if isinstance(given, list):
        keys = [str(k) if isinstance(k, int) and not isinstance(k, bool) else k for k in given]
    if not keys or not all(isinstance(key, str) and key for key in keys):
        _refuse(profile, f"needs a path of keys for {what!r}, such as data.id")
    return tuple(keys)


def _zone(profile: DeviceProfile, given: object) -> ZoneInfo:
    try:
        return zone(given if isinstance(given, str) else "")
    except TimeError as error:
        _refuse(profile, f"has a timezone of no use: {error}")


def _refuse(profile: DeviceProfile, problem: str) -> NoReturn:
    raise ConfigurationError(f"The JSON profile {profile.name!r} {problem}.")
