"""The environment desk: the index of every station, its trend, and the water districts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from core.accounts import Permission
from core.sites import AssetKind
from core.timeaxis import HOUR
from dashboards import blocks, colours, formats, parts
from dashboards.figures import citymap
from dashboards.figures import environment as figures
from dashboards.queries import air, water
from dashboards.scene import Desk, Scene

NAME = "environment"
PATH = "environment"
ORDER = 30
ICON = "environment"
PERMISSION = Permission.ENVIRONMENT_READ
PICKER = {"role": "picker", "parameter": "station"}
CHARTS = ("map", "trend", "flow")
SLOTS: Mapping[str, tuple[Any, str]] = {
    "sentence": ("environment-sentence", "children"),
    "figures": ("environment-figures", "children"),
    **{name: (parts.chart_id(NAME, name), "figure") for name in CHARTS},
    **{f"{name}_empty": (parts.chart_id(NAME, name, "empty"), "children") for name in CHARTS},
    "stations": ("environment-stations", "children"),
    "districts": ("environment-districts", "children"),
}
SPARK_HOURS = 24
POLLUTED = 100.0


def layout(scene: Scene) -> Component:
    """Sentence, key figures, map and trend, stations, districts."""
    words = scene.words
    return html.Div(
        [
            blocks.page_head(scene, NAME, _picker(scene)),
            html.Div(id="environment-sentence", className="slot-sentence"),
            html.Div(id="environment-figures", className="figures"),
            html.Div(
                [
                    parts.chart(words, NAME, "trend", words("environment.trend"), height=320),
                    parts.chart(words, NAME, "map", words("environment.map"), height=320),
                ],
                className="columns wide-narrow",
            ),
            parts.card(
                words("environment.stations"),
                html.Div(id="environment-stations"),
                note=words("environment.standard"),
            ),
            html.Div(
                [
                    parts.card(
                        words("environment.districts"),
                        html.Div(id="environment-districts"),
                        note=words("environment.rwl"),
                    ),
                    parts.chart(words, NAME, "flow", words("environment.flow"), height=260),
                ],
                className="columns",
            ),
        ],
        className="page",
    )


def _picker(scene: Scene) -> Component:
    words, facts = scene.words, scene.facts
    stations = facts.of_kind(AssetKind.AIR_STATION) if facts else ()
    options = [("", words("environment.whole_city"))]
    options += [(s.id, words.pick(s.name_en, s.name_zh)) for s in stations]
    return parts.picker(PICKER, words("environment.station"), options, scene.view.station)


def fill(scene: Scene) -> Mapping[str, Any]:
    """All slots of the page."""
    connection, facts = scene.connection, scene.facts
    if connection is None or facts is None:
        return blocks.nothing_yet(scene, SLOTS)
    found = air.gather(connection, facts, scene.period)
    districts = water.gather(connection, facts, scene.period)
    return {
        "sentence": _sentence(scene, found),
        "figures": _figures(scene, found, districts),
        **_trend(scene, found),
        **_map(scene, found),
        **_flow(scene, districts),
        "stations": _stations(scene, found),
        "districts": _districts(scene, districts),
    }


def _selected(scene: Scene, found: air.Air) -> air.StationAir:
    """The station of the address; the city where it names none."""
    return next((s for s in found.stations if s.id == scene.view.station), found.city)


def _worst(found: air.Air) -> air.StationAir | None:
    known = [s for s in found.stations if s.aqi is not None]
    return max(known, key=lambda s: s.aqi or 0.0, default=None)


def _sentence(scene: Scene, found: air.Air) -> Component:
    words = scene.words
    worst = _worst(found)
    if worst is None or worst.aqi is None:
        return parts.sentence(words("environment.say_none"), "notice")
    polluted = [s for s in found.stations if s.aqi is not None and s.aqi > POLLUTED]
    level = words(f"level.{colours.aqi_level(worst.aqi).key}")
    name = words.pick(worst.name_en, worst.name_zh)
    key = "environment.say_polluted" if polluted else "environment.say_clean"
    text = words(
        key,
        count=len(polluted),
        all=len(found.stations),
        name=name,
        aqi=formats.number(worst.aqi, 0),
        level=level,
    )
    tone = "good" if not polluted else "warning" if worst.aqi <= 200.0 else "critical"
    return parts.sentence(text, tone)


def _figures(
    scene: Scene, found: air.Air, districts: tuple[water.District, ...]
) -> list[Component]:
    words = scene.words
    worst = _worst(found)
    known = [s for s in found.stations if s.aqi is not None]
    clean = [s for s in known if s.aqi is not None and s.aqi <= POLLUTED]
    figures_shown = [
        blocks.aqi_figure(scene, words("environment.city"), found.city),
        blocks.aqi_figure(scene, words("environment.worst"), worst)
        if worst
        else parts.key_figure(
            words("environment.worst"), formats.NOTHING, "AQI", note=words("figure.waiting")
        ),
        parts.key_figure(
            words("environment.clean"),
            str(len(clean)) if known else formats.NOTHING,
            words("environment.of", count=len(found.stations)),
            note=words("environment.clean_note"),
        ),
    ]
    for district in districts[:2]:
        before = district.leak_rate_before_percent
        now = district.leak_rate_percent
        fresh, stale = scene.fresh(district.leak_rate_ts, HOUR, 48 * HOUR)
        figures_shown.append(
            parts.key_figure(
                words("environment.leak", name=words.pick(district.name_en, district.name_zh)),
                formats.number(now, 1),
                "%",
                note=words("figure.waiting")
                if now is None
                else words(
                    "environment.leak_note",
                    value=formats.signed(None if before is None else now - before, 1),
                ),
                fresh=fresh,
                stale=stale,
            )
        )
        figures_shown.append(
            parts.key_figure(
                words("environment.night"),
                formats.number(district.night_flow_m3_per_h, 1),
                "m³/h",
                note=words("environment.night_note"),
            )
        )
    return figures_shown


def _trend(scene: Scene, found: air.Air) -> dict[str, Any]:
    words = scene.words
    station = _selected(scene, found)
    figure = figures.aqi_course(
        station.course,
        found.city.course if station is not found.city else station.course.iloc[:0],
        (words.pick(station.name_en, station.name_zh), words("environment.city")),
        scene.style,
        f"{scene.revision}-{station.id}",
    )
    blocks.over_period(figure, scene)
    return blocks.chart_slots("trend", figure, words("empty.air"), words("empty.air_how"))


def _map(scene: Scene, found: air.Air) -> dict[str, Any]:
    words, facts = scene.words, scene.facts
    assert facts is not None  # fill() has asked
    place = facts.drawing.buses
    segments = [
        citymap.Segment(
            line.name,
            (place[line.from_bus].lat, place[line.from_bus].lon),
            (place[line.to_bus].lat, place[line.to_bus].lon),
            None,
        )
        for line in facts.drawing.lines
    ]
    names = {**blocks.map_names(scene), "unknown": words("map.line")}
    points = blocks.station_points(scene, found, scene.view.station)
    figure = citymap.draw(segments, (), points, names, scene.style)
    return blocks.chart_slots("map", figure, words("empty.map"), words("empty.map_how"))


def _flow(scene: Scene, districts: tuple[water.District, ...]) -> dict[str, Any]:
    words = scene.words
    courses = [(words.pick(d.name_en, d.name_zh), d.flow_m3_per_h) for d in districts]
    figure = figures.district_flow(courses, scene.style, scene.revision)
    blocks.over_period(figure, scene)
    return blocks.chart_slots("flow", figure, words("empty.water"), words("empty.water_how"))


def _stations(scene: Scene, found: air.Air) -> Component:
    words, view = scene.words, scene.view
    if not found.stations:
        return parts.empty(words("empty.air"), words("empty.air_how"))
    columns = [words(f"stations.{c}") for c in ("name", "aqi", "level", "primary", "course", "at")]
    rows = []
    for station in found.stations:
        name = words.pick(station.name_en, station.name_zh)
        chosen = station.id == view.station
        rows.append(
            [
                dcc.Link(
                    name,
                    href=view.to(station="" if chosen else station.id),
                    className="row-link chosen" if chosen else "row-link",
                ),
                formats.number(station.aqi, 0),
                parts.level_badge(words, station.aqi),
                blocks.pollutants(scene, station.primary),
                parts.sparkline(station.course.tail(SPARK_HOURS).tolist()),
                formats.clock(station.ts + HOUR, scene.tz) if station.ts else formats.NOTHING,
            ]
        )
    return parts.table(columns, rows, numbers=(1, 5))


def _districts(scene: Scene, districts: tuple[water.District, ...]) -> Component:
    words = scene.words
    if not districts:
        return parts.empty(words("empty.water"), words("empty.water_how"))
    columns = [
        words(f"districts.{c}") for c in ("name", "rate", "inflow", "billed", "night", "course")
    ]
    rows = [
        [
            words.pick(d.name_en, d.name_zh),
            formats.number(d.leak_rate_percent, 1),
            formats.number(d.inflow_m3, 0),
            formats.number(d.billed_m3, 0),
            formats.number(d.night_flow_m3_per_h, 1),
            parts.sparkline(d.leak_course.tail(SPARK_HOURS).tolist()),
        ]
        for d in districts
    ]
    return parts.table(columns, rows, numbers=(1, 2, 3, 4))


def register(desk: Desk) -> None:
    """Picking a station changes the address; nothing to ask the server for."""
    del desk
