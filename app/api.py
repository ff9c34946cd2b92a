"""The open interface: read what the pages show, as JSON, under the same permissions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.auth import current_account
from app.health import state
from app.tables import records
from app.wiring import City
from core.accounts import Permission, check
from core.errors import ConfigurationError, TimeError
from core.timeaxis import from_datetime64, parse
from store import indices, readings, runs, series

LONGEST = timedelta(days=31)


def api_router(city: City) -> APIRouter:
    """GET /api/v1/..."""
    router = APIRouter(prefix="/api/v1")

    @router.get("/status", tags=["city"])
    def status() -> dict[str, Any]:
        """What is there and how fresh it is."""
        check(current_account(), Permission.OVERVIEW_READ)
        return state(city)

    @router.get("/air", tags=["environment"])
    def air() -> list[dict[str, Any]]:
        """The newest hourly air quality index of the city and of every station."""
        check(current_account(), Permission.ENVIRONMENT_READ)
        with city.database.connection() as connection:
            return records(indices.latest(connection, "aqi"))

    @router.get("/series", tags=["data"])
    def catalogue() -> list[dict[str, Any]]:
        """Every series with its unit, owner and time zone."""
        check(current_account(), Permission.DATA_READ)
        with city.database.connection() as connection:
            return records(series.catalogue(connection))

    @router.get("/readings", tags=["data"])
    def values(
        key: Annotated[list[str], Query(min_length=1, max_length=100)],
        start: str,
        end: str,
        bucket_minutes: Annotated[int | None, Query(ge=1, le=1440)] = None,
    ) -> dict[str, Any]:
        """Readings of up to 100 series in [start, end), aware ISO times; null where none is."""
        check(current_account(), Permission.DATA_READ)
        first, last = _range(parse(start), parse(end))
        bucket = timedelta(minutes=bucket_minutes) if bucket_minutes else None
        with city.database.connection() as connection:
            known = series.ids(connection)
            unknown = [k for k in key if k not in known]
            if unknown:
                raise ConfigurationError(f"There is no series {unknown[0]!r}.")
            found = readings.read(connection, key, first, last, bucket)
        table = found.transpose("series", "time").to_numpy()
        return {
            "times": [from_datetime64(t).isoformat() for t in found.time.to_numpy()],
            "series": {
                k: [None if math.isnan(v) else float(v) for v in table[i]]
                for i, k in enumerate(key)
            },
        }

    @router.get("/plans", tags=["dispatch"])
    def plans(limit: Annotated[int, Query(ge=1, le=200)] = 20) -> list[dict[str, Any]]:
        """The newest dispatch runs with their key figures."""
        check(current_account(), Permission.DISPATCH_READ)
        with city.database.connection() as connection:
            found = runs.recent(connection, limit)
        return [
            {
                "id": run.id,
                "kind": run.kind,
                "state": run.state,
                "city_at": run.city_at.astimezone(UTC).isoformat(),
                "summary": run.summary,
            }
            for run in found
        ]

    return router


def _range(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    if end <= start:
        raise TimeError("The end of the range must lie after its start.")
    if end - start > LONGEST:
        raise TimeError(f"A range holds {LONGEST.days} days at most.")
    return start, end
