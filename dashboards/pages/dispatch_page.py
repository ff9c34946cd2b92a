"""The dispatch desk: the plan, what came of it, what it costs and why it is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from dash import Input, Output, State, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from core.accounts import Account, Permission
from core.errors import StoreError, TimeError
from core.timeaxis import local_date, parse
from dashboards import address, blocks, colours, formats, parts
from dashboards.facts import CityFacts
from dashboards.figures import power as figures
from dashboards.figures.power import Limit
from dashboards.guard import guarded
from dashboards.queries import dispatch, series
from dashboards.scene import Desk, Scene
from dashboards.texts import words as words_of

NAME = "dispatch"
PATH = "dispatch"
ORDER = 20
ICON = "dispatch"
PERMISSION = Permission.DISPATCH_READ
GRID = "dispatch-runs"
CHARTS = ("exchange", "load", "battery", "soc", "voltage", "loading", "price")
SLOTS: Mapping[str, tuple[Any, str]] = {
    "sentence": ("dispatch-sentence", "children"),
    "figures": ("dispatch-figures", "children"),
    **{name: (parts.chart_id(NAME, name), "figure") for name in CHARTS},
    **{f"{name}_empty": (parts.chart_id(NAME, name, "empty"), "children") for name in CHARTS},
    "comparison": ("dispatch-comparison", "children"),
    "reasons": ("dispatch-reasons", "children"),
    "runs": (GRID, "rowData"),
}
REASONS_SHOWN = 12

_COMPARED: tuple[tuple[str, str, int, float], ...] = (
    ("total_cny", "CNY", 0, 1.0),
    ("cost_cny", "CNY", 0, 1.0),
    ("emissions_kgco2e", "t CO₂e", 1, 1e-3),
    ("peak_import_mw", "MW", 2, 1.0),
    ("peak_export_mw", "MW", 2, 1.0),
    ("losses_mwh", "MWh", 2, 1.0),
    ("vm_min_pu", "pu", 3, 1.0),
    ("vm_max_pu", "pu", 3, 1.0),
    ("max_line_loading_percent", "%", 1, 1.0),
    ("max_trafo_loading_percent", "%", 1, 1.0),
    ("violations", "", 0, 1.0),
)
"""Key figure, unit, decimals, factor to the unit."""


def layout(scene: Scene) -> Component:
    """Sentence, key figures, charts, comparison and reasons, run history."""
    words = scene.words

    def chart(name: str, height: int = 250) -> Component:
        return parts.chart(words, NAME, name, words(f"dispatch.{name}"), height=height)

    return html.Div(
        [
            blocks.page_head(scene, NAME, *_plan_button(scene)),
            html.Div(id="dispatch-job", role="status", className="job"),
            html.Div(id="dispatch-sentence", className="slot-sentence"),
            html.Div(id="dispatch-figures", className="figures"),
            chart("exchange", 320),
            html.Div([chart("battery"), chart("soc")], className="columns"),
            html.Div(
                [
                    parts.card(
                        words("dispatch.comparison"),
                        html.Div(id="dispatch-comparison"),
                        note=words("dispatch.comparison_note"),
                    ),
                    parts.card(words("dispatch.reasons"), html.Div(id="dispatch-reasons")),
                ],
                className="columns",
            ),
            html.Div([chart("voltage"), chart("loading")], className="columns"),
            html.Div([chart("load"), chart("price")], className="columns"),
            parts.card(
                words("dispatch.runs"),
                parts.grid(
                    words,
                    GRID,
                    [
                        {"field": "id", "headerName": words("runs.id"), "width": 90},
                        {"field": "kind", "headerName": words("runs.kind"), "width": 130},
                        {
                            "field": "state_word",
                            "headerName": words("runs.state"),
                            "width": 150,
                            "cellRenderer": "RunState",
                        },
                        {"field": "city_at", "headerName": words("runs.city_at"), "width": 170},
                        {"field": "by", "headerName": words("runs.by"), "width": 140},
                        {
                            "field": "cost",
                            "headerName": words("runs.cost"),
                            "width": 140,
                            "type": "rightAligned",
                        },
                        {
                            "field": "solve",
                            "headerName": words("runs.solve"),
                            "width": 130,
                            "type": "rightAligned",
                        },
                        {
                            "field": "reason",
                            "headerName": words("runs.reason"),
                            "flex": 1,
                            "minWidth": 200,
                            "tooltipField": "reason",
                        },
                    ],
                    empty_text=words("empty.runs"),
                ),
                tools=parts.csv_button(GRID),
            ),
        ],
        className="page",
    )


def _plan_button(scene: Scene) -> list[Component]:
    if not scene.account.may(Permission.DISPATCH_RUN):
        return []
    label = [parts.icon("play"), scene.words("dispatch.plan_now")]
    return [html.Button(label, id="plan-now", className="button")]


def fill(scene: Scene) -> Mapping[str, Any]:
    """All slots of the page."""
    connection, facts = scene.connection, scene.facts
    if connection is None or facts is None:
        return blocks.nothing_yet(scene, SLOTS)
    data = dispatch.gather(connection, facts, scene.shelf, scene.period)
    return {
        "sentence": _sentence(scene, data),
        "figures": _figures(scene, data),
        **_charts(scene, facts, data),
        "comparison": _comparison(scene, data.plan),
        "reasons": _reasons(scene, data.plan),
        "runs": [_run_row(scene, run) for run in data.history],
    }


def _sentence(scene: Scene, data: dispatch.Dispatch) -> Component:
    words = scene.words
    newest = data.history[0] if data.history else None
    if data.plan is None:
        if newest is not None and newest.state in ("running", "requested"):
            return parts.sentence(words("dispatch.say_running"), "notice")
        if newest is not None and newest.reason:
            text = words("dispatch.say_failed", reason=newest.reason)
            return parts.sentence(text, "critical")
        return parts.sentence(words("dispatch.say_none"), "notice")
    uncontrolled, planned = dispatch.key_figures(data.plan.run)
    violations = int(planned.get("violations") or 0)
    said = [
        words(
            "dispatch.say_violated" if violations else "dispatch.say_holds",
            count=violations,
            time=formats.moment(data.plan.run.city_at, scene.tz),
        )
    ]
    saving = _difference(uncontrolled, planned, "total_cny")
    if saving is not None:
        key = "dispatch.say_saves" if saving <= 0 else "dispatch.say_costs"
        said.append(words(key, cny=formats.number(abs(saving), 0)))
    return parts.sentence(words("join").join(said), "critical" if violations else "good")


def _difference(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> float | None:
    if before.get(key) is None or after.get(key) is None:
        return None
    return float(after[key]) - float(before[key])


def _figures(scene: Scene, data: dispatch.Dispatch) -> list[Component]:
    words = scene.words
    found = [
        blocks.power_figure(scene, words("overview.import"), data.power.import_mw),
        blocks.power_figure(scene, words("overview.export"), data.power.export_mw),
        blocks.power_figure(scene, words("dispatch.battery_now"), data.battery_mw),
        _soc_figure(scene, data.soc),
    ]
    uncontrolled, planned = dispatch.key_figures(data.plan.run) if data.plan else ({}, {})
    for key, unit, digits, factor in (_COMPARED[0], _COMPARED[2]):
        value = planned.get(key)
        delta = _difference(uncontrolled, planned, key)
        found.append(
            parts.key_figure(
                words(f"key.{key}"),
                formats.number(None if value is None else float(value) * factor, digits),
                unit,
                note=words("figure.waiting_plan")
                if delta is None
                else words("dispatch.against", value=formats.signed(delta * factor, digits)),
            )
        )
    return found


def _soc_figure(scene: Scene, soc: xr.DataArray) -> Component:
    words = scene.words
    _, value = series.last(soc)
    return parts.key_figure(
        words("name.soc"),
        formats.number(None if value is None else value * 100.0, 0),
        "%",
        note=words("figure.waiting") if value is None else words("dispatch.soc_note"),
    )


def _charts(scene: Scene, facts: CityFacts, data: dispatch.Dispatch) -> dict[str, Any]:
    words, style, revision = scene.words, scene.style, scene.revision
    parameters = facts.site.parameters
    plan = data.plan
    schedule = plan.schedule if plan else None
    ac = plan.ac if plan else None
    no_plan = (words("empty.plan"), words("empty.plan_how"))
    drawn: dict[str, Any] = {}

    def add(name: str, figure: Any, empty: tuple[str, str] = no_plan) -> None:
        blocks.over_period(figure, scene)
        drawn.update(blocks.chart_slots(name, figure, *empty))

    limits = tuple(
        Limit(float(parameters[key]), words(f"limit.{key}"))
        for key in ("import_limit_mw", "export_limit_mw")
        if parameters.get(key)
    )
    both = (data.power.import_mw, data.power.export_mw)
    both_planned = (schedule["import_mw"], schedule["export_mw"]) if schedule is not None else None
    names = (words("name.import"), words("name.export"))
    add("exchange", figures.exchange(both, both_planned, names, limits, style, revision))
    add(
        "load",
        figures.load_and_generation(
            data.power.load_mw,
            data.power.pv_mw,
            data.power.wind_mw,
            data.power.load_forecast_mw,
            data.power.pv_forecast_mw,
            (words("name.load"), words("name.pv"), words("name.wind")),
            style,
            revision,
        ),
        (words("empty.power"), words("empty.power_how")),
    )
    add(
        "battery",
        figures.pair(
            data.battery_mw,
            plan.battery_mw if plan else None,
            words("name.battery"),
            colours.BATTERY,
            "MW",
            style,
            revision,
        ),
    )
    add(
        "soc",
        figures.pair(
            data.soc,
            plan.soc if plan else None,
            words("name.soc"),
            colours.BATTERY,
            "%",
            style,
            revision,
            factor=100.0,
            state=True,
        ),
    )
    nothing = xr.DataArray([], dims="time")
    if ac is not None and schedule is not None:
        low, high = _voltage_limits(facts)
        add(
            "voltage",
            figures.voltages(
                ac["vm_pu"],
                words("name.voltage"),
                (Limit(low, words("limit.vm_min")), Limit(high, words("limit.vm_max"))),
                style,
                revision,
            ),
        )
        most = float(parameters.get("max_loading_percent", 100.0))
        add(
            "loading",
            figures.loading(
                ac["line_loading_percent"],
                words("name.loading"),
                (Limit(most, words("limit.loading")),),
                style,
                revision,
            ),
        )
        add(
            "price",
            figures.price(schedule["price_cny_per_mwh"], words("name.price"), style, revision),
        )
    else:
        for name in ("voltage", "loading", "price"):
            add(name, figures.price(nothing, "", style, revision))
    return drawn


def _voltage_limits(facts: CityFacts) -> tuple[float, float]:
    """The strictest limits any bus has; the usual ten per cent where no bus states any."""
    lows = [b.vm_min_pu for b in facts.drawing.buses.values() if b.vm_min_pu > 0.0]
    highs = [b.vm_max_pu for b in facts.drawing.buses.values() if b.vm_max_pu < 2.0]
    return max(lows, default=0.9), min(highs, default=1.1)


def _comparison(scene: Scene, plan: dispatch.PlanView | None) -> Component:
    words = scene.words
    if plan is None:
        return parts.empty(words("empty.plan"), words("empty.plan_how"))
    uncontrolled, planned = dispatch.key_figures(plan.run)
    rows = []
    for key, unit, digits, factor in _COMPARED:
        before, after = uncontrolled.get(key), planned.get(key)
        delta = _difference(uncontrolled, planned, key)
        rows.append(
            [
                html.Span([words(f"key.{key}"), html.Span(f" {unit}", className="unit")]),
                formats.number(None if before is None else float(before) * factor, digits),
                formats.number(None if after is None else float(after) * factor, digits),
                formats.signed(None if delta is None else delta * factor, digits),
            ]
        )
    columns = [words(f"comparison.{c}") for c in ("figure", "uncontrolled", "plan", "change")]
    return parts.table(columns, rows, numbers=(1, 2, 3))


def _reasons(scene: Scene, plan: dispatch.PlanView | None) -> Component:
    words, facts = scene.words, scene.facts
    found = dispatch.reasons(plan.run) if plan else []
    if not found or facts is None:
        return parts.empty(words("empty.reasons"), words("empty.reasons_how"))
    items = []
    for reason in sorted(found, key=lambda r: str(r.get("ts", "")))[:REASONS_SHOWN]:
        asset = facts.assets.get(str(reason.get("asset")))
        name = words.pick(asset.name_en, asset.name_zh) if asset else str(reason.get("asset", ""))
        text = words.pick(str(reason.get("text_en", "")), str(reason.get("text_zh", "")))
        items.append(
            html.Li(
                [
                    html.Span(_time(reason.get("ts"), scene), className="when"),
                    html.Span([html.B(name), " ", text]),
                ]
            )
        )
    listed = html.Ol(items, className="reasons")
    caution = dispatch.caution(plan.run) if plan else {}
    text = words.pick(str(caution.get("text_en", "")), str(caution.get("text_zh", "")))
    return html.Div([html.P(text), listed]) if text else listed


def _time(ts: Any, scene: Scene) -> str:
    """A reason's time on the city's clock, with the day unless it is today; "" without a time."""
    try:
        at = parse(ts) if isinstance(ts, str) else ts
        today = local_date(at, scene.tz) == local_date(scene.period.now, scene.tz)
        return formats.clock(at, scene.tz) if today else formats.moment(at, scene.tz)[5:]
    except (TimeError, AttributeError, TypeError):
        return ""


def _run_row(scene: Scene, run: Any) -> dict[str, Any]:
    words = scene.words
    _, planned = dispatch.key_figures(run)
    cost, solve = planned.get("total_cny"), run.summary.get("solve_s")
    return {
        "id": str(run.id),
        "kind": words.maybe(f"runs.kind_{run.kind}", str(run.kind)),
        "state": str(run.state),
        "state_word": words.maybe(f"runs.state_{run.state}", str(run.state)),
        "city_at": formats.moment(run.city_at, scene.tz),
        "by": run.requested_by,
        "cost": "" if cost is None else formats.number(float(cost), 0),
        "solve": "" if solve is None else formats.number(float(solve), 1),
        "reason": run.reason or "",
    }


def register(desk: Desk) -> None:
    """The button that asks for a plan now."""

    @guarded(
        desk.app,
        desk.context,
        Permission.DISPATCH_RUN,
        Output("dispatch-job", "children"),
        Output("dispatch-nudge", "data", allow_duplicate=True),
        Input("plan-now", "n_clicks"),
        State("dispatch-view", "data"),
        prevent_initial_call=True,
    )
    def plan_now(account: Account, clicks: int | None, href: str) -> tuple[Component, int]:
        if not clicks:
            raise PreventUpdate
        words = words_of(address.parse(href).language)
        try:
            run_id = desk.context.actions.request_plan(account)
        except StoreError as error:
            return parts.sentence(words("dispatch.not_requested", reason=error), "critical"), clicks
        return parts.sentence(words("dispatch.requested", run=run_id), "notice"), clicks
