"""The chart of any one series: its means as a line, what lies between its extremes as a band."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr

from dashboards import colours
from dashboards.figures import base
from dashboards.figures.base import Style


def course(
    values: xr.Dataset | None, name: str, unit: str, spread: str, style: Style, revision: str
) -> go.Figure:
    """``values``: mean, minimum, maximum over (time, series) of one series, None for none.

    spread: what the band is called. Without any spread within the points there is no band.
    """
    figure = base.canvas(style, unit, revision=revision)
    if values is None or not values.sizes["time"]:
        return figure
    one = values.isel(series=0)
    if bool((one["maximum"] > one["minimum"]).any()):
        base.band(figure, one["minimum"], one["maximum"], style, spread, colours.BLUE, 0.22)
    base.measured(figure, one["mean"], style, name, colours.BLUE)
    figure.update_layout(showlegend=True)  # also where one course is all there is: it says whose
    return figure
