"""The dispatch desk: the plan, what came of it, what it costs and why it is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from dash import ClientsideFunction, Input, Output, State, ctx, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from core.accounts import Account, Permission
from core.errors import StoreError, TimeError
from core.timeaxis import local_date, parse
from dashboards import (
    address,
    askedcard,
    blocks,
    colours,
    comparison,
    formats,
    parts,
    steeringcard,
    whatifcard,
)
from dashboards.facts import CityFacts
from dashboards.figures import gridmap
from dashboards.figures import power as figures
from dashboards.figures.power import Limit
from dashboards.guard import guarded
from dashboards.queries import dispatch, series
from dashboards.scene import Desk, Scene
from dashboards.texts import words as words_of
from store import runs

NAME = "dispatch"
PATH = "dispatch"
ORDER = 20
ICON = "dispatch"
PERMISSION = Permission.DISPATCH_READ
GRID = "dispatch-runs"
CHARTS = ("exchange", "load", "battery", "soc", "voltage", "loading", "price")
NETWORK = "network"
SLOTS: Mapping[str, tuple[Any, str]] = {
    "sentence": ("dispatch-sentence", "children"),
    "proposal_hidden": ("dispatch-proposal", "hidden"),
    "proposal": ("dispatch-proposal-text", "children"),
    "proposal_run": ("dispatch-proposal-run", "data"),
    "figures": ("dispatch-figures", "children"),
    **{name: (parts.chart_id(NAME, name), "figure") for name in CHARTS},
    **{
        f"{name}_empty": (parts.chart_id(NAME, name, "empty"), "children")
        for name in (*CHARTS, NETWORK)
    },
    "flow": ("dispatch-flow", "data"),
    "pickers": ("dispatch-pickers", "children"),
    "comparison": ("dispatch-comparison", "children"),
    "reasons": ("dispatch-reasons", "children"),
    "asset_picker": ("dispatch-asset", "children"),
    "devices": (steeringcard.GRID, "rowData"),
    "asked": (askedcard.SLOT, "children"),
    "what_ifs": (whatifcard.SLOT, "children"),
    "runs": (GRID, "rowData"),
}
REASONS_SHOWN = 12
OPENED_SHOWN = 6
LONGEST_COMMENT = 2_000
NETWORK_WORDS = (
    *("line", "trafo", "overloaded", "below", "near_low", "within", "near_high", "above"),
    *("limit", "broken", "loading", "voltage", "most", "least", "most_pu", "state", "now"),
    *("say_loading", "say_voltage"),
)


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
            _proposal_card(scene),
            html.Div(id="dispatch-figures", className="figures"),
            chart("exchange", 320),
            html.Div(
                [
                    _network_card(scene),
                    parts.card(
                        words("dispatch.reasons"),
                        html.Div(id="dispatch-asset", className="in-card"),
                        html.Div(id="dispatch-reasons"),
                    ),
                ],
                className="columns wide-narrow",
            ),
            askedcard.card(scene),
            steeringcard.card(scene),
            html.Div([chart("price"), chart("load")], className="columns"),
            html.Div([chart("battery"), chart("soc")], className="columns"),
            html.Div([chart("voltage"), chart("loading")], className="columns"),
            html.Div(
                [
                    parts.card(
                        words("dispatch.comparison"),
                        html.Div(id="dispatch-pickers"),
                        html.Div(id="dispatch-comparison"),
                        note=words("dispatch.comparison_note"),
                    ),
                    whatifcard.card(scene),
                ],
                className="columns",
            ),
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
                            "width": 190,
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


def _network_card(scene: Scene) -> Component:
    """The map, and the slider that moves it through the steps of the plan."""
    words = scene.words
    card = parts.chart(words, NAME, NETWORK, words("dispatch.network"), height=380)
    slider = html.Div(
        [
            dcc.Store(id="dispatch-flow"),
            dcc.Slider(
                id="dispatch-step",
                min=0,
                max=1,
                step=1,
                value=None,
                marks=None,
                updatemode="drag",
                included=False,
                allow_direct_input=False,
            ),
            html.P(id="dispatch-step-text", className="step-text", role="status"),
        ],
        className="stepper",
        role="group",
        **{"aria-label": words("dispatch.step")},
    )
    card.children.insert(2, slider)
    return card


def _proposal_card(scene: Scene) -> Component:
    """A plan that waits for approval, with the buttons for who may decide."""
    words = scene.words
    may = scene.account.may(Permission.DISPATCH_APPROVE)
    decide = html.Div(
        [
            parts.comment(
                "decision-comment", words("approval.comment"), words("approval.comment_help")
            ),
            html.Div(
                [
                    html.Button(
                        [parts.icon("check"), words("approval.approve")],
                        id="plan-approve",
                        className="button",
                    ),
                    html.Button(
                        [parts.icon("critical"), words("approval.refuse")],
                        id="plan-refuse",
                        className="quiet bordered",
                    ),
                ],
                className="decide",
            ),
        ],
        className="decision",
    )
    return html.Div(
        parts.card(
            words("approval.title"),
            dcc.Store(id="dispatch-proposal-run"),
            html.Div(id="dispatch-proposal-text"),
            decide if may else html.P(words("approval.not_yours"), className="muted"),
            kind="proposal",
        ),
        id="dispatch-proposal",
        hidden=True,
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
        **_proposal(scene, data),
        **_network(scene, facts, data),
        "pickers": comparison.pickers(
            scene, data.choices, scene.view.base_run, scene.view.other_run
        ),
        "comparison": comparison.card(scene, data),
        **_reasons(scene, data.plan),
        "devices": steeringcard.rows(
            scene, data.steering, dispatch.reasons(data.plan.run) if data.plan else []
        ),
        "asked": askedcard.rows(scene, data),
        "what_ifs": whatifcard.rows(scene, data),
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
    opened = runs.opened(data.plan.run)
    if opened:
        said.append(words("dispatch.say_opened", count=len(opened)))
    saving = comparison.difference(uncontrolled, planned, "total_cny")
    if saving is not None:
        key = "dispatch.say_saves" if saving <= 0 else "dispatch.say_costs"
        said.append(words(key, cny=formats.number(abs(saving), 0)))
    said += _said_of_steering(scene, data)
    late = _late(scene, data)
    doubtful = late or opened or data.steering.off
    tone = "critical" if violations else "warning" if doubtful else "good"
    return parts.sentence(words("join").join([*late, *said]), tone)


def _late(scene: Scene, data: dispatch.Dispatch) -> list[str]:
    """That no new plan has come, and what devices do meanwhile."""
    words = scene.words
    if data.plan is None or data.plan.run.kind != dispatch.INTRADAY:
        return []
    if scene.late_after is None or scene.now - data.plan.run.city_at <= scene.late_after:
        return []
    said = [words("dispatch.say_late", time=formats.moment(data.plan.run.city_at, scene.tz))]
    until = data.steering.valid_until
    if until is not None and until <= scene.now:
        said.append(words("dispatch.say_fallback"))
    elif until is not None:
        said.append(words("dispatch.say_until", time=formats.moment(until, scene.tz)))
    return said


def _said_of_steering(scene: Scene, data: dispatch.Dispatch) -> list[str]:
    words, steering = scene.words, data.steering
    counted = (
        ("dispatch.say_off", steering.off),
        ("dispatch.say_refused", steering.count("refused")),
        ("dispatch.say_overdue", steering.count("overdue")),
    )
    said = [words(key, count=count) for key, count in counted if count]
    if steering.devices and not said:
        said.append(words("dispatch.say_following", count=len(steering.devices)))
    return said


def _figures(scene: Scene, data: dispatch.Dispatch) -> list[Component]:
    words = scene.words
    found = [
        blocks.power_figure(scene, words("overview.import"), data.power.import_mw),
        blocks.power_figure(scene, words("overview.export"), data.power.export_mw),
        _soc_figure(scene, data.soc),
        _steering_figure(scene, data),
    ]
    uncontrolled, planned = dispatch.key_figures(data.plan.run) if data.plan else ({}, {})
    for key, unit, digits, factor, _ in (comparison.TOTAL, comparison.EMISSIONS):
        value = planned.get(key)
        delta = comparison.difference(uncontrolled, planned, key)
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


def _steering_figure(scene: Scene, data: dispatch.Dispatch) -> Component:
    words, steering = scene.words, data.steering
    total = len(steering.devices)
    note = (
        words("devices.none_sent")
        if not total
        else words(
            "devices.figure_note",
            off=steering.off,
            silent=steering.count("overdue"),
            refused=steering.count("refused"),
        )
    )
    return parts.key_figure(
        words("devices.figure"),
        formats.number(float(steering.well), 0) if total else formats.NOTHING,
        words("devices.of", total=total) if total else "",
        note=note,
    )


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
            figures.price(
                schedule["price_cny_per_mwh"],
                words("name.price"),
                style,
                revision,
                _tariff(scene, schedule),
            ),
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


def _tariff(scene: Scene, schedule: xr.Dataset) -> tuple[tuple[xr.DataArray, str, str], ...]:
    """The tariff that the plan was made for; plans of earlier versions did not keep theirs."""
    named = (
        ("import_cny_per_mwh", "name.import_tariff", colours.IMPORT),
        ("export_cny_per_mwh", "name.export_tariff", colours.EXPORT),
    )
    return tuple(
        (schedule[name], scene.words(word), colour)
        for name, word, colour in named
        if name in schedule
    )


def _network(scene: Scene, facts: CityFacts, data: dispatch.Dispatch) -> dict[str, Any]:
    words = scene.words
    flow: dict[str, Any] = {}
    if data.plan is not None:
        said = {name: words(f"network.{name}") for name in NETWORK_WORDS} | {"join": words("join")}
        most = float(facts.site.parameters.get("max_loading_percent", 100.0))
        flow = gridmap.network(facts.drawing, data.plan.ac, scene.now, said, most, scene.style)
    missing = parts.empty(words("empty.network"), words("empty.network_how"))
    return {"flow": flow, f"{NETWORK}_empty": None if flow else missing}


def _proposal(scene: Scene, data: dispatch.Dispatch) -> dict[str, Any]:
    words, proposal = scene.words, data.proposal
    if proposal is None:
        return {"proposal_hidden": True, "proposal": None, "proposal_run": None}
    in_force = data.plan.run if data.plan else None
    uncontrolled, proposed = dispatch.key_figures(proposal.run)
    before = (
        (words("comparison.uncontrolled"), uncontrolled)
        if in_force is None
        else (comparison.name(scene, in_force), dispatch.key_figures(in_force)[1])
    )
    text = words(
        "approval.text",
        run=proposal.run.id,
        kind=words.maybe(f"runs.kind_{proposal.run.kind}", proposal.run.kind),
        by=proposal.run.requested_by,
        until=formats.moment(proposal.decide_by, scene.tz),
    )
    after = (comparison.name(scene, proposal.run), proposed)
    shown = comparison.table(scene, before, after, comparison.SHORT)
    return {
        "proposal_hidden": False,
        "proposal": [html.P(text), *_opened(scene, proposal.run), shown],
        "proposal_run": proposal.run.id,
    }


def _opened(scene: Scene, run: runs.Run) -> list[Component]:
    """What gives where a plan for an impossible day is approved; nothing for other plans."""
    words, opened = scene.words, runs.opened(run)
    if not opened:
        return []
    told = [words.pick(str(g.get("text_en", "")), str(g.get("text_zh", ""))) for g in opened]
    listed = [html.Li(text) for text in told[:OPENED_SHOWN]]
    if len(told) > OPENED_SHOWN:
        listed.append(html.Li(words("approval.more", count=len(told) - OPENED_SHOWN)))
    return [
        parts.sentence(words("approval.opened", count=len(opened)), "warning"),
        html.Ul(listed, className="opened"),
    ]


def _reasons(scene: Scene, plan: dispatch.PlanView | None) -> dict[str, Any]:
    """The reasons of the plan, of all devices or of the one that is chosen."""
    words, facts = scene.words, scene.facts
    every = dispatch.reasons(plan.run) if plan else []
    chosen = scene.view.asset
    found = [r for r in every if not chosen or r.get("asset") == chosen]
    picker = None
    if facts is not None and every:
        named = sorted({str(r.get("asset", "")) for r in every})
        options = [("", words("dispatch.every_device"))]
        options += [(asset, _device(scene, asset)) for asset in named]
        parameter = {"role": "picker", "parameter": "asset"}
        picker = parts.picker(parameter, words("dispatch.device"), options, chosen)
    if not found or facts is None:
        nothing = parts.empty(words("empty.reasons"), words("empty.reasons_how"))
        return {"asset_picker": picker, "reasons": nothing}
    items = []
    most = len(found) if chosen else REASONS_SHOWN
    for reason in sorted(found, key=lambda r: str(r.get("ts", "")))[:most]:
        text = words.pick(str(reason.get("text_en", "")), str(reason.get("text_zh", "")))
        items.append(
            html.Li(
                [
                    html.Span(_time(reason.get("ts"), scene), className="when"),
                    html.Span([html.B(_device(scene, str(reason.get("asset", "")))), " ", text]),
                ]
            )
        )
    listed = html.Ol(items, className="reasons")
    caution = dispatch.caution(plan.run) if plan else {}
    text = words.pick(str(caution.get("text_en", "")), str(caution.get("text_zh", "")))
    shown = html.Div([html.P(text), listed]) if text else listed
    return {"asset_picker": picker, "reasons": shown}


def _device(scene: Scene, asset_id: str) -> str:
    asset = scene.facts.assets.get(asset_id) if scene.facts else None
    return scene.words.pick(asset.name_en, asset.name_zh) if asset else asset_id


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
    opened = runs.opened(run)
    return {
        "id": str(run.id),
        "kind": words.maybe(f"runs.kind_{run.kind}", str(run.kind)),
        "state": str(run.state),
        "state_word": words.maybe(f"runs.state_{run.state}", str(run.state)),
        "city_at": formats.moment(run.city_at, scene.tz),
        "by": run.requested_by,
        "cost": "" if cost is None else formats.number(float(cost), 0),
        "solve": "" if solve is None else formats.number(float(solve), 1),
        "reason": run.reason or (words("runs.opened", count=len(opened)) if opened else ""),
    }


def register(desk: Desk) -> None:
    """The buttons that ask for runs, and that decide on a plan; the map's slider."""
    _register_network(desk)
    _register_decision(desk)
    whatifcard.register(desk)

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


