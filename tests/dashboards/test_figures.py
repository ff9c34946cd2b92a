"""The grammar of the charts: solid measured, dashed planned, bands, now, limits, no netting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from core.timeaxis import QUARTER_HOUR, steps
from dashboards import colours, formats
from dashboards.figures import base, carbon, carbonmap, citymap, environment, power
from dashboards.figures.base import Style
from dashboards.queries import series

START = datetime(2026, 6, 21, 16, tzinfo=UTC)
TIMES = steps(START, START + timedelta(days=1), QUARTER_HOUR)
STYLE = Style(False, ZoneInfo("Asia/Shanghai"), "now", "{name} forecast", "{name} plan", "{share}")


def course(values: np.ndarray | float) -> xr.DataArray:
    return xr.DataArray(np.broadcast_to(values, 96).copy(), dims="time", coords={"time": TIMES})


def test_import_and_export_stay_two_courses_and_plans_are_dashed() -> None:
    figure = power.exchange(
        (course(1.0), course(2.0)),
        (course(3.0), course(4.0)),
        ("Import", "Export"),
        (power.Limit(6.0, "import limit"),),
        STYLE,
        "",
    )
    assert [t.name for t in figure.data] == ["Import", "Export", "Import plan", "Export plan"]
    assert [t.line.dash for t in figure.data] == [None, None, "dash", "dash"]
    assert [float(t.y[0]) for t in figure.data] == [1.0, 2.0, 3.0, 4.0]
    assert figure.data[0].line.color == figure.data[2].line.color
    assert figure.layout.shapes[0].y0 == 6.0
    assert "import limit" in [a.text for a in figure.layout.annotations]


def test_time_stands_on_the_city_clock_and_now_where_it_is() -> None:
    figure = base.canvas(STYLE, "MW")
    base.measured(figure, course(1.0), STYLE, "Load", colours.LOAD)
    base.now_line(figure, START + timedelta(hours=14), STYLE)
    assert pd.Timestamp(figure.data[0].x[0]) == pd.Timestamp("2026-06-22 00:00")
    assert figure.layout.shapes[0].x0 == "2026-06-22 14:00:00"
    assert figure.layout.annotations[0].text == "MW"


def test_a_forecast_is_a_band_of_its_outer_quantiles_around_a_dashed_median() -> None:
    values = xr.DataArray(
        np.tile([1.0, 2.0, 4.0], (96, 1)),
        dims=("time", "quantile"),
        coords={"time": TIMES, "quantile": [0.1, 0.5, 0.9]},
    )
    figure = base.canvas(STYLE, "MW")
    base.quantile_band(figure, values, STYLE, "Load", colours.LOAD)
    high, low, median = figure.data
    assert (high.y[0], low.y[0], median.y[0]) == (4.0, 1.0, 2.0)
    assert (low.fill, low.name) == ("tonexty", "80")
    assert median.line.dash == "dash"


def test_gaps_stay_gaps() -> None:
    values = course(1.0)
    values[10:20] = np.nan
    figure = base.canvas(STYLE, "MW")
    base.measured(figure, values, STYLE, "Load", colours.LOAD)
    assert figure.data[0].connectgaps is False
    assert np.isnan(np.asarray(figure.data[0].y[10:20], float)).all()


def test_a_part_of_the_meters_is_not_the_city() -> None:
    values = xr.DataArray(
        np.ones((4, 20)),
        dims=("time", "series"),
        coords={"time": TIMES[:4], "series": [str(i) for i in range(20)]},
    )
    values[1, :2] = np.nan  # 18 of 20: enough
    values[2, :3] = np.nan  # 17 of 20: not enough
    values[3, :] = np.nan
    assert np.array_equal(series.total(values), [20.0, 18.0, np.nan, np.nan], equal_nan=True)


def test_a_meter_that_never_reports_does_not_hide_the_others() -> None:
    values = xr.DataArray(
        np.ones((2, 4)), dims=("time", "series"), coords={"time": TIMES[:2], "series": list("abcd")}
    )
    values[:, 0] = np.nan
    assert np.array_equal(series.total(values), [3.0, 3.0])


@pytest.mark.parametrize(
    ("aqi", "level"),
    [
        (0, "excellent"),
        (50, "excellent"),
        (51, "good"),
        (100, "good"),
        (101, "light"),
        (150, "light"),
        (200, "moderate"),
        (201, "heavy"),
        (300, "heavy"),
        (301, "severe"),
        (500, "severe"),
    ],
)
def test_levels_of_the_standard(aqi: float, level: str) -> None:
    assert colours.aqi_level(aqi).key == level


def test_lines_are_coloured_by_loading_and_stations_by_level() -> None:
    segments = [
        citymap.Segment(f"Line {i}", (53.0, 116.0 + i), (53.1, 116.0 + i), loading)
        for i, loading in enumerate([10.0, 49.9, 50.0, 80.0, 130.0])
    ]
    stations = [citymap.Point("A", 53.0, 116.0, 135.0), citymap.Point("B", 53.0, 116.1, None)]
    names = dict.fromkeys(("line", "unknown", "bus", "station", "aqi", "no_aqi"), "x")
    figure = citymap.draw(segments, [], stations, names, STYLE)
    by_colour = {
        t.line.color: sum(v is None for v in t.x) for t in figure.data if t.mode == "lines"
    }
    assert by_colour == {colours.GREEN: 2, colours.ORANGE: 1, colours.VERMILION: 2}
    marks = figure.data[-1].marker
    assert marks.color[0] == "#FF7E00"
    assert marks.line.color == colours.LIGHT.edge  # yellow stays readable on white


def test_more_enterprises_than_colours_share_one_grey_bar_and_nothing_is_lost() -> None:
    rng = np.random.default_rng(2)
    index = pd.date_range(START, periods=24, freq="h")
    table = pd.DataFrame(rng.random((24, 9)), index=index, columns=list("abcdefghi"))
    figure = carbon.by_hour(table, list("abcdefghi"), "others", STYLE, "")
    assert len(figure.data) == 6
    assert figure.data[-1].name == "others"
    drawn = np.sum([np.asarray(t.y, float) for t in figure.data], axis=0)
    assert np.allclose(drawn, table.sum(axis=1), atol=1e-4)


def test_buses_are_coloured_from_nothing_to_the_import() -> None:
    """A bus where nothing passes has no colour; one above the import widens the scale."""
    segments = [citymap.Segment("L", (53.0, 116.0), (53.1, 116.1), None)]
    spots = [
        carbonmap.Spot("A", 53.0, 116.0, 12.0),
        carbonmap.Spot("B", 53.1, 116.1, 610.0),
        carbonmap.Spot("C", 53.2, 116.2, None),
    ]
    names = dict.fromkeys(("line", "unknown", "bus", "station", "aqi", "no_aqi"), "x")
    for imported, top in ((600.0, 610.0), (700.0, 700.0)):
        marks = carbonmap.draw(segments, spots, imported, names, STYLE).data[-1]
        assert list(marks.marker.color) == [12.0, 610.0]
        assert (marks.marker.cmin, marks.marker.cmax) == (0.0, top)


def test_the_index_stands_over_the_levels_of_the_standard() -> None:
    course_ = pd.Series([60.0, 120.0], index=pd.date_range(START, periods=2, freq="h"))
    figure = environment.aqi_course(course_, course_.iloc[:0], ("A", "city"), STYLE, "")
    assert [(s.y0, s.y1) for s in figure.layout.shapes] == [(0, 50), (50, 100), (100, 132)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.00"),
        (3.14159, "3.14"),
        (31.4159, "31.4"),
        (99.96, "100"),
        (314.159, "314"),
        (12345.6, "12\u2009346"),
        (-2.5, "−2.50"),
        (-0.001, "0.00"),
    ],
)
def test_numbers_have_sensible_digits(value: float | None, text: str) -> None:
    assert formats.number(value) == text


def test_changes_carry_their_sign_and_zero_none() -> None:
    assert [formats.signed(v) for v in (1.5, -1.5, 0.0, 0.001)] == [
        "+1.50",
        "−1.50",
        "0.00",
        "0.00",
    ]


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Asia/Shanghai", "UTC+8"),
        ("Asia/Kolkata", "UTC+5:30"),
        ("America/New_York", "UTC−4"),
        ("UTC", "UTC+0"),
    ],
)
def test_the_zone_is_written_as_people_write_it(zone: str, text: str) -> None:
    assert formats.offset(START, ZoneInfo(zone)) == text
