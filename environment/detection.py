"""How good alarms are, beside the control that no leak report should go without.

With a wide match window even random alarms hit many events, so a score always carries the hits
that as many alarms at random times would have made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """Events and alarms of a period.

    hits: events with an alarm in their window. false_alarms: alarms in no event's window.
    random_hits: expected hits of as many alarms, each at a random time of the period.
    """

    events: int
    alarms: int
    hits: int
    false_alarms: int
    random_hits: float


def score(
    alarms: np.ndarray,
    starts: np.ndarray,
    *,
    window: np.timedelta64,
    period: tuple[np.datetime64, np.datetime64],
) -> DetectionScore:
    """Score alarms (datetime64) against the starts of events (datetime64).

    window: an alarm at t counts for an event that starts at s when s <= t <= s + window.
    period: the time that alarms can lie in; windows are cut at its end.
    """
    late = alarms[np.newaxis, :] - starts[:, np.newaxis]
    matches = (late >= np.timedelta64(0, "ns")) & (late <= window)
    start, end = period
    reach = np.minimum(starts + window, end) - np.maximum(starts, start)
    share = np.clip(reach / (end - start), 0.0, 1.0)
    return DetectionScore(
        events=len(starts),
        alarms=len(alarms),
        hits=int(matches.any(axis=1).sum()),
        false_alarms=int((~matches.any(axis=0)).sum()),
        random_hits=float((1.0 - (1.0 - share) ** len(alarms)).sum()),
    )
