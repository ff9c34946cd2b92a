"""The data desk: which devices report, what is missing and why, and any series on a chart."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from core.accounts import Permission
from core.readings import Quality
from core.sites import AssetKind
from dashboards import blocks, formats, parts
from dashboards.figures import data as figures
from dashboards.queries import data
from dashboards.scene import Desk, Scene

NAME = "data"
PATH = "data"
ORDER = 50
ICON = "data"
PERMISSION = Permission.DATA_READ
KIND_PICKER = {"role": "picker", "parameter": "kind"}
SEARCH = {"role": "picker", "parameter": "q"}
SLOTS: Mapping[str, tuple[Any, str]] = {
    "sentence": ("data-sentence", "children"),
    "figures": ("data-figures", "children"),
    "course": (parts.chart_id(NAME, "course"), "figure"),
    "course_empty": (parts.chart_id(NAME, "course", "empty"), "children"),
    "found": ("data-found", "children"),
    "rates": ("data-rates", "children"),
    "missing": ("data-missing", "children"),
    "held": ("data-held", "children"),
}
WELL = 0.98
"""Share of devices on line from which a city is well connected; the plans of cities ask for it."""
MISSING_SHOWN = 20


def layout(scene: Scene) -> Component:
    """Sentence, key figures, the chosen series, the catalogue, on line, missing, quarantine."""
    words = scene.words
    return html.Div(
        [
            blocks.page_head(scene, NAME, _kinds(scene)),
            html.Div(id="data-sentence", className="slot-sentence"),
            html.Div(id="data-figures", className="figures"),
            parts.chart(words, NAME, "course", words("data.course"), height=300),
            html.Div(
                [
                    parts.card(
                        words("data.catalogue"),
                        html.Div(id="data-found"),
                        note=words("data.catalogue_note", count=data.SHOWN),
                        tools=_search(scene),
                    ),
                    html.Div(
                        [
                            parts.card(words("data.rates"), html.Div(id="data-rates")),
                            parts.card(
                                words("data.missing"),
                                html.Div(id="data-missing"),
                                note=words("data.missing_note"),
                            ),
                            parts.card(
                                words("data.held"),
                                html.Div(id="data-held"),
                                note=words("data.held_note"),
                            ),
                        ],
                        className="stack",
                    ),
                ],
                className="columns wide-narrow",
            ),
        ],
        className="page",
    )


def _kinds(scene: Scene) -> Component:
    words = scene.words
    options = [("", words("data.all_kinds"))]
    options += [(kind.value, _kind(scene, kind.value)) for kind in AssetKind]
    return parts.picker(KIND_PICKER, words("data.kind"), options, scene.view.kind)


def _search(scene: Scene) -> Component:
    return dmc.TextInput(
        id=SEARCH,
        value=scene.view.search,
        placeholder=scene.words("data.search"),
        debounce=400,
        className="search",
        **{"aria-label": scene.words("data.search")},
    )


def fill(scene: Scene) -> Mapping[str, Any]:
    """All slots of the page."""
    connection, view = scene.connection, scene.view
    if connection is None or scene.facts is None:
        return blocks.nothing_yet(scene, SLOTS)
    seen = data.gather(
        connection, scene.period, search=view.search, kind=view.kind, series=view.series
    )
    return {
        "sentence": _sentence(scene, seen),
        "figures": _figures(scene, seen),
        **_course(scene, seen),
        "found": _found(scene, seen),
        "rates": _rates(scene, seen),
        "missing": _missing(scene, seen),
        "held": _held(scene, seen),
    }


def _kind(scene: Scene, kind: Any) -> str:
    """The kind in words; city totals and the like belong to no asset."""
    return scene.words.maybe(f"kind.{kind}", str(kind)) if kind else formats.NOTHING


def _value(row: Mapping[str, Any]) -> str:
    return f"{formats.number(row['value'])} {formats.unit(row['unit'])}".rstrip()


def _name(scene: Scene, row: Mapping[str, Any]) -> str:
    """The asset's name in the reader's language and the variable, as people say them."""
    words, variable = scene.words, str(row["variable"])
    asset = words.pick(str(row["name_en"] or ""), str(row["name_zh"] or "")) or row["asset"]
    return f"{asset} · {words.maybe(f'variable.{variable}', variable)}"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _time(value: Any) -> datetime | None:
    return None if value is None or pd.isna(value) else pd.Timestamp(value).to_pydatetime()


def _sentence(scene: Scene, seen: data.Data) -> Component:
    words = scene.words
    if not seen.total:
        return parts.sentence(words("data.say_none"), "notice")
    share = seen.online / seen.total
    said = [
        words(
            "data.say_online",
            online=formats.number(seen.online, 0),
            total=formats.number(seen.total, 0),
            share=formats.number(100.0 * share, 1),
        )
    ]
    waiting = sum(seen.held.values())
    if waiting:
        said.append(words("data.say_held", count=formats.number(waiting, 0)))
    tone = "warning" if share < WELL else "notice" if waiting else "good"
    return parts.sentence(words("join").join(said), tone)


def _figures(scene: Scene, seen: data.Data) -> list[Component]:
    words = scene.words
    share = 100.0 * seen.online / seen.total if seen.total else None
    lost = int(seen.missing["missing"].sum())
    ours = int(seen.missing.loc[seen.missing["cause"] == "pipeline", "missing"].sum())
    newest, stale = scene.fresh(seen.newest, timedelta(0))
    return [
        parts.key_figure(
            words("data.online"),
            formats.number(share, 1),
            "%",
            note=words("data.online_note", count=formats.number(seen.total - seen.online, 0)),
        ),
        parts.key_figure(
            words("data.readings"),
            formats.number(seen.rows, 0),
            note="" if seen.exact else words("data.estimated"),
            fresh=newest,
            stale=stale,
        ),
        parts.key_figure(
            words("data.lost"),
            formats.number(lost, 0),
            words("data.intervals"),
            note=words("data.lost_note", count=formats.number(ours, 0)),
        ),
        parts.key_figure(
            words("data.waiting"),
            formats.number(sum(seen.held.values()), 0),
            note=words("data.waiting_note"),
        ),
    ]


def _course(scene: Scene, seen: data.Data) -> dict[str, Any]:
    words, row = scene.words, seen.chosen
    figure = figures.course(
        seen.course,
        _name(scene, row) if row else "",
        formats.unit(row["unit"]) if row else "",
        words("data.spread"),
        scene.style,
        f"{scene.revision}-{row['key'] if row else ''}",
    )
    blocks.over_period(figure, scene)
    return blocks.chart_slots("course", figure, words("empty.course"), words("empty.course_how"))


def _found(scene: Scene, seen: data.Data) -> Component:
    words, view = scene.words, scene.view
    if seen.found.empty:
        return parts.empty(words("empty.found"), words("empty.found_how"))
    columns = [words(f"catalogue.{c}") for c in ("series", "kind", "district", "value", "at")]
    rows = []
    for row in _records(seen.found):
        at = _time(row["ts"])
        here = seen.chosen is not None and row["key"] == seen.chosen["key"]
        flags = "" if row["quality"] is None or pd.isna(row["quality"]) else _flags(scene, row)
        rows.append(
            [
                dcc.Link(
                    _name(scene, row),
                    href=view.to(series=row["key"]),
                    className="row-link chosen" if here else "row-link",
                    title=row["key"],
                ),
                _kind(scene, row["kind"]),
                row["district"] or formats.NOTHING,
                html.Span([_value(row), flags]),
                formats.moment(at, scene.tz) if at else formats.NOTHING,
            ]
        )
    return parts.table(columns, rows, numbers=(3, 4))


def _flags(scene: Scene, row: Mapping[str, Any]) -> Component | str:
    """What is known against the value, in words; nothing for a good one."""
    found = [flag for flag in Quality if flag and int(row["quality"]) & flag]
    if not found:
        return ""
    told = scene.words("join_list").join(
        scene.words.maybe(f"quality.{str(flag.name).lower()}", str(flag.name)) for flag in found
    )
    return html.Span([parts.icon("warning"), told], className="state state-warning")


def _rates(scene: Scene, seen: data.Data) -> Component:
    words = scene.words
    if seen.rates.empty:
        return parts.empty(words("empty.rates"), words("empty.rates_how"))
    columns = [words(f"rates.{c}") for c in ("kind", "district", "online", "rate")]
    rows = [
        [
            _kind(scene, row["kind"]),
            row["district"] or formats.NOTHING,
            f"{int(row['online'])} / {int(row['total'])}",
            f"{formats.number(100.0 * row['rate'], 1)} %",
        ]
        for row in _records(seen.rates)
    ]
    return parts.table(columns, rows, numbers=(2, 3))


def _missing(scene: Scene, seen: data.Data) -> Component:
    words = scene.words
    if seen.missing.empty:
        return parts.empty(words("empty.missing"), words("empty.missing_how"))
    newest = seen.missing.sort_values("start", ascending=False).head(MISSING_SHOWN)
    columns = [words(f"missing_table.{c}") for c in ("series", "start", "count", "cause")]
    rows = [
        [
            html.Span("/".join(str(row["key"]).split("/")[1:]), title=row["key"]),
            formats.moment(pd.Timestamp(row["start"]).to_pydatetime(), scene.tz),
            formats.number(row["missing"], 0),
            words(f"cause.{row['cause']}"),
        ]
        for row in _records(newest)
    ]
    return parts.table(columns, rows, numbers=(1, 2))


def _held(scene: Scene, seen: data.Data) -> Component:
    words = scene.words
    if not seen.held:
        return parts.empty(words("empty.held"), words("empty.held_how"))
    columns = [words("held.reason"), words("held.count")]
    rows = [[reason, formats.number(count, 0)] for reason, count in list(seen.held.items())[:10]]
    return parts.table(columns, rows, numbers=(1,))


def register(desk: Desk) -> None:
    """Searching and picking change the address; nothing to ask the server for."""
    del desk
