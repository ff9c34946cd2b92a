"""The HJ 212 server, over real TCP: with raw sockets, and with the sandbox's station."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import ServiceError, SpoolFullError
from core.sites import AssetKind, DeviceProfile
from ingest import hj212_control, hj212_frame, hj212_sm4
from ingest.hj212_connection import Limits
from ingest.hj212_frame import Packet, build, parse
from ingest.hj212_host import Patience, Period, periods
from ingest.hj212_server import Hj212Settings, Hj212Status, run_hj212
from ingest.hj212_stations import Stations
from ingest.pipeline import Message
from ingest.protocols.hj212 import decode
from ingest.spool import Spool
from sandbox import hj212_station

ROOT = Path(__file__).parents[2]
MN = hj212_station.mn_of(1)
NOW = datetime(2026, 6, 22, 0, 5, tzinfo=UTC)
KEY = "0123456789abcdeffedcba9876543210"
PROFILE = DeviceProfile(
    "raw", "hj212", "RAW-*", AssetKind.AIR_STATION, (),
    parameters={"password": "123456", "sm4_keys": {"RAW-2025": KEY}},
)  # fmt: skip
STATIONS = Stations([*hj212_station.describe()[0], PROFILE], "Asia/Shanghai")
WAIT_S = 15.0


def until(condition: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """What ``condition`` gives when it is no longer false; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


class Server:
    """A server in a thread; what it accepted is in ``messages`` unless ``full``."""

    def __init__(self, settings: Hj212Settings, missing: Callable[[str], Sequence[Period]]) -> None:
        self.messages: list[Message] = []
        self.turned_away: list[Message] = []
        self.full = False
        self.hold = threading.Event()
        self.hold.set()
        self.status = Hj212Status(0)
        self.error: BaseException | None = None
        self.now: Callable[[], datetime] = lambda: NOW
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(settings, missing))
        self._thread.start()
        until(lambda: self.status.port or self.error)

    def _run(self, settings: Hj212Settings, missing: Callable[[str], Sequence[Period]]) -> None:
        try:
            run_hj212(settings, self._accept, lambda: self.now(), self._stop, self._note, missing)
        except BaseException as error:  # noqa: BLE001 - shown to the test
            self.error = error

    def _accept(self, messages: Sequence[Message]) -> None:
        assert self.hold.wait(WAIT_S)
        if self.full:
            self.turned_away.extend(messages)
            raise SpoolFullError
        self.messages.extend(messages)

    def _note(self, status: Hj212Status) -> None:
        self.status = status

    def data(self) -> list[Packet]:
        """The packets that were accepted as data."""
        return [parse(m.payload) for m in self.messages if "/refused/" not in m.topic]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def begin(
            missing: Callable[[str], Sequence[Period]] = lambda _: (), **changes: Any
        ) -> Server:
            settings = replace(Hj212Settings(STATIONS, fill_after_s=0.0), **changes)
            server = Server(settings, missing)
            stack.callback(server.stop)
            return server

        yield begin


