"""Standards: the printed tables, the edition of the day, and nothing half-written gets in."""

from __future__ import annotations

from datetime import date
from importlib import resources

import pytest

from core.errors import ConfigurationError
from environment.standardset import StandardSet, build, load

FOLDER = resources.files("environment") / "standards"


@pytest.fixture(scope="module")
def standards() -> StandardSet:
    return load()


def text_of(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def test_every_file_of_the_folder_is_read(standards: StandardSet):
    files = [p.name for p in FOLDER.iterdir() if p.name.endswith(".toml")]
    assert len(standards.standards) == len(files) >= 2


@pytest.mark.parametrize(
    ("day", "name"),
    [
        (date(2013, 3, 1), "HJ 633-2012"),
        (date(2026, 2, 28), "HJ 633-2012"),
        (date(2026, 3, 1), "HJ 633-2026"),
        (date(2026, 6, 22), "HJ 633-2026"),
    ],
)
def test_a_record_is_judged_by_the_table_of_its_day(standards: StandardSet, day: date, name: str):
    assert standards.on(day).name == name


def test_before_the_first_edition_there_is_no_index(standards: StandardSet):
    with pytest.raises(ConfigurationError, match="2000-01-01"):
        standards.on(date(2000, 1, 1))
    with pytest.raises(ConfigurationError, match="EPA"):
        standards.named("EPA")


def test_the_editions_differ_where_the_new_one_says(standards: StandardSet):
    old, new = (standards.named(f"HJ 633-{year}") for year in (2012, 2026))
    differing = {c for c in new.columns if new.columns[c].breakpoints != old.columns[c].breakpoints}
    assert differing == {"pm10_24h", "pm2_5_24h"}
    assert (old.columns["pm2_5_24h"].breakpoints[2], new.columns["pm2_5_24h"].breakpoints[2]) == (
        75,
        60,
    )
    assert (old.columns["pm10_24h"].breakpoints[2], new.columns["pm10_24h"].breakpoints[2]) == (
        150,
        120,
    )
    assert (new.columns["so2_1h"].above_iaqi, new.columns["o3_8h"].above_iaqi) == (200, 300)
    assert old.columns["so2_1h"].above_column == "so2_24h"
    assert old.columns["o3_8h"].above_column == "o3_1h"


def test_levels_carry_the_printed_colours(standards: StandardSet):
    levels = standards.named("HJ 633-2026").levels
    assert [(level.upto, level.colour) for level in levels] == [
        (50, "#00E400"),
        (100, "#FFFF00"),
        (150, "#FF7E00"),
        (200, "#FF0000"),
        (300, "#99004C"),
        (500, "#7E0023"),
    ]
    assert [level.name_zh for level in levels][:2] == ["优", "良"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('standard = "HJ', 'name = "HJ', "standard"),
        ("iaqi = [0, 50, 100", "iaqi = [0, 100, 50", "must rise"),
        ("[0, 35, 60,", "[0, 60, 35,", "pm2_5_24h must rise"),
        ("[0, 35, 60,", "[0, 35.5, 60,", "finer than its decimals"),
        ('unit = "mg/m3"', 'unit = "furlong"', "furlong"),
        ('unit = "mg/m3"', 'unit = "kWh"', "convert"),
        ('pollutant = "co"', 'pollutant = "dust"', "dust"),
        ("above_iaqi = 200", "", "what holds above"),
        ("above_iaqi = 200", 'above_column = "so2_1y"', "unknown column"),
        ('pm10 = "pm10_24h"', 'pm10 = "co_24h"', "does not judge"),
        ("upto = 100", "upto = 10", "levels must rise"),
        ("[reports.daily]", "[reports.weekly]", "daily"),
        ("iaqi = [", "iaqi = [[", "TOML"),
    ],
)
def test_what_cannot_be_used_stops_the_start(old: str, new: str, message: str):
    text = text_of("hj633_2026.toml")
    assert old in text
    with pytest.raises(ConfigurationError, match=message):
        build({"broken.toml": text.replace(old, new)})


def test_editions_must_not_overlap_or_repeat():
    old, new = text_of("hj633_2012.toml"), text_of("hj633_2026.toml")
    with pytest.raises(ConfigurationError, match="in force together"):
        build({"a.toml": old.replace("valid_to = 2026-03-01", ""), "b.toml": new})
    with pytest.raises(ConfigurationError, match="there twice"):
        build({"a.toml": new, "b.toml": new})
    with pytest.raises(ConfigurationError, match="no standard"):
        build({})
