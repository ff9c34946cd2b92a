"""The city at a glance: power, air, water, carbon, the network and what needs attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
import xarray as xr
from dash import Input, Output, State, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from core.accounts import Account, Permission
from core.alerts import Alert, AlertSeverity
from core.errors import StoreError
from core.timeaxis import HOUR
from dashboards import blocks, colours, formats, parts
from dashboards.figures import citymap
from dashboards.figures import power as power_figures
from dashboards.guard import guarded
from dashboards.queries import air, carbon, dispatch, power, series, water
from dashboards.queries import alerts as alert_queries
from dashboards.scene import Desk, Scene

NAME = "overview"
PATH = ""
ORDER = 10
ICON = "overview"
PERMISSION = Permission.OVERVIEW_READ
GRID = "overview-alerts"
COMMENT_LENGTH = 500
SLOTS: Mapping[str, tuple[Any, str]] = {
    "sentence": ("overview-sentence", "children"),
    "figures": ("overview-figures", "children"),
    "power": (parts.chart_id(NAME, "power"), "figure"),
    "power_empty": (parts.chart_id(NAME, "power", "empty"), "children"),
    "map": (parts.chart_id(NAME, "map"), "figure"),
    "map_empty": (parts.chart_id(NAME, "map", "empty"), "children"),
    "map_note": ("overview-map-note", "children"),
    "alerts": (GRID, "rowData"),
}
SHOWN_SEVERITIES = list(reversed(AlertSeverity))


def layout(scene: Scene) -> Component:
    """Sentence, key figures, power chart and network, open alerts."""
    words = scene.words
    return html.Div(
        [
            blocks.page_head(scene, NAME),
            html.Div(id="overview-sentence", className="slot-sentence"),
            html.Div(id="overview-figures", className="figures"),
            html.Div(
                [
                    parts.chart(words, NAME, "power", words("overview.power"), height=340),
                    parts.chart(words, NAME, "map", words("overview.map"), height=340),
                ],
                className="columns wide-narrow",
            ),
            html.Div(id="overview-map-note", className="footnote"),
            _alerts_card(scene),
        ],
        className="page",
    )


def _alerts_card(scene: Scene) -> Component:
    words = scene.words
    may_read = scene.account.may(Permission.ALERTS_READ)
    may_acknowledge = scene.account.may(Permission.ALERTS_ACKNOWLEDGE)
    grid = parts.grid(
        words,
        GRID,
        [
            {
                "field": "severity_word",
                "headerName": words("alerts.severity"),
                "width": 130,
                "cellRenderer": "Severity",
            },
            {"field": "opened", "headerName": words("alerts.opened"), "width": 160},
            {
                "field": "text",
                "headerName": words("alerts.what"),
                "flex": 1,
                "minWidth": 300,
                "tooltipField": "text",
            },
            {"field": "state_word", "headerName": words("alerts.state"), "width": 140},
            {"field": "comment", "headerName": words("alerts.comment"), "width": 220},
        ],
        select=may_acknowledge,
        empty_text=words("alerts.none"),
    )
    tools: list[Component] = []
    if may_acknowledge:
        tools.append(
            html.Button(
                [parts.icon("check"), words("alerts.acknowledge")],
                id="acknowledge-open",
                className="button small",
                disabled=True,
            )
        )
    if may_read:
        tools.append(parts.csv_button(GRID))
    if not may_read:
        hidden = html.Div(grid, style={"display": "none"})
        closed = parts.empty(words("alerts.closed"), words("alerts.sign_in"))
        return parts.card(words("alerts.title"), closed, hidden)
    return parts.card(words("alerts.title"), grid, _dialog(scene), tools=tools)


def _dialog(scene: Scene) -> Component:
    words = scene.words
    return dmc.Modal(
        [
            parts.comment(
                "acknowledge-comment",
                words("alerts.comment_label"),
                words("alerts.comment_help"),
                rows=2,
            ),
            html.Div(id="acknowledge-problem", className="problem", role="status"),
            html.Div(
                html.Button(words("alerts.acknowledge"), id="acknowledge-do", className="button"),
                className="dialog-foot",
            ),
        ],
        id="acknowledge-dialog",
        title=words("alerts.acknowledge_title"),
        opened=False,
        centered=True,
    )


@dataclass(frozen=True, slots=True)
class _State:
    """The facts a glance needs, gathered once and told three times."""

    power: power.Power
    air: air.Air
    districts: tuple[water.District, ...]
    alerts: tuple[Alert, ...]
    plan: dispatch.PlanView | None
    kgco2e_today: float | None


def fill(scene: Scene) -> Mapping[str, Any]:
    """All slots of the page."""
    connection, facts = scene.connection, scene.facts
    if connection is None or facts is None:
        return blocks.nothing_yet(scene, SLOTS)
    footprint = carbon.today_kgco2e(connection, blocks.today(scene))
    state = _State(
        power=power.gather(connection, facts, scene.period),
        air=air.gather(connection, facts, blocks.today(scene)),
        districts=water.gather(connection, facts, blocks.today(scene)),
        alerts=alert_queries.active(connection),
        plan=scene.shelf.plan(connection, facts, scene.period),
        kgco2e_today=None if footprint is None else float(footprint),
    )
    return {
        "sentence": _sentence(scene, state),
        "figures": _figures(scene, state),
        **_power_chart(scene, state.power),
        **_map(scene, state),
        "alerts": _rows(scene, state.alerts),
    }


def _sentence(scene: Scene, state: _State) -> Component:
    words = scene.words
    _, bought = series.last(state.power.import_mw)
    _, sold = series.last(state.power.export_mw)
    said: list[str] = []
    if bought is not None and sold is not None:
        kind = "exports" if sold > bought else "imports"
        amount = formats.number(max(bought, sold))
        said.append(words(f"overview.say_{kind}", mw=amount))
    if state.air.city.aqi is not None:
        level = colours.aqi_level(state.air.city.aqi)
        said.append(
            words(
                "overview.say_air",
                level=words(f"level.{level.key}"),
                aqi=formats.number(state.air.city.aqi, 0),
            )
        )
    worst = min(
        (a.condition.severity for a in state.alerts), key=SHOWN_SEVERITIES.index, default=None
    )
    if worst is None:
        said.append(words("overview.say_calm"))
    elif len(state.alerts) == 1:
        said.append(words("overview.say_alert"))
    else:
        said.append(words("overview.say_alerts", count=len(state.alerts)))
    gravest = next((a for a in state.alerts if a.condition.severity is worst), None)
    if gravest is not None and scene.account.may(Permission.ALERTS_READ):
        said.append(words.pick(gravest.condition.text_en, gravest.condition.text_zh))
    tone = {
        None: "good",
        AlertSeverity.NOTICE: "notice",
        AlertSeverity.WARNING: "warning",
        AlertSeverity.CRITICAL: "critical",
    }[worst]
    return parts.sentence(words("join").join(said), tone)


def _figures(scene: Scene, state: _State) -> list[Component]:
    words, view = scene.words, scene.view
    dispatch_href = view.to(page="dispatch") if scene.account.may(Permission.DISPATCH_READ) else ""
    may_carbon = scene.account.may(Permission.CARBON_READ)
    exchange = _exchange(scene, state.power)
    sun_and_wind = xr.concat(
        [state.power.pv_mw, state.power.wind_mw],
        "kind",
        join="outer",
        coords="minimal",
        compat="override",
    ).sum("kind", min_count=1)
    leaks = [d for d in state.districts if d.leak_rate_percent is not None]
    worst = max(leaks, key=lambda d: d.leak_rate_percent or 0.0, default=None)
    kg = state.kgco2e_today
    city = state.air.city
    return [
        blocks.power_figure(scene, words("overview.load"), state.power.load_mw, dispatch_href),
        blocks.power_figure(scene, words("overview.generation"), sun_and_wind, dispatch_href),
        blocks.power_figure(scene, exchange[0], exchange[1], dispatch_href),
        blocks.aqi_figure(scene, words("overview.air"), city, view.to(page="environment")),
        parts.key_figure(
            words("overview.leak"),
            formats.number(worst.leak_rate_percent if worst else None, 1),
            "%",
            note=words.pick(worst.name_en, worst.name_zh) if worst else words("figure.waiting"),
            fresh=scene.fresh(worst.leak_rate_ts, HOUR, timedelta(hours=48))[0] if worst else "",
            href=view.to(page="environment"),
        ),
        parts.key_figure(
            words("overview.footprint"),
            formats.number(None if kg is None else kg / 1000.0),
            "t CO₂e",
            note=words("overview.footprint_note") if kg is not None else words("figure.waiting"),
            href=view.to(page="carbon") if may_carbon else "",
        ),
    ]


def _exchange(scene: Scene, courses: power.Power) -> tuple[str, xr.DataArray]:
    """Label and course of the direction the power goes now; the two are never netted."""
    _, bought = series.last(courses.import_mw)
    _, sold = series.last(courses.export_mw)
    if (sold or 0.0) > (bought or 0.0):
        return scene.words("overview.export"), courses.export_mw
    return scene.words("overview.import"), courses.import_mw


def _power_chart(scene: Scene, courses: power.Power) -> dict[str, Any]:
    words = scene.words
    figure = power_figures.load_and_generation(
        courses.load_mw,
        courses.pv_mw,
        courses.wind_mw,
        courses.load_forecast_mw,
        courses.pv_forecast_mw,
        (words("name.load"), words("name.pv"), words("name.wind")),
        scene.style,
        scene.revision,
    )
    blocks.over_period(figure, scene)
    return blocks.chart_slots("power", figure, words("empty.power"), words("empty.power_how"))


def _map(scene: Scene, state: _State) -> dict[str, Any]:
    words, facts = scene.words, scene.facts
    assert facts is not None  # fill() has asked
    loading = _loading_now(scene, state.plan)
    place = facts.drawing.buses
    segments = [
        citymap.Segment(
            line.name,
            (place[line.from_bus].lat, place[line.from_bus].lon),
            (place[line.to_bus].lat, place[line.to_bus].lon),
            loading.get(line.index),
        )
        for line in facts.drawing.lines
    ]
    buses = [citymap.Point(b.name, b.lat, b.lon) for b in place.values()]
    stations = blocks.station_points(scene, state.air)
    figure = citymap.draw(segments, buses, stations, blocks.map_names(scene), scene.style)
    slots = blocks.chart_slots("map", figure, words("empty.map"), words("empty.map_how"))
    slots["map_note"] = words("overview.map_planned") if loading else words("overview.map_no_plan")
    return slots


def _loading_now(scene: Scene, plan: dispatch.PlanView | None) -> dict[int, float]:
    """Loading in percent by line of the plan's step that holds now; empty without one."""
    if plan is None or "line_loading_percent" not in plan.ac:
        return {}
    values = plan.ac["line_loading_percent"]
    now = np.datetime64(pd.Timestamp(scene.now).tz_convert("UTC").tz_localize(None), "ns")
    times = values["time"].values
    position = int(np.searchsorted(times, now, side="right")) - 1
    step = np.timedelta64(15, "m")
    if position < 0 or now - times[position] >= step:
        return {}
    row = values.isel(time=position)
    return {int(i): float(v) for i, v in zip(row["line"].values, row.values, strict=True) if v == v}


