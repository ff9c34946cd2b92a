"""The frame around every page: the desks at the left, city and clock and switches on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from core.accounts import Account, Role
from dashboards import formats, parts
from dashboards.address import View
from dashboards.facts import CityFacts
from dashboards.texts import Words

RETRY_MS = 4_000
FONTS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", '
    '"Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif'
)
ACCENT = [
    "#e3f6f1",
    "#c4e9df",
    "#98d8c8",
    "#67c5ae",
    "#3db397",
    "#1ea187",
    "#0f8a72",
    "#0b6f5d",
    "#08584a",
    "#054236",
]


@dataclass(frozen=True, slots=True)
class Desk:
    """An entry of the navigation."""

    page: str
    title: str
    icon: str
    allowed: bool


def skeleton() -> Component:
    """What the browser gets first, the same for everybody: the frame without words or numbers."""
    blocks = [html.Div(className="skeleton skeleton-figure") for _ in range(4)]
    waiting = html.Div(
        [
            html.Header(className="top"),
            html.Div(
                [
                    html.Div(className="skeleton skeleton-sentence"),
                    html.Div(blocks, className="figures"),
                    html.Div(className="skeleton skeleton-chart"),
                ],
                className="page",
            ),
        ],
        className="waiting",
        **{"aria-busy": "true"},
    )
    return dmc.MantineProvider(
        [
            dcc.Location(id="address", refresh=False),
            dcc.Store(id="told"),
            dcc.Store(id="document-title"),
            dcc.Interval(id="retry", interval=RETRY_MS, disabled=True),
            dcc.Download(id="chart-download"),
            html.Div(waiting, id="frame"),
        ],
        id="mantine",
        forceColorScheme="light",
        theme={
            "fontFamily": FONTS,
            "primaryColor": "verdigris",
            "colors": {"verdigris": ACCENT},
            "primaryShade": {"light": 7, "dark": 5},
            "defaultRadius": 6,
        },
    )


def frame(
    view: View, words: Words, account: Account, desks: Sequence[Desk], page: Component
) -> Component:
    """The whole visible page. City name, clock and mark are filled by ``header_values``."""
    return html.Div(
        [
            html.A(words("frame.skip"), href="#main", className="skip"),
            _top(view, words, account),
            html.Div(
                [_navigation(view, words, desks), html.Main(page, id="main", tabIndex=-1)],
                className="below",
            ),
        ],
        className="frame",
    )


def header_values(
    facts: CityFacts | None, now: datetime, words: Words
) -> tuple[str, list[Component], str]:
    """City name, clock and mark of simulation, as they are now."""
    if facts is None:
        return words("frame.no_city"), _clock(now, ZoneInfo("UTC")), ""
    mark = words("frame.simulated") if facts.site.simulated else ""
    return words.pick(facts.site.name_en, facts.site.name_zh), _clock(now, facts.tz), mark


def _clock(now: datetime, tz: ZoneInfo) -> list[Component]:
    local = now.astimezone(tz)
    return [
        html.Span(f"{local:%Y-%m-%d}", className="clock-date"),
        html.Span(f"{local:%H:%M}", className="clock-time"),
        html.Span(formats.offset(now, tz), className="clock-zone"),
    ]


def _top(view: View, words: Words, account: Account) -> Component:
    other_language = "zh" if view.language == "en" else "en"
    other_theme = "light" if view.dark else "dark"
    return html.Header(
        [
            html.Button(
                parts.icon("menu"),
                id="burger",
                className="square burger",
                **{"aria-label": words("frame.menu"), "aria-controls": "navigation"},
            ),
            dcc.Link(
                [html.Span(className="brand-mark"), html.Span("Verdigrid", className="brand-name")],
                href=view.to(page=""),
                className="brand",
            ),
            html.Div(
                [
                    html.Span(id="city-name", className="city-name"),
                    html.Span(id="simulated", className="simulated"),
                ],
                className="city",
            ),
            html.Span(className="spring"),
            html.Span(id="clock", className="clock", title=words("frame.clock")),
            dcc.Link(
                words("frame.other_language"),
                href=view.to(language=other_language),
                className="square text",
                title=words("frame.switch_language"),
            ),
            dcc.Link(
                parts.icon("sun" if view.dark else "moon"),
                href=view.to(theme=other_theme),
                className="square",
                title=words(f"frame.to_{other_theme}"),
            ),
            _account(words, account),
        ],
        className="top",
    )


def _account(words: Words, account: Account) -> Component:
    if account.role is Role.PUBLIC:
        return html.A(
            [parts.icon("user"), html.Span(words("frame.sign_in"))],
            href="/signin",
            className="account",
            title=words("frame.sign_in"),
        )
    role = words(f"role.{account.role}")
    return html.Details(
        [
            html.Summary(
                [parts.icon("user"), html.Span(account.name)],
                className="account",
                title=f"{account.name} · {role}",
            ),
            html.Div(
                [
                    html.Div(account.name, className="account-name"),
                    html.Div(role, className="muted"),
                    html.Form(
                        html.Button(words("frame.sign_out"), type="submit", className="quiet wide"),
                        action="/signout",
                        method="post",
                    ),
                ],
                className="account-menu",
            ),
        ],
        className="account-box",
    )


def _navigation(view: View, words: Words, desks: Sequence[Desk]) -> Component:
    links = [
        dcc.Link(
            [
                parts.icon(desk.icon),
                html.Span(desk.title),
                *([] if desk.allowed else [parts.icon("lock")]),
            ],
            href=view.to(page=desk.page),
            className="desk here" if desk.page == view.page else "desk",
        )
        for desk in desks
    ]
    return html.Nav(
        [*links, html.Div(words("frame.stored"), className="nav-foot")],
        id="navigation",
        className="navigation",
        **{"aria-label": words("frame.desks")},
    )


def denied(words: Words, account: Account, desk: str) -> Component:
    """The page of somebody who may not see a desk: says so, and what to do."""
    public = account.role is Role.PUBLIC
    text = words("denied.public" if public else "denied.role", desk=desk)
    link = html.A(words("frame.sign_in"), href="/signin", className="button")
    return html.Div(
        [
            html.Div(
                [parts.icon("lock"), html.H1(words("denied.title", desk=desk)), html.P(text), link],
                className="plain-page card",
            )
        ],
        className="page",
    )


def missing(view: View, words: Words) -> Component:
    """No such page."""
    home = dcc.Link(words("missing.home"), href=view.to(page=""), className="button")
    return html.Div(
        html.Div(
            [parts.icon("empty"), html.H1(words("missing.title")), home],
            className="plain-page card",
        ),
        className="page",
    )


def unavailable(words: Words, reason: str) -> Component:
    """The store cannot answer and there is no page to keep: says so and tries again."""
    return html.Div(parts.notice(words("frame.unavailable", reason=reason)), className="page")
