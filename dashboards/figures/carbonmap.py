"""The network with its buses coloured by carbon intensity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards import colours
from dashboards.figures import citymap
from dashboards.figures.base import Style
from dashboards.figures.citymap import Segment

SCALE = ((0.0, colours.GREEN), (0.5, colours.ORANGE), (1.0, colours.VERMILION))
"""From nothing to the intensity of imports, which most buses have at night."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A bus at (lat, lon) with its intensity; None where nothing passes."""

    name: str
    lat: float
    lon: float
    kgco2e_per_mwh: float | None


def draw(
    segments: Sequence[Segment],
    spots: Sequence[Spot],
    import_kgco2e_per_mwh: float,
    names: Mapping[str, str],
    style: Style,
) -> go.Figure:
    """``names``: as for ``citymap.draw``. The scale ends at the intensity of imports or above."""
    figure = citymap.draw(segments, (), (), names, style)
    figure.update_layout(showlegend=False)
    known = [s for s in spots if s.kgco2e_per_mwh is not None]
    top = max([import_kgco2e_per_mwh, *(s.kgco2e_per_mwh or 0.0 for s in known)])
    ink = colours.palette(style.dark)
    figure.add_trace(
        go.Scatter(
            x=[s.lon for s in known],
            y=[s.lat for s in known],
            mode="markers",
            marker={
                "size": 10,
                "color": [s.kgco2e_per_mwh for s in known],
                "colorscale": [list(stop) for stop in SCALE],
                "cmin": 0.0,
                "cmax": top,
                "line": {"color": ink.edge, "width": 0.5},
                "colorbar": {
                    "title": {"text": "kgCO₂/MWh", "side": "right"},
                    "thickness": 12,
                    "outlinewidth": 0,
                    "tickfont": {"color": ink.muted},
                },
            },
            text=[f"{s.name}: {s.kgco2e_per_mwh:.0f} kgCO₂/MWh" for s in known],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    return figure
