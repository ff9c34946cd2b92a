"""A drop folder: files that are put there become readings, and are moved to where they belong.

    <folder>/               files are put here, complete once they stand still (or are renamed)
    <folder>/mappings/      mapping documents, each with a pattern of names (ingest/filemapping.py)
    <folder>/working/       what is being imported, by whom (ingest/workshop.py)
    <folder>/done/          imported, each with a report
    <folder>/failed/        what could not be imported, each with the reason

Whatever happens, a file is imported: what a killed watcher left is taken over and imported again,
which is harmless, because readings that are stored already are duplicates.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import orjson

from core.errors import ConfigurationError, VerdigridError
from ingest import filemapping
from ingest.filemapping import PLAIN, FileMapping
from ingest.files import ImportReport, import_file
from ingest.mapping import TagMap
from ingest.patience import Patience, PatientSink, StoppedError
from ingest.protocols import Protocols, find
from ingest.sinks import Sink
from ingest.wire import shown
from ingest.workshop import DONE, FAILED, MAPPINGS, Claim, Workshop, open_workshop

_log = logging.getLogger(__name__)

UNFINISHED = (".part", ".partial", ".tmp", ".filepart", ".crdownload")
"""Suffixes of files that their senders rename when they are complete."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Where files are dropped.

    still_s: how long size and time of a file must stand still before it is taken; 0 takes it as
    it is found, for senders that rename. poll_s: seconds between two looks.
    mappings: further mappings, such as those in the description of the city.
    """

    path: Path
    still_s: float = 5.0
    poll_s: float = 1.0
    mappings: tuple[FileMapping, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What a watcher has done since it started. waiting: files that are not complete yet, or wait
    for their mapping. last_error is empty while all is well.
    """

    imported: int = 0
    failed: int = 0
    waiting: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    last_error: str = ""


def run_folder(
    settings: FolderSettings,
    sink: Sink,
    tag_map: Callable[[], TagMap],
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[FolderStatus], None] = lambda _: None,
    *,
    protocols: Protocols | None = None,
) -> None:
    """Import what is dropped until ``stop``; several watchers may share a folder.

    tag_map: asked for each file. now: city time. While the store is away the file at hand waits.
    Raises ConfigurationError when the folder cannot be used.
    """
    with open_workshop(settings.path) as workshop:
        watcher = _Watcher(
            settings, workshop, sink, tag_map, now, stop, on_status, protocols or find()
        )
        try:
            watcher.run()
        except StoppedError:
            _log.warning("stopped while the store was away; the file at hand stays in the folder")


