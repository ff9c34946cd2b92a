"""What is asked of the plan beyond energy at a tariff, and whether the plan keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from dashboards import formats, parts
from dashboards.queries import dispatch
from dashboards.scene import Scene
from store.calls import Call

SLOT = "dispatch-asked"


def card(scene: Scene) -> Component:
    """The card, still without its rows."""
    words = scene.words
    return parts.card(words("asked.title"), html.Div(id=SLOT), note=words("asked.note"))


def rows(scene: Scene, data: dispatch.Dispatch) -> Component:
    """What the plan in force was asked, then the calls that no plan has reached yet."""
    words = scene.words
    items = dispatch.asked(data.plan.run) if data.plan else []
    planned = {item.get("call") for item in items if item.get("what") == "call"}
    later = [call for call in data.calls if call.id not in planned]
    shown = [*(_item(scene, item) for item in items), *(_ahead(scene, call) for call in later)]
    if not shown:
        return parts.empty(words("empty.asked"), words("empty.asked_how"))
    columns = [words(f"asked.{name}") for name in ("what", "state", "cost")]
    return parts.table(columns, shown, numbers=(2,))


def _item(scene: Scene, item: dict[str, Any]) -> Sequence[Any]:
    words = scene.words
    text = words.pick(str(item.get("text_en", "")), str(item.get("text_zh", "")))
    kept, cny = item.get("kept"), float(item.get("cny") or 0.0)
    state = "" if kept is None else _state(scene, "kept" if kept else "missed")
    return [text, state, formats.number(cny + 0.0, 0)]


def _ahead(scene: Scene, call: Call) -> Sequence[Any]:
    text = scene.words(
        "asked.call",
        name=call.name,
        start=formats.moment(call.start, scene.tz),
        end=formats.moment(call.end, scene.tz),
        mw=formats.number(call.limit_mw, 2),
    )
    return [text, _state(scene, "ahead"), ""]


def _state(scene: Scene, state: str) -> Component:
    tones = {"kept": ("good", "check"), "missed": ("critical", "critical")}
    tone, icon = tones.get(state, ("notice", "clock"))
    return html.Span(
        [parts.icon(icon), scene.words(f"asked.{state}")], className=f"state state-{tone}"
    )
