"""A process that works by the city's description takes up another one while it runs.

What cannot be used leaves in force what there is: it is said once, in the log and as an alert, and
another save is tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, TypeVar

from app import usable
from app.wiring import City
from core.errors import StoreUnavailableError, VerdigridError, reason
from store import sites

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 5.0


class Following(Generic[T]):
    """What a process has made of the city's description, by the newest one that is of use."""

    def __init__(self, city: City, make: Callable[[City], T]) -> None:
        """city: as the process found it. make: out of a city, what the process works by."""
        self._city, self._make = city, make
        self._seen = city.revision
        self._held = make(city)
        self.refused = ""
        """Why the description saved last is of no use; empty where it is in force."""

    @property
    def held(self) -> T:
        """What was made last: the same object until another description is in force."""
        return self._held

    def look(self) -> None:
        """Take up the description saved last if it is another one, and of use.

        A database that is away changes nothing: it is asked again the next time.
        """
        seen = self._seen
        try:
            with self._city.database.connection() as connection:
                seen = sites.revision(connection)
                if seen == self._seen:
                    return
                found = sites.described(connection)
            if found is not None:
                seen = found.revision  # which may have been saved since
                self._take_up(replace(self._city, site=found.site, revision=seen))
        except StoreUnavailableError:
            return
        except Exception as error:  # whatever it is, what is in force must go on
            self.refused = reason(error)
            log.error(
                "the stored description of the city cannot be used; the one before stays in force",
                extra={"reason": self.refused, "revision": seen},
                exc_info=None if isinstance(error, VerdigridError) else error,
            )
        self._seen = seen

    def _take_up(self, city: City) -> None:
        # One that was drawn anew for receivers, or refused and then taken back, changes nothing.
        if city.site != self._city.site:
            usable.check(city.site)
            self._held = self._make(city)
            log.info("the city is described anew", extra={"revision": city.revision})
        self._city, self.refused = city, ""

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look every few seconds, in a thread, for as long as the context lasts."""
        left = threading.Event()

        def watch() -> None:
            while not left.wait(LOOK_EVERY_S):
                self.look()

        watcher = threading.Thread(target=watch, name="description-watcher", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            left.set()
            watcher.join()
