"""The Dash application on the city's FastAPI server: the frame, its router and its pages."""

from __future__ import annotations

from typing import Any

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from core.accounts import Account, Permission
from core.errors import PermissionDeniedError, StoreError
from dashboards import live, pages, shell
from dashboards.address import PREFIX, View, parse
from dashboards.context import DashContext
from dashboards.facts import FactsSource
from dashboards.guard import guarded
from dashboards.pages import Page
from dashboards.queries.dispatch import PlanShelf
from dashboards.scene import Desk, Scene
from dashboards.texts import Words, words


def create(server: FastAPI, context: DashContext) -> Dash:
    """The pages under /app/ on ``server``.

    Register every API route, and a 404 for the rest of /api, before: Dash answers every GET
    that nobody else took with its page. Raises ConfigurationError when a page is not whole.
    """
    server.exception_handlers.setdefault(PermissionDeniedError, _forbidden)
    dash_app = Dash(
        __name__,
        server=server,
        routes_pathname_prefix=PREFIX,
        requests_pathname_prefix=PREFIX,
        assets_folder="assets",
        pages_folder="",
        use_pages=False,
        compress=True,
        title="Verdigrid",
        update_title=None,
        suppress_callback_exceptions=True,
        serve_locally=True,
        add_log_handler=False,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "color-scheme", "content": "light dark"},
        ],
    )
    dash_app.layout = shell.skeleton()
    found = pages.find()
    facts, shelf = FactsSource(context.site), PlanShelf()
    _route(dash_app, context, facts, shelf, found)
    for page in found:
        page.register(Desk(dash_app, context))
        live.register(dash_app, context, facts, shelf, page)
    _clientside(dash_app)
    # Dash finds its assets with the first request for an address that it knows as its own; a link
    # to a desk, as the very first request, would be answered by a page without style and script.
    dash_app._setup_server()
    return dash_app


async def _forbidden(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=403)


def _route(
    dash_app: Dash,
    context: DashContext,
    facts: FactsSource,
    shelf: PlanShelf,
    found: tuple[Page, ...],
) -> None:
    """One callback turns an address into a whole page; it tries again while the store is away."""

    @guarded(
        dash_app,
        context,
        Permission.OVERVIEW_READ,
        Output("frame", "children"),
        Output("document-title", "data"),
        Output("retry", "disabled"),
        Input("address", "href"),
        Input("retry", "n_intervals"),
        State("retry", "disabled"),
    )
    def show(
        account: Account, href: str | None, _retries: int | None, _disabled: bool
    ) -> tuple[Component, str, bool]:
        if href is None:
            raise PreventUpdate
        view = parse(href)
        text = words(view.language)
        page = next((p for p in found if view.page == p.PATH), None)
        title = f"{text(f'desk.{page.NAME}')} · Verdigrid" if page else "Verdigrid"
        desks = [
            shell.Desk(p.PATH, text(f"desk.{p.NAME}"), p.ICON, account.may(p.PERMISSION))
            for p in found
        ]
        body, header, failed = _body(context, facts, shelf, account, view, text, page)
        frame = shell.frame(view, text, account, desks, body)
        live.put(frame, live.HEADER, header)
        return frame, title, not failed


def _body(
    context: DashContext,
    facts: FactsSource,
    shelf: PlanShelf,
    account: Account,
    view: View,
    text: Words,
    page: Page | None,
) -> tuple[Component, dict[str, Any], bool]:
    """The page with its slots filled, the header's values, and whether the store failed."""
    try:
        with context.database.connection() as connection:
            known = facts.get()
            now = context.now()
            header = dict(zip(live.HEADER, shell.header_values(known, now, text), strict=True))
            if page is None:
                return shell.missing(view, text), header, False
            if not account.may(page.PERMISSION):
                return shell.denied(text, account, text(f"desk.{page.NAME}")), header, False
            late = live.late_after(context, known)
            scene = Scene(view, text, account, now, known, connection, shelf, late)
            body = page.layout(scene)
            values = page.fill(scene)
    except StoreError as error:
        return shell.unavailable(text, str(error)), {}, True
    live.put(body, page.SLOTS, values)
    live.put(
        body,
        {"shown": (f"{page.NAME}-shown", "data")},
        {"shown": live.fingerprints({**header, **values})},
    )
    return body, header, False


def _clientside(dash_app: Dash) -> None:
    """What the browser does alone; assets/app.js holds the functions."""

    def function(name: str) -> ClientsideFunction:
        return ClientsideFunction(namespace="verdigrid", function_name=name)

    dash_app.clientside_callback(
        function("applyView"),
        Output("mantine", "forceColorScheme"),
        Input("address", "href"),
    )
    dash_app.clientside_callback(
        function("setTitle"), Output("told", "data"), Input("document-title", "data")
    )
    _chart_clientside(dash_app, function)
    dash_app.clientside_callback(
        function("openDialog"),
        Output("acknowledge-dialog", "opened"),
        Input("acknowledge-open", "n_clicks"),
        prevent_initial_call=True,
    )
    dash_app.clientside_callback(
        function("nothingSelected"),
        Output("acknowledge-open", "disabled"),
        Input("overview-alerts", "selectedRows"),
    )


def _chart_clientside(dash_app: Dash, function: Any) -> None:
    dash_app.clientside_callback(
        function("chartTable"),
        Output({"role": "table", "chart": MATCH}, "children"),
        Input({"role": "as-table", "chart": MATCH}, "n_clicks"),
        State({"role": "table", "chart": MATCH}, "children"),
        prevent_initial_call=True,
    )
    dash_app.clientside_callback(
        function("chartCsv"),
        Output("chart-download", "data"),
        Input({"role": "as-csv", "chart": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    dash_app.clientside_callback(
        function("gridCsv"),
        Output({"role": "grid-csv", "grid": MATCH}, "title"),
        Input({"role": "grid-csv", "grid": MATCH}, "n_clicks"),
        prevent_initial_call=True,
    )
    dash_app.clientside_callback(
        function("pick"),
        Output("address", "href"),
        Input({"role": "picker", "parameter": ALL}, "value"),
        prevent_initial_call=True,
    )
