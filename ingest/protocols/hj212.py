"""HJ 212-2017, the protocol of Chinese pollution-source and ambient monitoring stations.

A message is one frame as it came over TCP, with the password starred out; ingest/hj212_server.py
receives them. Data commands are read: real-time (2011), device state (2021), day (2031), run time
(2041), minute (2051) and hour values (2061). The device is the MN. Each number is a reading with
the tag ``<factor>-<field>@<CN>`` (``a34004-Avg@2051``): minute, hour and day values of a factor
are different series and never meet in one. There is no unit on this wire, and the standard's own
table is not what stations send (it prints ng/m3 for particles where they send µg/m3): the tag's
declared unit counts and nothing is guessed.

Time: DataTime is the station's local time. The standard labels minute, hour and day values with
the BEGINNING of measuring, as we do, and real-time values with the moment. Stations that label
minute and hour values with the end are told apart by their profile. A day is a local day.

Marks: ``<factor>-Flag`` holds for all fields of the factor. N is a good value, everything else
sets DEVICE_FLAG, and which letter it was stands in the three bits from MARK_BITS on (``mark``).
A field that is empty or holds dashes is no reading; the message's other fields are.

A message in several packets (PNUM, PNO) is read packet by packet: each names its DataTime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from core.errors import DecodeError, TimeError
from core.readings import MARK_BITS, Quality
from core.timeaxis import local_day, to_us, utc, zone
from ingest import hj212_frame, wire
from ingest.decoded import Decoded
from ingest.keep import is_kept

NAME = "hj212"
SOURCES = ("hj212/#",)

REALTIME, STATE, DAY, RUN_TIME, MINUTE, HOUR = "2011", "2021", "2031", "2041", "2051", "2061"
BOOTED = "2081"
"""When the data logger started: known, and no reading."""

_DATA = frozenset((REALTIME, STATE, DAY, RUN_TIME, MINUTE, HOUR))
_NO_VALUES = frozenset(("Flag", "EFlag", "SampleTime", "SN", "Info"))
_ABSENT = re.compile(r"[-*]*|null|nan|none", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][-+]?[0-9]{1,3})?")
_TIME = re.compile(r"[0-9]{14}([0-9]{3})?")  # some stations append milliseconds

MARKS = "NFMSDCTB"
"""N good, F stopped, M maintained, S set by hand, D faulty, C calibrating, T out of range,
B no connection to the instrument (HJ 212-2017, table 9). The place of a letter is its number.
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Whose message it is, and what the profile says of such stations.

    end_s: 0 where labels are beginnings, as in the standard; otherwise minute and hour values are
    labelled with their end, and a "minute" value, which is seldom a minute, is ``end_s`` long.
    keep: patterns of the tags to read; empty for all.
    """

    mn: str
    timezone: str
    end_s: int = 0
    keep: tuple[str, ...] = ()

    @property
    def topic(self) -> str:
        """``hj212/<MN>/<zone>``, then what differs from the standard as ``;name=value``."""
        options = [f";end={self.end_s}"] if self.end_s else []
        options += [f";keep={','.join(self.keep)}"] if self.keep else []
        return f"hj212/{self.mn}/{self.timezone}{''.join(options)}"


def refused_topic(mn: str, reason: str) -> str:
    """The topic of a frame that a receiver did not accept: it is kept in quarantine."""
    return f"hj212/{mn or '-'}/refused/{reason}"


def mark(quality: int) -> str:
    """The letter a station gave, of MARKS; empty where it gave none or another one."""
    number = (quality >> MARK_BITS) & 7
    return MARKS[number] if number else ("" if quality & Quality.DEVICE_FLAG else MARKS[0])


def decode(topic: str, payload: bytes, received_at: datetime) -> Decoded:
    """The readings of one frame; raises DecodeError, also for a frame without any number."""
    address = _address(topic)
    packet = hj212_frame.parse(payload)
    if packet.mn != address.mn:
        raise DecodeError("The frame's MN is not the one of its topic.")
    if packet.cn == BOOTED:
        return Decoded((), [], [])
    if packet.cn not in _DATA:
        raise DecodeError(f"CN {packet.cn} carries no readings.")
    said = hj212_frame.values(packet.cp)
    numbers = {name: number for name in said if (number := _value(name, said[name])) is not None}
    if not numbers:
        raise DecodeError("The frame holds no number.")
    ts_us = to_us(_beginning(packet.cn, said.get("DataTime", ""), address, received_at))
    tags = {wire.name(f"{name}@{packet.cn}", "A tag"): name for name in numbers}
    kept = {tag: name for tag, name in tags.items() if is_kept(tag, address.keep)}
    quality = [_quality(said.get(f"{_factor(name)}-Flag", "")) for name in kept.values()]
    return Decoded(
        tuple((packet.mn, tag, None) for tag in kept),
        [ts_us] * len(kept),
        [numbers[name] for name in kept.values()],
        quality if any(quality) else None,
    )


def _factor(name: str) -> str:
    return name.rpartition("-")[0]


def moment(text: str, timezone: str, near: datetime) -> datetime:
    """A station's local time, YYYYMMDDhhmmss, in UTC; raises DecodeError.

    Of an hour that comes twice in autumn the pass that is nearer to ``near`` is meant.
    """
    return _in_zone(_local(text), zone(timezone), near)


@lru_cache(maxsize=4096)
def _address(topic: str) -> Address:
    """What ``Address.topic`` says; raises DecodeError for a refused frame, with the reason."""
    _, mn, rest = [*topic.split("/", 2), "", ""][:3]
    if rest.startswith("refused/"):
        raise DecodeError(rest.removeprefix("refused/"))
    timezone, *options = rest.split(";")
    end_s, keep = 0, ""
    for option in options:
        name, _, value = option.partition("=")
        if name == "end" and value.isdecimal() and len(value) < 6:
            end_s = int(value)
        elif name == "keep":
            keep = value
        else:
            raise DecodeError("The topic is not one of an HJ 212 station.")
    try:
        zone(timezone)
    except TimeError as error:
        raise DecodeError(str(error)) from error
    patterns = tuple(keep.split(",")) if keep else ()
    return Address(mn, timezone, end_s, patterns)


def _value(name: str, text: str) -> float | None:
    """The number of a field; None where the field is no value or has none."""
    _, dash, field = name.rpartition("-")
    if not dash or field in _NO_VALUES or _ABSENT.fullmatch(text):
        return None
    if not _NUMBER.fullmatch(text):
        raise DecodeError(f"{name[:40]} is {text[:40]!r}, which is no number.")
    return wire.number(float(text), name[:40])


def _quality(letter: str) -> int:
    if letter in ("", "N"):
        return 0
    number = MARKS.find(letter) if len(letter) == 1 else -1
    return int(Quality.DEVICE_FLAG) | (max(number, 0) << MARK_BITS)


def _beginning(cn: str, text: str, address: Address, received_at: datetime) -> datetime:
    """The beginning of the interval that DataTime labels, in UTC."""
    if cn in (DAY, RUN_TIME):
        return local_day(_local(text).date(), zone(address.timezone))[0]
    ts = moment(text, address.timezone, received_at)
    if address.end_s and cn in (MINUTE, HOUR):
        ts -= timedelta(seconds=3600 if cn == HOUR else address.end_s)
    return wire.bounded(ts)


def _local(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise DecodeError("DataTime is missing or not YYYYMMDDhhmmss.")
    try:
        local = datetime.strptime(text[:14], "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone comes next
    except ValueError as error:
        raise DecodeError(f"DataTime {text} is not in the calendar.") from error
    if not 1971 <= local.year < 2099:  # a zone's offset must not lead out of the calendar
        raise DecodeError(f"DataTime {text} lies outside 1971 to 2098.")
    return local


def _in_zone(local: datetime, tz: ZoneInfo, near: datetime) -> datetime:
    first, second = (utc(local.replace(tzinfo=tz, fold=fold)) for fold in (0, 1))
    if first == second:
        return first
    if first > second:  # the hour left out in spring
        raise DecodeError(f"In {tz.key} there was no {local:%Y-%m-%d %H:%M:%S}.")
    return min(first, second, key=lambda ts: abs(near - ts))
