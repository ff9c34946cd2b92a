"""The city drawn on plain ground: lines coloured by loading, buses, air stations by index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards import colours
from dashboards.figures import base
from dashboards.figures.base import Style


@dataclass(frozen=True, slots=True)
class Segment:
    """A line between two points (lat, lon) with its loading in percent, None if unknown."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]
    loading_percent: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """A bus or station at (lat, lon); ``aqi`` None where there is no index."""

    name: str
    lat: float
    lon: float
    aqi: float | None = None
    selected: bool = False


def draw(
    segments: Sequence[Segment],
    buses: Sequence[Point],
    stations: Sequence[Point],
    names: Mapping[str, str],
    style: Style,
) -> go.Figure:
    """The city. ``names``: texts of the legend (line, unknown, bus, station, aqi, no_aqi)."""
    figure = _ground(segments, buses, stations, style)
    muted = colours.palette(style.dark).baseline
    if any(segment.loading_percent is None for segment in segments):
        unknown = [s for s in segments if s.loading_percent is None]
        _lines(figure, unknown, names["unknown"], muted, 1.5)
    for step, (low, high, colour) in enumerate(colours.LOADING_STEPS):
        mine = [
            s for s in segments if s.loading_percent is not None and low <= s.loading_percent < high
        ]
        span = f"{low:.0f}\u2013{high:.0f} %" if math.isfinite(high) else f"\u2265 {low:.0f} %"
        if segments and any(s.loading_percent is not None for s in segments):
            _lines(figure, mine, f"{names['line']} {span}", colour, 2.0 + 1.2 * step)
    _line_hover(figure, segments)
    if buses:
        figure.add_trace(
            go.Scatter(
                x=[b.lon for b in buses],
                y=[b.lat for b in buses],
                mode="markers",
                marker={"size": 5, "color": muted},
                text=[b.name for b in buses],
                hovertemplate="%{text}<extra></extra>",
                name=names["bus"],
            )
        )
    _stations(figure, stations, names, style)
    return figure


def _ground(
    segments: Sequence[Segment], buses: Sequence[Point], stations: Sequence[Point], style: Style
) -> go.Figure:
    figure = base.canvas(style, "", revision="map")
    figure.layout.annotations = ()
    lats = [p.lat for p in (*buses, *stations)] or [s.start[0] for s in segments] or [0.0]
    ratio = 1.0 / max(math.cos(math.radians(sum(lats) / len(lats))), 0.1)
    hidden = {"visible": False, "type": "linear", "autorange": True}
    figure.update_xaxes(**hidden, constrain="domain")
    figure.update_yaxes(**hidden, scaleanchor="x", scaleratio=ratio, constrain="domain")
    figure.update_layout(
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        hovermode="closest",
        dragmode="pan",
        legend={"y": 0, "yanchor": "top", "x": 0},
    )
    return figure


def _lines(
    figure: go.Figure, segments: Sequence[Segment], name: str, colour: str, width: float
) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    for segment in segments:
        x += [segment.start[1], segment.end[1], None]
        y += [segment.start[0], segment.end[0], None]
    figure.add_trace(
        go.Scatter(
            x=x or [None],
            y=y or [None],
            mode="lines",
            line={"color": colour, "width": width},
            hoverinfo="skip",
            name=name,
        )
    )


def _line_hover(figure: go.Figure, segments: Sequence[Segment]) -> None:
    """A line has no place to point at: invisible markers at the middle carry the hover."""
    known = [s for s in segments if s.loading_percent is not None]
    figure.add_trace(
        go.Scatter(
            x=[(s.start[1] + s.end[1]) / 2 for s in known],
            y=[(s.start[0] + s.end[0]) / 2 for s in known],
            mode="markers",
            marker={"size": 12, "opacity": 0},
            text=[f"{s.name}: {s.loading_percent:.0f} %" for s in known],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )


def _stations(
    figure: go.Figure, stations: Sequence[Point], names: Mapping[str, str], style: Style
) -> None:
    if not stations:
        return
    ink = colours.palette(style.dark)
    figure.add_trace(
        go.Scatter(
            x=[s.lon for s in stations],
            y=[s.lat for s in stations],
            mode="markers+text",
            marker={
                "symbol": "diamond",
                "opacity": 1,
                "size": [20 if s.selected else 15 for s in stations],
                "color": [
                    colours.aqi_level(s.aqi).colour if s.aqi is not None else ink.grid
                    for s in stations
                ],
                "line": {
                    "color": ink.edge if not style.dark else ink.ink,
                    "width": [3 if s.selected else 1.5 for s in stations],
                },
            },
            text=[f"{s.aqi:.0f}" if s.aqi is not None else "" for s in stations],
            textposition="top center",
            textfont={"size": 11, "color": ink.ink},
            customdata=[
                f"{s.name}: {names['aqi']} {s.aqi:.0f}"
                if s.aqi is not None
                else f"{s.name}: {names['no_aqi']}"
                for s in stations
            ],
            hovertemplate="%{customdata}<extra></extra>",
            name=names["station"],
        )
    )
