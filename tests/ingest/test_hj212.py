"""HJ 212 frames to readings: which interval, which mark, which tag; units are never guessed."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError, DecodeError
from core.readings import MARK_BITS, Quality
from core.sites import AssetKind, DeviceProfile
from core.timeaxis import from_us
from ingest import hj212_frame, hj212_sm4, wire
from ingest.decoded import Decoded
from ingest.hj212_door import Door, Verdict
from ingest.hj212_frame import Packet, build, parse
from ingest.hj212_stations import Stations
from ingest.protocols import hj212
from ingest.protocols.hj212 import MARKS, Address, decode, mark

FRAMES = Path(__file__).parent / "frames"
NOW = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)
MN = "564447524944323132000001"
SHANGHAI = Address(MN, "Asia/Shanghai")
EIGHT = datetime(2026, 6, 22, 0, 0, tzinfo=UTC)  # 08:00 in Shanghai

fast = settings(max_examples=150, deadline=None)


def recorded(name: str) -> bytes:
    return (FRAMES / name).read_bytes().replace(b"\n", b"\r\n")


def packet(cp: str, cn: str = "2051", mn: str = MN) -> bytes:
    return build(Packet(cn=cn, mn=mn, cp=cp, flag=4))


def rows(decoded: Decoded) -> dict[str, tuple[datetime, float, int]]:
    quality = decoded.quality or [0] * len(decoded.names)
    return {
        tag: (from_us(ts_us), value, flags)
        for (_, tag, _), ts_us, value, flags in zip(
            decoded.names, decoded.ts_us, decoded.value, quality, strict=True
        )
    }


def only(cp: str, cn: str = "2051", address: Address = SHANGHAI, now: datetime = NOW) -> datetime:
    """The time of the only reading."""
    ((ts, _, _),) = rows(decode(address.topic, packet(cp, cn, address.mn), now)).values()
    return ts


def test_minute_values_with_marks_and_a_missing_one():
    decoded = decode(SHANGHAI.topic, recorded("hj212_2051.txt"), NOW)
    calibrating = int(Quality.DEVICE_FLAG) | MARKS.index("C") << MARK_BITS
    assert rows(decoded) == {
        "a34004-Min@2051": (EIGHT, 12.0, 0),
        "a34004-Avg@2051": (EIGHT, 13.5, 0),
        "a34004-Max@2051": (EIGHT, 15.2, 0),
        "a21026-Avg@2051": (EIGHT, 6.1, calibrating),
        "a21005-Avg@2051": (EIGHT, 0.427, 0),
        "a01006-Avg@2051": (EIGHT, 95.21, 0),
        "Leq-Data@2051": (EIGHT, 58.4, 0),
    }
    assert {device for device, _, _ in decoded.names} == {MN}


def test_no_unit_is_ever_named():
    """Annex B prints ng/m3 for particles, stations send µg/m3: the profile knows, not the wire."""
    decoded = decode(SHANGHAI.topic, recorded("hj212_2051.txt"), NOW)
    assert {unit for _, _, unit in decoded.names} == {None}


def test_hours_days_and_minutes_of_one_factor_do_not_meet():
    tags = [
        tag
        for name in ("hj212_2051.txt", "hj212_2061.txt", "hj212_2031.txt")
        for tag in rows(decode(SHANGHAI.topic, recorded(name), NOW))
        if tag.startswith("a34004-Avg")
    ]
    assert tags == ["a34004-Avg@2051", "a34004-Avg@2061", "a34004-Avg@2031"]


def test_a_day_is_the_local_day():
    found = rows(decode(SHANGHAI.topic, recorded("hj212_2031.txt"), NOW))
    midnight = datetime(2026, 6, 21, 16, 0, tzinfo=UTC)
    assert found["a34004-Avg@2031"] == (midnight, 18.3, 0)
    assert found["Leq-NightData@2031"][0] == midnight


def test_a_packet_of_several_stands_for_itself():
    address = Address("SANDBOX_WATER_0001", "Asia/Shanghai")
    found = rows(decode(address.topic, recorded("hj212_2011_parts.txt"), NOW))
    out_of_range = int(Quality.DEVICE_FLAG) | MARKS.index("T") << MARK_BITS
    at = EIGHT + timedelta(seconds=30)
    assert found == {"w01018-Rtd@2011": (at, 21.4, 0), "w21003-Rtd@2011": (at, 0.62, out_of_range)}


@pytest.mark.parametrize("letter", [*MARKS, "", "X", "NN"])
def test_each_mark_is_kept_with_its_reading(letter):
    cp = f"DataTime=20260622080000;a34004-Avg=1,a34004-Flag={letter}"
    ((_, _, quality),) = rows(decode(SHANGHAI.topic, packet(cp), NOW)).values()
    good = letter in ("N", "")
    assert bool(quality & Quality.DEVICE_FLAG) is not good
    assert mark(quality) == ("N" if good else letter if letter in MARKS else "")
    assert 0 <= quality < 2**15
    assert mark(quality | Quality.LATE | Quality.ESTIMATED) == mark(quality)


@pytest.mark.parametrize(
    ("cn", "begin"),
    [("2051", timedelta(minutes=-10)), ("2061", timedelta(hours=-1)), ("2011", timedelta(0))],
)
def test_a_station_that_labels_the_end(cn, begin):
    address = Address(MN, "Asia/Shanghai", end_s=600)
    assert only("DataTime=20260622080000;a34004-Avg=1", cn, address) == EIGHT + begin
    assert only("DataTime=20260622080000;a34004-Avg=1", cn) == EIGHT


def test_milliseconds_behind_the_time_are_passed_over():
    assert only("DataTime=20260622080000123;a34004-Avg=1") == EIGHT


BERLIN = Address(MN, "Europe/Berlin")


@pytest.mark.parametrize(("now_hour", "utc_hour"), [(0, 0), (1, 1), (5, 1)])
def test_of_the_hour_that_comes_twice_the_nearer_is_meant(now_hour, utc_hour):
    now = datetime(2026, 10, 25, now_hour, 40, tzinfo=UTC)
    ts = only("DataTime=20261025023000;a34004-Avg=1", "2011", BERLIN, now)
    assert ts == datetime(2026, 10, 25, utc_hour, 30, tzinfo=UTC)


def test_the_hour_that_is_left_out_in_spring_is_no_time():
    with pytest.raises(DecodeError, match="no 2026-03-29 02:30"):
        only("DataTime=20260329023000;a34004-Avg=1", "2011", BERLIN)


def test_days_around_the_change_of_clocks():
    spring = only("DataTime=20260329000000;a34004-Avg=1", "2031", BERLIN)
    after = only("DataTime=20260330000000;a34004-Avg=1", "2031", BERLIN)
    assert after - spring == timedelta(hours=23)


def test_only_what_the_profile_wants_is_read():
    address = Address(MN, "Asia/Shanghai", keep=("*-Avg@2051", "Leq-Data@*"))
    found = rows(decode(address.topic, recorded("hj212_2051.txt"), NOW))
    assert set(found) == {
        "a34004-Avg@2051",
        "a21026-Avg@2051",
        "a21005-Avg@2051",
        "a01006-Avg@2051",
        "Leq-Data@2051",
    }
    hours = decode(address.topic, recorded("hj212_2061.txt"), NOW)
    assert hours == Decoded((), [], [])


def test_a_start_of_the_logger_is_no_reading_and_no_fault():
    cp = "DataTime=20260622080000;RestartTime=20260622075900"
    assert decode(SHANGHAI.topic, packet(cp, "2081"), NOW) == Decoded((), [], [])


@pytest.mark.parametrize(
    ("cp", "cn", "reason"),
    [
        ("a34004-Avg=1", "2051", "DataTime is missing"),
        ("DataTime=20261322080000;a34004-Avg=1", "2051", "calendar"),
        ("DataTime=99990622080000;a34004-Avg=1", "2051", "2098"),
        ("DataTime=20260622080000;a34004-Avg=abc", "2051", "a34004-Avg is 'abc'"),
        ("DataTime=20260622080000;a34004-Avg=1e999", "2051", "finite"),
        ("DataTime=20260622080000;a34004-Avg=1;a34004-Avg=2", "2051", "twice"),
        ("DataTime=20260622080000;a34004-Avg=--,a34004-Flag=D", "2051", "no number"),
        ("RtdInterval=30", "1062", "no readings"),
    ],
)
def test_what_cannot_be_read_says_why(cp, cn, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(SHANGHAI.topic, packet(cp, cn), NOW)


def test_a_station_does_not_speak_for_another():
    with pytest.raises(DecodeError, match="topic"):
        decode(Address("other", "Asia/Shanghai").topic, recorded("hj212_2051.txt"), NOW)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (hj212.refused_topic(MN, "The password is wrong."), "The password is wrong"),
        (hj212.refused_topic("", "The frame is shorter than it says."), "shorter"),
        (f"hj212/{MN}/Asia/Nowhere", "Nowhere"),
        (f"hj212/{MN}", "zone"),
        (f"hj212/{MN}/Asia/Shanghai;end=x", "topic"),
    ],
)
def test_refused_frames_go_to_quarantine_with_their_reason(topic, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(topic, recorded("hj212_2051.txt"), NOW)


numbers = st.sampled_from(["1", "-2.5", ".5", "1.", "1e5", "1e999", "", "--", "NaN", "x", "１"])
names = st.sampled_from(["a34004-Avg", "a34004-Flag", "-", "DataTime", "x-SampleTime", "a-\u200b"])
times = st.sampled_from(["20260622080000", "20260229000000", "00010101000000", "99991231235959"])


@fast
@given(
    payload=st.binary(max_size=100)
    | st.dictionaries(names | st.text(max_size=5), numbers | st.text(max_size=5), max_size=6).map(
        lambda said: packet(";".join(f"{n}={v}" for n, v in said.items()))
    )
    | st.builds(
        lambda ts, cn, number: packet(f"DataTime={ts};a34004-Avg={number}", cn),
        times | st.from_regex(r"[0-9]{14}", fullmatch=True),
        st.sampled_from(["2011", "2031", "2051", "2061", "2081", "9014"]),
        numbers,
    ),
    zone=st.sampled_from(["Asia/Shanghai", "America/New_York", "Europe/Berlin;end=600", "UTC"]),
)
def test_no_payload_raises_anything_else(payload, zone):
    try:
        decoded = decode(f"hj212/{MN}/{zone}", payload, NOW)
    except DecodeError:
        return
    for tag, (ts, value, _) in rows(decoded).items():
        assert math.isfinite(value)
        assert wire.EARLIEST <= ts < wire.LATEST
        assert tag.isprintable()


@fast
@given(topic=st.text(max_size=30) | st.text(max_size=20).map(lambda t: f"hj212/{MN}/{t}"))
def test_no_topic_raises_anything_else(topic):
    with contextlib.suppress(DecodeError):
        decode(topic, recorded("hj212_2051.txt"), NOW)


# --- Who may speak -------------------------------------------------------------------------


def profile(**parameters: object) -> DeviceProfile:
    return DeviceProfile(
        "air", "hj212", "5644*", AssetKind.AIR_STATION, (), parameters=dict(parameters)
    )


def test_a_station_is_understood_as_its_profile_says():
    stations = Stations(
        [
            profile(
                password="secret", passwords={MN: "own"}, timezone="Asia/Urumqi",
                label="end", minute_s=300, keep=["*-Avg@2051"],
            )
        ],
        "Asia/Shanghai",
    )  # fmt: skip
    station = stations.find(MN)
    assert station is not None
    assert station.address == Address(MN, "Asia/Urumqi", 300, ("*-Avg@2051",))
    assert hj212._address(station.address.topic) == station.address
    assert station.knows("own")
    assert not station.knows("secret")
    assert "own" not in repr(station)
    other = stations.find("56440")
    assert other is not None
    assert other.knows("secret")
    assert stations.find("9999") is None


def test_an_empty_password_lets_everybody_in_and_must_be_written_down():
    station = Stations([profile(password="")], "UTC").find(MN)
    assert station is not None
    assert station.knows("anything")
    with pytest.raises(ConfigurationError, match=r"'air'.*password"):
        Stations([profile()], "UTC")


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": 123456},
        {"passwords": {"a": 1}},
        {"timezone": "Mars/Olympus"},
        {"label": "middle"},
        {"label": "end"},
        {"keep": ["a;b"]},
        {"keep": "*"},
        {"sm4_key": "0123"},
        {"sm4_keys": {"a": "xy"}},
        {"pasword": "typo"},
    ],
)
def test_a_wrong_profile_stops_the_start(wrong):
    with pytest.raises(ConfigurationError, match="'air' cannot be used"):
        Stations([profile(**({"password": "x"} | wrong))], "UTC")


@fast
@given(
    stream=st.binary(max_size=80)
    | st.builds(
        lambda cn, mn, pw, cp: build(Packet(cn=cn, mn=mn, pw=pw, cp=cp, flag=9)),
        st.sampled_from(["2051", "1013", "1001", "9011", "9015", "0000"]),
        st.sampled_from([MN, "9999"]),
        st.sampled_from(["x", "y"]),
        st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=20),
    )
)
def test_whatever_comes_the_door_has_an_answer(stream):
    stations = Stations([profile(password="x", sm4_key=KEY.hex())], "UTC")
    door = Door(stations, lambda: NOW, quarantined_per_minute=60, experimental_2025=True)
    for one in hj212_frame.Splitter().feed(stream):
        heard = door.judge(one, 0.0)
        assert (heard.packet is not None) == (heard.verdict in (Verdict.DATA, Verdict.TALK))
        if heard.message is not None:
            assert heard.message.topic.isprintable()
            assert b"PW=x" not in heard.message.payload


# --- Edition of 2025 (experimental) -----------------------------------------------------------

KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
CP = "DataTime=20260622080000;a34004-Avg=13.5,a34004-Flag=N"


def test_sm4_is_that_of_the_standard():
    """GB/T 32907-2016, annex A, example 1."""
    plain = Packet(cn="2051", mn=MN, cp=KEY.decode("latin-1"), flag=9)
    encryptor = hj212_sm4._cipher(KEY).encryptor()
    assert (
        encryptor.update(KEY) + encryptor.finalize()
    ).hex() == "681edf34d206965e86b3e94f536e4246"
    assert hj212_sm4.encrypts(plain)


@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_an_encrypted_data_part_is_read(spelled):
    plain = Packet(cn="2051", mn=MN, cp=CP, flag=9)
    sent = hj212_sm4.encrypted(plain, KEY)
    sent = parse(build(Packet(cn="2051", mn=MN, cp=spelled(sent.cp), flag=9)))
    assert hj212_sm4.decrypted(sent, KEY) == plain


def test_with_a_key_nothing_is_believed_in_the_clear():
    for cp in (CP, "00" * 15, "AAAA", "", "00" * 16):
        with pytest.raises(DecodeError):
            hj212_sm4.decrypted(Packet(cn="2051", mn=MN, cp=cp, flag=9), KEY)


@fast
@given(cp=st.text(max_size=80) | st.binary(max_size=48).map(bytes.hex))
def test_no_data_part_raises_anything_else(cp):
    with contextlib.suppress(DecodeError):
        hj212_frame.values(hj212_sm4.decrypted(Packet(cn="2051", mn=MN, cp=cp, flag=9), KEY).cp)


@pytest.mark.parametrize(
    ("cn", "flag", "wanted"),
    [("2051", 9, True), ("3020", 8, True), ("2051", 5, False), ("1013", 9, False)],
)
def test_which_commands_are_encrypted(cn, flag, wanted):
    assert hj212_sm4.encrypts(Packet(cn=cn, mn=MN, flag=flag)) is wanted
