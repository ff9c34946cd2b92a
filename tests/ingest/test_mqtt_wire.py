"""MQTT packets: bytes out of the standards, paho as the second program, and no input that hurts."""

from __future__ import annotations

import socket

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import ConfigurationError, DecodeError
from ingest import mqtt_wire as wire
from ingest.mqtt_wire import Reader, Version

BOTH = pytest.mark.parametrize("version", list(Version))
LIMIT = 1_000
fast = settings(max_examples=200, deadline=None)


def test_connect_as_in_the_standards():
    """3.1.1 figure 3.6: user, password and keep-alive 10, here with a session that is kept."""
    assert wire.connect(
        "id", version=Version.V3_1_1, keep_alive_s=10, username="u", password="p"
    ) == bytes.fromhex("10 14 0004 4D515454 04 C0 000A 0002 6964 0001 75 0001 70")
    assert wire.connect(
        "id", version=Version.V5, keep_alive_s=10, receive_maximum=20
    ) == bytes.fromhex("10 17 0004 4D515454 05 00 000A 08 11 FFFFFFFF 21 0014 0002 6964")


def test_subscribe_and_acknowledgements_as_in_the_standards():
    assert wire.subscribe(10, ["a/b", "c/d"], Version.V3_1_1) == bytes.fromhex(
        "82 0E 000A 0003 612F62 01 0003 632F64 01"
    )
    assert wire.subscribe(1, ["a"], Version.V5) == bytes.fromhex("82 07 0001 00 0001 61 01")
    assert wire.unsubscribe(2, ["a"], Version.V5) == bytes.fromhex("A2 06 0002 00 0001 61")
    assert wire.acknowledgements(wire.PUBACK, [1, 65_535]) == bytes.fromhex("40020001 4002FFFF")
    assert wire.acknowledgements(wire.PUBREC, [258]) == bytes.fromhex("50020102")
    assert wire.acknowledgements(wire.PUBCOMP, []) == b""


@BOTH
def test_what_paho_publishes(version):
    """A second program's PUBLISH packets, in MQTT 5 with every property it may have."""
    properties = None
    if version is Version.V5:
        properties = paho.Properties(paho.PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = 3600
        properties.ContentType = "application/senml+json"
        properties.ResponseTopic = "x"
        properties.CorrelationData = b"\0\1"
        properties.UserProperty = [("a", "b" * 200), ("c", "")]
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=int(version))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        client.connect_async("127.0.0.1", server.getsockname()[1])
        client.loop_start()
        line, _ = server.accept()
        with line:
            line.settimeout(10)
            line.recv(1_000)  # CONNECT
            line.sendall(bytes.fromhex("20020000" if properties is None else "2003000000"))
            for qos in (0, 1, 2):
                client.publish("senml/ö", b"x" * 300, qos, properties=properties)
            reader, got = Reader(version, LIMIT), []
            while len(got) < 3:
                publishes, others = reader.feed(line.recv(100))
                got += publishes
                assert others == []
        client.disconnect()
        client.loop_stop()
    assert [one[:2] for one in got] == [("senml/ö".encode(), b"x" * 300)] * 3
    assert [one[3] for one in got] == [0, 1, 2]
    assert [one[2] > 0 for one in got] == [False, True, True]


messages = st.lists(
    st.tuples(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.binary(max_size=300),
        st.integers(1, 65_535),
        st.integers(0, 2),
    ),
    max_size=8,
)


@BOTH
@fast
@given(sent=messages, cuts=st.lists(st.integers(1, 60), max_size=40))
def test_what_is_written_is_read_however_it_is_cut(version, sent, cuts):
    stream = b"".join(
        wire.publish(topic, payload, packet_id=packet_id, qos=qos, version=version)
        for topic, payload, packet_id, qos in sent
    )
    reader = Reader(version, LIMIT)
    got = []
    for cut in [*cuts, len(stream)]:
        publishes, others = reader.feed(stream[:cut])
        stream = stream[cut:]
        got += publishes
        assert others == []
    assert got == [
        (topic.encode(), payload, packet_id if qos else 0, qos)
        for topic, payload, packet_id, qos in sent
    ]


@BOTH
@fast
@given(sizes=st.lists(st.integers(0, 3 * LIMIT), max_size=6), cut=st.integers(1, 2_500))
def test_what_is_too_large_is_passed_over_and_named(version, sizes, cut):
    stream = b"".join(
        wire.publish("a/b", bytes(size), packet_id=n, qos=1, version=version)
        for n, size in enumerate(sizes, 1)
    )
    reader = Reader(version, LIMIT)
    kept, passed = {}, {}
    for begin in range(0, len(stream), cut):
        publishes, others = reader.feed(stream[begin : begin + cut])
        kept |= {packet_id: len(payload) for _, payload, packet_id, _ in publishes}
        passed |= {one.packet_id: one.size for one in others}
    head = 7 + (version is Version.V5)
    expected = dict(enumerate(sizes, 1))
    assert kept == {n: size for n, size in expected.items() if size + head <= LIMIT}
    assert passed == {n: size + head for n, size in expected.items() if size + head > LIMIT}


