"""The door of the HJ 212 server: who sent a frame, may it speak, and what is its answer.

No socket and no waiting is here: a frame goes in, and out comes what has to be kept, what is
answered when that is safe, and how the frame counts.

The standard has no answer to an upload that is refused; 9011 is the one whose codes say why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from core.errors import DecodeError
from ingest import hj212_frame, hj212_sm4
from ingest.hj212_frame import Bad, Packet
from ingest.hj212_host import READY
from ingest.hj212_stations import Station, Stations
from ingest.pipeline import Message
from ingest.protocols.hj212 import refused_topic

NOTICE_TAKEN, DATA_TAKEN, HEARTBEAT = "9013", "9014", "9015"
REGISTRATION = "1001"
SYSTEM = "91"
"""The ST of the host's own answers."""

WRONG_PASSWORD, UNKNOWN_MN = "3", "4"
"""Codes of QnRtn."""

_A_MINUTE_S = 60.0


class Verdict(Enum):
    """How a frame counts."""

    DATA = auto()
    TALK = auto()  # notices, and answers to what the host asked
    REFUSED = auto()  # from a stranger, or with a wrong password
    BAD = auto()  # no right frame, or one that cannot be read


@dataclass(frozen=True, slots=True)
class Heard:
    """What came. message: to be kept first, if anything. answer: to be sent when that is done.

    packet, station: of a frame that was let in.
    """

    verdict: Verdict
    message: Message | None = None
    answer: Packet | None = None
    packet: Packet | None = None
    station: Station | None = None


class Door:
    """Judges frames.

    now: city time. quarantined_per_minute: refused frames that are kept, of all stations together;
    a flood of them must not fill the spool. experimental_2025: decrypt what hj212_sm4 describes.
    """

    def __init__(
        self,
        stations: Stations,
        now: Callable[[], datetime],
        *,
        quarantined_per_minute: int,
        experimental_2025: bool,
    ) -> None:
        self._stations = stations
        self._now = now
        self._experimental_2025 = experimental_2025
        self._per_minute = quarantined_per_minute
        self._left = 0
        self._until_s = 0.0

    def judge(self, one: bytes | Bad, at_s: float) -> Heard:
        """What is to be done about a frame that came at ``at_s``, in seconds of any clock."""
        if isinstance(one, Bad):
            return Heard(Verdict.BAD, self._for_people("", one.reason, one.data, at_s))
        mn = ""
        try:
            packet = hj212_frame.parse(one)
            mn = packet.mn
            station = self._stations.find(mn)
            if station is None:
                why = "No device profile of the protocol hj212 fits this MN."
                return self._refuse(packet, one, UNKNOWN_MN, why, at_s)
            if not station.knows(packet.pw):
                return self._refuse(packet, one, WRONG_PASSWORD, "The password is wrong.", at_s)
            one = self._readable(packet, station, one)
        except DecodeError as error:
            return Heard(Verdict.BAD, self._for_people(mn, str(error), one, at_s))
        return self._let_in(packet, station, one, at_s)

    def _let_in(self, packet: Packet, station: Station, frame: bytes, at_s: float) -> Heard:
        """What to do with the frame of a known station, by its command."""
        kind = packet.cn[0]
        if kind in "23":  # data, and what instruments tell
            payload = hj212_frame.without_password(frame)
            message = Message(station.address.topic, payload, self._now())
            return Heard(Verdict.DATA, message, _taken(packet, DATA_TAKEN), packet, station)
        if kind == "1" or packet.cn == HEARTBEAT:
            shown = None
            if packet.cn == REGISTRATION:  # 2025: somebody has to give it an MN
                reason = "A station asks to be registered."
                shown = self._for_people(packet.mn, reason, frame, at_s)
            return Heard(Verdict.TALK, shown, _taken(packet, NOTICE_TAKEN), packet, station)
        return Heard(Verdict.TALK, packet=packet, station=station)

    def _refuse(self, packet: Packet, frame: bytes, code: str, reason: str, at_s: float) -> Heard:
        message = self._for_people(packet.mn, reason, frame, at_s)
        answer = _answer(packet, READY, f"QnRtn={code}") if packet.wants_answer else None
        return Heard(Verdict.REFUSED, message, answer)

    def _readable(self, packet: Packet, station: Station, frame: bytes) -> bytes:
        """The frame with its CP in the clear (2025 edition, experimental)."""
        wanted = self._experimental_2025 and station.sm4_key and hj212_sm4.encrypts(packet)
        if not wanted:
            return frame
        return hj212_frame.build(hj212_sm4.decrypted(packet, station.sm4_key))

    def _for_people(self, mn: str, reason: str, data: bytes, at_s: float) -> Message | None:
        """A frame for the quarantine; None when there were too many lately."""
        if at_s >= self._until_s:
            self._left, self._until_s = self._per_minute, at_s + _A_MINUTE_S
        self._left -= 1
        if self._left < 0:
            return None
        payload = hj212_frame.without_password(data)
        return Message(refused_topic(mn, reason), payload, self._now())


def _taken(packet: Packet, cn: str) -> Packet | None:
    return _answer(packet, cn, "") if packet.wants_answer else None


def _answer(packet: Packet, cn: str, cp: str) -> Packet:
    """The answer to ``packet``: its QN, and the edition it speaks."""
    flag = packet.version * 4
    return Packet(cn=cn, mn=packet.mn, cp=cp, qn=packet.qn, st=SYSTEM, pw=packet.pw, flag=flag)
