"""Pages that keep themselves up to date: every few seconds what changed is sent, nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash.development.base_component import Component
from plotly.io import to_json

from core.accounts import Account
from core.errors import ConfigurationError, StoreError
from dashboards import parts, shell
from dashboards.address import parse
from dashboards.context import DashContext
from dashboards.facts import CityFacts, FactsSource
from dashboards.guard import guarded
from dashboards.pages import Page
from dashboards.queries.dispatch import PlanShelf
from dashboards.scene import Scene
from dashboards.texts import words

HEADER: Mapping[str, tuple[Any, str]] = {
    "city": ("city-name", "children"),
    "clock": ("clock", "children"),
    "simulated": ("simulated", "children"),
}


def put(tree: Component, slots: Mapping[str, tuple[Any, str]], values: Mapping[str, Any]) -> None:
    """Write slot values straight into a component tree that has not been sent yet."""
    wanted = {_key(slots[name]): value for name, value in values.items() if name in slots}
    properties: dict[str, list[str]] = {}
    for identifier, name in slots.values():
        properties.setdefault(str(identifier), []).append(name)
    for component in tree._traverse():
        identifier = getattr(component, "id", None)
        for name in properties.get(str(identifier), ()) if identifier is not None else ():
            key = (str(identifier), name)
            if key in wanted:
                setattr(component, name, wanted[key])


def late_after(context: DashContext, facts: CityFacts | None) -> timedelta | None:
    """The age from which on a plan is late; None where there is no such number."""
    try:
        return context.plan_late(facts.site.parameters) if facts else None
    except ConfigurationError:
        return None


def _key(slot: tuple[Any, str]) -> tuple[str, str]:
    return str(slot[0]), slot[1]


def fingerprints(values: Mapping[str, Any]) -> dict[str, str]:
    """A short digest of each value as it would be sent."""
    return {
        name: hashlib.blake2b(to_json(value, validate=False).encode(), digest_size=8).hexdigest()
        if hasattr(value, "to_plotly_json")
        else hashlib.blake2b(_json(value).encode(), digest_size=8).hexdigest()
        for name, value in values.items()
    }


def _json(value: Any) -> str:
    return str(to_json({"value": value}, validate=False))


def register(
    dash_app: Dash, context: DashContext, facts: FactsSource, shelf: PlanShelf, page: Page
) -> None:
    """The callback that refreshes ``page``: the same ``fill`` that the router used."""
    names = list(page.SLOTS)
    outputs = [
        *(Output(identifier, name) for identifier, name in page.SLOTS.values()),
        *(Output(identifier, name, allow_duplicate=True) for identifier, name in HEADER.values()),
        Output(f"{page.NAME}-notice", "children"),
        Output(f"{page.NAME}-shown", "data"),
    ]

    @guarded(
        dash_app,
        context,
        page.PERMISSION,
        *outputs,
        Input(f"{page.NAME}-tick", "n_intervals"),
        Input(f"{page.NAME}-nudge", "data"),
        State(f"{page.NAME}-view", "data"),
        State(f"{page.NAME}-shown", "data"),
        prevent_initial_call=True,
    )
    def refresh(
        account: Account,
        _ticks: int | None,
        _nudge: int | None,
        href: str,
        shown: dict[str, str] | None,
    ) -> tuple[Any, ...]:
        view = parse(href)
        text = words(view.language)
        try:
            with context.database.connection() as connection:
                known = facts.get()
                now = context.now()
                header = shell.header_values(known, now, text)
                late = late_after(context, known)
                scene = Scene(view, text, account, now, known, connection, shelf, late)
                values = dict(page.fill(scene))
        except StoreError as error:
            told = parts.notice(text("frame.unavailable_live", reason=str(error)))
            return (*([no_update] * (len(names) + len(HEADER))), told, no_update)
        values |= dict(zip(HEADER, header, strict=True))
        now_shown = fingerprints(values)
        before = shown or {}
        changed = {n: v for n, v in values.items() if before.get(n) != now_shown[n]}
        slots = [changed.get(name, no_update) for name in (*names, *HEADER)]
        return (*slots, "", {**before, **now_shown} if changed else no_update)
