"""The carbon desk: hourly footprints, who causes them, and the ledger that proves them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from dash import html
from dash.development.base_component import Component

from carbon import journal
from carbon.footprint import Method
from core.accounts import Permission
from core.timeaxis import HOUR
from dashboards import blocks, formats, parts
from dashboards.facts import CityFacts
from dashboards.figures import carbon as figures
from dashboards.figures import carbonmap, citymap
from dashboards.queries import carbon
from dashboards.scene import Desk, Scene
from store.database import Connection

NAME = "carbon"
PATH = "carbon"
ORDER = 40
ICON = "carbon"
PERMISSION = Permission.CARBON_READ
GRID = "carbon-ledger"
PICKER = {"role": "picker", "parameter": "enterprise"}
CHARTS = ("hours", "ranking", "intensity", "map")
SLOTS: Mapping[str, tuple[Any, str]] = {
    "sentence": ("carbon-sentence", "children"),
    "figures": ("carbon-figures", "children"),
    **{name: (parts.chart_id(NAME, name), "figure") for name in CHARTS},
    **{f"{name}_empty": (parts.chart_id(NAME, name, "empty"), "children") for name in CHARTS},
    "factors": ("carbon-factors", "children"),
    "chain": ("carbon-chain", "children"),
    "ledger": (GRID, "rowData"),
}
KG_PER_T = 1000.0


def layout(scene: Scene) -> Component:
    """Sentence, key figures, hours and ranking, factors, ledger."""
    words = scene.words
    right = {"type": "rightAligned"}
    return html.Div(
        [
            blocks.page_head(scene, NAME, *_picker(scene)),
            html.Div(id="carbon-sentence", className="slot-sentence"),
            html.Div(id="carbon-figures", className="figures"),
            html.Div(
                [
                    parts.chart(words, NAME, "hours", words("carbon.hours"), height=400),
                    parts.chart(words, NAME, "ranking", words("carbon.ranking"), height=400),
                ],
                className="columns wide-narrow",
            ),
            html.Div(
                [
                    parts.chart(words, NAME, "intensity", words("carbon.by_bus"), height=300),
                    parts.chart(words, NAME, "map", words("carbon.map"), height=300),
                ],
                className="columns wide-narrow",
            ),
            parts.card(
                words("carbon.factors"),
                html.Div(id="carbon-factors"),
                note=words("carbon.factors_note"),
            ),
            parts.card(
                words("carbon.ledger"),
                html.Div(id="carbon-chain", className="chain"),
                parts.grid(
                    words,
                    GRID,
                    [
                        {
                            "field": "id",
                            "headerName": words("ledger.sequence"),
                            "width": 100,
                            **right,
                        },
                        {"field": "hour", "headerName": words("ledger.hour"), "width": 170},
                        {"field": "owner", "headerName": words("ledger.owner"), "width": 200},
                        {
                            "field": "memo",
                            "headerName": words("ledger.memo"),
                            "flex": 1,
                            "minWidth": 220,
                            "tooltipField": "memo",
                        },
                        {
                            "field": "amount",
                            "headerName": words("ledger.amount"),
                            "width": 210,
                            **right,
                        },
                        {
                            "field": "hash",
                            "headerName": words("ledger.hash"),
                            "width": 170,
                            "cellClass": "hash",
                        },
                        {
                            "field": "proof_word",
                            "headerName": words("ledger.proof"),
                            "width": 120,
                            "cellRenderer": "Proof",
                        },
                    ],
                    page_size=12,
                    empty_text=words("empty.ledger"),
                ),
                tools=parts.csv_button(GRID),
            ),
        ],
        className="page",
    )


def _picker(scene: Scene) -> list[Component]:
    words, facts = scene.words, scene.facts
    if facts is None or not scene.account.may(Permission.CARBON_READ_ALL):
        return []
    options = [("", words("carbon.all"))]
    options += [(e.id, words.pick(e.name_en, e.name_zh)) for e in facts.enterprises.values()]
    return [parts.picker(PICKER, words("carbon.enterprise"), options, scene.view.enterprise)]


def fill(scene: Scene) -> Mapping[str, Any]:
    """All slots of the page."""
    connection, facts = scene.connection, scene.facts
    if connection is None or facts is None:
        return blocks.nothing_yet(scene, SLOTS)
    visible = carbon.visible_enterprises(scene.account, facts)
    selected = scene.view.enterprise if scene.view.enterprise in visible else ""
    data = carbon.gather(connection, visible, selected, scene.period)
    table = _by_enterprise(data.rows)
    return {
        "sentence": _sentence(scene, facts, data, table, selected),
        "figures": _figures(scene, facts, data, selected),
        **_hours(scene, facts, table, selected),
        **_ranking(scene, facts, table, selected),
        **_intensity(scene, data, selected),
        **_map(scene, facts, connection),
        "factors": _factors(scene, facts, data, selected),
        "chain": _chain(scene, data),
        "ledger": [_ledger_row(scene, facts, row) for row in data.entries],
    }


def _by_enterprise(rows: pd.DataFrame) -> pd.DataFrame:
    """t CO2e by hour (index ts) and enterprise (columns), the largest emitter first."""
    if not len(rows):
        return pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC"))
    tonnes = rows.assign(tco2e=rows["kgco2e"].astype(float) / KG_PER_T)
    table = tonnes.pivot_table(index="ts", columns="enterprise", values="tco2e", aggfunc="sum")
    order = table.sum().sort_values(ascending=False).index
    return table[order].fillna(0.0)


def _name(scene: Scene, facts: CityFacts, enterprise: str) -> str:
    known = facts.enterprises.get(enterprise)
    return scene.words.pick(known.name_en, known.name_zh) if known else enterprise


def _of(rows: pd.DataFrame, selected: str) -> pd.DataFrame:
    return rows[rows["enterprise"] == selected] if selected else rows


def _total(rows: pd.DataFrame, column: str) -> Decimal:
    return sum((Decimal(v) for v in rows[column]), Decimal(0))


def _sentence(
    scene: Scene, facts: CityFacts, data: carbon.CarbonView, table: pd.DataFrame, selected: str
) -> Component:
    words = scene.words
    if not data.enterprises:
        return parts.sentence(words("carbon.say_no_enterprise"), "notice")
    if table.empty:
        return parts.sentence(words("carbon.say_none"), "notice")
    total = float(_total(_of(data.rows, selected), "kgco2e")) / KG_PER_T
    broken = [row for row in data.entries if not row.intact]
    if broken:
        text = words("carbon.say_broken", sequence=broken[-1].stored.sequence)
        return parts.sentence(text, "critical")
    if selected or len(data.enterprises) == 1:
        name = _name(scene, facts, selected or data.enterprises[0])
        text = words("carbon.say_one", name=name, total=formats.number(total))
    else:
        first = str(table.columns[0])
        share = float(table[first].sum()) / max(float(table.to_numpy().sum()), 1e-12) * 100.0
        text = words(
            "carbon.say_all",
            total=formats.number(total),
            count=table.shape[1],
            name=_name(scene, facts, first),
            share=formats.number(share, 0),
        )
    return parts.sentence(text)


def _figures(
    scene: Scene, facts: CityFacts, data: carbon.CarbonView, selected: str
) -> list[Component]:
    words = scene.words
    rows = _of(data.rows, selected)
    if not len(rows):
        names = ("footprint", "energy", "intensity", "last_hour")
        units = ("t CO₂e", "MWh", "kgCO₂e/MWh", "kg CO₂e")
        return [
            parts.key_figure(words(f"carbon.{n}"), formats.NOTHING, u, note=words("figure.waiting"))
            for n, u in zip(names, units, strict=True)
        ]
    kg, mwh = float(_total(rows, "kgco2e")), float(_total(rows, "e_mwh"))
    newest = rows["ts"].max()
    last_kg = float(_total(rows[rows["ts"] == newest], "kgco2e"))
    before = rows[rows["ts"] == newest - pd.Timedelta(hours=1)]
    delta = last_kg - float(_total(before, "kgco2e")) if len(before) else None
    fresh, stale = scene.fresh(newest.to_pydatetime(), HOUR, 3 * HOUR)
    who = _name(scene, facts, selected) if selected else words("carbon.of_all")
    return [
        parts.key_figure(
            words("carbon.footprint"),
            formats.number(kg / KG_PER_T),
            "t CO₂e",
            note=who,
            fresh=fresh,
            stale=stale,
        ),
        parts.key_figure(
            words("carbon.last_hour"),
            formats.number(last_kg, 0),
            "kg CO₂e",
            note=blocks.change(scene, delta, 0),
            fresh=fresh,
            stale=stale,
        ),
        parts.key_figure(
            words("carbon.energy"), formats.number(mwh), "MWh", note=words("carbon.metered")
        ),
        parts.key_figure(
            words("carbon.intensity"),
            formats.number(kg / mwh if mwh else None, 0),
            "kgCO₂e/MWh",
            note=words("carbon.intensity_note"),
        ),
    ]


def _hours(scene: Scene, facts: CityFacts, table: pd.DataFrame, selected: str) -> dict[str, Any]:
    words = scene.words
    shown = table[[selected]] if selected in table.columns else table
    names = [_name(scene, facts, str(c)) for c in shown.columns]
    figure = figures.by_hour(shown, names, words("carbon.rest"), scene.style, scene.revision)
    blocks.over_period(figure, scene)
    return blocks.chart_slots(
        "hours", figure, words("empty.footprints"), words("empty.footprints_how")
    )


def _ranking(scene: Scene, facts: CityFacts, table: pd.DataFrame, selected: str) -> dict[str, Any]:
    words = scene.words
    columns = [str(c) for c in table.columns]
    names = [_name(scene, facts, c) for c in columns]
    chosen = columns.index(selected) if selected in columns else None
    figure = figures.ranking(table.sum(), names, chosen, scene.style)
    return blocks.chart_slots(
        "ranking", figure, words("empty.footprints"), words("empty.footprints_how")
    )


def _intensity(scene: Scene, data: carbon.CarbonView, selected: str) -> dict[str, Any]:
    """What the buses brought against the published factor, hour by hour."""
    words = scene.words
    means = carbon.by_hour(_of(data.rows, selected))
    # Without the index's name, which xarray would take for a dimension.
    times = pd.DatetimeIndex(means.index).tz_convert("UTC").tz_localize(None).to_numpy()
    bus, regional = (
        xr.DataArray(means[c].to_numpy(dtype=float), dims="time", coords={"time": times})
        for c in ("bus", "regional")
    )
    names = (words("carbon.at_bus"), words("carbon.regional"))
    figure = figures.intensity(bus, regional, names, scene.style, scene.revision)
    blocks.over_period(figure, scene)
    return blocks.chart_slots(
        "intensity", figure, words("empty.footprints"), words("empty.footprints_how")
    )


def _map(scene: Scene, facts: CityFacts, connection: Connection) -> dict[str, Any]:
    """Buses of the newest traced hour; for those who may see every enterprise."""
    words, place = scene.words, facts.drawing.buses
    found = None
    if scene.account.may(Permission.CARBON_READ_ALL):
        found = carbon.newest_intensity(connection, scene.period)
    if found is None:
        return blocks.chart_slots(
            "map", go.Figure(), words("empty.traced"), words("empty.traced_how")
        )
    segments = [
        citymap.Segment(
            line.name,
            (place[line.from_bus].lat, place[line.from_bus].lon),
            (place[line.to_bus].lat, place[line.to_bus].lon),
            None,
        )
        for line in facts.drawing.lines
    ]
    spots = [carbonmap.Spot(b.name, b.lat, b.lon, found.at(i)) for i, b in place.items()]
    figure = carbonmap.draw(
        segments, spots, found.import_kgco2e_per_mwh, blocks.map_names(scene), scene.style
    )
    return blocks.chart_slots("map", figure, words("empty.map"), words("empty.map_how"))


def _traced_line(scene: Scene, rows: pd.DataFrame) -> list[Any]:
    """The booked factor of the range where hours of it were traced; no line where none was."""
    words = scene.words
    traced = rows[rows["method"] != Method.REGIONAL.value] if len(rows) else rows
    e_mwh = _total(traced, "e_mwh") if len(traced) else Decimal(0)
    if not e_mwh:
        return []
    kg = _total(traced, "kgco2e")
    return [
        [
            html.Span([html.B(words("factors.by_bus")), f" {words('factors.by_bus_note')}"]),
            f"{kg / e_mwh / 1000:.4f}",
            "",
            words("factors.tracing"),
            formats.number(float(kg) / KG_PER_T),
            words("factors.yes"),
        ]
    ]


def _factors(scene: Scene, facts: CityFacts, data: carbon.CarbonView, selected: str) -> Component:
    """The same energy by bus, by the provincial and by the national factor; never added."""
    words = scene.words
    rows = _of(data.rows, selected)
    province = str(facts.site.parameters.get("factor_region", ""))
    if selected:
        province = facts.enterprises[selected].province or province
    known = carbon.factors(province, scene.period)
    if known.national is None:
        return parts.empty(words("empty.factors"), words("empty.factors_how"))
    e_mwh = _total(rows, "e_mwh") if len(rows) else None
    published = rows[rows["method"] == Method.REGIONAL.value] if len(rows) else rows
    used = set(published["factor_id"]) if len(published) else set()
    listed = _traced_line(scene, rows)
    for kind, factor in (("provincial", known.provincial), ("national", known.national)):
        if factor is None:
            continue
        tonnes = None if e_mwh is None else float(e_mwh * factor.value)  # MWh * kg/kWh = t
        zone_name = words.pick(factor.zone_en, factor.zone)
        listed.append(
            [
                html.Span([html.B(words(f"factors.{kind}")), f" {zone_name}"]),
                str(factor.value),
                str(factor.valid_from.year),
                factor.source,
                formats.number(tonnes),
                words("factors.yes") if factor.id in used else words("factors.no"),
            ]
        )
    columns = [
        words(f"factors.{c}") for c in ("factor", "value", "year", "source", "result", "used")
    ]
    return parts.table(columns, listed, numbers=(1, 2, 4))


def _chain(scene: Scene, data: carbon.CarbonView) -> Component:
    words = scene.words
    if not data.entries:
        return html.Div()
    broken = [row.stored.sequence for row in data.entries if not row.intact]
    if broken:
        return parts.sentence(words("ledger.broken", sequence=min(broken)), "critical")
    newest = data.entries[0].stored
    text = words(
        "ledger.intact",
        count=len(data.entries),
        sequence=newest.sequence,
        hash=newest.hash.hex()[:16],
    )
    return parts.sentence(text, "good")


def _ledger_row(scene: Scene, facts: CityFacts, row: carbon.LedgerRow) -> dict[str, Any]:
    words, entry = scene.words, row.stored.entry
    positive = [p for p in entry.postings if p.amount > 0]
    amount = " ".join(f"{journal.decimal_text(p.amount)} {p.unit}" for p in positive[:1])
    return {
        "id": str(row.stored.sequence),
        "hour": formats.moment(entry.valid_from, scene.tz),
        "owner": _name(scene, facts, entry.owner),
        "memo": entry.memo,
        "amount": amount,
        "hash": row.stored.hash.hex()[:16],
        "proof": "intact" if row.intact else "broken",
        "proof_word": words("ledger.fits" if row.intact else "ledger.does_not_fit"),
    }


def register(desk: Desk) -> None:
    """Picking an enterprise changes the address; nothing to ask the server for."""
    del desk
