"""The grammar of every chart: solid is measured, dashed is planned, a band is uncertainty.

Values stand for the interval that begins at their label, so courses of means are drawn as
steps ("hv"). ``now`` is a vertical line; limits are lines with their name on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dashboards.colours import Palette, on_theme, palette, translucent
from dashboards.formats import local_axis, local_label

FONT = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", '
    '"Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif'
)


@dataclass(frozen=True, slots=True)
class Style:
    """How a chart is drawn: the theme, the city's zone and the words that stand on charts."""

    dark: bool
    tz: ZoneInfo
    now_word: str
    forecast_word: str
    plan_word: str
    band_word: str

    @property
    def palette(self) -> Palette:
        return palette(self.dark)


def canvas(style: Style, unit: str, *, revision: str = "", zero: bool = False) -> go.Figure:
    """An empty chart over time with ``unit`` at its y-axis.

    revision: what must change before a reader's zoom is given up. zero: keep 0 in sight.
    """
    colours = style.palette
    figure = go.Figure()
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 12, "color": colours.muted},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": max(44, 14 + 8 * len(unit)), "r": 12, "t": 22, "b": 36},
        hovermode="x unified",
        hoverlabel={
            "bgcolor": colours.ground,
            "bordercolor": colours.grid,
            "font": {"family": FONT, "color": colours.ink, "size": 12},
        },
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
            "font": {"color": colours.ink, "size": 12},
            "itemwidth": 30,
        },
        separators=".\u2009",
        uirevision=revision or "keep",
        dragmode="zoom",
    )
    axis = {
        "gridcolor": colours.grid,
        "linecolor": colours.grid,
        "zerolinecolor": colours.baseline,
        "zerolinewidth": 1,
        "tickfont": {"color": colours.muted},
    }
    figure.update_xaxes(type="date", showgrid=False, showline=True, ticks="outside", ticklen=4)
    figure.update_xaxes(tickcolor=colours.grid, nticks=8, hoverformat="%m-%d %H:%M", **axis)
    figure.update_yaxes(nticks=6, rangemode="tozero" if zero else "normal", **axis)
    figure.add_annotation(
        text=unit,
        xref="paper",
        yref="paper",
        x=0,
        y=1,
        xanchor="right",
        yanchor="bottom",
        xshift=-6,
        yshift=4,
        showarrow=False,
        font={"color": colours.muted, "size": 12},
    )
    return figure


def over(figure: go.Figure, start: datetime, end: datetime, style: Style) -> go.Figure:
    """Show exactly [start, end) of city time."""
    figure.update_xaxes(range=[local_label(start, style.tz), local_label(end, style.tz)])
    return figure


def _course(
    values: xr.DataArray, style: Style, name: str, colour: str, factor: float, **line: object
) -> go.Scatter:
    return go.Scatter(
        x=local_axis(values["time"].values, style.tz),
        y=np.round(values.values.astype(float) * factor, 4),
        name=name,
        mode="lines",
        line={"color": on_theme(colour, style.dark), "width": 2, "shape": "hv", **line},
        connectgaps=False,
    )


def measured(
    figure: go.Figure,
    values: xr.DataArray,
    style: Style,
    name: str,
    colour: str,
    factor: float = 1.0,
) -> None:
    """A solid course of a (time,) array; gaps stay gaps."""
    if values.sizes["time"]:
        figure.add_trace(_course(values, style, name, colour, factor))


def planned(
    figure: go.Figure,
    values: xr.DataArray,
    style: Style,
    name: str,
    colour: str,
    factor: float = 1.0,
) -> None:
    """A dashed course of a (time,) array."""
    if values.sizes["time"]:
        figure.add_trace(_course(values, style, name, colour, factor, dash="dash"))


def band(
    figure: go.Figure,
    low: xr.DataArray,
    high: xr.DataArray,
    style: Style,
    name: str,
    colour: str,
    alpha: float = 0.18,
) -> None:
    """The space between two (time,) arrays."""
    if not low.sizes["time"]:
        return
    edge = {"width": 0, "shape": "hv"}
    x = local_axis(low["time"].values, style.tz)
    figure.add_trace(
        go.Scatter(
            x=x,
            y=np.round(high.values.astype(float), 4),
            mode="lines",
            line=edge,
            showlegend=False,
            name=f"{name} \u2191",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=np.round(low.values.astype(float), 4),
            mode="lines",
            line=edge,
            fill="tonexty",
            fillcolor=translucent(colour, alpha),
            name=name,
        )
    )


def quantile_band(
    figure: go.Figure, values: xr.DataArray, style: Style, name: str, colour: str
) -> None:
    """A forecast (time, quantile): its outer quantiles as a band, its median dashed."""
    if not values.sizes["time"]:
        return
    levels = np.sort(values["quantile"].values.astype(float))
    share = round((levels[-1] - levels[0]) * 100)
    low, high = values.sel(quantile=levels[0]), values.sel(quantile=levels[-1])
    if share:
        band(figure, low, high, style, style.band_word.format(name=name, share=share), colour)
        figure.data[-1].showlegend = False  # the frame says what a band is
    middle = values.sel(quantile=levels[np.abs(levels - 0.5).argmin()])
    planned(figure, middle, style, style.forecast_word.format(name=name), colour)


def now_line(figure: go.Figure, now: datetime, style: Style) -> None:
    """The vertical line at the city's now."""
    label = local_label(now, style.tz)
    colours = style.palette
    figure.add_shape(
        type="line",
        x0=label,
        x1=label,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": colours.ink, "width": 1},
    )
    figure.add_annotation(
        x=label,
        y=0,
        yref="paper",
        yanchor="bottom",
        xanchor="left",
        text=style.now_word,
        showarrow=False,
        font={"color": colours.ink, "size": 11},
        xshift=2,
    )


def limit_line(figure: go.Figure, value: float, name: str, style: Style) -> None:
    """A limit as a thin line across the chart, named at its right end."""
    figure.add_shape(
        type="line",
        xref="paper",
        x0=0,
        x1=1,
        y0=value,
        y1=value,
        line={"color": style.palette.ink, "width": 1.25, "dash": "dot"},
    )
    figure.add_annotation(
        xref="paper",
        x=1,
        y=value,
        xanchor="right",
        yanchor="bottom",
        text=name,
        showarrow=False,
        font={"color": style.palette.ink, "size": 11},
    )
