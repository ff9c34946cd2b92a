"""The building blocks of every page: key figures, cards, charts, tables and plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from dashboards import colours
from dashboards.texts import Words

Node = Any
"""Whatever Dash takes as children: components, texts, numbers, lists of them."""


def icon(name: str) -> Component:
    """An icon of assets/app.css, coloured like the text it stands in."""
    return html.Span(className=f"icon icon-{name}", **{"aria-hidden": "true"})


def key_figure(
    label: str,
    value: str,
    unit: str = "",
    *,
    note: Node = "",
    fresh: str = "",
    stale: bool = False,
    href: str = "",
    mark: str = "",
) -> Component:
    """One number that matters, with its unit, its change or meaning (note) and its freshness.

    mark: a colour shown beside the value, such as an air-quality level's.
    """
    dot = [html.Span(className="mark", style={"background": mark})] if mark else []
    number = html.Div(
        [*dot, html.Span(value, className="figure-value"), html.Span(unit, className="unit")],
        className="figure-line",
    )
    since = html.Div(
        [icon("clock"), html.Span(fresh)],
        className="figure-fresh stale" if stale else "figure-fresh",
    )
    body = [
        html.Div(label, className="figure-label"),
        number,
        html.Div(note, className="figure-note"),
        since if fresh else html.Div(className="figure-fresh"),
    ]
    if href:
        return dcc.Link(body, href=href, className="card figure figure-link")
    return html.Div(body, className="card figure")


def sentence(text: Node, tone: str = "good") -> Component:
    """How things stand, in words. tone: good, notice, warning or critical."""
    names = {"good": "check", "notice": "info", "warning": "warning", "critical": "critical"}
    return html.Div([icon(names[tone]), html.P(text)], className=f"sentence tone-{tone}")


def notice(text: str) -> Component:
    """What went wrong, what still works and what to do."""
    return html.Div([icon("warning"), html.P(text)], className="notice", role="alert")


def empty(what: str, how: str) -> Component:
    """Nothing here yet: what is missing, and what would fill it."""
    return html.Div(
        [icon("empty"), html.P(what, className="empty-what"), html.P(how)], className="empty"
    )


def card(title: str, *body: Node, note: Node = "", tools: Node = None, kind: str = "") -> Component:
    """A titled panel."""
    head = html.Div(
        [
            html.H2(title),
            html.Span(note, className="card-note"),
            html.Div(tools, className="tools"),
        ],
        className="card-head",
    )
    return html.Section([head, *body], className=f"card {kind}".strip())


def chart_id(page: str, name: str, role: str = "chart") -> dict[str, str]:
    """The id of a chart, or of a part (role) that belongs to it."""
    return {"role": role, "chart": f"{page}-{name}"}


def chart(
    words: Words, page: str, name: str, title: str, *, note: str = "", height: int = 280
) -> Component:
    """A card with an empty chart, its data as a table and as CSV one press away."""
    tools = [
        html.Button(
            [icon("table"), words("chart.table")],
            id=chart_id(page, name, "as-table"),
            className="quiet",
            **{"aria-expanded": "false"},
        ),
        html.Button(
            [icon("download"), "CSV"], id=chart_id(page, name, "as-csv"), className="quiet"
        ),
    ]
    graph = dcc.Graph(
        id=chart_id(page, name),
        figure={
            "data": [],
            "layout": {
                "template": "none",
                "paper_bgcolor": "rgba(0,0,0,0)",
                "plot_bgcolor": "rgba(0,0,0,0)",
                "xaxis": {"visible": False},
                "yaxis": {"visible": False},
            },
        },
        responsive=True,
        config={
            "displayModeBar": "hover",
            "displaylogo": False,
            "locale": "zh-CN" if words.language == "zh" else "en",
            "plotlyServerURL": "",
            # sendChartToCloud would give the data to another host.
            "modeBarButtonsToRemove": [
                "sendChartToCloud",
                "lasso2d",
                "select2d",
                "autoScale2d",
            ],
            "toImageButtonOptions": {"filename": f"verdigrid-{page}-{name}", "scale": 2},
        },
        style={"height": f"{height}px"},
    )
    return card(
        title,
        html.Figure(
            [graph, html.Div(id=chart_id(page, name, "empty"))],
            **{"aria-label": title},
            role="group",
        ),
        html.Div(id=chart_id(page, name, "table"), className="chart-table"),
        note=note,
        tools=tools,
        kind="chart-card",
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Node]], *, numbers: Sequence[int] = ()
) -> Component:
    """A small table that becomes a list of cards on a narrow screen.

    numbers: the columns that hold numbers, set to the right in tabular figures.
    """
    classes = ["number" if i in numbers else "" for i in range(len(columns))]
    head = html.Tr(
        [html.Th(c, className=k, scope="col") for c, k in zip(columns, classes, strict=True)]
    )
    body = [
        html.Tr(
            [
                html.Td(cell, className=k, **{"data-label": c})
                for cell, c, k in zip(row, columns, classes, strict=True)
            ]
        )
        for row in rows
    ]
    return html.Table([html.Thead(head), html.Tbody(body)], className="plain")


def grid(
    words: Words,
    grid_id: str,
    columns: Sequence[Mapping[str, Any]],
    *,
    page_size: int = 0,
    select: bool = False,
    empty_text: str,
) -> Component:
    """An AG Grid whose rows carry a string ``id``; on a narrow screen each row is a small list.

    page_size: rows a page; 0 shows all rows, for tables that stay short.
    """
    stacked = {
        "colId": "stacked",
        "headerName": "",
        "hide": True,
        "cellRenderer": "StackedRow",
        "autoHeight": True,
        "wrapText": True,
        "flex": 1,
        "sortable": False,
        "filter": False,
    }
    options: dict[str, Any] = {
        "theme": {"function": "verdigridTheme(themeQuartz)"},
        "localeText": {
            **{
                key.removeprefix("grid."): text
                for key, text in words.table.items()
                if key.startswith("grid.")
            },
            "noRowsToShow": empty_text,
        },
        "domLayout": "autoHeight",
        "pagination": page_size > 0,
        "paginationPageSize": page_size or 100,
        "paginationPageSizeSelector": False,
        "animateRows": False,
        "suppressCellFocus": False,
        "enableCellTextSelection": True,
    }
    if select:
        options["rowSelection"] = {"mode": "multiRow", "headerCheckbox": True}
    return dag.AgGrid(
        id=grid_id,
        columnDefs=[*columns, stacked],
        rowData=[],
        defaultColDef={"sortable": True, "filter": True, "resizable": True, "minWidth": 90},
        dashGridOptions=options,
        getRowId="params.data.id",
        csvExportParams={"fileName": f"verdigrid-{grid_id}.csv"},
        style={"height": None, "width": "100%"},
    )


def csv_button(grid_id: str) -> Component:
    """Saves the rows of a grid as CSV; wired on the client for every grid at once."""
    return html.Button(
        [icon("download"), "CSV"],
        id={"role": "grid-csv", "grid": grid_id},
        className="quiet",
    )


def level_badge(words: Words, aqi: float | None) -> Component:
    """An air-quality level: its colour, an icon and its word together."""
    if aqi is None:
        return html.Span("NA", className="muted")
    level = colours.aqi_level(aqi)
    return html.Span(
        [
            html.Span(className="level-colour", style={"background": level.colour}),
            icon("level-" + ("good" if aqi <= 100 else "bad")),
            words(f"level.{level.key}"),
        ],
        className="level",
    )


def segmented(label: str, options: Sequence[tuple[str, str, bool]]) -> Component:
    """Links side by side, one of which is where we are: (text, href, chosen)."""
    return html.Div(
        [
            dcc.Link(
                text,
                href=href,
                className="segment chosen" if chosen else "segment",
            )
            for text, href, chosen in options
        ],
        className="segmented",
        role="group",
        **{"aria-label": label},
    )


def sparkline(values: Sequence[float]) -> Component:
    """A tiny course of the last values, drawn by assets/app.js from its data."""
    text = ",".join(f"{v:.1f}" for v in values if v == v)
    return html.Span(className="spark", **{"data-values": text, "aria-hidden": "true"})


def picker(
    picker_id: dict[str, str], label: str, options: Sequence[tuple[str, str]], value: str
) -> Component:
    """A labelled choice that the client writes into the address (assets/app.js)."""
    known = {v for v, _ in options}
    return dmc.Select(
        id=picker_id,
        label=label,
        data=[{"value": v or "-", "label": text} for v, text in options],
        value=value if value in known and value else "-",
        searchable=True,
        allowDeselect=False,
        checkIconPosition="right",
        className="picker",
    )


def comment(comment_id: str, label: str, description: str, rows: int = 1) -> Component:
    """A text that a button sends along.

    It reaches the page's state when the field is left (``debounce=True``), before the click that
    leaves it: by default a timer would send it, and a press that follows fast would find nothing.
    """
    return dmc.Textarea(
        id=comment_id,
        label=label,
        description=description,
        debounce=True,
        autosize=True,
        minRows=rows,
    )
