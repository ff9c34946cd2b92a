"""Mapping documents: what they may say, and that what is wrong is named."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from ingest import filemapping
from ingest.filemapping import PLAIN, FileMapping, Fold, of_tree

LONG = """
files = "meter_*.csv"
encoding = "GB18030"
delimiter = ";"
decimal = ","
header_row = 3
missing = ["-"]

[time]
columns = ["日期", "时间"]
format = "%Y-%m-%d %H:%M"
timezone = "Asia/Shanghai"
label = "end"
interval_s = 900
fold = "second"

[columns]
device = "表号"
value = "示数"

[constants]
tag = "p"
unit = "kW"
"""

WIDE = """
[time]
timezone = "Europe/Berlin"

[constants]
unit = "kW"

[[values]]
column = "P1"
device = "meter-1"
tag = "p"

[[values]]
column = "t"
device = "weather"
unit = "degC"
"""


def loaded(tmp_path, text: str, name: str = "m.toml") -> FileMapping:
    (tmp_path / name).write_text(text, "utf-8")
    return filemapping.read(tmp_path / name)


def test_a_document_in_full(tmp_path):
    found = loaded(tmp_path, LONG)
    assert (found.encoding, found.delimiter, found.decimal) == ("gb18030", ";", ",")
    assert (found.header_row, found.missing, found.wide) == (3, ("-",), False)
    assert found.time.columns == ("日期", "时间")
    assert (found.time.fold, found.time.back_us) == (Fold.SECOND, 900_000_000)
    (measure,) = found.measures
    assert (measure.device.column, measure.tag.constant, measure.column) == ("表号", "p", "示数")
    assert found.columns(["示数", "表号", "日期", "时间", "x"]) == ("日期", "时间", "表号", "示数")


def test_a_wide_table_names_each_column(tmp_path):
    first, second = loaded(tmp_path, WIDE).measures
    assert (first.device.constant, first.tag.constant, first.unit.constant) == (
        "meter-1",
        "p",
        "kW",
    )
    assert (second.tag.constant, second.unit.constant) == ("t", "degC")


def test_json_is_as_good_as_toml(tmp_path):
    tree = {"files": "*.csv", "columns": {"device": "d"}}
    found = loaded(tmp_path, json.dumps(tree), "m.json")
    assert found.measures[0].device.column == "d"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("encoding = 'klingon'", "no encoding 'klingon'"),
        ("delimiter = ';;'", "delimiter"),
        ("decimal = ','", "same sign"),
        ("header_row = 0", "header_row"),
        ("header_row = 1.5", "header_row"),
        ("header_row = true", "header_row"),
        ("colour = 'red'", "colour is not known"),
        ("missing = '-'", "missing is no list of texts"),
        ("[time]\nformat = '%H:%M'", "format"),
        ("[time]\nformat = 'yesterday'", "format"),
        ("[time]\ntimezone = 'Mars/Olympus'", "Mars/Olympus"),
        ("[time]\nlabel = 'end'", "needs interval_s"),
        ("[time]\nlabel = 'middle'", "label"),
        ("[time]\nfold = 'third'", "fold"),
        ("[columns]\nvalue = 7", "value is no printable text"),
        ("[columns]\ntag='a'\n[constants]\ntag='b'", "tag is also a constant"),
        ("[[values]]\ntag='a'", "column is missing"),
        ("[[values]]\ncolumn='a'\n[[values]]\ncolumn='a'", "same column"),
        ("values = 3", "values is no list"),
        ("columns = 3", "an object was expected"),
        ("x = ", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        loaded(tmp_path, text)
    assert "m.toml" in str(caught.value)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["time", "columns", "values", "column", "format", "device", "interval_s"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(TREES)
def test_no_document_raises_anything_else(tree):
    with suppress(ConfigurationError):
        assert of_tree(tree, "x").measures


def test_the_one_beside_the_file_wins_then_the_pattern(tmp_path):
    path = tmp_path / "meter_1.csv"
    patterned = [loaded(tmp_path, f"files='{p}'", f"{n}.toml") for n, p in ((1, "m*"), (2, "x*"))]
    assert filemapping.choose(path, patterned).name == "1.toml"
    assert filemapping.choose(tmp_path / "other.csv", patterned) is PLAIN
    both = [*patterned, loaded(tmp_path, "files='*_1.csv'", "3.toml")]
    with pytest.raises(ConfigurationError, match="both for"):
        filemapping.choose(path, both)
    loaded(tmp_path, "header_row=5", "meter_1.toml")
    assert filemapping.choose(path, both).header_row == 5
    loaded(tmp_path, "header_row=6", "meter_1.csv.toml")
    assert filemapping.choose(path, both).header_row == 6


def test_mappings_in_the_description_of_a_city():
    (found,) = filemapping.of_site({"file_mappings": {"vendor": {"files": "v*.csv"}}})
    assert (found.name, found.files) == ("vendor", "v*.csv")
    assert filemapping.of_site({}) == ()
    with pytest.raises(ConfigurationError, match="file_mappings"):
        filemapping.of_site({"file_mappings": []})


def test_a_folder_of_mappings(tmp_path):
    assert filemapping.read_folder(tmp_path / "none") == ()
    loaded(tmp_path, "files='b'", "b.toml")
    loaded(tmp_path, "{}", "a.json")
    (tmp_path / "readme.txt").write_text("no mapping")
    assert [m.name for m in filemapping.read_folder(tmp_path)] == ["a.json", "b.toml"]
