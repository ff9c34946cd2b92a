"""The session over real brokers: TLS, users, shares, cut lines; nothing lost, and clear words."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from core.errors import ConfigurationError, ServiceError
from ingest import mqtt_wire as wire
from ingest.broker import mosquitto_program
from ingest.messages import Message
from ingest.mqtt_access import Access
from ingest.mqtt_session import Session, SessionSettings
from ingest.mqtt_wire import Version
from ingest.setpoints import Setpoint, publish

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto_program() is None, reason="mosquitto is not installed"),
]
BOTH = pytest.mark.parametrize("version", list(Version))
ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)


def wait(condition: Callable[[], object], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


class Taker:
    """A session, everything it brought and everything it said."""

    def __init__(self, settings: SessionSettings, *, acknowledge: bool = True) -> None:
        self.messages: list[Message] = []
        self.said: list[tuple[bool, str]] = []
        self.acknowledge = acknowledge
        self._ready = threading.Event()
        self.session = Session(settings, ["t/#"], lambda: NOW, self._take, self._say)
        self._ready.set()

    def _take(self, messages: list[Message]) -> None:
        self._ready.wait()
        self.messages += messages
        if self.acknowledge:
            self.session.acknowledge(messages)

    def _say(self, connected: bool, reason: str) -> None:
        self.said.append((connected, reason))

    @property
    def connected(self) -> bool:
        return bool(self.said) and self.said[-1][0]

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    def close(self) -> None:
        self.session.close()


@pytest.fixture
def take() -> Iterator[Callable[..., Taker]]:
    """Opens sessions; a connected one unless told to come as it is."""
    with ExitStack() as stack:

        def open_(settings: SessionSettings, *, connected: bool = True, **named: bool) -> Taker:
            taker = stack.enter_context(closing(Taker(settings, **named)))
            if connected:
                wait(lambda: taker.connected)
            return taker

        yield open_


@pytest.fixture
def sender() -> Iterator[Callable[..., paho.Client]]:
    with ExitStack() as stack:

        def connect(port: int) -> paho.Client:
            client = paho.Client(CallbackAPIVersion.VERSION2)
            client.max_inflight_messages_set(500)
            client.connect("127.0.0.1", port)
            client.loop_start()
            stack.callback(client.loop_stop)
            stack.callback(client.disconnect)
            return client

        yield connect


def send(client: paho.Client, payloads: list[bytes], qos: int = 1) -> None:
    """Publish; returns when the broker has acknowledged all."""
    for info in [client.publish("t/x", payload, qos) for payload in payloads]:
        info.wait_for_publish(20)
        assert info.is_published()


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, last + 1)]


class Mosquitto:
    """A mosquitto with lines of our own in its configuration."""

    def __init__(self, folder: Path, port: int, lines: list[str]) -> None:
        self.port = port
        config = folder / f"mosquitto-{self.port}.conf"
        common = ["user root", "max_inflight_messages 0", "max_queued_messages 0"]
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *lines, *common, ""]))
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        program = mosquitto_program()
        assert program
        self._process = subprocess.Popen([program, "-c", str(self._config)], stderr=subprocess.PIPE)

        def answers() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            assert self._process.poll() is None, self._process.stderr.read()
            return False

        wait(answers)

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


@pytest.fixture
def mosquitto(tmp_path: Path, hold_port: Callable[[], int]) -> Iterator[Callable[..., Mosquitto]]:
    started: list[Mosquitto] = []

    def start(*lines: str) -> Mosquitto:
        started.append(Mosquitto(tmp_path, hold_port(), list(lines)))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def plain(mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    return mosquitto("allow_anonymous true")


def at(broker: Mosquitto, version: Version = Version.V3_1_1, **changes: object) -> SessionSettings:
    settings = SessionSettings(Access(port=broker.port), version=version, reconnect_max_s=0.2)
    return replace(settings, **changes)


# Delivery


@BOTH
def test_messages_of_every_quality_of_service(plain, version, take, sender):
    taker = take(at(plain, version))
    client = sender(plain.port)
    for qos in (0, 1, 2):
        send(client, numbered(100 * qos, 100 * qos + 49), qos)
    wait(lambda: len(taker.messages) == 150)
    assert taker.messages[0][:3] == ("t/x", b"0", NOW)
    assert taker.payloads == [*numbered(0, 49), *numbered(100, 149), *numbered(200, 249)]
    assert {m.ticket[2] for m in taker.messages} == {0, 1}  # 2 was subscribed down
    taker.close()
    again = take(at(plain, version))
    send(client, [b"last"])
    wait(lambda: again.messages)
    assert again.payloads == [b"last"]  # the acknowledgements had arrived


@BOTH
def test_what_was_not_acknowledged_comes_again(plain, version, take, sender):
    first = take(at(plain, version), acknowledge=False)
    send(sender(plain.port), numbered(1, 100))
    wait(lambda: len(first.messages) == 100)
    first.session.acknowledge(first.messages[:40])
    first.close()
    second = take(at(plain, version))
    wait(lambda: len(second.messages) == 60)
    assert second.payloads == numbered(41, 100)


@BOTH
def test_a_ticket_of_an_earlier_connection_acknowledges_nothing(plain, version, take, sender):
    """Packet ids start again with each connection: old tickets would hit new messages."""
    taker = take(at(plain, version), acknowledge=False)
    client = sender(plain.port)
    send(client, numbered(1, 50))
    wait(lambda: len(taker.messages) == 50)
    old = list(taker.messages)
    intruder = take(at(plain, version), connected=False, acknowledge=False)  # same client id
    wait(lambda: len(intruder.messages) == 50)
    intruder.close()
    wait(lambda: len(taker.messages) == 100)
    assert taker.payloads == numbered(1, 50) * 2
    taker.session.acknowledge(old)
    taker.close()
    again = take(at(plain, version))
    wait(lambda: len(again.messages) == 50)


@BOTH
def test_what_came_at_qos_2_before_is_finished_properly(plain, version, take, sender):
    """The session was subscribed at QoS 2 by another program; its messages want four packets."""
    before = paho.Client(CallbackAPIVersion.VERSION2, "verdigrid-ingest", clean_session=False)
    ready = threading.Event()
    before.on_connect = lambda *_: before.subscribe("t/#", 2)
    before.on_subscribe = lambda *_: ready.set()
    before.connect("127.0.0.1", plain.port)
    before.loop_start()
    assert ready.wait(5)
    before.disconnect()
    before.loop_stop()
    client = sender(plain.port)
    send(client, numbered(1, 30), qos=2)
    taker = take(at(plain, version))
    wait(lambda: len(taker.messages) == 30)
    assert {m.ticket[2] for m in taker.messages} == {2}
    time.sleep(0.2)  # PUBREL and PUBCOMP of the last
    taker.close()
    again = take(at(plain, version))
    send(client, [b"last"], qos=2)
    wait(lambda: again.messages)
    assert again.payloads == [b"last"]


@BOTH
def test_large_messages_are_taken_and_too_large_ones_named(plain, version, take, sender):
    taker = take(at(plain, version, largest=300_000))
    client = sender(plain.port)
    large = random.Random(1).randbytes(256 * 1024)
    send(client, [large, bytes(2_000_000), b"small", large])
    wait(lambda: len(taker.messages) == 4)
    assert taker.payloads == [large, b"", b"small", large] or taker.payloads == [
        large,
        b"small",
        b"",
        large,
    ]
    (fault,) = [m.fault for m in taker.messages if m.fault]
    assert fault.startswith("The message has 2000")
    assert fault.endswith("at most 300000 are taken.")
    taker.close()
    again = take(at(plain, version))
    send(client, [b"last"])
    wait(lambda: again.messages)
    assert again.payloads == [b"last"]  # the large one was acknowledged, too


@BOTH
def test_keep_alive_goes_on_while_nothing_is_taken(plain, version, take, sender):
    """The store is away for longer than the broker waits for a sign of life."""
    taker = take(at(plain, version, keep_alive_s=1, answer_s=1, buffer=20), acknowledge=False)
    client = sender(plain.port)
    send(client, [b"%d" % n + bytes(1_000) for n in range(5_000)])
    time.sleep(2.5)
    assert taker.said == [(True, "")]
    held = len(taker.messages)
    assert 20 <= held < 1_000  # one reading above the bound at most
    taker.acknowledge = True
    taker.session.acknowledge(taker.messages[:held])
    wait(lambda: len(taker.messages) >= 5_000)
    assert [int(p.rstrip(b"\0")) for p in taker.payloads] == list(range(5_000))
    assert taker.said == [(True, "")]


@BOTH
def test_a_line_that_is_cut_again_and_again_loses_nothing(plain, version, take, sender):
    with Proxy(plain.port) as proxy:
        taker = take(replace(at(plain, version), access=Access(port=proxy.port)))
        client = sender(plain.port)
        for first in range(0, 8_000, 1_000):
            send(client, numbered(first, first + 999))
        wait(lambda: len(set(taker.payloads)) == 8_000)
        assert proxy.cuts > 2
    assert sorted(set(taker.payloads), key=int) == numbered(0, 7_999)


class Proxy:
    """Passes bytes on to ``port`` and cuts each connection after a random number of them.

    A connection lives for at most 30 kB: 8,000 messages of 13 bytes and their answers need several.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._random = random.Random(1)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.cuts = 0
        self._ended = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._thread.join(20)
        self._server.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._ended:
            near, _ = self._server.accept()
            with near, socket.create_connection(("127.0.0.1", self._target)) as far:
                self._pass_on(near, far, self._random.randrange(200, 30_000))

    def _pass_on(self, near: socket.socket, far: socket.socket, budget: int) -> None:
        near.settimeout(0.02)
        far.settimeout(0.02)
        while not self._ended:
            for source, sink in ((near, far), (far, near)):
                with suppress(TimeoutError):
                    data = source.recv(min(4_096, budget))
                    sink.sendall(data)
                    budget -= len(data)
                    if budget <= 0:
                        self.cuts += 1
                    if budget <= 0 or not data:
                        return


