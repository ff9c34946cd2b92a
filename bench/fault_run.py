"""One run: the city, its processes and its senders, and everything that is done to them."""

from __future__ import annotations

import random
import signal
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from math import inf
from time import monotonic, sleep, time
from typing import NamedTuple

from app.machinetokens import new_token
from bench import fault_city
from bench.fault_audit import Audit, audit
from bench.fault_books import SECOND_US, Books, Device
from bench.fault_disk import Disk, limit_files
from bench.fault_hj212 import stations
from bench.fault_http import Uploader
from bench.fault_line import HOST, Line, Loop
from bench.fault_mqtt import Flood, MqttSenders
from bench.fault_ocpp import REFUSED, charging_posts
from bench.fault_programs import BrokerServer, DatabaseServer, Program
from bench.fault_watch import Delay, Watch
from ingest.broker import BrokerKind
from store import sites
from store.database import Database
from store.migrate import migrate

SPOOL_MB = 1
HOARDERS = 6
_HOARDED_S = 600
_START_S = 90.0
_CALM_S = 90.0
_POLL_S = 0.1
_ALONE = 3
"""Kills after each calm that are alone, so that how long each takes to heal is known."""

_LAST_S = 30.0
"""How long what was acknowledged last may be on its way."""

_QUIET_S = 3.0
_FILLED_S = 30.0
"""How long the spool may take to become full after the database has been away for long enough."""

_SMALL_FILE = 4_096
_NO_SPACE = b"No space left on device"

MQTT = (fault_city.SENML.protocol, fault_city.JSON.protocol)
FIELD = (fault_city.HJ212.protocol, fault_city.OCPP.protocol)
HTTP = (fault_city.HTTP.protocol,)
ALL = (*MQTT, *FIELD, *HTTP)

VICTIMS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "ingester": (MQTT, 0.30),
    "field service": (FIELD, 0.25),
    "web application": (HTTP, 0.10),
    "postmaster": (ALL, 0.15),
    "database backend": (ALL, 0.20),
}
"""Which wires each SIGKILL interrupts, and how often it is its turn."""

_AWAY, _FULL = "database away", "disk full"
BROKER, CUT = "broker (SIGTERM)", "connections cut"
BROKER_KILLED = "broker (SIGKILL)"
SHARE = "two ingesters"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen. The seed fixes the order of victims and pauses, not what they meet.

    away_s, full_s: how long the database is away and the disk full; 0 leaves the spell out.
    flood: readings of the device that sends too much; 0 for none. share: whether two ingesters
    share the messages from the middle on. broker: None takes mosquitto where it is installed.
    broker_turn, cut_turn: chance that one of these comes between two kills. between_calms: kills
    until everything may catch up.
    """

    kills: int = 200
    seed: int = 1
    pause_s: tuple[float, float] = (0.2, 3.6)
    away_s: float = 60.0
    full_s: float = 15.0
    flood: int = 400_000
    share: bool = True
    broker: BrokerKind | None = None
    victims: tuple[str, ...] = tuple(VICTIMS)
    between_calms: int = 20
    broker_turn: float = 0.08
    cut_turn: float = 0.25


@dataclass(slots=True)
class Spells:
    """What was seen during the spells. skipped: why one was not, by its name.

    refused_away, refused_full: calls that were refused for want of room. held_away: posts that
    waited for an acknowledgement when the database came back. no_space: how often
    the database said that its disk is full. shared: bytes that each of two
    ingesters got from the broker. quiet, flooded: delay of the other devices before and
    during the flood; flowed: whether each of them got readings stored that it made meanwhile.
    """

    refused_away: int = 0
    held_away: int = 0
    refused_full: int = 0
    full_bytes_free: int = -1
    no_space: int = 0
    quiet: Delay | None = None
    flooded: Delay | None = None
    flowed: bool = False
    shared: tuple[int, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)


class Healed(NamedTuple):
    """Seconds until readings flowed again; alone: nothing else was wrong meanwhile."""

    seconds: float
    alone: bool


@dataclass(slots=True)
class Outcome:
    """What came of a run. healed: by the name of the fault."""

    plan: Plan
    broker: str
    seconds: float
    audit: Audit
    faults: Counter[str]
    healed: dict[str, list[Healed]]
    spells: Spells
    counts: Counter[str]
    problems: list[str]

    @property
    def killed(self) -> int:
        """How often something was ended by SIGKILL."""
        return sum(n for name, n in self.faults.items() if name in (*VICTIMS, BROKER_KILLED))


def run(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Do everything in ``plan`` and compare; ``tell`` is given a line now and then."""
    disk = Disk()
    try:
        with _Run(plan, disk, tell) as whole:
            return whole.outcome()
    finally:
        disk.close()


