"""HJ 212 frames: the standard's example, streams cut anywhere, and nothing but DecodeError."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from ingest import hj212_frame
from ingest.hj212_frame import Bad, Packet, Splitter, build, frame, parse

FRAMES = Path(__file__).parent / "frames"
RECORDED = Path(__file__).parents[3] / "shared/data/hj212/packets.json"

STANDARD = (
    b"##0101QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
    b"CP=&&RtdInterval=30&&1C80\r\n"
)
"""HJ 212-2017, annex A: the example of the CRC."""

MINUTE = (FRAMES / "hj212_2051.txt").read_bytes().replace(b"\n", b"\r\n")

fast = settings(max_examples=150, deadline=None)


def split(stream: bytes, cuts: list[int]) -> list[bytes | Bad]:
    splitter = Splitter()
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]
    return [one for piece in pieces for one in splitter.feed(piece)]


def test_the_crc_is_the_standard_s_and_not_that_of_modbus():
    assert hj212_frame.crc(STANDARD[6:-6]) == 0x1C80 != 0x0759


def test_the_standard_s_example_is_read():
    assert parse(STANDARD) == Packet(
        cn="1062",
        mn="010000A8900016F000169DC0",
        cp="RtdInterval=30",
        qn="20160801085857223",
        st="32",
        pw="100000",
        flag=5,
    )
    assert build(parse(STANDARD)) == STANDARD


@pytest.mark.parametrize(
    ("flag", "version", "answer"),
    [(0, 0, 0), (1, 0, 1), (4, 1, 0), (5, 1, 1), (7, 1, 1), (9, 2, 1)],
)
def test_flag_is_edition_numbers_answer(flag, version, answer):
    packet = replace(parse(STANDARD), flag=flag)
    assert (packet.version, packet.wants_answer) == (version, bool(answer))


def test_packets_of_the_field_are_read():
    """From public repositories, each CRC right: lower case, no QN, no Flag, Flag=8."""
    if not RECORDED.exists():
        pytest.skip(f"the recorded packets are not at {RECORDED.name} beside the project")
    packets = [entry["packet"].encode() for entry in json.loads(RECORDED.read_text())]
    assert Splitter().feed(b"".join(packets)) == packets
    for packet in packets:
        hj212_frame.values(parse(packet).cp)


@pytest.mark.parametrize("spelled", [b"%04X", b"%04x", b"%x", b"%X"])
def test_a_crc_may_be_written_in_capitals_small_or_without_its_leading_zero(spelled):
    body = next(
        b"CN=2011;MN=A;CP=&&n=%d&&" % n
        for n in range(99)
        if 0x100 <= hj212_frame.crc(b"CN=2011;MN=A;CP=&&n=%d&&" % n) < 0x1000
    )
    raw = b"##%04d" % len(body) + body + spelled % hj212_frame.crc(body) + b"\r\n"
    assert Splitter().feed(raw + STANDARD) == [raw, STANDARD]


def test_a_stream_in_single_bytes():
    splitter = Splitter()
    found = [one for byte in STANDARD + MINUTE for one in splitter.feed(bytes([byte]))]
    assert found == [STANDARD, MINUTE]
    assert not splitter.pending
    assert splitter.skipped == 0


def test_a_wrong_crc_is_told_and_what_follows_is_found():
    wrong = STANDARD.replace(b"1C80", b"1C81")
    bad, good = Splitter().feed(wrong + MINUTE)
    assert bad == Bad("The CRC is 1C81, the frame's is 1C80.", wrong)
    assert good == MINUTE


@pytest.mark.parametrize(
    ("said", "reason"), [(b"##0099", "does not end"), (b"##0400", "shorter"), (b"##2000", "1024")]
)
def test_a_wrong_length_is_told_and_what_follows_is_found(said, reason):
    found = Splitter().feed(STANDARD.replace(b"##0101", said) + MINUTE)
    assert reason in found[0].reason
    assert found[-1] == MINUTE


def test_a_frame_within_what_looked_like_one_is_found():
    """Noise before a frame may promise a frame that ends where the real one does."""
    noise = b"##%04d" % len(STANDARD[:-6])
    assert Splitter().feed(noise + STANDARD)[-1] == STANDARD


def test_the_buffer_is_bounded():
    splitter = Splitter()
    for _ in range(1_000):
        splitter.feed(b"##1024" + b"x" * 777)
        splitter.feed(b"#" * 999)
    assert len(splitter._buffer) < 1_200
    assert splitter.skipped > 1_000_000


streams = st.lists(
    st.sampled_from([STANDARD, MINUTE, STANDARD[:50], MINUTE[60:], b"##", b"#", b"##0005", b"\r\n"])
    | st.binary(max_size=12),
    max_size=8,
).map(b"".join)


@fast
@given(stream=streams, cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_however_a_stream_is_cut_the_frames_are_the_same(stream, cuts):
    assert split(stream, cuts) == split(stream, [])


@fast
@given(noise=st.binary(max_size=80) | streams.map(lambda s: s[:-1]), cuts=st.lists(st.integers(0)))
def test_after_any_noise_the_next_frames_are_found(noise, cuts):
    """At most one frame's length of bytes is waited for, so after that all are there."""
    found = split(noise + MINUTE * 4, cuts)
    assert found.count(MINUTE) >= 4


texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=20).map(
    lambda text: text.translate({ord(c): "_" for c in ";,=&"})
)
packets = st.builds(
    Packet,
    cn=st.from_regex(r"[0-9]{4}", fullmatch=True),
    mn=st.from_regex(r"[0-9A-Za-z_-]{1,24}", fullmatch=True),
    cp=st.dictionaries(texts.filter(str.strip), texts, max_size=6).map(
        lambda said: ";".join(f"{name}={value}" for name, value in said.items())
    ),
    qn=st.from_regex(r"([0-9]{17})?", fullmatch=True),
    st=st.from_regex(r"([0-9]{2})?", fullmatch=True),
    pw=texts,
    flag=st.none() | st.integers(0, 255),
    pnum=st.none() | st.integers(0, 9999),
    pno=st.none() | st.integers(0, 9999),
)


@fast
@given(packet=packets)
def test_what_is_built_is_read_back(packet):
    assert parse(build(packet)) == packet
    assert Splitter(9_999).feed(build(packet)) == [build(packet)]


@fast
@given(packet=packets)
def test_a_hidden_password_leaves_everything_else(packet):
    hidden = hj212_frame.without_password(build(packet))
    assert parse(hidden) == replace(packet, pw="*" * len(packet.pw.encode()))


@fast
@given(
    body=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.builds(
        lambda a, b, c: STANDARD[6:a] + b + STANDARD[c:-6],
        st.integers(6, 100),
        st.binary(max_size=9) | st.just(b";Flag=256"),
        st.integers(6, 100),
    )
)
def test_no_segment_raises_anything_else(body):
    for raw in (body, frame(body)):
        try:
            packet = parse(raw)
            hj212_frame.items(packet.cp)
            hj212_frame.values(packet.cp)
        except DecodeError:
            pass
        hj212_frame.without_password(raw)


def test_items_keep_their_fields_together():
    cp = "DataTime=20260622080000;a34004-Avg=14,a34004-Flag=N;a34002-Avg=31,a34002-Flag=D"
    assert hj212_frame.items(cp)[1:] == [
        {"a34004-Avg": "14", "a34004-Flag": "N"},
        {"a34002-Avg": "31", "a34002-Flag": "D"},
    ]
    assert hj212_frame.values(cp)["a34002-Flag"] == "D"
    with pytest.raises(DecodeError, match="twice"):
        hj212_frame.values(cp + ";a34004-Avg=15")