def _rows(scene: Scene, alerts: tuple[Alert, ...]) -> list[dict[str, Any]]:
    if not scene.account.may(Permission.ALERTS_READ):
        return []
    words = scene.words
    ordered = sorted(
        alerts,
        key=lambda a: (SHOWN_SEVERITIES.index(a.condition.severity), -a.opened_at.timestamp()),
    )
    return [
        {
            "id": str(alert.id),
            "severity": str(alert.condition.severity),
            "severity_word": words(f"severity.{alert.condition.severity}"),
            "opened": formats.moment(alert.opened_at, scene.tz),
            "text": words.pick(alert.condition.text_en, alert.condition.text_zh),
            "state_word": words(f"state.{alert.state}"),
            "comment": " · ".join(t for t in (alert.acknowledged_by, alert.comment) if t),
        }
        for alert in ordered
    ]


def register(desk: Desk) -> None:
    """Acknowledging alerts, with a comment."""

    @guarded(
        desk.app,
        desk.context,
        Permission.ALERTS_ACKNOWLEDGE,
        Output("acknowledge-dialog", "opened", allow_duplicate=True),
        Output("overview-nudge", "data", allow_duplicate=True),
        Output(GRID, "selectedRows"),
        Output("acknowledge-comment", "value"),
        Output("acknowledge-problem", "children"),
        Input("acknowledge-do", "n_clicks"),
        State(GRID, "selectedRows"),
        State("acknowledge-comment", "value"),
        prevent_initial_call=True,
    )
    def acknowledge(
        account: Account, clicks: int | None, rows: list[dict[str, Any]] | None, comment: str | None
    ) -> tuple[Any, ...]:
        if not clicks or not rows:
            raise PreventUpdate
        said = (comment or "").strip()[:COMMENT_LENGTH]
        try:
            for row in rows:
                desk.context.actions.acknowledge_alert(account, int(row["id"]), said)
        except StoreError as error:
            # The dialog and the comment stay, so that nothing a person wrote is lost.
            return True, clicks, rows, comment, str(error)
        return False, clicks, [], "", ""
