"""Intensities of an hour over enterprises: weighted by energy, and only where traced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd

from dashboards.queries.carbon import by_hour

HOUR = datetime(2026, 6, 22, 4, tzinfo=UTC)
BEIJING = "mee_2023.electricity_location.beijing"  # 0.5554 kg/kWh


def rows(*cells: tuple[int, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ts": pd.to_datetime([HOUR + timedelta(hours=c[0]) for c in cells], utc=True),
            "e_mwh": [Decimal(c[1]) for c in cells],
            "kgco2e": [Decimal(c[2]) for c in cells],
            "factor_id": [BEIJING for _ in cells],
            "method": [c[3] for c in cells],
        }
    )


def test_two_enterprises_of_an_hour_and_an_hour_that_was_not_traced() -> None:
    """1 MWh at 200 and 3 MWh at 400 are 350; the next hour has only the published factor."""
    found = by_hour(
        rows(
            (0, "1", "200", "traced"),
            (0, "3", "1200", "mixed"),
            (1, "2", "1110.8", "regional"),
            (2, "0", "0", "regional"),
        )
    )
    np.testing.assert_allclose(found["bus"], [350.0, np.nan, np.nan])
    np.testing.assert_allclose(found["regional"], [555.4, 555.4, np.nan])


def test_no_footprints_are_an_empty_table() -> None:
    assert by_hour(rows()).empty
