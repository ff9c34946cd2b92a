"""The workshop of a drop folder: who works on which file, and what the dead left behind.

Every watcher has a folder of its own in ``working`` and holds the lock beside it for as long as it
lives; the kernel lets go of the lock when the watcher dies. A claim is a rename into a folder of
the claim's own, so that it succeeds for one watcher only and never overwrites anything.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError, DecodeError
from ingest.wire import shown

_log = logging.getLogger(__name__)

WORKING, DONE, FAILED, MAPPINGS = "working", "done", "failed", "mappings"

_LOCK = ".lock"
_FORGOTTEN_S = 3_600.0
_LONGEST_NAME = 120
_MODE = 0o750


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that is ours. name: as it was put into the drop folder."""

    path: Path
    name: str

    def check(self) -> None:
        """Raises DecodeError for what is no plain file: links lead anywhere, pipes never end."""
        if not stat.S_ISREG(self.path.lstat().st_mode):
            raise DecodeError(f"{shown(self.name)} is a link or no file at all.")


class Workshop:
    """One watcher's place in a drop folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = uuid.uuid4().hex
        self._place = root / WORKING / self.name

    def lies(self, folder: str) -> Path:
        """A folder of the drop folder."""
        return self._root / folder

    def claim(self, name: str) -> Claim | None:
        """Take a file of the drop folder; None when another watcher was faster."""
        room = self._room()
        try:
            (self._root / name).rename(room / name)
        except FileNotFoundError:
            room.rmdir()
            return None
        return Claim(room / name, name)

    def left_behind(self) -> Iterator[Claim]:
        """Files that nobody works on: our own that could not be moved away, and the dead's."""
        for room in _folders(self._place):
            yield from _claims(room)
        for place in _folders(self._root / WORKING):
            if place != self._place:
                yield from self._adopt(place)

    def finish(self, claim: Claim, folder: str, report: bytes, stamp: str) -> None:
        """Move a file into ``folder`` with its report beside it; its name says when and who."""
        name = f"{stamp}-{claim.path.parent.name[:8]}-{_plain(claim.name)}"
        beside = self._root / folder / f"{name}.report.json"
        unfinished = beside.with_suffix(".part")
        unfinished.write_bytes(report)
        unfinished.rename(beside)
        claim.path.rename(self._root / folder / name)
        with suppress(OSError):
            claim.path.parent.rmdir()

    def _room(self) -> Path:
        room = self._place / uuid.uuid4().hex
        room.mkdir(_MODE)
        return room

    def _adopt(self, place: Path) -> Iterator[Claim]:
        lock = place.with_suffix(_LOCK)
        with _held(lock) as ours:
            if not ours:
                return
            for room in _folders(place):
                mine = self._place / room.name
                room.rename(mine)
                for claim in _claims(mine):
                    _log.info("file taken over", extra={"file": shown(claim.name)})
                    yield claim
            with suppress(OSError):
                place.rmdir()
            with suppress(OSError):
                lock.unlink()


def _folders(place: Path) -> list[Path]:
    """The folders in ``place``, none when it is gone."""
    try:
        return sorted(p for p in place.iterdir() if p.is_dir() and not p.is_symlink())
    except FileNotFoundError:
        return []


def _claims(room: Path) -> Iterator[Claim]:
    """The file in a claim's folder; an empty one goes."""
    for path in sorted(room.iterdir()):
        yield Claim(path, path.name)
    with suppress(OSError):
        room.rmdir()


@contextmanager
def open_workshop(root: Path) -> Iterator[Workshop]:
    """A place in the drop folder ``root``, whose folders are made where they are missing.

    Raises ConfigurationError when the folder cannot be used.
    """
    try:
        for folder in (root, *(root / name for name in (WORKING, DONE, FAILED, MAPPINGS))):
            folder.mkdir(_MODE, parents=folder == root, exist_ok=True)
            if folder != root and folder.is_symlink():
                raise ConfigurationError(f"{folder} is a link; files could end anywhere.")
        _sweep(root / WORKING)
    except OSError as error:
        raise ConfigurationError(f"The drop folder {root} cannot be used: {error}.") from error
    workshop = Workshop(root)
    place = root / WORKING / workshop.name
    lock = place.with_suffix(_LOCK)
    with _held(lock, make=True):  # before the place: one without a held lock is a dead one's
        place.mkdir(_MODE)
        try:
            yield workshop
        finally:
            with suppress(OSError):
                place.rmdir()  # unless a file is left in it, for the next watcher
                lock.unlink()


@contextmanager
def _held(lock: Path, *, make: bool = False) -> Iterator[bool]:
    """Whether the lock is ours for the length of the context; one that is missing is free."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_EXCL if make else 0)
    handle = os.open(lock, flags, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def _sweep(working: Path) -> None:
    """Remove old locks without a place: of watchers that died between the two."""
    for lock in working.glob(f"*{_LOCK}"):
        with suppress(OSError):
            old = time.time() - lock.stat().st_mtime > _FORGOTTEN_S
            if old and not lock.with_suffix("").exists():
                lock.unlink()


def _plain(name: str) -> str:
    """A name without what terminals and shells stumble over, its suffix kept."""
    clean = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name)
    return clean.encode("utf-8", "replace")[-_LONGEST_NAME:].decode("utf-8", "ignore")
