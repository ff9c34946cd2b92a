"""HJ 212 on the wire: frames out of a byte stream, and what a frame says. Pure.

A frame is ``##``, the length of the segment in four digits, the segment, its CRC in hexadecimal
and CR LF (HJ 212-2017, 6.3). The segment is text: ``QN=...;ST=...;CN=...;PW=...;MN=...;Flag=...;
CP=&&...&&``. In CP ``;`` parts items and ``,`` the fields of one item.

TCP knows no frames: a read brings half of one or three at once, and after a disturbance anything.
The Splitter finds the next whole frame again by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.errors import DecodeError
from ingest import wire

MAX_SEGMENT = 1024
"""Bytes of a segment by the standard; four digits could say up to 9,999."""

_HEAD = 6  # "##" and four digits
_TAIL = re.compile(rb"[0-9A-Fa-f]{3,4}\r\n")
_TAIL_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,4}|[0-9A-Fa-f]{3,4}\r")
_LONGEST_TAIL = 6

_MN = re.compile(r"[0-9A-Za-z_-]{1,40}")  # by the standard 24 characters; the field is wider
_CN = re.compile(r"[0-9]{4}")
_QN = re.compile(r"[0-9A-Za-z]{0,20}")
_SMALL = re.compile(r"[0-9]{1,8}")
_PASSWORD = re.compile(rb"((?:\A|;|##[0-9]{4})PW=)([^;&\r\n]*)")


def _shift(reg: int) -> int:
    """Eight times: shift right, and mix the polynomial in for every bit that falls out."""
    for _ in range(8):
        reg = (reg >> 1) ^ 0xA001 if reg & 1 else reg >> 1
    return reg


_SHIFTED = tuple(_shift(value) for value in range(256))


def crc(segment: bytes) -> int:
    """The CRC of HJ 212-2017, annex A. Not the Modbus CRC: each byte meets the register's upper
    half, and the lower half is forgotten. The standard's example gives 1C80.
    """
    reg = 0xFFFF
    for byte in segment:
        reg = _SHIFTED[(reg >> 8) ^ byte]
    return reg


@dataclass(frozen=True, slots=True)
class Bad:
    """What looked like a frame and is none: why, and the bytes."""

    reason: str
    data: bytes


class Splitter:
    """Takes a byte stream in pieces of any size and gives its frames; keeps one frame at most.

    max_segment: longer segments are refused. ``skipped`` counts the bytes that were in no frame.
    However the stream is cut, the frames are the same.
    """

    def __init__(self, max_segment: int = MAX_SEGMENT) -> None:
        self._max_segment = max_segment
        self._buffer = bytearray()
        self.skipped = 0

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and is not whole yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes | Bad]:
        """The frames that ``data`` completes, and what only looked like one, in order.

        A frame that is given is whole, has the length it says and the right CRC.
        """
        self._buffer += data
        found: list[bytes | Bad] = []
        at = 0
        while (start := self._buffer.find(b"##", at)) >= 0:
            self.skipped += start - at
            at = start
            verdict = self._look(start)
            if verdict is None:
                break
            if isinstance(verdict, bytes):
                found.append(verdict)
                at += len(verdict)
                continue
            if verdict.reason:
                found.append(verdict)
            at += 1  # a frame may begin within what was none
            self.skipped += 1
        else:
            keep = len(self._buffer) - self._buffer.endswith(b"#")
            self.skipped += max(0, keep - at)
            at = max(at, keep)
        del self._buffer[:at]
        return found

    def _look(self, start: int) -> bytes | Bad | None:
        """What stands at ``start``: a frame, something else, or None while that is open."""
        buffer = self._buffer
        digits = buffer[start + 2 : start + _HEAD]
        if digits and not digits.isdigit():
            return Bad("", b"")
        if len(digits) < _HEAD - 2:
            return None
        length = int(digits)
        if length > self._max_segment:
            reason = f"The frame says it has {length} bytes; {self._max_segment} are allowed."
            return Bad(reason, bytes(buffer[start : start + _HEAD]))
        end = start + _HEAD + length
        newline = buffer.find(b"\n", start + _HEAD, end)
        if newline >= 0:  # no segment holds one: the frame ends before it should
            return Bad("The frame is shorter than it says.", bytes(buffer[start : newline + 1]))
        if tail := _TAIL.match(buffer, end):
            return _checked(bytes(buffer[start : tail.end()]))
        rest = buffer[end : end + _LONGEST_TAIL]
        if len(rest) < _LONGEST_TAIL and _TAIL_BEGUN.fullmatch(rest):
            return None
        return Bad("The frame does not end where it says.", bytes(buffer[start:end]))


def _checked(frame: bytes) -> bytes | Bad:
    try:
        segment(frame)
    except DecodeError as error:
        return Bad(str(error), frame)
    return frame


def segment(frame: bytes) -> bytes:
    """The segment of one frame; raises DecodeError unless length, CRC and end are right."""
    digits = frame[2:_HEAD]
    if not frame.startswith(b"##") or len(digits) < _HEAD - 2 or not digits.isdigit():
        raise DecodeError("The frame does not begin with ## and four digits.")
    end = _HEAD + int(digits)
    if not _TAIL.fullmatch(frame, end):
        raise DecodeError("The frame does not end where it says.")
    body, given = frame[_HEAD:end], int(frame[end:-2], 16)
    if crc(body) != given:
        raise DecodeError(f"The CRC is {given:04X}, the frame's is {crc(body):04X}.")
    return body


def frame(body: bytes) -> bytes:
    """The frame of a segment; raises DecodeError when four digits cannot say its length."""
    if len(body) > 9999:
        raise DecodeError("A segment of more than 9,999 bytes makes no frame.")
    return b"##%04d%b%04X\r\n" % (len(body), body, crc(body))


@dataclass(frozen=True, slots=True)
class Packet:
    """What a segment says; texts as they stand there, empty where it does not say it.

    flag: the standard's version (0 of 2005, 1 of 2017, 2 of 2025) times four, plus 2 when packet
    numbers follow, plus 1 when an answer is wanted; None when the segment has none.
    """

    cn: str
    mn: str
    cp: str = ""
    qn: str = ""
    st: str = ""
    pw: str = ""
    flag: int | None = None
    pnum: int | None = None
    pno: int | None = None

    @property
    def wants_answer(self) -> bool:
        """Bit A: whether the sender waits for an answer."""
        return self.flag is not None and bool(self.flag & 1)

    @property
    def version(self) -> int:
        """Bits V: the edition spoken, that of 2017 when the segment has no Flag."""
        return 1 if self.flag is None else self.flag >> 2


def parse(frame: bytes) -> Packet:
    """What a frame says; raises DecodeError. Names in the head that we do not know are left out."""
    try:
        text = segment(frame).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("The segment is not UTF-8.") from error
    head, begin, rest = text.partition("CP=&&")
    if not begin or not rest.endswith("&&"):
        raise DecodeError("The segment has no CP=&&...&&.")
    said = _pairs(head.split(";"))
    flag = _small(said, "Flag")
    if flag is not None and flag > 255:
        raise DecodeError("Flag has eight bits.")
    return Packet(
        cn=_text(said, "CN", _CN),
        mn=_text(said, "MN", _MN),
        cp=rest[:-2],
        qn=_text(said, "QN", _QN),
        st=wire.name(said["ST"], "ST") if said.get("ST") else "",
        pw=wire.name(said["PW"], "PW") if said.get("PW") else "",
        flag=flag,
        pnum=_small(said, "PNUM"),
        pno=_small(said, "PNO"),
    )


def build(packet: Packet) -> bytes:
    """The frame of ``packet``."""
    head = [("QN", packet.qn), ("ST", packet.st), ("CN", packet.cn)]
    head += [("PW", packet.pw), ("MN", packet.mn)]
    numbers = (("Flag", packet.flag), ("PNUM", packet.pnum), ("PNO", packet.pno))
    head += [(name, str(value)) for name, value in numbers if value is not None]
    said = "".join(f"{name}={value};" for name, value in head if value)
    return frame(f"{said}CP=&&{packet.cp}&&".encode())


def items(cp: str) -> list[dict[str, str]]:
    """The items of a CP, each with its fields; raises DecodeError for a field without ``=``."""
    return [fields for item in cp.split(";") if (fields := _pairs(item.split(",")))]


def values(cp: str) -> dict[str, str]:
    """All fields of a CP in their order; raises DecodeError when one stands there twice."""
    return _pairs(re.split("[;,]", cp))


def without_password(data: bytes) -> bytes:
    """``data`` with stars for every password; a whole frame stays one, with its new CRC.

    What is kept is shown to people; the password was checked at the door and goes no further.
    """
    try:
        return frame(_PASSWORD.sub(_starred, segment(data)))
    except DecodeError:
        return _PASSWORD.sub(_starred, data)


def _starred(found: re.Match[bytes]) -> bytes:
    return found[1] + b"*" * len(found[2])


def _pairs(parts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in parts:
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals:
            raise DecodeError(f"{part[:40]!r} is no name=value.")
        name = wire.name(name.strip(), "A name in the segment")
        if name in pairs:
            raise DecodeError(f"{name} stands twice in the segment.")
        pairs[name] = value.strip()
    return pairs


def _text(said: dict[str, str], name: str, allowed: re.Pattern[str]) -> str:
    value = said.get(name, "")
    if not allowed.fullmatch(value):
        raise DecodeError(f"{name} is missing or malformed.")
    return value


def _small(said: dict[str, str], name: str) -> int | None:
    value = said.get(name, "")
    if not value:
        return None
    if not _SMALL.fullmatch(value):
        raise DecodeError(f"{name} is not a number.")
    return int(value)
