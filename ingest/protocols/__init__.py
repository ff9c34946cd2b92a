"""The protocols, found by their folder: a new one is one new file here.

A protocol for messages has ``NAME`` and ``decode(topic, payload, received_at) -> Decoded``, which
raises DecodeError and nothing else. What it decodes it says by filters as in MQTT: ``TOPICS`` to
subscribe to at the broker, ``SOURCES`` for what receivers of our own bring, which never come from
a broker; a file has one of them or both. Where topics depend on the description of the city, the
file has ``configure(profiles) -> [(topic, decode), ...]`` instead. A protocol for files has
``NAME``, ``SUFFIXES`` and ``read(path, mapping) -> Iterator[ingest.columns.Columns]``, which
raises DecodeError for a file that cannot be read at all and reports single bad rows beside the
good ones.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType

from core.errors import ConfigurationError, DecodeError
from core.sites import DeviceProfile
from ingest.columns import Columns
from ingest.decoded import Decoded
from ingest.filemapping import FileMapping

Decode = Callable[[str, bytes, datetime], Decoded]

_TOPICS_KEPT = 1 << 16
"""Topics whose protocol is remembered; then all are searched for anew."""


@dataclass(frozen=True, slots=True)
class MessageProtocol:
    """A payload format and the topics it comes on.

    topics: MQTT filters to subscribe to. sources: filters of what our own receivers bring.
    """

    name: str
    topics: tuple[str, ...]
    decode: Decode
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileProtocol:
    """A file format and the suffixes it is known by."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, FileMapping], Iterator[Columns]]


@dataclass(frozen=True, slots=True)
class Protocols:
    """Everything this installation can read."""

    messages: tuple[MessageProtocol, ...]
    files: tuple[FileProtocol, ...]
    _known: dict[str, MessageProtocol] = field(default_factory=dict, repr=False, compare=False)

    @property
    def topics(self) -> tuple[str, ...]:
        """Every MQTT filter to subscribe to."""
        return tuple(topic for protocol in self.messages for topic in protocol.topics)

    def decode(self, topic: str, payload: bytes, received_at: datetime) -> Decoded:
        """What a message says; raises DecodeError when no protocol can read it."""
        return self.of(topic).decode(topic, payload, received_at)

    def of(self, topic: str) -> MessageProtocol:
        """The protocol of a topic; raises DecodeError when there is none."""
        found = self._known.get(topic)
        if found is None:
            found = self._search(topic)
            if len(self._known) >= _TOPICS_KEPT:
                self._known.clear()
            self._known[topic] = found
        return found

    def _search(self, topic: str) -> MessageProtocol:
        for protocol in self.messages:
            for pattern in protocol.topics + protocol.sources:
                if matches(pattern, topic):
                    return protocol
        raise DecodeError("No protocol reads this topic.")

    def for_file(self, path: Path) -> FileProtocol:
        """The protocol of a file by its suffix; raises DecodeError when there is none."""
        for protocol in self.files:
            if path.suffix.lower() in protocol.suffixes:
                return protocol
        known = ", ".join(suffix for protocol in self.files for suffix in protocol.suffixes)
        raise DecodeError(f"{path.name} cannot be read: only {known} files can be imported.")


def matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT topic falls under a filter with ``+`` and ``#``."""
    wanted, given = pattern.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        w in ("+", g) for w, g in zip(wanted, given, strict=True)
    )


def find(
    modules: list[ModuleType] | None = None, profiles: Iterable[DeviceProfile] = ()
) -> Protocols:
    """The protocols of this folder (or of ``modules``).

    profiles: of the city, for protocols that ask for them.
    Raises ConfigurationError when two share a name or a file is no protocol: that stops the start.
    """
    described = tuple(profiles)
    found = _modules() if modules is None else modules
    messages: list[MessageProtocol] = []
    configured: list[MessageProtocol] = []
    files: list[FileProtocol] = []
    names: set[str] = set()
    for module in found:
        name = getattr(module, "NAME", None)
        if not isinstance(name, str) or name in names:
            raise ConfigurationError(
                f"The protocol file {module.__name__} has no NAME, or one that another file has."
            )
        names.add(name)
        if hasattr(module, "configure"):
            configured += [  # behind the others: a wide filter takes nothing from them
                MessageProtocol(name, (topic,), decode)
                for topic, decode in module.configure(described)
            ]
            continue
        topics, sources = getattr(module, "TOPICS", ()), getattr(module, "SOURCES", ())
        if (topics or sources) and hasattr(module, "decode"):
            messages.append(MessageProtocol(name, tuple(topics), module.decode, tuple(sources)))
        elif hasattr(module, "SUFFIXES") and hasattr(module, "read"):
            files.append(FileProtocol(name, tuple(module.SUFFIXES), module.read))
        else:
            raise ConfigurationError(
                f"The protocol file {module.__name__} has neither TOPICS or SOURCES and decode, "
                "nor configure, nor SUFFIXES and read."
            )
    return Protocols((*messages, *configured), tuple(files))


def spoken() -> tuple[str, ...]:
    """The protocols for messages by name: what a device profile may name."""
    return tuple(
        module.NAME
        for module in _modules()
        if hasattr(module, "decode") or hasattr(module, "configure")
    )


def _modules() -> list[ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
