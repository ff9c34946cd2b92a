"""Charts of power: load and generation, exchange, batteries, voltages, loadings and prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dashboards import colours
from dashboards.figures import base
from dashboards.figures.base import Style


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit to draw: its value in the chart's unit and its name."""

    value: float
    name: str


def load_and_generation(
    load_mw: xr.DataArray,
    pv_mw: xr.DataArray,
    wind_mw: xr.DataArray,
    load_forecast_mw: xr.DataArray,
    pv_forecast_mw: xr.DataArray,
    names: tuple[str, str, str],
    style: Style,
    revision: str,
) -> go.Figure:
    """Load, PV and wind in MW over (time,), with forecast bands of load and PV."""
    figure = base.canvas(style, "MW", revision=revision, zero=True)
    load, pv, wind = names
    base.quantile_band(figure, load_forecast_mw, style, load, colours.LOAD)
    base.quantile_band(figure, pv_forecast_mw, style, pv, colours.PV)
    base.measured(figure, load_mw, style, load, colours.LOAD)
    base.measured(figure, pv_mw, style, pv, colours.PV)
    base.measured(figure, wind_mw, style, wind, colours.WIND)
    return figure


def exchange(
    measured: tuple[xr.DataArray, xr.DataArray],
    planned: tuple[xr.DataArray, xr.DataArray] | None,
    names: tuple[str, str],
    limits: tuple[Limit, ...],
    style: Style,
    revision: str,
) -> go.Figure:
    """Import and export in MW, each its own course: they are never netted."""
    figure = base.canvas(style, "MW", revision=revision, zero=True)
    for values, name, colour in zip(measured, names, (colours.IMPORT, colours.EXPORT), strict=True):
        base.measured(figure, values, style, name, colour)
    for values, name, colour in zip(
        planned or (), names, (colours.IMPORT, colours.EXPORT), strict=planned is not None
    ):
        base.planned(figure, values, style, style.plan_word.format(name=name), colour)
    _limits(figure, limits, style)
    return figure


def pair(
    measured: xr.DataArray,
    planned: xr.DataArray | None,
    name: str,
    colour: str,
    unit: str,
    style: Style,
    revision: str,
    *,
    factor: float = 1.0,
    state: bool = False,
) -> go.Figure:
    """One quantity, measured and planned, over (time,). state: a share that holds at an
    instant, drawn from point to point between 0 and 100 %, not a mean of an interval."""
    figure = base.canvas(style, unit, revision=revision, zero=True)
    base.measured(figure, measured, style, name, colour, factor)
    if planned is not None:
        base.planned(figure, planned, style, style.plan_word.format(name=name), colour, factor)
    if state:
        figure.update_traces(line={"shape": "linear"})
        figure.update_yaxes(range=[0, 104])
    return figure


def voltages(
    vm_pu: xr.DataArray, name: str, limits: tuple[Limit, ...], style: Style, revision: str
) -> go.Figure:
    """The span of all bus voltages (time, bus) in pu between its limits, as planned."""
    figure = base.canvas(style, "pu", revision=revision)
    low, high = vm_pu.min("bus"), vm_pu.max("bus")
    base.band(figure, low, high, style, name, colours.BLUE, alpha=0.22)
    for edge, sign in ((low, "min"), (high, "max")):
        base.planned(figure, edge, style, f"{name} {sign}", colours.BLUE)
        figure.data[-1].showlegend = False
    _limits(figure, limits, style)
    ends = [float(low.min()), float(high.max()), *(limit.value for limit in limits)]
    room = 0.12 * (max(ends) - min(ends))
    figure.update_yaxes(tickformat=".3f", range=[min(ends) - room, max(ends) + room])
    return figure


def loading(
    loading_percent: xr.DataArray, name: str, limits: tuple[Limit, ...], style: Style, revision: str
) -> go.Figure:
    """The highest loading of any line at each step, from (time, line) percent, as planned."""
    figure = base.canvas(style, "%", revision=revision, zero=True)
    highest = loading_percent.max("line")
    base.planned(figure, highest, style, name, colours.BLUE)
    _limits(figure, limits, style)
    top = max([float(np.nanmax(highest.values, initial=0.0)), *(limit.value for limit in limits)])
    figure.update_yaxes(range=[0, top * 1.12])
    return figure


def price(
    price_cny_per_mwh: xr.DataArray,
    name: str,
    style: Style,
    revision: str,
    tariff: tuple[tuple[xr.DataArray, str, str], ...] = (),
) -> go.Figure:
    """The marginal price of each step at the substation, CNY/MWh, beside the tariff it came from.

    tariff: courses with their names and colours, dotted: they were given and not planned.
    """
    figure = base.canvas(style, "CNY/MWh", revision=revision, zero=True)
    for values, course, colour in tariff:
        base.planned(figure, values, style, course, colour)
        figure.data[-1].line.dash = "dot"
        figure.data[-1].line.width = 1.5
    base.planned(figure, price_cny_per_mwh, style, name, colours.PRICE)
    return figure


def _limits(figure: go.Figure, limits: tuple[Limit, ...], style: Style) -> None:
    for limit in limits:
        base.limit_line(figure, limit.value, limit.name, style)
