"""Charts of footprints: by hour, stacked by enterprise, ranking of enterprises, intensities."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from dashboards import colours
from dashboards.figures import base
from dashboards.figures.base import Style

SHOWN = 5
"""Enterprises with a colour of their own; the rest is one grey bar: six colours are readable."""


def by_hour(
    tco2e: pd.DataFrame, names: Sequence[str], rest: str, style: Style, revision: str
) -> go.Figure:
    """Stacked bars of t CO2e per hour. tco2e: index ts (UTC), one column an enterprise,
    largest first; ``names`` their names in that order."""
    figure = base.canvas(style, "t CO₂e", revision=revision, zero=True)
    x = pd.DatetimeIndex(tco2e.index).tz_convert(style.tz).tz_localize(None).to_numpy()
    parts = [(names[i], tco2e.iloc[:, i]) for i in range(min(SHOWN, tco2e.shape[1]))]
    if tco2e.shape[1] > SHOWN:
        parts.append((rest, tco2e.iloc[:, SHOWN:].sum(axis=1)))
    palette = (*colours.SERIES[:SHOWN], style.palette.baseline)
    for (name, values), colour in zip(parts, palette, strict=False):
        figure.add_trace(
            go.Bar(
                x=x,
                y=values.round(5).to_numpy(),
                name=name,
                marker={"color": colour, "line": {"width": 0}},
                offset=0,
                width=3_600_000 * 0.86,
                hovertemplate="%{y:.3f}",
            )
        )
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return figure


def ranking(
    totals_tco2e: pd.Series, names: Sequence[str], selected: int | None, style: Style
) -> go.Figure:
    """Horizontal bars, largest on top; the selected one in colour."""
    figure = base.canvas(style, "", revision="ranking")
    figure.layout.annotations = ()
    bars = [
        colours.BLUE if selected is None or i == selected else style.palette.baseline
        for i in range(len(totals_tco2e))
    ]
    figure.add_trace(
        go.Bar(
            x=totals_tco2e.to_numpy(),
            y=list(names),
            orientation="h",
            marker={"color": bars},
            text=[f"{v:.2f}" for v in totals_tco2e],
            textposition="outside",
            cliponaxis=False,
            textfont={"color": style.palette.ink},
            hovertemplate="%{y}: %{x:.3f} t CO₂e<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(type="linear", showgrid=True, title={"text": "t CO₂e"}, nticks=5)
    figure.update_yaxes(type="category", autorange="reversed", automargin=True, nticks=0)
    figure.update_layout(
        hovermode="closest",
        margin={"l": 8, "r": 56, "t": 8, "b": 40},
        bargap=0.25,
    )
    return figure


def intensity(
    bus: xr.DataArray, regional: xr.DataArray, names: tuple[str, str], style: Style, revision: str
) -> go.Figure:
    """Intensity at the buses of the meters against the published factor, kgCO2/MWh, (time,)."""
    figure = base.canvas(style, "kgCO₂/MWh", revision=revision, zero=True)
    base.measured(figure, bus, style, names[0], colours.GREEN)
    base.planned(figure, regional, style, names[1], colours.VERMILION)
    return figure
