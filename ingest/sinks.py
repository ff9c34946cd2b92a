"""What ingest needs of a store; app connects the two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from core.readings import Rejected
from core.sites import Registration, Route


class Sink(Protocol):
    """Takes what became of messages; each call has committed when it returns and may be repeated.

    All raise StoreUnavailableError when the store is away (the caller tries again, for ever) and
    another StoreError when it refuses this content (the caller looks for the culprit).
    """

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """Store READING_DTYPE (n,); how many were new, and how many duplicates."""
        ...

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep what could not become a reading, with its reason."""
        ...

    def register(self, registrations: Sequence[Registration]) -> Sequence[Route]:
        """Make assets, series and tags of devices; one that exists already stays as it is.

        Gives the routes of all these devices, as they are now.
        """
        ...

    def charging(self, events: Sequence[Any]) -> None:
        """Keep what chargers say besides readings (``Decoded.events``)."""
        ...

    def latest(self) -> np.ndarray:
        """The newest reading of every series, READING_DTYPE (n,): where flags go on from."""
        ...

    def beat(self, receiver: str, at: datetime) -> None:
        """Note that ``receiver`` was connected at the city time ``at``."""
        ...
