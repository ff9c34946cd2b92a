"""Pieces that several pages share and that need to know the scene."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import plotly.graph_objects as go
import xarray as xr
from dash import dcc, html
from dash.development.base_component import Component

from core.timeaxis import HOUR, from_datetime64
from dashboards import address, colours, formats, parts
from dashboards.figures import base, citymap
from dashboards.queries import air, period, series
from dashboards.scene import Scene


def page_head(scene: Scene, name: str, *tools: Component) -> Component:
    """The title of a desk, the range switch, and the stores its live callback needs."""
    words, view = scene.words, scene.view
    ranges = [
        (words(f"range.{days}"), view.to(days=days), days == view.days) for days in address.DAYS
    ]
    return html.Div(
        [
            html.H1(words(f"desk.{name}")),
            html.Span(className="spring"),
            *tools,
            parts.segmented(words("range.label"), ranges),
            dcc.Store(id=f"{name}-view", data=view.to()),
            dcc.Store(id=f"{name}-shown", data={}),
            dcc.Store(id=f"{name}-nudge", data=0),
            dcc.Interval(id=f"{name}-tick", interval=5_000),
            html.Div(id=f"{name}-notice", className="notice-slot"),
        ],
        className="page-head",
    )


def today(scene: Scene) -> period.Period:
    """The natural day of the city that holds now, whatever range is looked at."""
    return period.days(scene.now, 1, scene.tz)


def nothing_yet(scene: Scene, slots: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    """The slots of a page while no city is described: one sentence on how to get one."""
    words = scene.words
    values: dict[str, Any] = {
        name: parts.empty(words("empty.city"), words("empty.city_how"))
        for name in slots
        if name.endswith("_empty")
    }
    values["sentence"] = parts.sentence(
        f"{words('empty.city')} {words('empty.city_how')}", "notice"
    )
    return values


def over_period(figure: go.Figure, scene: Scene) -> None:
    """Fix a chart's time axis to the view's days and mark now."""
    base.over(figure, scene.period.start, scene.period.end, scene.style)
    base.now_line(figure, scene.chart_now, scene.style)


def chart_slots(name: str, figure: go.Figure, what: str, how: str) -> dict[str, Any]:
    """The two slots of a chart: the figure, and what to say instead when it shows nothing."""
    if any(_points(trace) for trace in figure.data):
        return {name: figure, f"{name}_empty": None}
    blank = go.Figure(
        layout={
            "template": "none",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": {"visible": False},
            "yaxis": {"visible": False},
        }
    )
    return {name: blank, f"{name}_empty": parts.empty(what, how)}


def _points(trace: Any) -> bool:
    return trace.y is not None and any(y is not None and y == y for y in trace.y)


def power_figure(scene: Scene, label: str, values: xr.DataArray, href: str = "") -> Component:
    """A key figure in MW: the newest value and its change over the last hour."""
    label_ts, value = series.last(values)
    if label_ts is None or value is None:
        return parts.key_figure(
            label, formats.NOTHING, "MW", note=scene.words("figure.waiting"), href=href
        )
    ts = from_datetime64(label_ts)
    before = series.at(values, ts - HOUR)
    fresh, stale = scene.fresh(ts, scene.period.bucket)
    return parts.key_figure(
        label,
        formats.number(value),
        "MW",
        note=change(scene, None if before is None else value - before),
        fresh=fresh,
        stale=stale,
        href=href,
    )


def change(scene: Scene, delta: float | None, digits: int | None = None) -> list[Component]:
    """A change over an hour, with its direction as an arrow; neutral in colour."""
    if delta is None:
        return []
    text = formats.signed(delta, digits)
    steady = not any(c in "123456789" for c in text)
    arrow = "steady" if steady else "up" if delta > 0 else "down"
    return [parts.icon(arrow), html.Span(scene.words("figure.change", value=text))]


def aqi_figure(scene: Scene, label: str, station: air.StationAir, href: str = "") -> Component:
    """A key figure of the index: value, level, primary pollutant."""
    words = scene.words
    if station.aqi is None:
        return parts.key_figure(
            label, formats.NOTHING, "AQI", note=words("figure.waiting"), href=href
        )
    level = colours.aqi_level(station.aqi)
    fresh, stale = scene.fresh(station.ts, HOUR, timedelta(hours=2))
    said = [parts.level_badge(words, station.aqi)]
    if station.primary:
        said.append(html.Span(pollutants(scene, station.primary), className="muted"))
    return parts.key_figure(
        label,
        formats.number(station.aqi, 0),
        "AQI",
        note=said,
        fresh=fresh,
        stale=stale,
        href=href,
        mark=level.colour,
    )


def pollutants(scene: Scene, names: tuple[str, ...]) -> str:
    """The pollutants as people write them."""
    return "、".join(scene.words.maybe(f"pollutant.{n}", n) for n in names) or formats.NOTHING


def station_points(scene: Scene, found: air.Air, selected: str = "") -> list[citymap.Point]:
    """The stations that have a place, for the map."""
    return [
        citymap.Point(scene.words.pick(s.name_en, s.name_zh), s.lat, s.lon, s.aqi, s.id == selected)
        for s in found.stations
        if s.lat is not None and s.lon is not None
    ]


def map_names(scene: Scene) -> dict[str, str]:
    """The words of the map's legend."""
    keys = ("line", "unknown", "bus", "station", "aqi", "no_aqi")
    return {key: scene.words(f"map.{key}") for key in keys}
