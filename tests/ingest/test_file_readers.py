"""Files of other people: their columns, their clocks, their decimal commas, their workbooks."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime, time
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from core.timeaxis import from_us, to_us
from ingest.filemapping import PLAIN, FileMapping, of_tree
from ingest.protocols import csv_file, excel_file, parquet_file

READERS = {m.SUFFIXES[0]: m.read for m in (csv_file, parquet_file, excel_file)}


def rows(path: Path, tree: dict | None = None, **options: int) -> tuple[list[tuple], list[tuple]]:
    """The readings (device, tag, unit, ISO time, value) and what was bad (row, column, reason)."""
    mapping = of_tree(tree, "test") if tree is not None else PLAIN
    good, bad = [], []
    for piece in READERS[path.suffix](path, mapping, *options.values()):
        for code, us, value in zip(piece.code, piece.ts_us, piece.value, strict=True):
            ts = from_us(us).isoformat().replace("+00:00", "Z")
            good.append((*piece.names[code], ts, float(value)))
        bad += [(b.line, b.column, b.reason) for b in piece.bad]
    return good, bad


# --- CSV ---------------------------------------------------------------------------------------


def test_a_chinese_utility_s_export(tmp_path):
    """GB 18030, two lines of titles, day and hour apart, the day's end called 24:00."""
    path = tmp_path / "导出.csv"
    text = (
        "某某供电公司;;;\n制表时间 2026-06-23;;;\n表号;日期;时间;有功功率\n"
        "0001;2026-06-22;00:15;1,5\n0001;2026-06-22;24:00;2,5\n"
        "0001;2026-06-22;24:30;1\n0001;2026-06-22;00:45;1.234\n"
        "0001;2026-06-22;10:24;-\n"
    )
    path.write_bytes(text.encode("gb18030"))
    tree = {
        "encoding": "gb18030",
        "delimiter": ";",
        "decimal": ",",
        "header_row": 3,
        "missing": ["-"],
        "time": {
            "columns": ["日期", "时间"],
            "format": "%Y-%m-%d %H:%M",
            "timezone": "Asia/Shanghai",
            "label": "end",
            "interval_s": 900,
        },
        "columns": {"device": "表号", "value": "有功功率"},
        "constants": {"tag": "p", "unit": "kW"},
    }
    good, bad = rows(path, tree)
    assert good == [
        ("0001", "p", "kW", "2026-06-21T16:00:00Z", 1.5),
        ("0001", "p", "kW", "2026-06-22T15:45:00Z", 2.5),
    ]
    assert bad == [
        (6, "日期, 时间", "ts is not a time between 1970 and 2099"),
        (7, "有功功率", "value is not a finite number"),  # 1.234 of whom: of thousands?
    ]


