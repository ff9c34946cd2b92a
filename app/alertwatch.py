"""Looks at air, water, grid and devices each minute and keeps the alerts up to date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from app import dispatchwatch
from app.plankinds import DAY_AHEAD, INTRADAY
from app.tables import records
from app.wiring import City
from core.alerts import AlertSeverity, Condition, advance
from core.series import SeriesKind
from core.timeaxis import floor_to, to_datetime64
from environment import rules
from store import alerts, indices, readings, runs
from store.database import Connection

NEWEST = timedelta(hours=3)
"""An hourly figure older than this says nothing about now."""
REFUSED = "description-refused"
NIGHTS = timedelta(days=21)


class AlertWatch:
    """The alert rules of a city over what the store knows; used by one thread at a time."""

    def __init__(self, city: City, refused: Callable[[], str] = lambda: "") -> None:
        """refused: why the description saved last is of no use, empty where it is."""
        self._city, self._refused = city, refused

    def check(self, now: datetime) -> None:
        """Open, update and close alerts by what holds at ``now``."""
        with self._city.database.connection() as connection:
            conditions = [
                *self._air(connection, now),
                *self._water(connection, now),
                *self._grid(connection, now),
                *self._silent(connection, now),
                *self._description(),
                *dispatchwatch.conditions(connection, self._city, now),
            ]
            changed = advance(alerts.active(connection), conditions, now)
            alerts.save(connection, changed)

    def _newest(self, connection: Connection, kind: str, now: datetime) -> list[dict[str, Any]]:
        """The newest figures of ``kind`` that still say something about now."""
        rows = records(indices.latest(connection, kind))
        return [r for r in rows if r["ts"] >= now - NEWEST and r["value"] is not None]

    def _air(self, connection: Connection, now: datetime) -> list[Condition]:
        fresh = self._newest(connection, "aqi", now)
        return rules.air(
            {self._short(r["subject"]): r["value"] for r in fresh},
            primary={self._short(r["subject"]): tuple(r["detail"]["primary"]) for r in fresh},
        )

    def _water(self, connection: Connection, now: datetime) -> list[Condition]:
        fresh = self._newest(connection, "leak_rwl", now)
        found = rules.leak_rate({self._short(r["subject"]): r["value"] for r in fresh})
        nights = indices.read(connection, "night_flow", now - NIGHTS, now)
        last: dict[str, float] = {}
        usual: dict[str, float] = {}
        for subject, rows in nights.groupby("subject") if len(nights) else ():
            values = rows.sort_values("ts")["value"].to_numpy(dtype=float)
            last[self._short(str(subject))] = float(values[-1])
            if len(values) > 3:
                usual[self._short(str(subject))] = float(np.median(values[:-1]))
        return found + rules.night_flow(last, usual)

    def _grid(self, connection: Connection, now: datetime) -> list[Condition]:
        """Voltages and loadings of the present step, as the newest plan's AC check has them."""
        run = runs.latest(connection, INTRADAY) or runs.latest(connection, DAY_AHEAD)
        if run is None:
            return []
        ac = runs.ac(connection, run.id)
        at = to_datetime64(floor_to(now, self._city.site.plan_resolution))
        if at not in ac.indexes["time"]:
            return []
        step = ac.sel(time=at)
        return rules.loading(
            {
                f"{name} {int(element)}": float(value)
                for name, variable in (
                    ("line", "line_loading_percent"),
                    ("trafo", "trafo_loading_percent"),
                    ("trafo3w", "trafo3w_loading_percent"),
                )
                if variable in step  # older plans have none of three windings
                for element, value in zip(
                    step[variable][name].to_numpy(), step[variable].to_numpy(), strict=True
                )
            }
        )

    def _silent(self, connection: Connection, now: datetime) -> list[Condition]:
        """Assets all of whose series are overdue: one alert a device, not one a value."""
        measured = [s for s in self._city.site.series if s.kind is SeriesKind.MEASURED]
        table = pd.DataFrame(
            {"asset": [s.asset for s in measured], "step": [s.resolution for s in measured]},
            index=[s.key for s in measured],
        ).dropna()
        newest = readings.latest(connection, list(table.index)).set_index("key")["ts"]
        table["last"] = newest.reindex(table.index)
        last = table.groupby("asset")["last"].max()
        step = table.groupby("asset")["step"].max()
        return rules.stale(
            {
                str(asset): None if pd.isna(ts) else pd.Timestamp(ts).to_pydatetime()
                for asset, ts in last.items()
            },
            {str(asset): pd.Timedelta(length).to_pytimedelta() for asset, length in step.items()},
            now=now,
        )

    def _description(self) -> list[Condition]:
        """That the city was described anew in a way that nobody can work by."""
        reason = self._refused()
        if not reason:
            return []
        return [
            Condition(
                REFUSED,
                "city",
                AlertSeverity.WARNING,
                1.0,
                "1",
                "The description saved last cannot be used, the one before stays in force: "
                f"{reason}",
                f"最近保存的城市描述无法使用，此前的描述继续有效：{reason}",
            )
        ]

    def _short(self, subject: str) -> str:
        """A subject without the site in front, as people call it."""
        return subject.removeprefix(f"{self._city.site.id}/")
