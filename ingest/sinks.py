"""What ingest needs of a store; app connects the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from core.readings import Rejected


class Sink(Protocol):
    """Takes readings and rejected messages; each call has committed when it returns.

    Both raise StoreUnavailableError when the store is away (the caller tries again, for ever) and
    another StoreError when it refuses this content (the caller looks for the culprit).
    """

    def write(self, batch: np.ndarray) -> tuple[int, int]:
        """Store READING_DTYPE (n,), safe to repeat; how many were new, and how many duplicates."""
        ...

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep what could not become a reading, with its reason."""
        ...
