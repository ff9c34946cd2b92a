"""Missing intervals of a station become what it is asked for, each period once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest

from app.recollection import HORIZON, MOST, missing_periods
from app.wiring import City
from core.sites import Site, Tag
from ingest.hj212_host import Period
from store.database import Database

MN = "STATION-1"
HOUR, STEP = timedelta(hours=1), timedelta(minutes=5)
TAGS = (
    Tag(MN, "a34004-Avg@2051", "µg/m3", "tiny/air-01/pm2_5"),
    Tag(MN, "a34002-Avg@2051", "µg/m3", "tiny/air-01/pm10"),
    Tag("other", "a34004-Avg@2051", "µg/m3", "tiny/air-02/pm2_5"),
)


@pytest.fixture
def stations(with_site: Callable[..., City], site: Site) -> City:
    return with_site(tags=TAGS)


def without(hours: list[int], of: int) -> np.ndarray:
    """Five-minute values of ``of`` hours, none in ``hours``."""
    values = np.ones(of * 12)
    for hour in hours:
        values[hour * 12 : (hour + 1) * 12] = np.nan
    return values


@pytest.mark.usefixtures("stations")
def test_gaps_of_a_station_newest_first_and_nobody_else_s(
    database: Database, write: Callable[..., None], now: datetime
) -> None:
    begin = now - 10 * HOUR
    pm2_5, pm10 = without([2, 3, 7], 10), without([4], 10)
    other = without([5, 9], 10)
    write({"tiny/air-01/pm2_5": pm2_5, "tiny/air-01/pm10": pm10}, begin, now, STEP)
    write({"tiny/air-02/pm2_5": other}, begin, now, STEP)
    missing = missing_periods(database, lambda: now)
    assert missing(MN) == (
        Period("2051", begin + 7 * HOUR, begin + 8 * HOUR),
        Period("2051", begin + 2 * HOUR, begin + 5 * HOUR),
    )
    assert missing("other")[0] == Period("2051", now - HOUR, now)
    assert missing("unknown") == ()


@pytest.mark.usefixtures("stations")
def test_not_everything_at_once(
    database: Database, write: Callable[..., None], now: datetime
) -> None:
    hours = HORIZON // HOUR + 24
    begin = now - hours * HOUR
    write({"tiny/air-01/pm2_5": without(list(range(1, hours, 2)), hours)}, begin, now, STEP)
    found = missing_periods(database, lambda: now)(MN)
    assert len(found) == MOST
    assert found[0].end == now
    assert found[-1].begin > now - HORIZON
