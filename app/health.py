"""What is there and how fresh it is: for `verdigrid status`, the open interface and readiness."""

from __future__ import annotations

from typing import Any

from app import keys
from app.plankinds import DAY_AHEAD, INTRADAY
from app.wiring import City
from core.timeaxis import DAY
from store import footprints, forecasts, indices, migrate, readings, runs


def state(city: City) -> dict[str, Any]:
    """What is there: readings with their freshness, the newest forecast and plan.

    Raises StoreError when the database cannot be asked.
    """
    with city.database.connection() as connection:
        counted = readings.counts(connection)
        plan = runs.latest(connection, INTRADAY) or runs.latest(connection, DAY_AHEAD)
        pending = migrate.pending(connection)
        totals = [keys.total(city.site.id, name) for name in ("load-total", "pv-total")]
        now = city.now()
        signs = {
            "readings": counted["last_ts"] is not None
            and counted["last_ts"] >= city.clock.origin_city,
            "air": not indices.latest(connection, "aqi").empty,
            "leak": not indices.latest(connection, "leak_rwl").empty,
            "forecast": forecasts.read(connection, totals, now, now + DAY).sizes["time"] > 0,
            "footprints": not footprints.read(connection, now - DAY, now).empty,
            "plan": plan is not None,
        }
    city_now = city.now()
    last = counted["last_ts"]
    return {
        "city": city.site.id,
        "city_time": city_now.isoformat(),
        "simulated": city.site.simulated,
        "readings": counted["rows"],
        "last_reading": last.isoformat() if last else None,
        "age_of_last_reading_s": (city_now - last).total_seconds() if last else None,
        "latest_plan": {"id": plan.id, "status": plan.state, "city_at": plan.city_at.isoformat()}
        if plan
        else None,
        "schema_up_to_date": not pending,
        "signs": signs,
    }
