"""The network at every step of a plan: lines and transformers by loading, buses by voltage.

The browser draws it (``networkFigure`` in assets/app.js) from one piece of data, so that moving
through the steps asks the server nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from core.timeaxis import from_datetime64, to_datetime64
from dashboards import colours
from dashboards.facts import Drawing, Line
from dashboards.figures import base
from dashboards.figures.base import Style
from dashboards.formats import clock, moment

NEAR_SHARE = 0.15
"""A voltage is near its limit within this share of the allowed band."""
MARK_HOURS = 4


def network(
    drawing: Drawing,
    ac: xr.Dataset,
    now: datetime,
    words: Mapping[str, str],
    max_loading_percent: float,
    style: Style,
) -> dict[str, Any]:
    """Everything the browser needs to draw any step of ``ac``; empty where nothing has a place.

    ac: vm_pu (time, bus), line_loading_percent (time, line) and, where there is any,
    trafo_loading_percent (time, trafo). words: texts of legend and sentence, by the names that
    assets/app.js uses. max_loading_percent: caps the loading limits of the network.
    """
    if not drawing.buses or not ac.sizes.get("time"):
        return {}
    times = [from_datetime64(t) for t in ac["time"].values]
    local = [ts.astimezone(style.tz) for ts in times]
    at = to_datetime64(now)
    reached = int(np.searchsorted(ac["time"].values, at, side="right")) - 1
    ink = colours.palette(style.dark)
    return {
        "labels": [moment(ts, style.tz) for ts in times],
        "marks": {
            str(i): clock(ts, style.tz)
            for i, ts in enumerate(times)
            if local[i].minute == 0 and local[i].hour % MARK_HOURS == 0
        },
        "now": min(max(reached, 0), len(times) - 1),
        "lines": _branches(drawing, drawing.lines, ac, "line", max_loading_percent),
        "trafos": _branches(drawing, drawing.trafos, ac, "trafo", max_loading_percent),
        "buses": _buses(drawing, ac),
        "loadings": _loading_classes(words, style),
        "voltages": [
            {"name": words[name], "colour": colours.on_theme(colour, style.dark)}
            for name, colour in (
                ("below", colours.BLUE),
                ("near_low", colours.SKY),
                ("within", ink.muted),
                ("near_high", colours.ORANGE),
                ("above", colours.PURPLE),
            )
        ],
        "edge": ink.ground,
        "words": dict(words),
        "layout": _layout(drawing, style),
    }


def _loading_classes(words: Mapping[str, str], style: Style) -> list[dict[str, Any]]:
    found = [
        {
            "from": low,
            "name": f"{words['line']} {low:.0f}\u2013{high:.0f} %"
            if math.isfinite(high)
            else f"{words['line']} \u2265 {low:.0f} %",
            "colour": colours.on_theme(colour, style.dark),
            "width": 2.0 + 1.2 * step,
        }
        for step, (low, high, colour) in enumerate(colours.LOADING_STEPS)
    ]
    over = {"name": words["overloaded"], "colour": colours.palette(style.dark).ink, "width": 6.0}
    return [*found, over]


def _branches(
    drawing: Drawing, branches: Sequence[Line], ac: xr.Dataset, table: str, cap: float
) -> dict[str, Any]:
    """Names, ends, limits and loadings of what the power flow knows."""
    variable = f"{table}_loading_percent"
    known = set(ac[table].values.tolist()) if variable in ac else set()
    shown = [b for b in branches if b.index in known]
    ends = [(drawing.buses[b.from_bus], drawing.buses[b.to_bus]) for b in shown]
    loading = ac[variable].sel({table: [b.index for b in shown]}) if shown else None
    return {
        "name": [b.name or f"{table} {b.index}" for b in shown],
        "x": [[start.lon, end.lon] for start, end in ends],
        "y": [[start.lat, end.lat] for start, end in ends],
        "limit": [min(b.max_loading_percent, cap) for b in shown],
        "loading": [] if loading is None else _listed(loading.transpose("time", table), 1),
    }


def _buses(drawing: Drawing, ac: xr.Dataset) -> dict[str, Any]:
    known = set(ac["bus"].values.tolist())
    shown = [bus for bus in drawing.buses.values() if bus.index in known]
    vm_pu = ac["vm_pu"].sel(bus=[bus.index for bus in shown]).transpose("time", "bus")
    return {
        "name": [bus.name or f"bus {bus.index}" for bus in shown],
        "x": [bus.lon for bus in shown],
        "y": [bus.lat for bus in shown],
        "low": [bus.vm_min_pu for bus in shown],
        "high": [bus.vm_max_pu if math.isfinite(bus.vm_max_pu) else None for bus in shown],
        "near": NEAR_SHARE,
        "vm": _listed(vm_pu, 4),
    }


def _listed(values: xr.DataArray, digits: int) -> list[list[float | None]]:
    """Rows of numbers as JSON knows them."""
    table = np.round(values.values.astype(float), digits)
    return [[None if np.isnan(v) else v for v in row] for row in table.tolist()]


def _layout(drawing: Drawing, style: Style) -> dict[str, Any]:
    figure = base.canvas(style, "", revision="network")
    figure.layout.annotations = ()
    lats = [bus.lat for bus in drawing.buses.values()]
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
    layout: dict[str, Any] = go.Figure(layout=figure.layout).to_plotly_json()["layout"]
    return layout
