"""The central system for chargers: OCPP 1.6 and 2.0.1 over WebSockets, at ``/ocpp/<charger>``.

What a charger says goes through ``accept`` before it is answered, and ``accept`` returns after the
commit: a charger that has its answer may forget. While nothing more can be accepted it gets a
CALLERROR and keeps what belongs to transactions; it is told to try again a thousand times. Who
charges is taken out of every message before anything is written down.

One asyncio loop serves all chargers; what waits for the disk does so in threads.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from core.errors import ConfigurationError, ServiceError
from core.setpoints import Acknowledgement
from core.sites import DeviceProfile, Site
from ingest import ocpp_answers as answers
from ingest.charging_profile import Limits
from ingest.ocpp_connection import Accept, Charger
from ingest.ocpp_transactions import Transactions
from ingest.protocols.ocpp_json import NAME
from ingest.registration import asset_id
from ingest.setpoint_listener import Line, OnSchedule, Schedule

_log = logging.getLogger(__name__)

PATH = "/ocpp/"

Setpoints = Callable[[OnSchedule], AbstractContextManager[Line]]

_LONGEST_NAME = 48
_REFUSED_KEPT = 10_000
_NAME_SIGNS = frozenset("*-_=:+|@.")  # beside letters and digits: identifierString of OCPP 2.0.1
_TICK_S = 0.25
_STATUS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class OcppSettings:
    """Where to listen, and whom to let in.

    transactions: the file that remembers them. port: 0 for any that is free.
    profiles: a charger belongs to the first whose pattern fits. tags: of each device that is known
    already; a profile that does not register lets in only these. Asked at every connection.
    certificate, private_key: PEM files for wss; a password on a plain line can be read by others.
    heartbeat_s: of chargers that have nothing else to say. ping_s: a charger that does not answer
    two pings in a row is gone. max_bytes: of a message. calls_per_s: of one charger, so that one
    gone mad does not fill the spool. threads: that wait for the disk.
    id_tags: the cards that may charge, None for every card.

    parameters of a profile:

    - ``password``: of HTTP Basic, with the charger's name as user; ``""`` for none (on a closed
      network). Without it nobody is let in. ``passwords``: of single chargers, before that.
    - ``interval_s``: what interval energies stand for.
    - ``configuration``: keys and values to set on the charger, ``Component.Variable`` in 2.0.1.
    - ``limit_unit`` (``W``), ``voltage_v`` (230), ``phases`` (3), ``limit_purpose`` (``charger``):
      how a charger is limited, see ingest/charging_profile.py.
    """

    transactions: Path
    profiles: tuple[DeviceProfile, ...] = ()
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    private_key: Path | None = None
    heartbeat_s: int = 300
    ping_s: float = 20.0
    max_bytes: int = 256 * 1024
    calls_per_s: float = 50.0
    threads: int = 32
    id_tags: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class OcppStatus:
    """What the central system has done since it started.

    port: where it listens. connected: chargers now. accepted and refused count messages with data.
    turned_away: connections that were not let in. limited, unlimited: charging profiles that a
    charger took, or did not take. last_error: empty while all is well.
    """

    port: int = 0
    connected: int = 0
    accepted: int = 0
    refused: int = 0
    turned_away: int = 0
    limited: int = 0
    unlimited: int = 0
    last_error: str = ""


def settings_for(site: Site, transactions: Path, **options: Any) -> OcppSettings:
    """The profiles and described chargers of ``site``; options: further fields of OcppSettings."""
    profiles = tuple(p for p in site.profiles if p.protocol == NAME)
    tags: dict[str, frozenset[str]] = {}
    for tag in site.tags:
        if profile_of(profiles, tag.device):
            tags[tag.device] = tags.get(tag.device, frozenset()) | {tag.tag}
    return OcppSettings(transactions, profiles, tags, **options)


def profile_of(profiles: Sequence[DeviceProfile], charger: str) -> DeviceProfile | None:
    """The first profile that fits a charger's name and registers by itself, else the first."""
    fitting = [p for p in profiles if fnmatchcase(charger, p.pattern)]
    return next((p for p in fitting if p.register), fitting[0] if fitting else None)


def run_ocpp(
    settings: OcppSettings,
    accept: Accept,
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[OcppStatus], None] = lambda _: None,
    *,
    setpoints: Setpoints | None = None,
    asset_of: Callable[[str], str] = asset_id,
) -> OcppStatus:
    """Serve chargers until ``stop`` is set; the last status.

    accept: commits messages before it returns, or raises SpoolFullError; called from threads.
    now: city time. setpoints: where schedules come from, as ``partial(setpoint_listener.listen,
    broker)``. asset_of: the asset that a charger is.
    Raises ConfigurationError for a profile or certificate that cannot be used, ServiceError when
    the port or the file of transactions cannot be used.
    """
    check(settings.profiles)
    transactions = Transactions(settings.transactions, now())
    try:
        with ThreadPoolExecutor(settings.threads, "ocpp-accept") as threads:
            central = _Central(settings, accept, now, on_status, asset_of, transactions, threads)
            return asyncio.run(central.run(stop, setpoints))
    finally:
        transactions.close()