# Several ingesters


@BOTH
def test_a_share_is_divided_and_a_killed_one_loses_nothing(plain, version, take, sender):
    """mosquitto gives the dead one its half on; who takes over its client id gets that.

    Another process receives half of everything and is killed without having acknowledged.
    """
    ours = at(plain, version, share="city", client_id="one")
    taker = take(ours)
    client = sender(plain.port)
    with Other(plain.port, version) as other:
        send(client, numbered(1, 1_000))
        wait(lambda: len(taker.messages) == 500)
        other.received(500)
        other.kill()
    send(client, numbered(1_001, 2_000))
    wait(lambda: len(taker.messages) == 1_000)
    heir = take(replace(ours, client_id="two"))
    wait(lambda: len(heir.messages) >= 1_000)
    assert sorted(taker.payloads + heir.payloads, key=int) == numbered(1, 2_000)


class Other:
    """A receiver in a process of its own that never acknowledges."""

    PROGRAM = """
import sys
from datetime import datetime
from ingest.mqtt_access import Access
from ingest.mqtt_session import Session, SessionSettings
from ingest.mqtt_wire import Version

def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()

settings = SessionSettings(
    Access(port=int(sys.argv[1])), "two", Version(int(sys.argv[2])), share="city"
)
Session(
    settings, ["t/#"], datetime.now, lambda m: say(str(len(m))), lambda up, why: say(f"{up} {why}")
)
sys.stdin.read()
"""

    def __init__(self, port: int, version: Version) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(port), str(int(version))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "True \n"

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def received(self, count: int) -> None:
        """Wait until it was sent so many."""
        while count > 0:
            count -= int(self._process.stdout.readline())
        assert count == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


