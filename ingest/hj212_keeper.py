"""Brings what all HJ 212 connections wait for to the spool: one commit serves all of them.

While one commit is on its way to the disk the next gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.errors import SpoolFullError
from ingest.pipeline import Message

Accept = Callable[[Sequence[Message]], None]


class Keeper:
    """One call of ``accept`` at a time, with all messages that wait by then."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hj212-keeper")
        self._waiting: list[tuple[Sequence[Message], asyncio.Future[str]]] = []
        self._wake = asyncio.Event()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def keep(self, messages: Sequence[Message]) -> str:
        """Returns when ``messages`` are safe, with an empty text, or why they are not kept."""
        if not messages:
            return ""
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, outcome))
        self._wake.set()
        return await outcome

    async def run(self) -> None:
        """Until cancelled; what ``accept`` raises besides SpoolFullError ends it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            refusal = await self._commit([m for messages, _ in waiting for m in messages])
            for _, outcome in waiting:
                if not outcome.done():  # its connection may have ended meanwhile
                    outcome.set_result(refusal)

    async def _commit(self, messages: Sequence[Message]) -> str:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._accept, messages)
        except SpoolFullError as error:
            return str(error)
        return ""