class Raw:
    """A station that is a socket."""

    def __init__(self, server: Server, mn: str = "RAW-1") -> None:
        self.mn = mn
        self.line = socket.create_connection(("127.0.0.1", server.status.port), timeout=WAIT_S)
        self._splitter = hj212_frame.Splitter()
        self._found: list[Packet] = []

    def frame(self, number: int = 0, **changes: Any) -> bytes:
        cp = f"DataTime=202606220{number // 60}{number % 60:02d}00;a34004-Avg=13.5,a34004-Flag=N"
        packet = Packet(cn="2051", mn=self.mn, cp=cp, qn=f"2026062208{number:07d}", st="22",
                        pw="123456", flag=5)  # fmt: skip
        return build(replace(packet, **changes))

    def send(self, *frames: bytes) -> None:
        self.line.sendall(b"".join(frames))

    def packet(self) -> Packet | None:
        """The next packet from the host; None when it closes the connection."""
        while not self._found:
            try:
                data = self.line.recv(4096)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._found += [parse(one) for one in self._splitter.feed(data)]  # type: ignore[arg-type]
        return self._found.pop(0)

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for so long."""
        self.line.settimeout(seconds)
        try:
            self.packet()
        except TimeoutError:
            return True
        finally:
            self.line.settimeout(WAIT_S)
        return False


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    with ExitStack() as stack:

        def connect(*args: Any) -> Raw:
            one = Raw(*args)
            stack.callback(one.line.close)
            return one

        yield connect


def test_data_are_answered_with_their_number_after_they_are_safe(start, raw):
    server = start()
    station = raw(server)
    server.hold.clear()
    station.send(station.frame())
    assert station.silent()
    server.hold.set()
    answer = station.packet()
    assert answer == Packet(
        cn="9014", mn="RAW-1", qn="20260622080000000", st="91", pw="123456", flag=4
    )
    (message,) = server.messages
    assert message.topic == "hj212/RAW-1/Asia/Shanghai"
    assert b"123456" not in message.payload
    decoded = decode(message.topic, message.payload, message.received_at)
    assert decoded.names == (("RAW-1", "a34004-Avg@2051", None),)


def test_a_frame_in_single_bytes_and_two_in_one_segment(start, raw):
    server = start()
    station = raw(server)
    for byte in station.frame(0):
        station.send(bytes([byte]))
    assert station.packet().cn == "9014"
    station.send(station.frame(1) + station.frame(2))
    assert [station.packet().qn[-2:] for _ in range(2)] == ["01", "02"]
    assert len(server.data()) == 3


def test_no_answer_where_none_is_wanted(start, raw):
    server = start()
    station = raw(server)
    station.send(station.frame(0, flag=4), station.frame(1))
    assert station.packet().qn.endswith("1")
    assert len(server.data()) == 2


def test_the_answer_speaks_the_edition_that_was_spoken(start, raw):
    station = raw(start())
    station.send(station.frame(flag=9), station.frame(flag=1))
    assert [station.packet().flag, station.packet().flag] == [8, 0]


def test_a_notice_is_answered_9013_and_a_heartbeat_too(start, raw):
    server = start()
    station = raw(server)
    station.send(station.frame(cn="9015", cp=""), station.frame(1, cn="1013", cp=""))
    assert [station.packet().cn for _ in range(2)] == ["9013", "9013"]
    clock = station.packet()  # and its clock is set
    assert (clock.cn, clock.cp, clock.flag) == ("1012", "SystemTime=20260622080500", 5)
    assert server.messages == []


def test_a_wrong_crc_is_not_answered_and_kept_for_people(start, raw):
    server = start()
    station = raw(server)
    wrong = station.frame(0)[:-6] + b"0000\r\n"
    station.send(wrong, station.frame(1))
    assert station.packet().qn.endswith("1")
    kept = [m for m in server.messages if "/refused/" in m.topic]
    assert "CRC" in kept[0].topic
    assert b"123456" not in kept[0].payload
    assert until(lambda: server.status.bad) == 1


@pytest.mark.parametrize(
    ("mn", "pw", "code", "reason"),
    [("RAW-1", "654321", "3", "password"), ("NOBODY", "123456", "4", "profile")],
)
def test_who_is_not_known_is_told_why_and_leaves_no_data(start, raw, mn, pw, code, reason):
    server = start()
    station = raw(server, mn)
    for number in range(3):
        station.send(station.frame(number, pw=pw))
        answer = station.packet()
        assert (answer.cn, answer.cp) == ("9011", f"QnRtn={code}")
    assert station.packet() is None  # after three the connection ends
    assert server.data() == []
    assert all(reason in m.topic for m in server.messages)
    assert until(lambda: server.status.refused) == 3


def test_a_flood_of_refused_frames_does_not_fill_the_spool(start, raw):
    server = start(limits=Limits(quarantined_per_minute=5, refusals=1_000, frames_per_s=1e6))
    station = raw(server)
    station.send(*(station.frame(n, pw="guess") for n in range(50)))
    for _ in range(50):
        assert station.packet().cn == "9011"
    assert len(server.messages) == 5


def test_a_full_spool_means_no_answer_and_the_resend_is_taken(start, raw):
    server = start()
    station = raw(server)
    server.full = True
    station.send(station.frame())
    assert station.silent()
    assert until(lambda: server.status.last_error)
    server.full = False
    station.send(station.frame())
    assert station.packet().cn == "9014"
    assert len(server.data()) == 1
    assert until(lambda: not server.status.last_error)


def test_two_hundred_stations_at_once(start, raw):
    server = start()
    stations = [raw(server, f"RAW-{n}") for n in range(200)]
    for number in range(3):
        for station in stations:
            station.send(station.frame(number))
    for station in stations:
        assert [station.packet().qn[-1] for _ in range(3)] == ["0", "1", "2"]
    keys = {(p.mn, p.cp) for p in server.data()}
    assert len(keys) == len(server.data()) == 600
    assert until(lambda: server.status.stations == 200)
    for station in stations:
        station.line.close()
    assert until(lambda: server.status.connections == 0)


# --- What does not speak HJ 212 -----------------------------------------------------------------


def test_a_frame_that_never_ends_ends_the_connection(start, raw):
    """Slow loris: byte after byte keeps a frame open, but not for ever."""
    server = start(limits=Limits(frame_s=0.4))
    station = raw(server)
    deadline = time.monotonic() + WAIT_S
    with suppress(OSError):
        for byte in station.frame() * 100:
            assert time.monotonic() < deadline
            station.send(bytes([byte]))
            time.sleep(0.02)
    assert station.packet() is None
    assert server.messages == []


def test_silence_ends_the_connection(start, raw):
    server = start(limits=Limits(first_frame_s=0.3, idle_s=0.6))
    mute, once = raw(server), raw(server)
    once.send(once.frame())
    assert once.packet().cn == "9014"
    assert mute.packet() is None
    assert once.packet() is None


def test_noise_and_oversize_end_the_connection(start, raw):
    server = start(limits=Limits(noise_bytes=10_000))
    station = raw(server)
    with suppress(OSError):
        for _ in range(100):
            station.send(b"GET / HTTP/1.1\r\n##9999" * 100)
    assert station.packet() is None
    other = raw(server)
    other.send(b"noise" * 100, other.frame())
    assert other.packet().cn == "9014"


def test_strangers_make_room_and_stations_stay(start, raw):
    server = start(limits=Limits(strangers=3, connections=5))
    station = raw(server)
    station.send(station.frame())
    assert station.packet().cn == "9014"
    mute = [raw(server) for _ in range(6)]
    assert mute[0].packet() is None
    station.send(station.frame(1))
    assert station.packet().cn == "9014"
    late = raw(server)
    late.send(late.frame(2))
    assert late.packet().cn == "9014"


def test_a_taken_port_is_said(start):
    server = start()
    with pytest.raises(ServiceError, match=r"cannot be received at 127\.0\.0\.1"):
        run_hj212(
            Hj212Settings(STATIONS, port=server.status.port),
            server.messages.extend, lambda: NOW, threading.Event(),
        )  # fmt: skip


def test_a_spool_that_breaks_ends_the_server_and_nothing_is_answered(start, raw):
    server = start()
    station = raw(server)
    server.messages = None  # type: ignore[assignment] - what accept appends to
    station.send(station.frame())
    assert station.packet() is None
    error = until(lambda: server.error)
    server.error = None
    assert isinstance(error, AttributeError)


# --- The host asks ------------------------------------------------------------------------------

BRISK = Patience(answer_s=0.3, resends=1, progress_s=0.5, total_s=5.0)


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / "run" / "hj212.sock"


def asking(control: Path, **request: str) -> Callable[[], Any]:
    """Ask in a thread; the result is what it gives, or raises."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(hj212_control.ask(control, request))
        except ServiceError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> Any:
        thread.join(WAIT_S)
        assert outcome
        if isinstance(outcome[0], ServiceError):
            raise outcome[0]
        return outcome[0]

    return result


