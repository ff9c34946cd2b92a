"""How one Modbus device is asked: by its own models (SunSpec), or by what its link lists.

ingest/protocols/sunspec.py and ingest/protocols/modbus_map.py say what a link may hold and what
the documents made here look like.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from core.errors import ConfigurationError, DecodeError
from core.sites import Link
from ingest import register_map, sunspec_model
from ingest.modbus_line import MOST_REGISTERS, Line, NoAnswerError, Refusal, RefusedError
from ingest.protocols import modbus_map, sunspec
from ingest.sunspec_model import Block, Read

PROTOCOLS = (sunspec.NAME, modbus_map.NAME)

_TIMEOUT_S = 2.0
_LONGEST_TIMEOUT_S = 60.0
_HIGHEST_UNIT = 255
_GATEWAY = (Refusal.GATEWAY_PATH, Refusal.GATEWAY_TARGET)


class Asker(Protocol):
    """Knows how one device is asked. identity: who it says it is; empty if it does not."""

    identity: str

    async def prepare(self, line: Line) -> None:
        """Find out what there is to ask, if that is not known yet; raises as ``poll``."""
        ...

    async def poll(self, line: Line) -> dict[str, Any]:
        """The document of one poll, without its time.

        Raises NoAnswerError and RefusedError of ingest/modbus_line.py, and DecodeError where the
        device answers but is not what it should be.
        """
        ...


def asker_for(link: Link, wanted: frozenset[str] | None) -> Asker:
    """How the device of ``link`` is asked; raises ConfigurationError for a link without sense.

    wanted: the tags that are described for it, None where there are none.
    """
    if "/" in link.device or not link.device.isprintable() or not link.device:
        raise _unusable(link, "its name cannot be part of a topic.")
    if not 0 < link.port <= sunspec_model.LAST_ADDRESS or not link.host or link.interval_s <= 0:
        raise _unusable(link, "its host, port or interval_s makes no sense.")
    if link.protocol == sunspec.NAME:
        return _Sunspec(link, wanted)
    if link.protocol == modbus_map.NAME:
        return _Mapped(link)
    raise _unusable(link, f"{link.protocol!r} is not asked over Modbus.")


def timeout_s(link: Link) -> float:
    """How long an answer of the device may take; raises ConfigurationError."""
    value = link.parameters.get("timeout_s", _TIMEOUT_S)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unusable(link, "timeout_s must be a number of seconds.")
    if not 0 < value <= _LONGEST_TIMEOUT_S:
        raise _unusable(link, f"timeout_s must lie between 0 and {_LONGEST_TIMEOUT_S:.0f}.")
    return float(value)


class _Sunspec:
    """A device that says itself which models it has, and where."""

    def __init__(self, link: Link, wanted: frozenset[str] | None) -> None:
        _check_names(link, "base", "models", "tags")
        base = _whole(link, "base", -1, -1, sunspec_model.LAST_ADDRESS)
        self._bases = sunspec_model.BASES if base == -1 else (base,)
        self._chosen = _models(link)
        self._unit = _whole(link, "unit", 1, 0, _HIGHEST_UNIT)
        self._most = _whole(link, "most_registers", MOST_REGISTERS, 4, MOST_REGISTERS)
        self._wanted = _tags(link, wanted)
        self._connection = 0
        self._blocks: tuple[Block, ...] = ()
        self._refused: frozenset[Block] = frozenset()
        self._common: dict[str, Any] | None = None
        self.identity = ""

    async def prepare(self, line: Line) -> None:
        if self._connection != line.connections:
            await self._discover(line)

    async def poll(self, line: Line) -> dict[str, Any]:
        document = await self._document(line)
        if document is None:
            await self._discover(line)
            document = await self._document(line)
        if document is None:
            self._connection = 0
            raise DecodeError("Its models change from one reading to the next.")
        return document

    async def _discover(self, line: Line) -> None:
        """Ask for the chain of models, and for the common one, which says who answers."""
        chain = await self._chain(line)
        self._blocks = tuple(block for block in chain if block.model in self._chosen)
        if not self._blocks:
            have = ", ".join(str(block.model) for block in chain)
            raise DecodeError(f"It has none of the wanted models; it has {have or 'none at all'}.")
        self._refused &= frozenset(self._blocks)
        self._common = None
        self.identity = ""
        if chain[0].model == sunspec_model.COMMON:
            registers = await self._registers(line, chain[0])
            texts = [sunspec_model.text(registers, name) for name in ("Mn", "Md", "Vr", "SN")]
            self.identity = " ".join(text for text in texts if text)
            self._common = _entry(chain[0], registers)
        self._connection = line.connections

    async def _chain(self, line: Line) -> tuple[Block, ...]:
        search = sunspec_model.discover(self._bases)
        wish = next(search)
        while True:
            answer = await self._probe(line, wish)
            try:
                wish = search.send(answer)
            except StopIteration as found:
                chain: tuple[Block, ...] = found.value
                return chain

    async def _probe(self, line: Line, wish: Read) -> bytes | None:
        """What lies there; None where the device refuses, or keeps silent about a base."""
        try:
            return await line.read(self._unit, "holding", wish.address, wish.count)
        except RefusedError as error:
            if error.code in _GATEWAY:
                raise
            return None
        except NoAnswerError:
            if wish.address not in self._bases[:-1]:
                raise
            await line.connect()
            return None

    async def _document(self, line: Line) -> dict[str, Any] | None:
        """The measuring models; None when they are not where they were."""
        models: list[dict[str, Any]] = []
        refused: set[Block] = set()
        for block in self._blocks:
            try:
                registers = await self._registers(line, block)
            except RefusedError as error:
                if error.code in _GATEWAY:
                    raise
                refused.add(block)
                continue
            if registers[:4] != block.model.to_bytes(2, "big") + block.length.to_bytes(2, "big"):
                return None
            models.append(_entry(block, registers))
        fresh = refused - self._refused
        self._refused = frozenset(refused)
        if fresh:  # they were there a moment ago
            return None
        if not models:
            raise DecodeError("It gives none of its models.")
        if self._common is not None:
            models.insert(0, self._common)
            self._common = None
        document: dict[str, Any] = {"sunspec": sunspec.VERSION, "unit": self._unit}
        if self._wanted is not None:
            document["tags"] = sorted(self._wanted)
        return {
            **document,
            "models": models,
            "refused": [block.model for block in self._blocks if block in refused],
        }

    async def _registers(self, line: Line, block: Block) -> bytes:
        """A model with its header."""
        wishes = sunspec_model.reads(block, self._most)
        parts = [await line.read(self._unit, "holding", w.address, w.count) for w in wishes]
        return b"".join(parts)


class _Mapped:
    """A device whose registers its link lists."""

    identity = ""

    def __init__(self, link: Link) -> None:
        _check_names(link, "registers")
        self._unit = _whole(link, "unit", 1, 0, _HIGHEST_UNIT)
        most = _whole(link, "most_registers", MOST_REGISTERS, 4, MOST_REGISTERS)
        try:
            registers = register_map.parse(link.parameters.get("registers"))
        except ConfigurationError as error:
            raise _unusable(link, str(error)) from error
        self._spans = register_map.spans(registers, most)

    async def prepare(self, line: Line) -> None:
        """The link says it all."""

    async def poll(self, line: Line) -> dict[str, Any]:
        entries: list[dict[str, Any]] = []
        refused: list[str] = []
        for span in self._spans:
            try:
                data = await line.read(self._unit, span.table, span.address, span.count)
            except RefusedError as error:
                if error.code in _GATEWAY:
                    raise
                refused.extend(register.tag for register in span.registers)
                continue
            entries.extend(
                {**asdict(register), "words": span.words(register, data).hex()}
                for register in span.registers
            )
        if not entries:
            raise DecodeError("It gives none of its registers.")
        head = {"modbus": modbus_map.VERSION, "unit": self._unit}
        return {**head, "registers": entries, "refused": refused}


def _entry(block: Block, registers: bytes) -> dict[str, Any]:
    return {"address": block.address, "registers": registers.hex()}


def _check_names(link: Link, *own: str) -> None:
    """Raises ConfigurationError for a parameter that nobody reads: it is misspelt."""
    for name in sorted(set(link.parameters) - {"unit", "timeout_s", "most_registers", *own}):
        raise _unusable(link, f"there is no parameter {name!r}.")


def _whole(link: Link, name: str, default: int, lowest: int, highest: int) -> int:
    value = link.parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise _unusable(link, f"{name} must be a whole number from {lowest} to {highest}.")
    return value


def _models(link: Link) -> frozenset[int]:
    chosen = link.parameters.get("models")
    if chosen is None:
        return sunspec_model.MEASURING
    if not isinstance(chosen, list) or not all(
        isinstance(model, int) and sunspec_model.known(model) for model in chosen
    ):
        raise _unusable(link, "models must be a list of SunSpec model ids.")
    return frozenset(chosen)


def _tags(link: Link, described: frozenset[str] | None) -> frozenset[str] | None:
    given = link.parameters.get("tags")
    if given is None:
        return described
    if not isinstance(given, list) or not all(isinstance(tag, str) for tag in given):
        raise _unusable(link, "tags must be a list of texts.")
    return frozenset(given)


def _unusable(link: Link, why: str) -> ConfigurationError:
    return ConfigurationError(f"The link to {link.device!r:.80} cannot be used: {why}")