def test_a_session_that_joins_a_share_gives_up_getting_everything(plain, take, sender):
    take(at(plain)).close()
    alone = take(at(plain, client_id="alone", share="city"))
    joined = take(at(plain, share="city"))
    send(sender(plain.port), numbered(1, 100))
    wait(lambda: len(alone.messages) + len(joined.messages) == 100)
    time.sleep(0.1)
    assert len(joined.messages) == 50


def test_another_receiver_of_the_same_name_is_guessed(plain, take):
    """mosquitto closes the older connection without a word; others say it, in MQTT 5."""
    taker = take(at(plain))
    other = take(at(plain), connected=False)
    wait(
        lambda: any("another receiver has the client id verdigrid" in why for _, why in taker.said)
    )
    other.close()
    wait(lambda: taker.connected)


# Who may come in


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for a test; issues to files."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "_key", key)
        certificate = self._build(self.name, key.public_key(), authority=True).sign(
            key, hashes.SHA256()
        )
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.ca.pem"

    def _build(
        self, name: str, key: object, *, authority: bool = False, expired: bool = False
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=-1 if expired else 30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )

    def issue(self, name: str, *hosts: str, expired: bool = False) -> tuple[Path, Path]:
        """Certificate and key of ``name``, for these host names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._build(name, key.public_key(), expired=expired)
        if hosts:
            names = [
                x509.IPAddress(ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())  # type: ignore[attr-defined]
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "test-authority")


@pytest.fixture
def secured(mosquitto: Callable[..., Mosquitto], authority: Authority) -> Callable[..., Mosquitto]:
    """A mosquitto with TLS under the certificate of ``hosts``."""

    def start(*lines: str, hosts=("127.0.0.1",), expired=False) -> Mosquitto:
        certificate, key = authority.issue("broker", *hosts, expired=expired)
        return mosquitto(
            f"certfile {certificate}",
            f"keyfile {key}",
            *(lines or ["allow_anonymous true"]),
        )

    return start


def over_tls(broker: Mosquitto, **access: object) -> SessionSettings:
    return SessionSettings(Access(port=broker.port, tls=True, **access), reconnect_max_s=0.2)


@BOTH
def test_over_tls(secured, authority, version, take, tmp_path):
    broker = secured()
    settings = replace(over_tls(broker, ca=authority.file), version=version)
    taker = take(settings)
    publish(settings.access, [], issued_at=NOW)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.tls_set(str(authority.file))
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    payloads = [random.Random(n).randbytes(1_000) for n in range(2_000)]
    send(client, payloads)
    send(client, [bytes(256 * 1024)])
    client.disconnect()
    client.loop_stop()
    wait(lambda: len(taker.messages) == 2_001)
    assert taker.payloads[:-1] == payloads
    assert taker.said == [(True, "")]


def refused(taker: Taker) -> str:
    """What a session says that does not get in, and says again."""
    wait(lambda: len(taker.said) >= 2)
    assert not any(connected for connected, _ in taker.said)
    assert len(set(taker.said)) == 1
    assert taker.said[0][1].count(".") - taker.said[0][1].count("127.0.0.1") * 3 == 1
    return taker.said[0][1]


def test_an_authority_that_nobody_named(secured, authority, take, tmp_path):
    broker = secured()
    for ca in (None, Authority(tmp_path, "another").file):
        taker = take(over_tls(broker, ca=ca), connected=False)
        assert "is from an unknown authority; name its CA file by VERDIGRID_BROKER_CA" in refused(
            taker
        )


def test_a_certificate_for_another_name(secured, authority, take):
    broker = secured(hosts=("broker.example.org", "10.0.0.1"))
    taker = take(over_tls(broker, ca=authority.file), connected=False)
    assert "was issued for another name" in refused(taker)


def test_an_expired_certificate_and_its_renewal(secured, authority, take):
    """Retries go on: a broker that is repaired is found without help."""
    broker = secured(expired=True)
    taker = take(over_tls(broker, ca=authority.file), connected=False)
    assert "has expired" in refused(taker)
    broker.stop()
    authority.issue("broker", "127.0.0.1")
    broker.start()
    wait(lambda: taker.connected)


def test_tls_on_one_side_only(plain, secured, authority, take):
    taker = take(over_tls(plain, ca=authority.file), connected=False)
    assert "not speak TLS on this port" in refused(taker)
    taker = take(at(secured()), connected=False)
    assert "it may want TLS" in refused(taker)


def test_a_client_certificate(secured, authority, take, tmp_path):
    broker = secured(
        "require_certificate true", f"cafile {authority.file}", "use_identity_as_username true"
    )
    without = take(over_tls(broker, ca=authority.file), connected=False)
    assert "wants a client certificate; name one by VERDIGRID_BROKER_CERT" in refused(without)
    certificate, key = Authority(tmp_path, "stranger").issue("ours")
    taker = take(
        over_tls(broker, ca=authority.file, certificate=certificate, key=key), connected=False
    )
    assert "does not trust our client certificate" in refused(taker)
    certificate, key = authority.issue("ours")
    take(over_tls(broker, ca=authority.file, certificate=certificate, key=key))


@pytest.fixture
def guarded(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    """A mosquitto that knows one user."""
    passwords = tmp_path / "passwords"
    passwords.write_text("city:open sesame\n")
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=10)
    return mosquitto("allow_anonymous false", f"password_file {passwords}")


@BOTH
def test_user_and_password(guarded, version, take, caplog):
    access = Access(port=guarded.port, username="city", password="wrong sesame")
    said = refused(take(replace(at(guarded, version), access=access), connected=False))
    assert "refuses us: " in said
    assert "not allowed" in said or "user name or password is wrong" in said
    right = replace(access, password="open sesame")
    take(replace(at(guarded, version), access=right))
    assert "sesame" not in repr(right) + caplog.text


def test_set_points_go_the_same_way(guarded, take):
    access = Access(port=guarded.port, username="city", password="open sesame")
    taker = Taker(replace(at(guarded), access=access))
    publish(access, [Setpoint("battery-1", *no_steps())], issued_at=NOW)
    with pytest.raises(ServiceError, match=r"refuses us: (Not authorized|Bad user name)"):
        publish(replace(access, password="wrong"), [], issued_at=NOW)
    taker.close()


def no_steps():
    import numpy as np

    return np.empty(0, dtype="datetime64[us]"), np.empty(0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tls": False, "ca": Path("ca.pem")}, "TLS is off; set VERDIGRID_BROKER_TLS=true"),
        ({"ca": Path("nowhere.pem")}, "CA file nowhere.pem of the MQTT broker cannot be read: No"),
        ({"ca": Path(__file__)}, "cannot be read: no certificate or crl found"),
        ({"certificate": Path("us.pem")}, "needs both its file and its key file"),
        ({"certificate": Path("a.pem"), "key": Path("a.key")}, "a.key cannot be used: No such"),
    ],
)
def test_files_of_no_use_stop_the_start(changes, sentence):
    settings = SessionSettings(replace(Access(tls=True), **changes))
    with pytest.raises(ConfigurationError, match=sentence):
        Session(settings, ["t/#"], lambda: NOW, print, print)


def test_a_key_with_a_passphrase_does_not_ask_at_the_terminal(authority):
    certificate, key = authority.issue("ours")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Access(tls=True, ca=authority.file, certificate=certificate, key=key).context()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"client_id": ""}, "needs a client id"),
        ({"share": "a/b"}, "must not hold"),
        ({"keep_alive_s": 65_536}, "0 to 65535"),
    ],
)
def test_settings_of_no_use_stop_the_start(changes, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        Session(SessionSettings(**changes), ["t/#"], lambda: NOW, print, print)


# Brokers that misbehave


class Scripted:
    """A broker that sends what it is told after CONNECT, to every connection."""

    def __init__(self, *texts: str) -> None:
        self._said = bytes.fromhex("".join(texts))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for one in (self._server, *self._open):
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._server.accept()
                self._open.append(line)
                self.connections += 1
                line.recv(1_000)
                line.sendall(self._said)


CONNACK, SUBACK = "20020000", "9003000101"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([], "does not answer."),
        ([CONNACK], "does not answer."),
        ([CONNACK, "9003000180"], "refuses the topic t/#: its reason is 0x80."),
        (["20020003"], "refuses us: it is not available."),
        ([CONNACK, "F000"], "The broker sent a packet that it must not send (0xf0)."),
    ],
)
def test_a_broker_that_misbehaves_is_named_and_tried_again(said, sentence, take):
    with Scripted(*said) as broker:
        taker = take(at(broker, answer_s=0.2), connected=False)
        assert refused(taker).endswith(sentence)
        wait(lambda: broker.connections >= 2)
        taker.close()


def test_a_broker_that_takes_leave_says_why(take):
    with Scripted("2003000000", "90040001 00 01", "E0028E00") as broker:
        taker = take(at(broker, Version.V5), connected=False)
        wait(lambda: len(taker.said) >= 2)
        assert taker.said[1][1].endswith(
            "ended the connection: another client connected under the same client id."
        )
        taker.close()


def test_a_broker_that_forgets_or_gives_less_is_logged(take, caplog):
    """A broker without persistence was started anew; and one that sends at QoS 0 only."""
    with Scripted(CONNACK, "9003000100") as broker:
        taker = take(at(broker, keep_alive_s=1, answer_s=0.2))
        wait(lambda: broker.connections >= 2 and "forgotten" in caplog.text)
        assert "gives this topic no QoS 1" in caplog.text
        taker.close()


def test_a_full_receiver_still_finds_out_that_it_is_let_in_again(plain, take, sender):
    """The line was cut while the store was away; what is held stays within its bound."""
    taker = take(at(plain, Version.V5, buffer=20, keep_alive_s=1), acknowledge=False)
    send(sender(plain.port), numbered(1, 100))
    wait(lambda: len(taker.messages) == 20)
    take(at(plain, Version.V5), connected=False, acknowledge=False).close()  # the same client id
    wait(lambda: len(taker.said) >= 2)
    taker.acknowledge = True
    taker.session.acknowledge(taker.messages[:20])
    wait(lambda: taker.connected and len(set(taker.payloads)) == 100)


def test_a_bug_of_ours_does_not_end_the_session_in_silence(plain, take, caplog):
    taker = take(at(plain))
    failing = taker.session._books
    real, failing.room = failing.room, lambda: 1 / 0
    failing.wake()
    wait(lambda: "the MQTT session failed" in caplog.text)
    failing.room = real
    wait(lambda: len(taker.said) >= 2 and taker.connected)


def test_a_broker_that_falls_silent_is_noticed(take):
    with Scripted(CONNACK, SUBACK) as broker:
        taker = take(at(broker, keep_alive_s=1, answer_s=0.2))
        wait(lambda: len(taker.said) >= 2)
        assert taker.said[:2] == [
            (True, ""),
            (False, f"The MQTT broker at 127.0.0.1:{broker.port} does not answer."),
        ]
        taker.close()


def test_the_broker_has_the_last_word_on_the_keep_alive(take):
    """MQTT 5, 3.2.2.3.14: it may answer with its own, here one second."""
    with Scripted("20 06 00 00 03 13 0001", "90040001 00 01") as broker:
        taker = take(at(broker, Version.V5, keep_alive_s=600, answer_s=0.2))
        wait(lambda: len(taker.said) >= 2)
        assert taker.said[1][1].endswith("does not answer.")
        taker.close()


def test_a_topic_that_is_not_utf_8_is_handed_over_readable(take):
    with Scripted(CONNACK, SUBACK, "32 07 0003 742FFF 0001") as broker:
        taker = take(at(broker))
        wait(lambda: taker.messages)
        assert taker.messages[0].topic == "t/\ufffd"
        taker.close()


def test_nobody_there_and_no_such_name(take, free_port):
    nobody = take(SessionSettings(Access(port=free_port), reconnect_max_s=0.2), connected=False)
    assert refused(nobody) == (
        f"No MQTT broker answers at 127.0.0.1:{free_port}: Connection refused."
    )
    unknown = take(
        SessionSettings(Access(host="broker.invalid"), reconnect_max_s=0.2), connected=False
    )
    wait(lambda: unknown.said)
    assert unknown.said[0][1] == (
        "The name of the MQTT broker broker.invalid:1883 is not known to this machine."
    )


def test_tls_is_never_less_than_1_2(authority):
    context = Access(tls=True, ca=authority.file).context()
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_the_first_packet_names_a_session_that_is_kept():
    assert wire.connect("x", version=Version.V3_1_1, keep_alive_s=1)[9] & 2 == 0