def known(station: Raw) -> Raw:
    station.send(station.frame())
    assert station.packet().cn == "9014"
    return station


def test_the_control_socket_is_its_owner_s_alone(start, control):
    server = start(control=control)
    assert control.stat().st_mode & 0o777 == 0o600
    assert control.parent.stat().st_mode & 0o777 == 0o700
    assert hj212_control.ask(control, {"do": "stations"}) == {"stations": []}
    with pytest.raises(ServiceError, match="Another"):
        run_hj212(
            Hj212Settings(STATIONS, control=control),
            server.messages.extend, lambda: NOW, threading.Event(),
        )  # fmt: skip
    server.stop()
    assert not control.exists()
    with pytest.raises(ServiceError, match="No HJ 212 server"):
        hj212_control.ask(control, {"do": "stations"})


def test_a_socket_left_by_a_killed_server_is_taken_over(start, control):
    control.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(control))
    start(control=control)
    assert hj212_control.ask(control, {"do": "stations"}) == {"stations": []}


def test_a_path_longer_than_a_socket_s_address_is_used_all_the_same(start, tmp_path):
    deep = tmp_path / ("x" * 120) / hj212_control.SOCKET_NAME
    start(control=deep)
    assert hj212_control.ask(deep, {"do": "stations"}) == {"stations": []}