def check(profiles: Iterable[DeviceProfile]) -> None:
    """Raises ConfigurationError for parameters that cannot be used: better now than by night."""
    for profile in profiles:
        if profile.protocol == NAME:
            _check(profile)


def _check(profile: DeviceProfile) -> None:
    _limits(profile)
    given = profile.parameters
    interval_s = given.get("interval_s", 1.0)
    if isinstance(interval_s, bool) or not isinstance(interval_s, int | float) or interval_s <= 0:
        raise ConfigurationError(f"The profile {profile.name!r} has no usable interval_s.")
    for name in ("configuration", "passwords"):
        if not isinstance(given.get(name, {}), Mapping):
            raise ConfigurationError(f"{name!r} of the profile {profile.name!r} must be a table.")


def _limits(profile: DeviceProfile) -> Limits:
    given = profile.parameters
    try:
        return Limits(
            unit=given.get("limit_unit", "W"),
            voltage_v=float(given.get("voltage_v", 230.0)),
            phases=int(given.get("phases", 3)),
            purpose=given.get("limit_purpose", "charger"),
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The profile {profile.name!r} has a limit_unit, voltage_v, phases or "
            f"limit_purpose of no use: {error}."
        ) from error


class _TurnedAwayError(Exception):
    """A connection is not let in."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Central:
    """All chargers, and what they share."""

    def __init__(
        self,
        settings: OcppSettings,
        accept: Accept,
        now: Callable[[], datetime],
        on_status: Callable[[OcppStatus], None],
        asset_of: Callable[[str], str],
        transactions: Transactions,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.settings = settings
        self.heartbeat_s = settings.heartbeat_s
        self.calls_per_s = settings.calls_per_s
        self.id_tags = settings.id_tags
        self.accept = accept
        self.now = now
        self.transactions = transactions
        self.threads = threads
        self.schedules: dict[str, Schedule] = {}
        self._on_status = on_status
        self._asset_of = asset_of
        self._chargers: dict[str, Charger] = {}
        self._refused: dict[str, str] = {}  # why, by the path asked for
        self._status = OcppStatus()
        self._reported: OcppStatus | None = None
        self._line = Line(lambda _: None, lambda _: None)

    async def run(self, stop: threading.Event, setpoints: Setpoints | None) -> OcppStatus:
        loop = asyncio.get_running_loop()

        def on_schedule(asset: str, schedule: Schedule | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._take_schedule, asset, schedule)

        source = setpoints(on_schedule) if setpoints else nullcontext(self._line)
        with source as self._line:
            async with await self._listen() as server:
                port = next(iter(server.sockets)).getsockname()[1]
                self.note(port=port)
                _log.info("chargers are served", extra={"port": port})
                await self._until(stop)
        self._report()
        return self._status

    async def _listen(self) -> Server:
        settings = self.settings
        try:
            return await serve(
                self._converse,
                settings.host,
                settings.port,
                process_request=self._let_in,
                # Where there is no common version OCPP-J wants an open and a close, not a 400.
                select_subprotocol=_common,
                ssl=self._tls(),
                compression=None,
                ping_interval=settings.ping_s,
                ping_timeout=settings.ping_s,
                close_timeout=2.0,
                max_size=settings.max_bytes,
                server_header=None,
                logger=_line_logger(),
            )
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise ServiceError(f"Chargers cannot be served at {where}: {error}.") from error

    def _tls(self) -> ssl.SSLContext | None:
        if self.settings.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.settings.certificate, self.settings.private_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"The certificate {self.settings.certificate} cannot be used: {error}."
            ) from error
        return context

    async def _until(self, stop: threading.Event) -> None:
        """Until told to stop: schedules go on, and the status is told now and then."""
        loop = asyncio.get_running_loop()
        next_report = loop.time()
        while not stop.is_set():
            now = self.now()
            for charger in self._chargers.values():
                charger.remind(now)
            if loop.time() >= next_report:
                self._report()
                next_report = loop.time() + _STATUS_EVERY_S
            await asyncio.to_thread(stop.wait, _TICK_S)

    def note(self, **changes: Any) -> None:
        """Change fields of the status; told to the outside once in a while."""
        self._status = replace(self._status, connected=len(self._chargers), **changes)
        if "port" in changes or "last_error" in changes:
            self._report()

    def count(self, name: str) -> None:
        """Add one to a field of the status."""
        self.note(**{name: getattr(self._status, name) + 1})

    def acknowledge(self, answer: Acknowledgement) -> None:
        """Pass on what a charger answered to its schedule."""
        self._line.acknowledge(answer)

    @property
    def last_error(self) -> str:
        return self._status.last_error

    def _report(self) -> None:
        if self._status != self._reported:
            self._reported = self._status
            self._on_status(self._status)

    def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            charger, profile = self._admitted(request)
        except _TurnedAwayError as refusal:
            self.count("turned_away")
            self._note_refusal(request.path[:80], str(refusal))
            response = connection.respond(refusal.status, f"{refusal.status.phrase}\n")
            if refusal.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
            return response
        self._refused.pop(request.path[:80], None)
        connection.charger = charger  # type: ignore[attr-defined]
        connection.profile = profile  # type: ignore[attr-defined]
        return None

    def _note_refusal(self, path: str, reason: str) -> None:
        """Log that somebody is turned away, once until the reason changes or the charger is let in:
        a charger tries again every few seconds, for months.
        """
        if self._refused.get(path) == reason:
            return
        if len(self._refused) >= _REFUSED_KEPT:
            self._refused.clear()
        self._refused[path] = reason
        _log.warning("a charger is turned away", extra={"path": path, "reason": reason})

    def _admitted(self, request: Request) -> tuple[str, DeviceProfile]:
        path = request.path.partition("?")[0]
        charger = unquote(path.removeprefix(PATH), errors="replace")
        if not path.startswith(PATH) or not _is_name(charger):
            raise _TurnedAwayError(HTTPStatus.NOT_FOUND, "Chargers connect to /ocpp/<charger>.")
        profile = profile_of(self.settings.profiles, charger)
        if profile is None or not (profile.register or charger in self.settings.tags):
            raise _TurnedAwayError(HTTPStatus.NOT_FOUND, "No profile registers this charger.")
        password = _password(profile, charger)
        if password is None:
            raise _TurnedAwayError(
                HTTPStatus.UNAUTHORIZED, f"The profile {profile.name!r} has no password."
            )
        if password and not _authorized(request, charger, password):
            raise _TurnedAwayError(HTTPStatus.UNAUTHORIZED, "Name or password are wrong.")
        return charger, profile

    async def _converse(self, connection: ServerConnection) -> None:
        if connection.subprotocol is None:
            await connection.close(1002, "ocpp1.6 or ocpp2.0.1 must be offered")
            return
        name: str = connection.charger  # type: ignore[attr-defined]
        profile: DeviceProfile = connection.profile  # type: ignore[attr-defined]
        charger = Charger(
            self,
            connection,
            name,
            profile,
            asset=self._asset_of(name),
            tags=_wanted(self.settings, profile, name),
            limits=_limits(profile),
        )
        earlier = self._chargers.get(name)
        self._chargers[name] = charger
        self.note()
        _log.info("a charger connected", extra={"charger": name, "ocpp": charger.version})
        if earlier is not None:  # it lost the line before we noticed
            await earlier.leave("the charger connected anew")
        self._line.follow(charger.asset)
        try:
            await charger.serve()
        finally:
            if self._chargers.get(name) is charger:
                del self._chargers[name]
            self.note()
            _log.info("a charger left", extra={"charger": name})

    def _take_schedule(self, asset: str, schedule: Schedule | None) -> None:
        held = self.schedules.get(asset)
        if schedule is None:
            self.schedules.pop(asset, None)
        elif held is None or schedule.issued_at > held.issued_at:
            self.schedules[asset] = schedule
        else:
            return  # the retained one came again
        for charger in self._chargers.values():
            if charger.asset == asset:
                charger.steer()


def _wanted(settings: OcppSettings, profile: DeviceProfile, charger: str) -> frozenset[str]:
    """The tags that the city has a use for; empty for all."""
    return settings.tags.get(charger, frozenset()) | {tag.tag for tag in profile.tags}


def _password(profile: DeviceProfile, charger: str) -> str | None:
    single = profile.parameters.get("passwords")
    if isinstance(single, Mapping) and charger in single:
        return str(single[charger])
    shared = profile.parameters.get("password")
    return None if shared is None else str(shared)


def _authorized(request: Request, charger: str, password: str) -> bool:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, f"{charger}:{password}".encode())


def _is_name(charger: str) -> bool:
    signs = all(c.isascii() and (c.isalnum() or c in _NAME_SIGNS) for c in charger)
    return signs and 0 < len(charger) <= _LONGEST_NAME


def _line_logger() -> logging.Logger:
    """Who comes and goes is logged here; websockets would say it again, and log whole frames."""
    logger = logging.getLogger("ingest.ocpp_server.line")
    logger.setLevel(logging.WARNING)
    return logger


def _common(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((Subprotocol(v) for v in answers.VERSIONS if v in offered), None)