PIECES = (
    *(
        wire.publish("a/b", b"[1]", packet_id=9, qos=qos, version=v)
        for qos in (0, 1)
        for v in Version
    ),
    bytes.fromhex("20020000"),
    bytes.fromhex("20 09 00 00 06 13 000A 21 0014"),
    bytes.fromhex("9003000101"),
    bytes.fromhex("9004000100 80"),
    bytes.fromhex("62020007"),
    bytes.fromhex("D000"),
    bytes.fromhex("E0 06 8E 04 1F 0001 61"),
    bytes.fromhex("FFFFFFFF7F"),
)


@BOTH
@fast
@given(
    parts=st.lists(st.binary(max_size=30) | st.sampled_from(PIECES), max_size=8),
    change=st.tuples(st.integers(0, 60), st.integers(0, 255)),
    cut=st.integers(1, 40),
)
def test_any_bytes(version, parts, change, cut):
    """Packets or DecodeError, whatever comes, and what is found has the shape it promises."""
    stream = bytearray(b"".join(parts))
    place, value = change
    if place < len(stream):
        stream[place] = value
    reader = Reader(version, LIMIT)
    try:
        for begin in range(0, len(stream), cut):
            publishes, others = reader.feed(bytes(stream[begin : begin + cut]))
            for topic, payload, packet_id, qos in publishes:
                assert len(topic) + len(payload) <= LIMIT
                assert qos in (0, 1, 2)
                assert (packet_id > 0) == (qos > 0)
            for packet in others:
                assert isinstance(packet, wire.Packet)
    except DecodeError:
        pass


def other(version: Version, text: str) -> wire.Packet:
    """The only packet of these bytes."""
    publishes, (packet,) = Reader(version, LIMIT).feed(bytes.fromhex(text))
    assert publishes == []
    return packet


def test_answers_of_a_broker():
    old, new = Version.V3_1_1, Version.V5
    assert other(old, "20020100") == wire.Connack(0, True, None, "")
    assert other(old, "20020005") == wire.Connack(0x87, False, None, "")
    assert other(new, "20030000 00") == wire.Connack(0, False, None, "")
    # server keep-alive 10, a user property, and a reason in words
    assert other(new, "20 14 00 86 11 13 000A 26 0001 61 0001 62 1F 0004 6E6F7065") == wire.Connack(
        0x86, False, 10, "nope"
    )
    # a broker that does not speak MQTT 5 answers as in 3.1.1
    assert other(new, "20020001") == wire.Connack(0x84, False, None, "")
    assert other(old, "90040001 0180") == wire.Suback(1, (1, 0x80))
    assert other(new, "90050001 00 019E") == wire.Suback(1, (1, 0x9E))
    assert other(old, "62020102") == wire.Pubrel(258)
    assert other(new, "E000") == wire.Disconnect(0, "")
    assert other(new, "E0028E00") == wire.Disconnect(0x8E, "")
    assert other(old, "D000") == wire.Other(wire.PINGRESP)
    assert wire.reason_words(0x8E) == "another client connected under the same client id"
    assert wire.reason_words(0xAA, "moon") == "its reason is 0xaa (moon)"


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (Version.V3_1_1, "30 FFFFFFFF 7F"),  # a length of five bytes
        (Version.V3_1_1, "30 01 00"),  # no room for the topic's length
        (Version.V3_1_1, "30 03 0005 61"),  # the topic is longer than the packet
        (Version.V3_1_1, "32 03 0001 61"),  # QoS 1 without a packet id
        (Version.V3_1_1, "32 05 0001 61 0000"),  # packet id 0
        (Version.V3_1_1, "36 05 0001 61 0001"),  # QoS 3
        (Version.V5, "30 04 0001 61 05"),  # properties that reach over the end
        (Version.V5, "30 03 0001 61"),  # no properties at all
        (Version.V5, "20 05 00 00 02 99 00"),  # a property that does not exist
        (Version.V5, "20 05 00 00 02 13 00"),  # one that is cut off
        (Version.V3_1_1, "10 00"),  # CONNECT, which is ours to send
        (Version.V3_1_1, "E0 00"),  # a broker of 3.1.1 does not take leave
        (Version.V3_1_1, "D0 FF7F"),  # a huge ping
    ],
)
def test_what_breaks_the_format_is_refused(version, text):
    with pytest.raises(DecodeError, match="broker sent"):
        Reader(version, LIMIT).feed(bytes.fromhex(text))


def test_settings_that_fit_no_packet_are_refused():
    with pytest.raises(ConfigurationError, match="too long for MQTT"):
        wire.connect("x" * 65_536, version=Version.V5, keep_alive_s=1)
    with pytest.raises(ConfigurationError, match="holds a zero byte"):
        wire.subscribe(1, ["a\0b"], Version.V5)
    with pytest.raises(ConfigurationError, match="more than an MQTT packet can hold"):
        wire.publish("a", bytes(268_435_456), version=Version.V5)


def test_a_packet_in_a_thousand_pieces_is_read_in_linear_time():
    """Pieces are joined when the packet is complete, not with every piece."""
    payload = bytes(2_000_000)
    stream = wire.publish("a/b", payload, packet_id=1, qos=1, version=Version.V3_1_1)
    reader = Reader(Version.V3_1_1, 4_000_000)
    scans = 0
    scan = reader._scan

    def counted(*arguments):
        nonlocal scans
        scans += 1
        return scan(*arguments)

    reader._scan = counted
    got = [p for i in range(0, len(stream), 2_000) for p in reader.feed(stream[i : i + 2_000])[0]]
    assert got == [(b"a/b", payload, 1, 1)]
    assert scans == 2