def test_the_clock_of_a_station_is_read(start, raw, control):
    station = known(raw(start(control=control, patience=BRISK)))
    result = asking(control, do="clock", mn="RAW-1")
    asked = station.packet()
    assert (asked.cn, asked.st, asked.pw, asked.flag) == ("1011", "22", "123456", 5)
    station.send(station.frame(cn="9011", qn=asked.qn, flag=4, cp="QnRtn=1"))
    station.send(station.frame(cn="1011", qn=asked.qn, flag=4, cp="SystemTime=20260622080459"))
    assert result() == {"clock": "2026-06-22T00:04:59+00:00"}


@pytest.mark.parametrize(
    ("cn", "cp", "sentence"),
    [
        ("9011", "QnRtn=2", "refuses the request"),
        ("9011", "QnRtn=3", "does not accept the password"),
        ("9011", "QnRtn=77", "QnRtn is '77'"),
        ("9012", "ExeRtn=5", "is busy"),
        ("9012", "ExeRtn=6", "has a fault"),
        ("9012", "", "ExeRtn is ''"),
        ("9011", "QnRtn", "wrongly"),
    ],
)
def test_a_code_becomes_a_sentence(start, raw, control, cn, cp, sentence):
    station = known(raw(start(control=control, patience=BRISK)))
    begin, end = "2026-06-22T00:00:00Z", "2026-06-22T01:00:00Z"
    result = asking(control, do="recollect", mn="RAW-1", cn="2051", begin=begin, end=end)
    asked = station.packet()
    assert asked.cp == "BeginTime=20260622080000,EndTime=20260622085959"
    station.send(station.frame(cn=cn, qn=asked.qn, flag=4, cp=cp))
    with pytest.raises(ServiceError, match=sentence):
        result()


def test_a_request_goes_out_again_and_then_is_given_up(start, raw, control):
    station = known(raw(start(control=control, patience=BRISK)))
    result = asking(control, do="set-clock", mn="RAW-1")
    first, second = station.packet(), station.packet()
    assert first == second
    with pytest.raises(ServiceError, match=r"does not answer CN 1012"):
        result()
    result = asking(control, do="set-clock", mn="RAW-1")
    ready = station.packet()
    assert ready.qn > first.qn
    station.send(station.frame(cn="9011", qn=ready.qn, flag=4, cp="QnRtn=1"))
    with pytest.raises(ServiceError, match=r"did not finish CN 1012 in time"):
        result()


def test_what_was_collected_and_found_no_room_is_not_called_collected(start, raw, control):
    server = start(control=control, patience=BRISK)
    station = known(raw(server))
    begin, end = "2026-06-22T00:00:00Z", "2026-06-22T01:00:00Z"
    result = asking(control, do="recollect", mn="RAW-1", cn="2051", begin=begin, end=end)
    qn = station.packet().qn
    server.full = True
    station.send(station.frame(cn="9011", qn=qn, flag=4, cp="QnRtn=1"))
    station.send(station.frame(qn=qn, flag=4))
    station.send(station.frame(cn="9012", qn=qn, flag=4, cp="ExeRtn=1"))
    with pytest.raises(ServiceError, match="no room in the spool"):
        result()