def test_a_wide_table_and_its_bad_cells(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("t,a,b,note\n2026-06-22T00:00Z,1,x,\n2026-06-22T01:00Z,,2,\nlater,3,4,\n\n")
    tree = {
        "time": {"column": "t"},
        "values": [
            {"column": "a", "device": "m-1", "tag": "p", "unit": "kW"},
            {"column": "b", "device": "m-2"},
        ],
    }
    good, bad = rows(path, tree)
    assert good == [
        ("m-1", "p", "kW", "2026-06-22T00:00:00Z", 1.0),
        ("m-2", "b", None, "2026-06-22T01:00:00Z", 2.0),
    ]
    assert bad == [
        (4, "t", "ts is not a time with its zone between 1970 and 2099"),
        (2, "b", "value is not a finite number"),
    ]


@pytest.mark.parametrize("block", [csv_file.BLOCK_BYTES, 400])
def test_the_two_days_of_the_clock_change(tmp_path, block):
    """Berlin 2026: hours of 29 March and 25 October as a local clock shows them."""
    spring = [f"2026-03-29 {h:02}:00" for h in range(24)]
    autumn = [f"2026-10-25 {h:02}:00" for h in [0, 1, 2, *range(2, 24)]]
    path = tmp_path / "dst.csv"
    path.write_text("time,v\n" + "".join(f"{t},{i}\n" for i, t in enumerate(spring + autumn)))
    tree = {
        "time": {"column": "time", "timezone": "Europe/Berlin"},
        "columns": {"value": "v"},
        "constants": {"device": "d", "tag": "t"},
    }
    good, bad = rows(path, tree, block=block)
    first = to_us(datetime(2026, 10, 24, 22, tzinfo=UTC))
    found = [to_us(datetime.fromisoformat(g[3])) for g in good[23:]]
    assert found == [first + i * 3_600_000_000 for i in range(25)]
    assert bad == [(4, "time", "ts is a time that clocks never showed: they were put forward")]


@pytest.mark.parametrize(
    ("form", "cell", "ts"),
    [
        ("unix_s", "1782086400.5", "2026-06-22T00:00:00.500000Z"),
        ("unix_ms", "1782086400500", "2026-06-22T00:00:00.500000Z"),
        ("excel", "46195.0104166667", "2026-06-21T16:15:00Z"),
        ("iso", "2026-06-22", "2026-06-21T16:00:00Z"),
        ("iso", "2026-06-22 10:24:00", "2026-06-22T02:24:00Z"),
        ("iso", " 2026-06-22t10:24+02:00 ", "2026-06-22T08:24:00Z"),
        ("%d/%m/%Y %H:%M", "2/6/2026 7:05", "2026-06-01T23:05:00Z"),
        ("%d/%m/%Y %H:%M%z", "2/6/2026 7:05+0000", "2026-06-02T07:05:00Z"),
        ("iso", "2026-02-30 10:24", None),
        ("%Y-%m-%d", "2026-02-30", None),
        ("unix_s", "1e300", None),
        ("unix_s", "nan", None),
        ("excel", "x", None),
        ("iso", "2110-01-01", None),
        ("iso", "", None),
    ],
)
def test_forms_of_times(tmp_path, form, cell, ts):
    path = tmp_path / "t.csv"
    path.write_text(f"device,tag,ts,value\nd,t,{cell},1\n")
    good, bad = rows(path, {"time": {"format": form, "timezone": "Asia/Shanghai"}})
    assert [g[3] for g in good] == ([ts] if ts else [])
    assert [b[0] for b in bad] == ([] if ts else [2])


def test_a_row_that_is_bad_is_kept_with_its_cells(tmp_path):
    path = tmp_path / "b.csv"
    path.write_text("device,tag,ts,value\nd,t,yesterday,1\n1,2\n")
    (piece,) = csv_file.read(path)
    kept = {b.line: json.loads(b.text) for b in piece.bad}
    assert kept == {
        2: {"cells": {"ts": "yesterday", "device": "d", "tag": "t", "value": "1"}},
        3: {"text": "1,2"},
    }


def test_a_column_that_stands_twice_is_refused_when_it_is_needed(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("device,tag,ts,value,value,x,x\n")
    with pytest.raises(DecodeError, match="column value more than once"):
        rows(path)


# --- Parquet -----------------------------------------------------------------------------------


def test_parquet_of_a_local_clock_and_a_wide_table(tmp_path):
    path = tmp_path / "wide.parquet"
    ts = [datetime(2026, 6, 22, h) for h in (8, 9)]  # noqa: DTZ001 - a local clock
    table = pa.table({"t": pa.array(ts, pa.timestamp("ms")), "a": [1.0, None], "b": [3, 4]})
    pq.write_table(table, path)
    tree = {
        "time": {"column": "t", "timezone": "Asia/Shanghai"},
        "constants": {"device": "d"},
        "values": [{"column": "a"}, {"column": "b"}],
    }
    good, bad = rows(path, tree)
    assert [(g[1], g[3], g[4]) for g in good] == [
        ("a", "2026-06-22T00:00:00Z", 1.0),
        ("b", "2026-06-22T00:00:00Z", 3.0),
        ("b", "2026-06-22T01:00:00Z", 4.0),
    ]
    assert bad == []


# --- Excel -------------------------------------------------------------------------------------

LOCAL = {"time": {"timezone": "Asia/Shanghai"}}


def workbook(path: Path, cells: list[list], title: str = "Sheet") -> Path:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in cells:
        book.active.append(row)
    book.save(path)
    return path


@pytest.fixture
def book(tmp_path):
    return lambda cells, **options: workbook(tmp_path / "b.xlsx", cells, **options)


HEADER = ["device", "tag", "unit", "ts", "value"]


def test_a_workbook_with_cells_of_every_kind(book):
    noon = datetime(2026, 6, 22, 12)  # noqa: DTZ001 - cells have no zone
    path = book(
        [
            HEADER,
            [17, "p", "kW", noon, 1],
            ["m", "p", None, 46195.5, "2.5"],  # the same noon as a number
            [None, None, None, None, None],
            ["m", "p", "kW", "2026-06-22 12:15", 3.0],
            ["m", "p", "kW", "2026-06-22T12:15:00+00:00", 4],
            ["m", "p", "kW", noon, "#N/A"],
            ["m", "p", "kW", noon, True],
            ["m", "p", "kW", "noon", 1],
            ["m", "p", "kW", date(2026, 6, 22), 5],
        ]
    )
    good, bad = rows(path, LOCAL)
    assert [(g[0], g[2], g[3], g[4]) for g in good] == [
        ("17", "kW", "2026-06-22T04:00:00Z", 1.0),
        ("m", None, "2026-06-22T04:00:00Z", 2.5),
        ("m", "kW", "2026-06-22T04:15:00Z", 3.0),
        ("m", "kW", "2026-06-22T12:15:00Z", 4.0),
        ("m", "kW", "2026-06-21T16:00:00Z", 5.0),
    ]
    assert [(b[0], b[1]) for b in sorted(bad)] == [(7, "value"), (8, "value"), (9, "ts")]


def test_days_and_hours_in_cells_of_their_own(book):
    path = book([["day", "hour", "P"], [date(2026, 6, 22), time(8, 15), 1.5]], title="Export")
    tree = {
        "sheet": "Export",
        "time": {"columns": ["day", "hour"], "timezone": "Asia/Shanghai"},
        "values": [{"column": "P", "device": "d", "unit": "kW"}],
    }
    assert rows(path, tree) == ([("d", "P", "kW", "2026-06-22T00:15:00Z", 1.5)], [])


def test_dates_need_a_zone(book):
    path = book([HEADER, ["d", "t", "kW", datetime(2026, 6, 22), 1]])  # noqa: DTZ001
    with pytest.raises(DecodeError, match="declare their timezone"):
        rows(path)


def test_a_formula_gives_the_value_that_was_stored_with_it(book, tmp_path):
    path = book([HEADER, ["d", "t", "kW", "2026-06-22T00:00Z", 1]])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    assert b'r="E2" t="n"><v>1</v>' in parts[sheet]
    parts[sheet] = parts[sheet].replace(b'r="E2" t="n"><v>1</v>', b'r="E2"><f>40+2</f><v>42</v>')
    changed = tmp_path / "formula.xlsx"
    with zipfile.ZipFile(changed, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    assert [g[4] for g in rows(changed)[0]] == [42.0]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([["device", None, "ts", "value"]], "no name in column B of its header, row 1"),
        ([[None], ["device"]], "no header in row 1"),
        ([], "no header in row 1"),
        ([["device", "tag", "ts"]], "no column value"),
        ([["device", "tag", "ts", "value", "ts"]], "column ts more than once"),
    ],
)
def test_a_header_that_is_none_is_refused(book, cells, words):
    with pytest.raises(DecodeError, match=words):
        rows(book(cells))


def test_merged_cells_in_the_header_are_refused(tmp_path):
    made = openpyxl.Workbook()
    made.active.append(["device", "tag", "ts", "", "value"])
    made.active.merge_cells("C1:D1")
    made.save(tmp_path / "merged.xlsx")
    with pytest.raises(DecodeError, match="unmerge its cells"):
        rows(tmp_path / "merged.xlsx")


def test_an_unknown_sheet_is_named_with_those_there_are(book):
    with pytest.raises(DecodeError, match="no sheet 'x', only Sheet"):
        rows(book([HEADER]), {"sheet": "x"})


def bomb(path: Path, name: str, data: bytes, repeat: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as f:
        for _ in range(repeat):
            f.write(data)
    return path


def test_an_archive_that_unpacks_too_far_is_refused_unopened(tmp_path):
    path = bomb(tmp_path / "bomb.xlsx", "xl/worksheets/sheet1.xml", b" " * 1_000_000, 20)
    with pytest.raises(DecodeError, match="would unpack to 20 MB"):
        rows(path)


def test_entities_that_multiply_are_refused(book, tmp_path):
    """The billion laughs, in a part of an otherwise good workbook."""
    with zipfile.ZipFile(book([HEADER])) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    xml = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><x>&l11;</x>'
    for name in ("xl/worksheets/sheet1.xml", "xl/workbook.xml"):
        evil = tmp_path / "laughs.xlsx"
        with zipfile.ZipFile(evil, "w") as archive:
            for part, data in {**parts, name: xml.encode()}.items():
                archive.writestr(part, data)
        with pytest.raises(DecodeError, match=r"laughs\.xlsx"):
            rows(evil)


# --- anything ----------------------------------------------------------------------------------

BYTES = st.binary(max_size=300) | st.text(
    "device,tag;sv0123456789.eE-+:TZ\n\r\"'\0é", max_size=300
).map(str.encode)
MAPPINGS = st.sampled_from(
    [
        PLAIN,
        of_tree({"encoding": "gb18030", "delimiter": ";", "decimal": ","}, "a"),
        of_tree({"encoding": "utf-16", "header_row": 2, "time": {"format": "%Y-%m-%d"}}, "b"),
        of_tree({"time": {"timezone": "Europe/Berlin"}, "values": [{"column": "v"}]}, "c"),
    ]
)


def assert_named(path: Path, mapping: FileMapping, *options: int) -> None:
    """A file is read, or refused in a sentence that names it."""
    sentence = path.name
    try:
        list(READERS[path.suffix](path, mapping, *options))
    except DecodeError as error:
        sentence = str(error)
    assert path.name in sentence


CALMLY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@CALMLY
@given(BYTES, MAPPINGS, st.sampled_from(sorted(READERS)))
def test_no_bytes_raise_anything_but_a_decode_error(
    tmp_path, data: bytes, mapping: FileMapping, suffix: str
):
    path = tmp_path / f"any{suffix}"
    path.write_bytes(data)
    assert_named(path, mapping)


@CALMLY
@given(
    cells=st.lists(st.lists(st.text(max_size=8), min_size=4, max_size=5), max_size=6),
    mapping=MAPPINGS,
)
def test_no_cells_raise_anything_but_a_decode_error(tmp_path, cells, mapping):
    path = tmp_path / "cells.csv"
    header = ["device", "tag", "ts", "value", "v"]
    lines = [mapping.delimiter.join(header)] * mapping.header_row
    lines += [mapping.delimiter.join(row) for row in cells]
    path.write_bytes("\n".join(lines).encode(mapping.encoding, "replace"))
    assert_named(path, mapping, 64)


@CALMLY
@given(st.data())
def test_no_damaged_workbook_raises_anything_but_a_decode_error(tmp_path, data):
    """A good workbook with bytes of one of its parts changed."""
    buffer = io.BytesIO()
    made = openpyxl.Workbook()
    made.active.append(HEADER)
    made.active.append(["d", "t", "kW", datetime(2026, 6, 22), 1.5])  # noqa: DTZ001
    made.save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        parts = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(parts[name]) - 1))
        parts[name][at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    path = tmp_path / "damaged.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, bytes(content))
    assert_named(path, of_tree(LOCAL, "m"))


def test_a_row_without_an_end_is_named(tmp_path):
    path = tmp_path / "endless.csv"
    path.write_text("device,tag,ts,value\n" + "a" * 50_000)
    with pytest.raises(DecodeError, match=r"endless\.csv .*: a row is longer than 10,000 bytes"):
        list(csv_file.read(path, block_bytes=10_000))
