"""MQTT 3.1.1 and 5 packets as bytes: what a receiver writes and reads. No socket, no clock.

``Reader.feed`` finds every complete packet of a piece of the stream in one loop. What is a
PUBLISH becomes a plain tuple, because there are tens of thousands a second; the few others become
values. Section numbers are those of MQTT 5.0 (OASIS, 2019); 3.1.1 differs by its lack of
properties and reasons. Input that breaks the format raises DecodeError and nothing else: then
nobody knows where the next packet begins, and the connection has to be given up.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import numpy as np

from core.errors import ConfigurationError, DecodeError


class Version(IntEnum):
    """The protocol level as CONNECT states it."""

    V3_1_1 = 4
    V5 = 5


Publish = tuple[bytes, bytes, int, int]
"""Topic in UTF-8, payload, packet id (0 at QoS 0), QoS."""


@dataclass(frozen=True, slots=True)
class Connack:
    """The answer to CONNECT. keep_alive_s: the broker's wish, None where it has none."""

    reason: int
    session_present: bool
    keep_alive_s: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Suback:
    """The answer to SUBSCRIBE: for each filter the granted QoS, or a reason from 0x80 on."""

    packet_id: int
    reasons: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pubrel:
    """The second half of a QoS 2 delivery; wants a PUBCOMP."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The broker ends the connection and says why (MQTT 5 only)."""

    reason: int
    text: str


@dataclass(frozen=True, slots=True)
class Oversized:
    """A PUBLISH of ``size`` bytes, more than the reader takes; its payload was passed over."""

    topic: bytes
    packet_id: int
    qos: int
    size: int


@dataclass(frozen=True, slots=True)
class Other:
    """A packet that asks for nothing, by its type (9.1): PINGRESP, UNSUBACK, PUBACK, ..."""

    kind: int


Packet = Connack | Suback | Pubrel | Disconnect | Oversized | Other

PUBACK = 4
PUBREC = 5
PUBCOMP = 7
UNSUBACK = 11
PINGRESP = 13

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

SUCCESS = 0
REFUSED = 0x80
"""Reasons from here on are refusals."""

_CONNACK, _PUBLISH, _PUBREL, _SUBACK, _DISCONNECT = 2, 3, 6, 9, 14
_KNOWN = frozenset({PUBACK, PUBREC, PUBCOMP, UNSUBACK, PINGRESP})
_LONGEST = 268_435_455  # 1.5.5: four bytes of seven bits
_SERVER_KEEP_ALIVE, _REASON_STRING = 0x13, 0x1F

_SHAPES: Mapping[int, int | str] = MappingProxyType(
    # 3.2.2.3 and 3.14.2.2: what CONNACK and DISCONNECT may carry; bytes of the value, or its form.
    dict.fromkeys((0x24, 0x25, 0x28, 0x29, 0x2A), 1)
    | dict.fromkeys((0x13, 0x21, 0x22), 2)
    | dict.fromkeys((0x11, 0x27), 4)
    | dict.fromkeys((0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F), "text")
    | {0x26: "pair of texts"}
)

_OLD_REASONS = MappingProxyType({0: 0, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87})
"""CONNACK's return codes of 3.1.1 as reasons of 5."""

_WORDS = MappingProxyType(
    {
        0x81: "it found a packet malformed",
        0x82: "it found an error of the protocol",
        0x84: "it does not speak this version of MQTT",
        0x85: "the client id is not valid there",
        0x86: "user name or password is wrong",
        0x87: "this user is not allowed to",
        0x88: "it is not available",
        0x89: "it is busy",
        0x8A: "this client is banned",
        0x8B: "it is shutting down",
        0x8D: "it heard nothing for too long",
        0x8E: "another client connected under the same client id",
        0x8F: "the topic filter is not valid there",
        0x93: "more messages were under way than agreed",
        0x95: "a packet was too large",
        0x97: "a quota is used up",
        0x98: "its administrator ended the connection",
        0x9E: "it has no shared subscriptions",
        0x9F: "connections come too often",
        0xA2: "it has no wildcard subscriptions",
    }
)


def reason_words(reason: int, text: str = "") -> str:
    """A reason for people; ``text`` is what the broker itself said, if anything."""
    words = _WORDS.get(reason, f"its reason is 0x{reason:02x}")
    return f"{words} ({text})" if text else words


