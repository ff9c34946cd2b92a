"""Both languages are complete, say the same things and are used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dashboards
from core.errors import ConfigurationError
from core.sites import AssetKind
from dashboards.address import View, parse
from dashboards.texts import LANGUAGES, words

FOLDER = Path(dashboards.__file__).parent
SAID = re.compile(r'\bwords?\(\s*"([a-z_0-9.]+)"|\btext\(\s*"([a-z_0-9.]+)"')


def _places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    english, chinese = (words(language).table for language in LANGUAGES)
    assert set(english) == set(chinese)
    assert {k: _places(v) for k, v in english.items()} == {
        k: _places(v) for k, v in chinese.items()
    }


NAMES = re.compile(
    r"pollutant\..*|map\.aqi|stations\.aqi|factors\.(value|result)|join(_list)?|chart\.plan"
    r"|variable\.(pm2_5|pm10|so2|no2|o3|co)|data\.held_note"
)
"""Names, units and signs that are the same in both languages."""


def test_nothing_is_left_untranslated() -> None:
    latin = [k for k, v in words("zh").table.items() if not re.search(r"[\u4e00-\u9fff]", v)]
    assert [k for k in latin if not NAMES.fullmatch(k) and k != "frame.other_language"] == []


def test_every_text_that_the_code_names_exists() -> None:
    table = words("en").table
    named = {
        key
        for source in FOLDER.rglob("*.py")
        for pair in SAID.findall(source.read_text("utf-8"))
        for key in pair
        if key
    }
    assert len(named) > 80
    assert sorted(named - set(table)) == []


def test_every_kind_of_asset_has_a_name() -> None:
    named = {key for key in words("en").table if key.startswith("kind.")}
    assert named == {f"kind.{kind}" for kind in AssetKind}


def test_a_missing_text_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match=r"'overview\.nothing' is missing in zh"):
        words("zh")("overview.nothing")


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View("carbon", "zh", "dark", 7, enterprise="ent-03"),
        View("environment", "en", "dark", 2, station="air-07"),
    ],
)
def test_an_address_reproduces_its_view(view: View) -> None:
    assert parse(f"http://city.example{view.to()}") == view


@pytest.mark.parametrize(
    "address", ["", None, "/app/?lang=xx&theme=pink&days=99999", "/app?days=-1"]
)
def test_what_an_address_says_wrongly_falls_back(address: str | None) -> None:
    assert parse(address) == View()