def test_a_period_of_which_the_station_has_nothing_is_no_error(start, raw, control):
    station = known(raw(start(control=control, patience=BRISK)))
    begin, end = "2026-06-22T00:00:00Z", "2026-06-22T01:00:00Z"
    result = asking(control, do="recollect", mn="RAW-1", cn="2051", begin=begin, end=end)
    station.send(station.frame(cn="9012", qn=station.packet().qn, flag=4, cp="ExeRtn=100"))
    assert result() == {"packets": 0}


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"do": "clock", "mn": "RAW-9"}, "RAW-9 is not connected"),
        ({"do": "dance"}, "does not know how"),
        ({"do": "clock"}, "cannot be understood"),
        ({"do": "recollect", "mn": "RAW-1", "cn": "3011", "begin": "2026-06-22T00:00:00Z",
          "end": "2026-06-22T01:00:00Z"}, "cannot be collected again"),
        ({"do": "recollect", "mn": "RAW-1", "cn": "2051", "begin": "2026-06-22T01:00:00Z",
          "end": "2026-06-22T01:00:00Z"}, "ends before it begins"),
        ({"do": "set-clock", "mn": "RAW-1", "at": "noon"}, "not an ISO 8601 time"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(start, raw, control, request_, sentence):
    known(raw(start(control=control)))
    with pytest.raises(ServiceError, match=sentence):
        hj212_control.ask(control, request_)


def test_a_station_that_comes_back_is_asked_once_for_what_is_missing(start, raw):
    asked_for: list[str] = []

    def missing(mn: str) -> list[Period]:
        asked_for.append(mn)
        return [Period("2061", NOW - timedelta(hours=5, minutes=5), NOW - timedelta(minutes=5))]

    server = start(missing, patience=BRISK)
    station = raw(server)
    station.send(station.frame())
    came = {packet.cn: packet for packet in (station.packet(), station.packet())}
    assert set(came) == {"9014", "2061"}
    asked = came["2061"]
    assert (asked.cn, asked.cp) == ("2061", "BeginTime=20260622030000,EndTime=20260622075959")
    station.send(station.frame(cn="9012", qn=asked.qn, flag=4, cp="ExeRtn=3"))
    assert until(lambda: "conditions for it are not met" in server.status.last_error)
    station.send(station.frame(1))
    assert station.packet().cn == "9014"
    assert station.silent()
    assert asked_for == ["RAW-1"]


def test_gaps_of_several_factors_are_asked_for_once():
    def at(hour: int) -> datetime:
        return NOW + timedelta(hours=hour)

    gaps = [
        ("a34004-Avg@2051", at(0), at(2)),
        ("a34002-Avg@2051", at(1), at(3)),
        ("a34004-Avg@2061", at(0), at(2)),
        ("a34004-Avg@2051", at(7), at(8)),
        ("a34004-Avg@2041", at(0), at(2)),
        ("p", at(0), at(2)),
    ]
    expected = (
        Period("2051", at(7), at(8)), Period("2051", at(0), at(3)), Period("2061", at(0), at(2))
    )  # fmt: skip
    assert periods(gaps) == periods(gaps[::-1]) == expected


# --- Edition of 2025 (experimental) -----------------------------------------------------------


def test_an_encrypted_frame_is_kept_in_the_clear_and_a_clear_one_is_refused(start, raw):
    server = start(experimental_2025=True)
    station = raw(server, "RAW-2025")
    plain = parse(station.frame(flag=9))
    station.send(build(plain), build(hj212_sm4.encrypted(plain, bytes.fromhex(KEY))))
    assert (station.packet().cn, station.silent()) == ("9014", True)
    assert [p.cp for p in server.data()] == [plain.cp]
    station.send(station.frame(cn="1001", flag=9, cp="CPUID=1"))
    assert station.packet().cn == "9013"
    assert "registered" in server.messages[-1].topic


# --- With the sandbox's station, a process of its own ----------------------------------------


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts sandbox stations; none is left at the end."""
    with ExitStack() as stack:

        def begin(port: int, **options: object) -> subprocess.Popen[bytes]:
            given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
            process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.hj212_station", f"--port={port}", *given],
                cwd=ROOT,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait, WAIT_S)
            stack.callback(process.kill)
            return process

        yield begin


CITY = datetime(2026, 6, 22, 2, 0, tzinfo=UTC)


def city_clock(pace: float) -> tuple[dict[str, object], Callable[[], datetime]]:
    """Options of a station, and the city's clock that belongs to them."""
    wall = datetime.now(UTC)
    options = {"origin_wall": wall.isoformat(), "origin_city": CITY.isoformat(), "pace": pace}
    return options, lambda: CITY + (datetime.now(UTC) - wall) * pace


def test_a_station_is_received_its_clock_set_and_its_past_collected(start, station, control):
    options, now = city_clock(pace=1_800.0)
    server = start(control=control)
    server.now = now
    # At this pace every second that the station takes to start is half an hour of its memory.
    station(server.status.port, **options, memory_hours=48, clock_offset_s=7_200)
    until(lambda: hj212_control.ask(control, {"do": "stations"})["stations"])
    until(lambda: {"2051", "2061"} <= {p.cn for p in server.data()})
    shown = datetime.fromisoformat(hj212_control.ask(control, {"do": "clock", "mn": MN})["clock"])
    assert shown <= now()  # it had been two hours ahead; what is on the way is behind
    before = len(server.data())
    period = {"begin": "2026-06-22T00:30:00Z", "end": "2026-06-22T01:30:00Z"}
    request = {"do": "recollect", "mn": MN, "cn": "2051", **period}
    assert hj212_control.ask(control, request)["packets"] >= 12
    begins = {parse(m.payload).cp[:23] for m in server.messages[before:]}
    assert {f"DataTime=2026062208{n:02d}00" for n in range(30, 60, 5)} <= begins
    assert {f"DataTime=2026062209{n:02d}00" for n in range(0, 30, 5)} <= begins
    for message in server.messages:
        decode(message.topic, message.payload, message.received_at)


def test_a_missing_period_is_collected_by_itself_when_the_station_connects(start, station):
    options, now = city_clock(pace=600.0)
    gap = Period("2051", CITY - timedelta(hours=2), CITY - timedelta(hours=1))
    server = start(lambda _: [gap])
    server.now = now
    station(server.status.port, **options, memory_hours=48)
    wanted = {f"DataTime=2026062208{n:02d}00" for n in range(0, 60, 5)}
    until(lambda: wanted <= {p.cp[:23] for p in server.data() if p.cn == "2051"})


def test_a_station_keeps_what_nobody_takes_over_its_own_restart(start, station, tmp_path):
    options, now = city_clock(pace=1_200.0)
    server = start()
    server.now = now
    server.full = True
    options |= {"state": tmp_path / "station.json", "answer_s": 0.3}
    first = station(server.status.port, **options)
    until(lambda: len(server.turned_away) >= 3)  # the first five minutes, again and again
    first.kill()
    first.wait(WAIT_S)
    server.full = False
    station(server.status.port, **options)
    contents = until(lambda: [p.cp for p in server.data()])
    assert contents[0] == parse(server.turned_away[0].payload).cp


def test_a_frame_that_was_kept_but_not_answered_comes_again_and_is_one(
    station, tmp_path, free_port
):
    """kill -9 between the spool's commit and the answer, then again."""
    spool, state = tmp_path / "spool", tmp_path / "station.json"

    def receiver(what: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, str(Path(__file__).parent / "hj212_receiver.py")]
        return subprocess.Popen(
            [*program, str(free_port), str(spool), what],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    options, now = city_clock(pace=600.0)
    receivers = [receiver("die")]
    try:
        station(free_port, **options, answer_s=0.5, state=state)
        for _ in range(2):
            assert receivers[-1].wait(WAIT_S) == -signal.SIGKILL
            receivers.append(receiver("die" if len(receivers) < 2 else "answer"))
        until(lambda: state.exists() and not json.loads(state.read_text())["unsent"])
    finally:
        for one in receivers:
            one.kill()
            one.wait(WAIT_S)
    kept = Spool(spool, capacity_bytes=10_000_000)
    messages = kept.take(1_000)
    kept.close()
    packets = [parse(m.payload) for m in messages]
    assert [p.cp for p in packets].count(packets[0].cp) >= 3  # on a slow machine more
    keys: dict[tuple[Any, int], float] = {}
    for message in messages:
        decoded = decode(message.topic, message.payload, now())
        for name, ts_us, value in zip(decoded.names, decoded.ts_us, decoded.value, strict=True):
            assert keys.setdefault((name, ts_us), value) == value
    assert len(keys) == 12 * len({p.cp for p in packets if p.cn == "2051"})