def connect(
    client_id: str,
    *,
    version: Version,
    keep_alive_s: int,
    username: str = "",
    password: str = "",
    receive_maximum: int = 65_535,
    clean: bool = False,
) -> bytes:
    """CONNECT (3.1), by default to a session that the broker keeps for ever.

    receive_maximum: unacknowledged messages the broker may send; only MQTT 5 can say it.
    """
    flags = (0x80 if username else 0) | (0x40 if password else 0) | (0x02 if clean else 0)
    header = _text("MQTT") + struct.pack(">BBH", version, flags, keep_alive_s)
    if version is Version.V5:
        expiry = 0 if clean else 0xFFFFFFFF
        properties = struct.pack(">BIBH", 0x11, expiry, 0x21, receive_maximum)
        header += _length(len(properties)) + properties
    fields = [client_id, *([username] if username else []), *([password] if password else [])]
    return _packet(0x10, header + b"".join(map(_text, fields)))


def subscribe(packet_id: int, filters: Sequence[str], version: Version) -> bytes:
    """SUBSCRIBE (3.8) at QoS 1, to which the broker takes down what came at QoS 2."""
    header = struct.pack(">H", packet_id) + (b"\x00" if version is Version.V5 else b"")
    return _packet(0x82, header + b"".join(_text(one) + b"\x01" for one in filters))


def unsubscribe(packet_id: int, filters: Sequence[str], version: Version) -> bytes:
    """UNSUBSCRIBE (3.10)."""
    header = struct.pack(">H", packet_id) + (b"\x00" if version is Version.V5 else b"")
    return _packet(0xA2, header + b"".join(_text(one) for one in filters))


def acknowledgements(kind: int, packet_ids: Sequence[int]) -> bytes:
    """One PUBACK, PUBREC or PUBCOMP for each packet id (1 .. 65535), joined."""
    packets = np.array(packet_ids, dtype=">u4")
    packets += kind << 28 | 2 << 16  # type, remaining length 2, and the id behind them
    return packets.tobytes()


def publish(
    topic: str, payload: bytes, *, packet_id: int = 0, qos: int = 0, version: Version
) -> bytes:
    """PUBLISH (3.3) without properties."""
    header = _text(topic)
    if qos:
        header += struct.pack(">H", packet_id)
    if version is Version.V5:
        header += b"\x00"
    return _packet(0x30 | qos << 1, header + payload)


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + _length(len(body)) + body


def _length(value: int) -> bytes:
    """A variable byte integer (1.5.5)."""
    if value > _LONGEST:
        raise ConfigurationError(f"{value} bytes are more than an MQTT packet can hold.")
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) > 65_535 or "\0" in value:
        raise ConfigurationError(f"{value[:40]!r} is too long for MQTT, or holds a zero byte.")
    return struct.pack(">H", len(data)) + data


