"""The devices that a plan steers: what each is asked and does, what it answered, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash.development.base_component import Component

from core.errors import TimeError
from core.timeaxis import parse
from dashboards import formats, parts
from dashboards.queries.steering import Steered, Steering
from dashboards.scene import Scene

GRID = "dispatch-devices"
PAGE_SIZE = 10


def card(scene: Scene) -> Component:
    """The empty table."""
    words = scene.words

    def column(field: str, width: int, **more: Any) -> dict[str, Any]:
        heading = {"wrapHeaderText": True, "autoHeaderHeight": True}
        names = {"field": field, "headerName": words(f"devices.{field}"), "width": width}
        return {**names, **heading, **more}

    columns = [
        column("name", 190),
        {**column("state", 240, cellRenderer="Steered"), "field": "word"},
        column("asked", 95, type="rightAligned"),
        column("reactive", 130, type="rightAligned"),
        column("measured", 120, type="rightAligned"),
        column("difference", 125, type="rightAligned"),
        column("until", 100),
        column("then", 160, tooltipField="then"),
        column("why", 240, flex=1, minWidth=240, tooltipField="why"),
    ]
    return parts.card(
        words("devices.title"),
        parts.grid(words, GRID, columns, page_size=PAGE_SIZE, empty_text=words("empty.devices")),
        note=words("devices.note"),
        tools=parts.csv_button(GRID),
    )


def rows(
    scene: Scene, steering: Steering, reasons: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row a device, those that somebody should look at first."""
    return [_row(scene, device, _reason(scene, device, reasons)) for device in steering.devices]


def _row(scene: Scene, device: Steered, why: str) -> dict[str, Any]:
    words = scene.words
    state = "off" if device.off and device.state != "refused" else device.state
    free = device.asked_mw != device.asked_mw
    no_q = device.asked_mvar != device.asked_mvar
    then = (
        words("devices.then_free")
        if device.fallback_mw is None
        else words("devices.then_mw", mw=formats.number(device.fallback_mw, 3))
    )
    return {
        "id": device.asset.id,
        "name": f"{words.pick(device.asset.name_en, device.asset.name_zh)} · {device.asset.id}",
        "state": state,
        "word": words(f"devices.state_{state}"),
        "asked": words("devices.free") if free else formats.number(device.asked_mw, 3),
        "reactive": "" if no_q else formats.signed(device.asked_mvar, 3),
        "measured": formats.number(device.measured_mw, 3),
        "difference": formats.signed(device.difference_mw, 3),
        "until": "" if device.valid_until is None else formats.clock(device.valid_until, scene.tz),
        "then": then,
        "why": device.reason or why,
    }


def _reason(scene: Scene, device: Steered, reasons: Sequence[Mapping[str, Any]]) -> str:
    """Why the plan asks this of the device: its newest reason that is not ahead, else its first."""
    mine = [r for r in reasons if r.get("asset") == device.asset.id]
    if not mine:
        return ""
    begun = [r for r in mine if _begun(r.get("ts"), scene)]
    reason = begun[-1] if begun else mine[0]
    return scene.words.pick(str(reason.get("text_en", "")), str(reason.get("text_zh", "")))


def _begun(ts: Any, scene: Scene) -> bool:
    try:
        return parse(str(ts)) <= scene.now
    except TimeError:
        return False