def _register_network(desk: Desk) -> None:
    """Two callbacks: a slider that waited for the page's refresh would be a slow one."""
    figure, text = parts.chart_id(NAME, NETWORK), "dispatch-step-text"
    desk.app.clientside_callback(
        ClientsideFunction(namespace="verdigrid", function_name="networkNew"),
        Output(figure, "figure"),
        Output(text, "children"),
        Output("dispatch-step", "value"),
        Output("dispatch-step", "max"),
        Output("dispatch-step", "marks"),
        Input("dispatch-flow", "data"),
    )
    desk.app.clientside_callback(
        ClientsideFunction(namespace="verdigrid", function_name="networkMoved"),
        Output(figure, "figure", allow_duplicate=True),
        Output(text, "children", allow_duplicate=True),
        Input("dispatch-step", "value"),
        State("dispatch-flow", "data"),
        prevent_initial_call=True,
    )


def _register_decision(desk: Desk) -> None:
    @guarded(
        desk.app,
        desk.context,
        Permission.DISPATCH_APPROVE,
        Output("dispatch-job", "children", allow_duplicate=True),
        Output("decision-comment", "value"),
        Output("dispatch-nudge", "data", allow_duplicate=True),
        Input("plan-approve", "n_clicks"),
        Input("plan-refuse", "n_clicks"),
        State("dispatch-proposal-run", "data"),
        State("decision-comment", "value"),
        State("dispatch-view", "data"),
        State("dispatch-nudge", "data"),
        prevent_initial_call=True,
    )
    def decide(
        account: Account,
        approved: int | None,
        refused: int | None,
        run_id: int | None,
        comment: str | None,
        href: str,
        nudge: int | None,
    ) -> tuple[Component, str, int]:
        if run_id is None or not (approved or refused):
            raise PreventUpdate
        words, again = words_of(address.parse(href).language), (nudge or 0) + 1
        actions, said = desk.context.actions, (comment or "").strip()[:LONGEST_COMMENT]
        refuse = ctx.triggered_id == "plan-refuse"
        try:
            (actions.refuse_plan if refuse else actions.approve_plan)(account, run_id, said)
        except StoreError as error:
            text = words("approval.failed", reason=error)
            return parts.sentence(text, "critical"), comment or "", again
        key = "approval.refused" if refuse else "approval.approved"
        return parts.sentence(words(key, run=run_id), "notice"), "", again