class _Run:
    """The running whole; a context."""

    def __init__(self, plan: Plan, disk: Disk, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._disk = disk
        self._tell = tell
        self._began = monotonic()
        self._rng = random.Random(plan.seed)
        self._books = Books()
        self._spells = Spells()
        self._faults: list[tuple[str, tuple[str, ...], float]] = []
        self._turn = cycle(plan.victims)
        self._logs = disk.logs
        self._programs: dict[str, Program] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Run:
        with ExitStack() as stack:
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self, stack: ExitStack) -> None:
        """Start everything; what was started is ended with ``stack``."""
        plan, folder = self._plan, self._disk.folder
        self._database = DatabaseServer(folder / "database")
        stack.callback(self._database.close)
        self._broker = BrokerServer(folder / "broker", plan.broker)
        stack.callback(self._broker.close)
        self._loop = Loop()
        stack.callback(self._loop.close)
        self._token = self._describe()
        stack.callback(self._stop_programs)
        self._start_programs()
        for line in self._lines.values():
            stack.callback(line.close)
        self._start_senders(stack)

    def _stop_programs(self) -> None:
        while self._programs:
            self._programs.popitem()[1].stop()

    def _describe(self) -> str:
        """The city in the database; a token for the machine that uploads."""
        with Database(self._database.url) as database:
            migrate(database)
            with database.connection() as connection:
                sites.save(connection, fault_city.describe())
            now = datetime.now(UTC)
            return new_token(database, "faults", label="harness", now=now, days=1)[1]

    def _start_programs(self) -> None:
        self._web_port, hj212_port, ocpp_port = _free_ports(3)
        loop = self._loop
        self._lines = {
            MQTT: Line("gateway to broker", self._broker.port, loop),
            (*MQTT, "ingester"): Line("broker to ingester", self._broker.port, loop),
            (*MQTT, "ingester 2"): Line("broker to second ingester", self._broker.port, loop),
            FIELD[:1]: Line("stations to field service", hj212_port, loop),
            FIELD[1:]: Line("chargers to field service", ocpp_port, loop),
            HTTP: Line("uploader to web application", self._web_port, loop),
        }
        self._environment = {
            "VERDIGRID_HOME": str(self._disk.folder),
            "VERDIGRID_DATABASE_URL": self._database.url,
            "VERDIGRID_BROKER_PORT": str(self._lines[*MQTT, "ingester"].port),
            "VERDIGRID_PORT": str(self._web_port),
            "VERDIGRID_HJ212_PORT": str(hj212_port),
            "VERDIGRID_OCPP_PORT": str(ocpp_port),
            "VERDIGRID_SPOOL_MB": str(SPOOL_MB),
            "VERDIGRID_LOG_FORMAT": "json",
        }
        self._start("ingester", "ingest", "mqtt")
        if "field service" in self._plan.victims:
            self._start("field service", "ingest", "field")
        if "web application" in self._plan.victims:
            self._start("web application", "serve")

    def _start(self, name: str, *arguments: str, **environment: str) -> Program:
        given = self._environment | environment
        self._programs[name] = Program(name, arguments, given, self._logs)
        return self._programs[name]

    def _start_senders(self, stack: ExitStack) -> None:
        self._listening(self._programs["ingester"])
        books, lines, rng = self._books, self._lines, self._rng
        begin_us = int(time() * SECOND_US)
        self._mqtt = MqttSenders(books, lines[MQTT].port, random.Random(rng.random()), begin_us)
        watched: dict[str, list[Device]] = {
            "senml": [d for d in self._mqtt.devices if "meter" in d.name],
            "json": [d for d in self._mqtt.devices if d.wire == "json"],
        }
        self._http = Uploader(
            books, lines[HTTP].port, self._token, random.Random(rng.random()), begin_us
        )
        if "field service" in self._programs:
            there = stations(books, lines[FIELD[:1]].port, rng, begin_us=begin_us)
            posts = charging_posts(books, lines[FIELD[1:]].port, rng, begin_us=begin_us)
            for work in (*(one.run() for one in there), *(one.run() for one in posts)):
                self._loop.start(work)
            watched["hj212"] = [one.device for one in there]
            watched["ocpp"] = [one.device for one in posts]
        self._mqtt.start()
        stack.callback(self._mqtt.close)
        if "web application" in self._programs:
            self._http.start()
            stack.callback(self._http.close)
            watched["readings"] = self._http.devices
        names = {wire: [d.name for d in devices] for wire, devices in watched.items()}
        self._watch = Watch(self._database.url, names)
        self._watch.start()
        stack.callback(self._watch.close)

    def _listening(self, ingester: Program) -> None:
        """Wait until the broker knows it: what is published before is nobody's."""
        said = b"receiving from the broker"
        if not _until(lambda: said in ingester.log.read_bytes(), _START_S):
            self._books.problem(f"the {ingester.name} did not come up")

    def outcome(self) -> Outcome:
        """Everything, one after the other."""
        plan = self._plan
        self._calm("everything is up")
        quarter, rest = plan.kills // 4, plan.kills - plan.kills // 2
        self._kill(quarter)
        if plan.away_s:
            self._stay_away()
        self._kill(plan.kills // 2 - quarter)
        if plan.flood:
            self._be_flooded()
        if plan.share:
            self._share()
        self._kill(rest // 2)
        if plan.full_s:
            self._fill_the_disk()
        self._kill(rest - rest // 2)
        self._calm("after the last kill")
        return self._finish()

    def _kill(self, count: int) -> None:
        """So many SIGKILLs, and other faults between them."""
        victims = self._plan.victims
        weights = [VICTIMS[name][1] for name in victims]
        done = 0
        while done < count:
            sleep(self._rng.uniform(*self._plan.pause_s))
            if self._rng.random() < self._plan.cut_turn:
                self._cut()
            if self._rng.random() < self._plan.broker_turn:
                self._restart_broker()
            victim = self._rng.choices(victims, weights)[0]
            if self._kill_one(victim):
                done += 1
                if done % self._plan.between_calms == 0:
                    self._calm(f"{done} of {count} kills")
                    for _ in range(_ALONE):
                        done += self._kill_alone()

    def _kill_alone(self) -> bool:
        """Kill the next victim in turn, and let nothing else happen until it has healed."""
        victim = next(self._turn)
        killed = self._kill_one(victim)
        self._calm(f"{victim} alone")
        return killed

    def _kill_one(self, victim: str) -> bool:
        at = time()
        if victim == "postmaster":
            killed = self._database.kill()
        elif victim == "database backend":
            killed = self._database.kill_backend(self._rng)
        else:
            running = [p for p in self._programs.values() if p.name.startswith(victim)]
            killed = self._rng.choice(running).kill()
        if killed:
            self._faults.append((victim, self._present(VICTIMS[victim][0]), at))
        return killed

    def _present(self, wires: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``wires`` that this run has."""
        return tuple(wire for wire in wires if wire in self._watch.wires)

    def _cut(self) -> None:
        wires, line = self._rng.choice(list(self._lines.items()))
        at = time()
        if line.cut():
            self._faults.append((CUT, self._present(wires), at))

    def _restart_broker(self) -> None:
        at = time()
        durable = self._broker.kind is BrokerKind.AMQTT  # it acknowledges what is on the disk
        if self._broker.restart(signal.SIGKILL if durable else signal.SIGTERM):
            name = BROKER_KILLED if durable else BROKER
            self._faults.append((name, MQTT, at))

    def _calm(self, what: str) -> None:
        """Let everything catch up with the present: a fault may not live on unseen."""
        began = time()
        if not _until(lambda: not self._watch.behind(began), _CALM_S):
            who = ", ".join(self._watch.behind(began)[:3])
            reason = self._watch.last_error
            self._books.problem(f"{what}: nothing more of {who} in {_CALM_S:.0f} s {reason}")
        self._tell(
            f"{monotonic() - self._began:5.0f} s  {what}; caught up in {time() - began:.1f} s; "
            f"{self._books.waiting} of {len(self._books.posts)} posts wait"
        )

    def _stay_away(self) -> None:
        """The database is away, and stations come back with what they held back for long."""
        spells, books = self._spells, self._books
        before = books.counts[REFUSED]
        self._faults.append((_AWAY, ALL, time()))
        self._database.leave()
        began_us = int((time() - _HOARDED_S) * SECOND_US)
        if "field service" in self._programs:
            port = self._lines[FIELD[:1]].port
            for one in stations(
                books, port, self._rng, first=100, count=HOARDERS, begin_us=began_us
            ):
                self._loop.start(one.run())
        sleep(self._plan.away_s)
        _until(lambda: books.counts[REFUSED] > before, _FILLED_S)
        spells.refused_away = books.counts[REFUSED] - before
        spells.held_away = books.waiting
        for victim in ("ingester", "field service"):  # with what they cannot store
            if victim in self._plan.victims:
                self._kill_one(victim)
        self._database.come_back()
        self._calm(f"the database was away for {self._plan.away_s:.0f} s")

    def _be_flooded(self) -> None:
        self._calm("before the flood")
        sleep(_QUIET_S)
        began = time()
        self._spells.quiet = self._watch.delay(began - _QUIET_S, began)
        flood = Flood(self._books, self._lines[MQTT].port)
        try:
            flood.send(self._plan.flood, int(began * SECOND_US))
        finally:
            flood.close()
        self._calm(f"a flood of {self._plan.flood:,} readings in {time() - began:.1f} s")
        self._spells.flooded = self._watch.delay(began, time())
        self._spells.flowed = self._watch.progressed(began, time())

    def _share(self) -> None:
        """From one ingester to two, as docs/ingest.md tells: the first one keeps its name."""
        if self._broker.kind is BrokerKind.AMQTT:
            self._spells.skipped[SHARE] = "amqtt has no shared subscriptions"
            return
        lines = [self._lines[*MQTT, "ingester"], self._lines[*MQTT, "ingester 2"]]
        self._shared_from = [line.brought for line in lines]
        self._programs.pop("ingester").stop()
        for number in (1, 2):
            name = "verdigrid-ingest" if number == 1 else "verdigrid-ingest-2"
            given = {
                "VERDIGRID_BROKER_SHARE": "city",
                "VERDIGRID_CLIENT_ID": name,
                "VERDIGRID_BROKER_PORT": str(lines[number - 1].port),
            }
            self._start(f"ingester {number}", "ingest", "mqtt", **given)
        for number in (1, 2):
            self._listening(self._programs[f"ingester {number}"])
        self._calm("two ingesters share")

    def _fill_the_disk(self) -> None:
        disk, books, spells = self._disk, self._books, self._spells
        self._calm("before the disk is full")
        self._faults.append((_FULL, ALL, time()))
        before = books.counts[REFUSED]
        until = time() + self._plan.full_s
        if disk.why_not:
            spells.skipped[_FULL] = f"database and broker go on: {disk.why_not}"
        # There is room in the spool's own file for some seconds: it may not use that either.
        pid = self._programs["field service"].pid
        if pid is not None:
            limit_files(pid, _SMALL_FILE)
        while time() < until:
            if not disk.why_not:
                disk.fill()
                spells.full_bytes_free = disk.free_bytes
            sleep(_POLL_S)
        spells.refused_full = books.counts[REFUSED] - before
        self._kill_one("database backend")  # and the server resets itself on a full disk
        disk.empty()
        if pid is not None:
            limit_files(pid)
        spells.no_space = sum(log.read_bytes().count(_NO_SPACE) for log in self._logs.iterdir())
        self._calm(f"the disk was full for {self._plan.full_s:.0f} s")

    def _finish(self) -> Outcome:
        """Let everything out, and compare."""
        books = self._books
        books.close()
        if not _until(lambda: books.waiting == 0 and not self._mqtt.unanswered, _CALM_S):
            books.problem(f"{books.waiting} posts were not acknowledged at the end")
        found = audit(self._database.url, books)
        until = monotonic() + _LAST_S
        while found.lost and monotonic() < until:
            sleep(1.0)
            found = audit(self._database.url, books)
        self._mqtt.close()
        self._stop_programs()
        found = audit(self._database.url, books)
        books.problems += self._loop.failures
        if self._plan.share and SHARE not in self._spells.skipped:
            lines = [self._lines[*MQTT, "ingester"], self._lines[*MQTT, "ingester 2"]]
            self._spells.shared = tuple(
                line.brought - before for line, before in zip(lines, self._shared_from, strict=True)
            )
        return Outcome(
            self._plan,
            self._broker.kind.value,
            monotonic() - self._began,
            found,
            Counter(name for name, _, _ in self._faults if name not in (_AWAY, _FULL)),
            self._healed(),
            self._spells,
            books.counts,
            books.problems,
        )

    def _healed(self) -> dict[str, list[Healed]]:
        """How long each fault took until readings flowed again, by its name."""
        found: dict[str, list[Healed]] = defaultdict(list)
        quiet_from = 0.0
        nexts = [at for _, _, at in self._faults[1:]] + [inf]
        for (name, wires, at), following in zip(self._faults, nexts, strict=True):
            passed = self._watch.flowed_again_s(self._present(wires), at)
            healed = inf if passed is None else at + passed
            if passed is not None and name not in (_AWAY, _FULL):
                found[name].append(Healed(passed, quiet_from < at and healed < following))
            quiet_from = max(quiet_from, healed)
        return dict(found)


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for it, so long at most; whether it came."""
    end = monotonic() + timeout_s
    while not condition():
        if monotonic() > end:
            return False
        sleep(_POLL_S)
    return True


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; they are let go again, for programs that want a number."""
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
