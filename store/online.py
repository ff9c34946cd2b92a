"""Which assets report, and the share of those that do, by kind and district.

An asset is online when the newest reading of any of its measured series is young enough for that
series. Assets that measure nothing are no terminals and are not counted; one that never sent
anything is offline. Newest readings are known a moment late (store/latest.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from core.timeaxis import utc
from store import sqltext
from store.database import Connection
from store.frames import frame

_SQL = sqltext.load("online")


@dataclass(frozen=True, slots=True)
class Rule:
    """How old the newest reading of an asset that is online may be: ``intervals`` times the
    series' own, ``instants`` for a series of instants, and never less than ``shortest``.
    """

    intervals: float = 3.0
    instants: timedelta = timedelta(minutes=15)
    shortest: timedelta = timedelta(minutes=1)

    def patience(self, resolution: timedelta | None) -> timedelta:
        """For a series of that resolution."""
        wanted = self.instants if resolution is None else self.intervals * resolution
        return max(wanted, self.shortest)


STANDARD = Rule()


def states(connection: Connection, now: datetime, rule: Rule = STANDARD) -> pd.DataFrame:
    """Each asset: id, name_en, name_zh, kind, district, ts of its newest reading (NaT without
    any), online.
    """
    return _ask(connection, "states", now, rule)


def rates(connection: Connection, now: datetime, rule: Rule = STANDARD) -> pd.DataFrame:
    """Each kind in each district: kind, district, total, online, rate (0..1)."""
    return _ask(connection, "rates", now, rule)


def _ask(connection: Connection, name: str, now: datetime, rule: Rule) -> pd.DataFrame:
    resolutions = [row[0] for row in connection.execute(_SQL["resolutions"])]
    given = {
        "now": utc(now),
        "resolutions": [resolution or timedelta(0) for resolution in resolutions],
        "patience": [rule.patience(resolution) for resolution in resolutions],
    }
    statement = _SQL[name].format(online=_SQL["online"])
    return frame(connection.execute(statement, given))
