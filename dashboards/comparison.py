"""Two runs side by side: their key figures and the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dash import html
from dash.development.base_component import Component

from dashboards import formats, parts
from dashboards.queries import dispatch
from dashboards.scene import Scene
from store.runs import Run


class Figure(NamedTuple):
    """A key figure: its name, unit, decimals, and the factor to the unit.

    always: whether it is shown where it is nothing in both runs.
    """

    key: str
    unit: str
    digits: int
    factor: float = 1.0
    always: bool = True


TOTAL = Figure("total_cny", "CNY", 0)
EMISSIONS = Figure("emissions_kgco2e", "t CO₂e", 1, 1e-3)
FIGURES = (
    TOTAL,
    Figure("cost_cny", "CNY", 0),
    Figure("peak_cny", "CNY", 0, always=False),
    Figure("breach_cny", "CNY", 0, always=False),
    Figure("reserve_cny", "CNY", 0, always=False),
    EMISSIONS,
    Figure("peak_import_mw", "MW", 2),
    Figure("peak_export_mw", "MW", 2),
    Figure("losses_mwh", "MWh", 2),
    Figure("curtailed_mwh", "MWh", 2),
    Figure("vm_min_pu", "pu", 3),
    Figure("vm_max_pu", "pu", 3),
    Figure("max_line_loading_percent", "%", 1),
    Figure("max_trafo_loading_percent", "%", 1),
    Figure("violations", "", 0),
)
_SHORT = ("total_cny", "emissions_kgco2e", "peak_import_mw", "peak_export_mw", "violations")
SHORT = tuple(figure for figure in FIGURES if figure.key in _SHORT)
"""What decides whether a plan is approved."""


def difference(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> float | None:
    """``after`` less ``before``; None where one of them lacks the figure."""
    if before.get(key) is None or after.get(key) is None:
        return None
    return float(after[key]) - float(before[key])


def table(
    scene: Scene,
    before: tuple[str, Mapping[str, Any]],
    after: tuple[str, Mapping[str, Any]],
    figures: Sequence[Figure] = FIGURES,
) -> Component:
    """The figures of two runs, each with its name, and what the second changes."""
    words = scene.words
    rows = []
    for figure in figures:
        values = [found.get(figure.key) for _, found in (before, after)]
        if values == [None, None] or not (figure.always or any(values)):
            continue
        shown = [
            formats.number(None if v is None else float(v) * figure.factor, figure.digits)
            for v in values
        ]
        delta = difference(before[1], after[1], figure.key)
        change = None if delta is None else delta * figure.factor
        name = html.Span(
            [words(f"key.{figure.key}"), html.Span(f" {figure.unit}", className="unit")]
        )
        rows.append([name, *shown, formats.signed(change, figure.digits)])
    columns = [words("comparison.figure"), before[0], after[0], words("comparison.change")]
    return parts.table(columns, rows, numbers=(1, 2, 3))


def name(scene: Scene, run: Run) -> str:
    """A run as people call it: its number, what it is and the city time it was made for."""
    words = scene.words
    kind = what(scene, run) or words.maybe(f"runs.kind_{run.kind}", str(run.kind))
    return f"#{run.id} {kind} {formats.moment(run.city_at, scene.tz)[5:]}"


def what(scene: Scene, run: Run) -> str:
    """What a what-if run changes, in words; empty for other runs."""
    told = run.summary.get("what_if") or {}
    return scene.words.pick(str(told.get("title_en", "")), str(told.get("title_zh", "")))


def base_of(run: Run) -> str:
    """The number of the run that a what-if run starts from; empty for none."""
    return str((run.summary.get("what_if") or {}).get("base_run") or "")


def pickers(scene: Scene, choices: Sequence[Run], before: str, after: str) -> Component:
    """The two runs of the comparison, each chosen among ``choices``."""
    words = scene.words
    options = [(str(run.id), name(scene, run)) for run in choices]
    first = [("", words("comparison.uncontrolled")), *options]
    second = [("", words("comparison.in_force")), *options]
    return html.Div(
        [
            parts.picker(
                {"role": "picker", "parameter": "base"}, words("comparison.first"), first, before
            ),
            parts.picker(
                {"role": "picker", "parameter": "run"}, words("comparison.second"), second, after
            ),
        ],
        className="pickers",
    )


def card(scene: Scene, data: dispatch.Dispatch) -> Component:
    """The comparison that the address asks for; the plan in force against no control by default."""
    words, view = scene.words, scene.view
    assert scene.connection is not None
    other = dispatch.chosen(scene.connection, view.other_run) or (
        data.plan.run if data.plan else None
    )
    if other is None:
        return parts.empty(words("empty.plan"), words("empty.plan_how"))
    base = dispatch.chosen(scene.connection, view.base_run)
    uncontrolled, planned = dispatch.key_figures(other)
    before = (
        (words("comparison.uncontrolled"), uncontrolled)
        if base is None
        else (name(scene, base), dispatch.key_figures(base)[1])
    )
    return table(scene, before, (name(scene, other), planned))
