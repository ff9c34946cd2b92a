"""Charts of air and water: the index over its levels, flow into a district."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from dashboards import colours
from dashboards.figures import base
from dashboards.figures.base import Style


def aqi_course(
    station: pd.Series, city: pd.Series, names: tuple[str, str], style: Style, revision: str
) -> go.Figure:
    """The hourly index of a station (solid) beside the city's (grey), over the level bands."""
    figure = base.canvas(style, "AQI", revision=revision, zero=True)
    highest = max([100.0, *station.dropna().tolist(), *city.dropna().tolist()]) * 1.1
    low = 0.0
    for level in colours.AQI_LEVELS:
        if low >= highest:
            break
        figure.add_shape(
            type="rect",
            xref="paper",
            x0=0,
            x1=1,
            y0=low,
            y1=min(level.maximum, highest),
            line={"width": 0},
            fillcolor=colours.translucent(level.colour, 0.13),
            layer="below",
        )
        low = level.maximum
    for course, name, colour, width in (
        (city, names[1], style.palette.baseline, 1.5),
        (station, names[0], colours.BLUE, 2.5),
    ):
        if len(course):
            base.measured(figure, _array(course), style, name, colour)
            figure.data[-1].line.width = width
    figure.update_yaxes(range=[0, highest])
    return figure


def district_flow(
    courses: list[tuple[str, xr.DataArray]], style: Style, revision: str
) -> go.Figure:
    """Inflow of each district, m3/h over (time,); the night's lowest hours show the leak."""
    figure = base.canvas(style, "m³/h", revision=revision, zero=True)
    for (name, values), colour in zip(courses, colours.SERIES, strict=False):
        base.measured(figure, values, style, name, colour)
    return figure


def _array(course: pd.Series) -> xr.DataArray:
    times = pd.DatetimeIndex(course.index).tz_convert("UTC").tz_localize(None)
    return xr.DataArray(
        course.to_numpy(float), dims="time", coords={"time": times.to_numpy("datetime64[ns]")}
    )
