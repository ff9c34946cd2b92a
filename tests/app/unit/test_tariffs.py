"""Prices by local hour, and what is said about a tariff that is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from app.tariffs import import_price, number
from core.errors import ConfigurationError
from core.timeaxis import HOUR, QUARTER_HOUR, steps

BY_HOUR = {"import_cny_per_mwh_by_hour": list(range(24))}
"""The price is the local hour, so that it can be read off."""


def prices(start: datetime, hours: int, timezone: str) -> list[float]:
    times = steps(start, start + hours * HOUR, HOUR)
    return list(import_price(BY_HOUR, times, timezone))


def test_the_local_hour_decides() -> None:
    start = datetime(2026, 6, 24, 16, tzinfo=UTC)  # midnight in Shanghai
    assert prices(start, 25, "Asia/Shanghai") == [*range(24), 0]
    assert prices(start, 3, "Asia/Kolkata") == [21, 22, 23]  # half past


def test_the_hour_that_does_not_exist_has_no_price_and_the_one_that_repeats_has_it_twice() -> None:
    spring = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight in Berlin, a day of 23 hours
    assert prices(spring, 23, "Europe/Berlin") == [0, 1, *range(3, 24)]
    autumn = datetime(2026, 10, 24, 22, tzinfo=UTC)  # a day of 25 hours
    assert prices(autumn, 25, "Europe/Berlin") == [0, 1, 2, 2, *range(3, 24)]


def test_every_quarter_of_an_hour_has_the_price_of_its_hour() -> None:
    start = datetime(2026, 6, 24, 16, tzinfo=UTC)
    times = steps(start, start + timedelta(hours=2), QUARTER_HOUR)
    found = import_price(BY_HOUR, times, "Asia/Shanghai")
    assert list(found) == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    "tariff",
    [None, [], [400.0] * 23, [[400.0] * 24], 400.0, ["cheap"] * 24, [float("nan")] * 24, {"a": 1}],
)
def test_a_tariff_that_is_none_is_named(tariff: Any) -> None:
    parameters = {} if tariff is None else {"import_cny_per_mwh_by_hour": tariff}
    with pytest.raises(ConfigurationError, match=r"'import_cny_per_mwh_by_hour' .* 24 numbers"):
        import_price(parameters, np.array([], dtype="datetime64[ns]"), "UTC")


@pytest.mark.parametrize("value", ["much", None, [1.0], float("nan")])
def test_a_number_that_is_none_is_named(value: object) -> None:
    with pytest.raises(ConfigurationError, match="'import_limit_mw' must be a number"):
        number({"import_limit_mw": value}, "import_limit_mw")
    with pytest.raises(ConfigurationError, match="'import_limit_mw' must be a number"):
        number({}, "import_limit_mw")


def test_no_limit_is_a_number() -> None:
    assert number({"import_limit_mw": "inf"}, "import_limit_mw") == float("inf")