class _Watcher:
    """Looks, claims, imports, moves away."""

    def __init__(
        self,
        settings: FolderSettings,
        workshop: Workshop,
        sink: Sink,
        tag_map: Callable[[], TagMap],
        now: Callable[[], datetime],
        stop: threading.Event,
        on_status: Callable[[FolderStatus], None],
        protocols: Protocols,
    ) -> None:
        self._settings = settings
        self._workshop = workshop
        patience = Patience(stop, on_away=lambda reason: self._note(last_error=reason))
        self._patience = patience
        self._sink = PatientSink(sink, patience)
        self._tag_map = tag_map
        self._now = now
        self._stop = stop
        self._on_status = on_status
        self._protocols = protocols
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._status = FolderStatus()

    def run(self) -> None:
        """Until ``stop``: first what the dead left, then what is new."""
        while not self._stop.is_set():
            try:
                self._look()
            except OSError as error:
                _log.warning("the drop folder cannot be used", extra={"reason": str(error)})
                self._note(last_error=f"The drop folder cannot be used: {error}.")
            self._stop.wait(self._settings.poll_s)

    def _look(self) -> None:
        mappings, broken = self._mappings()
        for left in self._workshop.left_behind():
            self._take(left, mappings)
            if self._stop.is_set():
                return
        waiting = 0
        for name, complete in list(self._names()):
            if self._stop.is_set():
                return
            if not complete or (broken and self._unmapped(name, mappings)):
                waiting += 1
                continue
            claim = self._workshop.claim(name)
            if claim is not None:
                self._take(claim, mappings)
        self._note(waiting=waiting, last_error=broken)

    def _mappings(self) -> tuple[list[FileMapping], str]:
        """All mappings, and what is wrong with those that cannot be read: files wait for them."""
        found = list(self._settings.mappings)
        broken = ""
        for path in sorted(self._workshop.lies(MAPPINGS).iterdir()):
            if path.suffix.lower() in filemapping.SUFFIXES:
                try:
                    found.append(filemapping.read(path))
                except ConfigurationError as error:
                    broken = str(error)
        return found, broken

    def _unmapped(self, name: str, mappings: Sequence[FileMapping]) -> bool:
        try:
            return filemapping.choose(self._settings.path / name, mappings) is PLAIN
        except ConfigurationError:
            return False

    def _names(self) -> Iterator[tuple[str, bool]]:
        """What lies in the folder, the oldest first, and whether it is complete."""
        found: dict[str, os.stat_result] = {}
        with os.scandir(self._settings.path) as entries:
            for entry in entries:
                suffix = Path(entry.name).suffix.lower()
                ours = entry.is_dir(follow_symlinks=False) or suffix in filemapping.SUFFIXES
                if not ours and not entry.name.startswith((".", "~")) and suffix not in UNFINISHED:
                    with suppress(FileNotFoundError):  # another watcher was faster
                        found[entry.name] = entry.stat(follow_symlinks=False)
        self._seen = {name: seen for name, seen in self._seen.items() if name in found}
        for name, facts in sorted(found.items(), key=lambda item: item[1].st_mtime_ns):
            yield name, self._stands_still(name, facts)

    def _stands_still(self, name: str, facts: os.stat_result) -> bool:
        size, changed, since = self._seen.get(name, (-1, -1, 0.0))
        if (size, changed) != (facts.st_size, facts.st_mtime_ns):
            since = time.monotonic()
            self._seen[name] = (facts.st_size, facts.st_mtime_ns, since)
        return time.monotonic() - since >= self._settings.still_s

    def _take(self, claim: Claim, mappings: Sequence[FileMapping]) -> None:
        """Import a file and move it to where it belongs; no file keeps the others from theirs."""
        tag_map = self._patience.call(self._tag_map)
        mapping, report, error = PLAIN, ImportReport(), ""

        def progress(so_far: ImportReport) -> None:
            nonlocal report
            report = so_far
            if self._stop.is_set():
                raise StoppedError

        try:
            claim.check()
            mapping = filemapping.choose(self._settings.path / claim.name, mappings)
            report = import_file(
                claim.path,
                self._sink,
                tag_map,
                progress,
                received_at=self._now(),
                mapping=mapping,
                protocols=self._protocols,
            )
        except VerdigridError as problem:
            error = str(problem)
        except OSError as problem:
            error = f"The file {shown(claim.name)} cannot be read: {problem}."
        self._finish(claim, mapping, report, error)

    def _finish(self, claim: Claim, mapping: FileMapping, report: ImportReport, error: str) -> None:
        now = self._now()
        facts = {
            "file": shown(claim.name),
            "mapping": mapping.name,
            "state": "failed" if error else "done",
            "error": error,
            "finished_at": now.isoformat(),
            **asdict(report),
        }
        text = orjson.dumps(facts, option=orjson.OPT_INDENT_2)
        folder = FAILED if error else DONE
        self._workshop.finish(claim, folder, text, now.strftime("%Y%m%dT%H%M%S"))
        if error:
            _log.warning("file refused", extra={"file": shown(claim.name), "reason": error})
        status = self._status
        self._note(
            imported=status.imported + (not error),
            failed=status.failed + bool(error),
            stored=status.stored + report.stored,
            duplicates=status.duplicates + report.duplicates,
            rejected=status.rejected + report.rejected,
        )

    def _note(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]
        self._on_status(self._status)
