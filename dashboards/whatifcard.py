"""What-if runs: asked for at a small form, and listed beside the runs they start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from core.accounts import Account, Permission
from core.errors import ConfigurationError, StoreError
from core.sites import AssetKind
from core.whatif import Changes
from dashboards import address, comparison, formats, parts
from dashboards.facts import Line
from dashboards.guard import guarded
from dashboards.queries import dispatch
from dashboards.scene import Desk, Scene
from dashboards.texts import LANGUAGES
from dashboards.texts import words as words_of
from store.runs import Run

SLOT = "dispatch-what-ifs"
KIND, ELEMENT, PERCENT = "what-if-kind", "what-if-element", "what-if-percent"
OUTAGE = "outage"
GROWN: Mapping[str, AssetKind] = {"pv_factor": AssetKind.PV, "ev_factor": AssetKind.EV_CHARGER}
"""What can grow, by the field of Changes."""
LEAST_PERCENT, MOST_PERCENT = -100.0, 1000.0
USUAL_PERCENT = 20.0
LISTED = 100
"""Elements that the choice shows at once; what is typed finds the others."""


def card(scene: Scene) -> Component:
    """The form, for who may ask for runs, and the list, still empty."""
    words = scene.words
    may = scene.account.may(Permission.DISPATCH_RUN) and scene.facts is not None
    return parts.card(
        words("dispatch.what_if"),
        *(_form(scene) if may else ()),
        html.Div(id=SLOT),
        note=words("dispatch.what_if_note"),
    )


def _form(scene: Scene) -> list[Component]:
    words, kinds = scene.words, _kinds(scene)
    outage = kinds[0] == OUTAGE
    return [
        html.Div(
            [
                _select(
                    KIND,
                    words("what_if.kind"),
                    [{"value": kind, "label": words(f"what_if.{kind}")} for kind in kinds],
                    value=kinds[0],
                ),
                html.Div(
                    _select(
                        ELEMENT,
                        words("what_if.element"),
                        _elements(scene),
                        searchable=True,
                        limit=LISTED,
                        placeholder=words("what_if.element_choose"),
                        nothingFoundMessage=words("what_if.element_none"),
                    ),
                    id="what-if-element-field",
                    hidden=not outage,
                ),
                html.Div(
                    dmc.NumberInput(
                        id=PERCENT,
                        label=words("what_if.percent"),
                        value=USUAL_PERCENT,
                        suffix=" %",
                        hideControls=True,
                        # What the field holds goes with the press of the button, not by a timer.
                        debounce=True,
                    ),
                    id="what-if-percent-field",
                    hidden=outage,
                ),
                html.Button(
                    [parts.icon("play"), words("what_if.try")],
                    id="what-if-try",
                    className="quiet bordered",
                ),
            ],
            className="try-out",
            role="group",
            **{"aria-label": words("what_if.form")},
        ),
        html.Div(id="what-if-said", role="status", className="job"),
    ]


def _kinds(scene: Scene) -> list[str]:
    """What can be changed in this city."""
    assert scene.facts is not None
    drawing = scene.facts.drawing
    outage = [OUTAGE] if drawing.lines or drawing.trafos else []
    grown = [name for name, kind in GROWN.items() if scene.facts.of_kind(kind)]
    return [*outage, *grown, "tariff_factor"]


def _select(select_id: str, label: str, data: list[Any], **more: Any) -> Component:
    return dmc.Select(
        id=select_id, label=label, data=data, allowDeselect=False, checkIconPosition="right", **more
    )


def _elements(scene: Scene) -> list[dict[str, Any]]:
    """Lines and transformers by their names."""
    assert scene.facts is not None
    drawing = scene.facts.drawing
    return [
        {
            "group": scene.words(f"what_if.{table}"),
            "items": [
                {"value": f"{table}:{one.index}", "label": _named(one, table, scene.words.language)}
                for one in branches
            ],
        }
        for table, branches in (("lines", drawing.lines), ("trafos", drawing.trafos))
        if branches
    ]


def _named(branch: Line, table: str, language: str) -> str:
    return branch.name or words_of(language)(f"what_if.one_of_{table}", number=branch.index)


def rows(scene: Scene, data: dispatch.Dispatch) -> Component:
    """The newest what-if runs, each with what it changes and what that costs."""
    words = scene.words
    if not data.what_ifs:
        return parts.empty(words("empty.what_if"), words("empty.what_if_how"))
    columns = [words(f"what_if.{c}") for c in ("run", "change", "state", "cost", "violations")]
    return parts.table(columns, [_row(scene, run) for run in data.what_ifs], numbers=(3, 4))


def _row(scene: Scene, run: Run) -> list[Any]:
    words = scene.words
    base = dispatch.chosen(scene.connection, comparison.base_of(run)) if scene.connection else None
    uncontrolled, planned = dispatch.key_figures(run)
    against = dispatch.key_figures(base)[1] if base else uncontrolled
    violations = planned.get("violations")
    link = dcc.Link(
        f"#{run.id}",
        href=scene.view.to(base_run=str(base.id) if base else "", other_run=str(run.id)),
        className="row-link chosen" if scene.view.other_run == str(run.id) else "row-link",
        title=words("what_if.compare"),
    )
    changed = comparison.what(scene, run) or formats.NOTHING
    reason = html.Div(run.reason, className="muted") if run.reason else None
    return [
        link if planned else f"#{run.id}",
        html.Div([changed, reason]) if reason else changed,
        words.maybe(f"runs.state_{run.state}", run.state),
        formats.signed(comparison.difference(against, planned, "total_cny"), 0),
        formats.number(None if violations is None else float(violations), 0),
    ]


def register(desk: Desk) -> None:
    """The fields that belong to a kind of change, and the button that asks for the run."""
    desk.app.clientside_callback(
        ClientsideFunction(namespace="verdigrid", function_name="whatIfKind"),
        Output("what-if-element-field", "hidden"),
        Output("what-if-percent-field", "hidden"),
        Input(KIND, "value"),
        prevent_initial_call=True,
    )

    @guarded(
        desk.app,
        desk.context,
        Permission.DISPATCH_RUN,
        Output("what-if-said", "children"),
        Output("dispatch-nudge", "data", allow_duplicate=True),
        Input("what-if-try", "n_clicks"),
        State(KIND, "value"),
        State(ELEMENT, "value"),
        State(ELEMENT, "data"),
        State(PERCENT, "value"),
        State("dispatch-view", "data"),
        State("dispatch-nudge", "data"),
        prevent_initial_call=True,
    )
    def try_out(
        account: Account,
        clicks: int | None,
        kind: str,
        element: str | None,
        elements: list[dict[str, Any]],
        percent: float | str | None,
        href: str,
        nudge: int | None,
    ) -> tuple[Component, int]:
        if not clicks:
            raise PreventUpdate
        words, again = words_of(address.parse(href).language), (nudge or 0) + 1
        try:
            asked = _outage(element, elements) if kind == OUTAGE else _scaled(kind, percent)
            if isinstance(asked, str):
                return parts.sentence(words(asked), "warning"), again
            run_id = desk.context.actions.request_what_if(account, *asked)
        except (StoreError, ConfigurationError) as error:
            return parts.sentence(words("what_if.not_asked", reason=error), "critical"), again
        return parts.sentence(words("what_if.asked", run=run_id), "notice"), again


Asked = tuple[Changes, str, str]
"""Changes, and what they are called in English and in Chinese."""


def _outage(element: str | None, elements: list[dict[str, Any]]) -> Asked | str:
    """What is asked with ``element`` out of service; the key of a sentence where none is chosen."""
    labels = {item["value"]: item["label"] for group in elements for item in group["items"]}
    table, _, number = (element or "").partition(":")
    if element not in labels or table not in ("lines", "trafos"):
        return "what_if.no_element"
    name = str(labels[element])
    english, chinese = (words_of(known)("what_if.without", name=name) for known in LANGUAGES)
    return Changes.of({table: [int(number)]}), english, chinese


def _scaled(kind: str, percent: float | str | None) -> Asked | str:
    """What is asked with ``kind`` changed by ``percent``; the key of a sentence for no number."""
    if not isinstance(percent, int | float) or not LEAST_PERCENT <= percent <= MOST_PERCENT:
        return "what_if.no_percent"
    if kind not in (*GROWN, "tariff_factor"):
        raise ConfigurationError(f"Nothing is known of a change of {kind!r}.")
    by = f"{formats.signed(float(percent))} %"
    english, chinese = (f"{words_of(known)(f'what_if.{kind}')} {by}" for known in LANGUAGES)
    return Changes.of({kind: round(1.0 + percent / 100.0, 6)}), english, chinese