class Reader:
    """Finds the packets in what one connection brings.

    limit: bytes of the largest packet that is kept. A larger PUBLISH is passed over as it comes
    and reported as Oversized: giving up the connection would bring it again, for ever.
    """

    def __init__(self, version: Version, limit: int) -> None:
        self._version = version
        self._limit = limit
        self._rest = bytearray()
        self._need = 0  # bytes of the packet that _rest begins with, as far as known
        self._skip = 0  # bytes of an oversized packet that are still to come

    def feed(self, data: bytes) -> tuple[list[Publish], list[Packet]]:
        """The packets that ``data`` completes, each kind in its order; raises DecodeError."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return [], []
            data = bytes(self._rest)
            self._rest.clear()
        publishes: list[Publish] = []
        others: list[Packet] = []
        used = self._scan(data, publishes, others)
        self._rest += memoryview(data)[used:]
        return publishes, others

    def _scan(self, data: bytes, publishes: list[Publish], others: list[Packet]) -> int:
        """Take every complete packet of ``data``; how many bytes that were."""
        at, end = 0, len(data)
        properties = self._version is Version.V5
        self._need = 0
        while end - at >= 2:
            head, length, body = data[at], data[at + 1], at + 2
            if length > 127:
                found = _read_length(data, at + 1, end)
                if found is None:
                    break
                length, body = found
            stop = body + length
            if length > self._limit:
                if not self._pass_over(head, data, body, stop, others):
                    break
                at = min(stop, end)
                continue
            if stop > end:
                self._need = stop - at
                break
            if head >> 4 == _PUBLISH:
                name_stop, start, packet_id = _publish_header(head, data, body, stop)
                if properties:
                    start = _behind_properties(data, start, stop)
                publishes.append(
                    (data[body + 2 : name_stop], data[start:stop], packet_id, head >> 1 & 3)
                )
            else:
                others.append(_other(head, data[body:stop], properties=properties))
            at = stop
        return at

    def _pass_over(
        self, head: int, data: bytes, body: int, stop: int, others: list[Packet]
    ) -> bool:
        """Report a packet above the limit and skip the rest of it; False while more is needed."""
        if head >> 4 != _PUBLISH:
            raise DecodeError(f"The broker sent a packet of {stop - body} bytes.")
        if len(data) < min(stop, body + 2 + 65_535 + 2):
            return False
        name_stop, _, packet_id = _publish_header(head, data, body, stop)
        others.append(Oversized(data[body + 2 : name_stop], packet_id, head >> 1 & 3, stop - body))
        self._skip = max(0, stop - len(data))
        return True


def _read_length(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """A variable byte integer and where it ends; None while it is not complete."""
    value = 0
    for i in range(4):
        if at + i >= end:
            return None
        digit = data[at + i]
        value |= (digit & 127) << 7 * i
        if digit < 128:
            return value, at + i + 1
    raise DecodeError("The broker sent a length of more than four bytes.")


def _publish_header(head: int, data: bytes, body: int, stop: int) -> tuple[int, int, int]:
    """Where the topic ends, where properties or payload begin, and the packet id."""
    if stop - body >= 2:
        name_stop = body + 2 + (data[body] << 8 | data[body + 1])
        if not head & 6:
            if name_stop <= stop:
                return name_stop, name_stop, 0
        elif name_stop + 2 <= stop and head & 6 != 6:
            packet_id = data[name_stop] << 8 | data[name_stop + 1]
            if packet_id:
                return name_stop, name_stop + 2, packet_id
    raise DecodeError("The broker sent a PUBLISH that is none.")


def _behind_properties(data: bytes, start: int, stop: int) -> int:
    found = _read_length(data, start, stop)
    if found is None or sum(found) > stop:
        raise DecodeError("The broker sent properties that do not end within their packet.")
    return sum(found)


def _other(head: int, body: bytes, *, properties: bool) -> Packet:
    """Any packet but PUBLISH."""
    kind = head >> 4
    if kind == _CONNACK and len(body) >= 2:
        return _connack(body, properties=properties)
    if kind == _SUBACK and len(body) >= 3:
        start = _behind_properties(body, 2, len(body)) if properties else 2
        return Suback(_packet_id(body), tuple(body[start:]))
    if kind == _PUBREL and len(body) >= 2:
        return Pubrel(_packet_id(body))
    if kind == _DISCONNECT and properties:
        found = _properties(body, 1) if len(body) > 1 else {}
        return Disconnect(body[0] if body else 0, _said(found))
    if kind in _KNOWN:
        return Other(kind)
    raise DecodeError(f"The broker sent a packet that it must not send (0x{head:02x}).")


def _connack(body: bytes, *, properties: bool) -> Connack:
    present = bool(body[0] & 1)
    if not properties:
        return Connack(_OLD_REASONS.get(body[1], REFUSED), present, None, "")
    # A broker that does not speak MQTT 5 answers in the older form.
    found = _properties(body, 2) if len(body) > 2 else {}
    reason = body[1] if len(body) > 2 else _OLD_REASONS.get(body[1], body[1])
    wished = found.get(_SERVER_KEEP_ALIVE)
    keep_alive_s = int.from_bytes(wished, "big") if wished is not None else None
    return Connack(reason, present, keep_alive_s, _said(found))


def _packet_id(body: bytes) -> int:
    return body[0] << 8 | body[1]


def _said(found: Mapping[int, bytes]) -> str:
    text = found.get(_REASON_STRING, b"").decode("utf-8", "replace")
    return "".join(c for c in text if c.isprintable())[:200]


def _properties(body: bytes, at: int) -> dict[int, bytes]:
    """The properties from ``at`` on by identifier, their values as bytes (2.2.2)."""
    stop = _behind_properties(body, at, len(body))
    _, at = _read_length(body, at, stop) or (0, stop)
    found: dict[int, bytes] = {}
    while at < stop:
        shape = _SHAPES.get(body[at])
        begin, value_stop = at + 1, at + 1
        if isinstance(shape, int):
            value_stop += shape
        else:
            for _ in range(1 if shape == "text" else 2):
                begin = value_stop + 2
                value_stop = begin + int.from_bytes(body[value_stop:begin], "big")
        if shape is None or value_stop > stop:
            raise DecodeError("The broker sent a property that is none.")
        found[body[at]] = body[begin:value_stop]
        at = value_stop
    return found
