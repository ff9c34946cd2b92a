"""What a page is given: who looks, at what, when, and a connection to read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from dash import Dash

from core.accounts import Account
from core.timeaxis import floor_to
from dashboards import formats
from dashboards.address import View
from dashboards.context import DashContext
from dashboards.facts import CityFacts
from dashboards.figures.base import Style
from dashboards.queries import period
from dashboards.queries.dispatch import PlanShelf
from dashboards.texts import Words
from store.database import Connection

NOW_STEP = timedelta(minutes=5)
"""The line at now moves in these steps: charts are not redrawn for less."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a page registers its callbacks."""

    app: Dash
    context: DashContext


@dataclass(frozen=True, slots=True)
class Scene:
    """One look at one page. facts is None while the city is not described yet.

    late_after: the age from which on a plan should have had a follower, None where the city's
    description has a number of no use for it, of which an alert tells.
    """

    view: View
    words: Words
    account: Account
    now: datetime
    facts: CityFacts | None = None
    connection: Connection | None = None
    shelf: PlanShelf = field(default_factory=PlanShelf)
    late_after: timedelta | None = None

    @property
    def tz(self) -> ZoneInfo:
        return self.facts.tz if self.facts else ZoneInfo("UTC")

    @property
    def period(self) -> period.Period:
        """The natural days the view covers."""
        return period.days(self.now, self.view.days, self.tz)

    @property
    def chart_now(self) -> datetime:
        return floor_to(self.now, NOW_STEP)

    @property
    def style(self) -> Style:
        """How this view's charts are drawn."""
        return Style(
            dark=self.view.dark,
            tz=self.tz,
            now_word=self.words("chart.now"),
            forecast_word=self.words("chart.forecast"),
            plan_word=self.words("chart.plan"),
            band_word=self.words("chart.band"),
        )

    @property
    def revision(self) -> str:
        """Zoom survives a refresh and ends with the day or the range."""
        return f"{self.period.start:%Y%m%d}-{self.view.days}"

    def fresh(
        self, ts: datetime | None, resolution: timedelta, patience: timedelta = timedelta(hours=1)
    ) -> tuple[str, bool]:
        """Since when a value stands, in words, and whether that is longer ago than it should be.

        ts: the beginning of the interval the value stands for; None where there is no value.
        """
        if ts is None:
            return "", False
        end = ts + resolution
        if self.now - end > patience:
            return self.words("figure.stale", time=formats.moment(end, self.tz)), True
        return self.words("figure.fresh", time=formats.clock(end, self.tz)), False
