"""Bodies of requests: the same readings however they are cut, and bad rows by their number."""

from __future__ import annotations

import json
from collections.abc import Iterable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.timeaxis import from_us
from ingest import bodies
from ingest.bodies import CsvBody, JsonBody, NdjsonBody, of_type
from ingest.columns import BY_KEY

TS = "2026-06-22T00:00:00Z"


def reading(value: object, **other: object) -> dict[str, object]:
    return {"device": "d", "tag": "t", "unit": "kW", "ts": TS, "value": value, **other}


def taken(body: bodies.Body, pieces: Iterable[bytes]) -> tuple[list[tuple], dict[int, str]]:
    """The readings (row, device, tag, unit, value) and the reasons of bad rows by row."""
    good, bad = [], {}
    columns = [c for piece in pieces for c in body.feed(piece)]
    for part in [*columns, *body.close()]:
        for code, line, us, value in zip(part.code, part.line, part.ts_us, part.value, strict=True):
            assert from_us(us).isoformat() == "2026-06-22T00:00:00+00:00"
            good.append((int(line), *part.names[code], float(value)))
        bad |= {b.line: b.reason for b in part.bad}
    return good, bad


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def ndjson(rows: list) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


def spaced(rows: list) -> bytes:
    return json.dumps(rows, indent=2).encode()


def as_csv(rows: list) -> bytes:
    lines = [f"{r['device']},{r['tag']},{r['unit']},{r['ts']},{r['value']}" for r in rows]
    return "\r\n".join(["device,tag,unit,ts,value", *lines]).encode()


FORMS = [(NdjsonBody, ndjson, 1), (JsonBody, orjson.dumps, 1), (JsonBody, spaced, 1)]
FORMS += [(CsvBody, as_csv, 2)]


@pytest.mark.parametrize(("body", "write", "first"), FORMS)
@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_the_cuts_do_not_matter(body, write, first, size):
    rows = [reading(i) for i in range(20)]
    good, bad = taken(body(), cut(write(rows), size))
    assert good == [(first + i, "d", "t", "kW", float(i)) for i in range(20)]
    assert bad == {}


@pytest.mark.parametrize("size", [3, 100_000])
def test_signs_of_json_inside_of_names_are_no_signs(size):
    names = ["}", "},{", '"}]', "]", "[{", "\\", '\\"}', "ж},"] * 3
    rows = [reading(1, device=name) for name in names]
    good, bad = taken(JsonBody(), cut(orjson.dumps(rows), size))
    assert [g[1] for g in good] == names
    assert bad == {}


@pytest.mark.parametrize(("body", "write"), [(NdjsonBody, ndjson), (JsonBody, orjson.dumps)])
def test_a_bad_row_is_kept_with_all_that_it_said(body, write):
    rows = [reading("12,5", hint="Thursday"), reading(1), 3, reading([1, 2]), reading(1, tag=7)]
    taker = body()
    parts = [*taker.feed(write(rows)), *taker.close()]
    kept = {b.line: json.loads(b.text) for part in parts for b in part.bad}
    assert sorted(kept) == [1, 3, 4, 5]
    assert kept[3] == {"text": "3"}
    assert (kept[1]["cells"]["value"], kept[1]["cells"]["hint"]) == ("12,5", "Thursday")
    assert (kept[4]["cells"]["value"], kept[5]["cells"]["tag"]) == ("[1,2]", "7")
    usual = body()
    (part, *_) = [p for p in usual.feed(write([reading("12,5"), reading(1)])) if p.rows]
    assert json.loads(part.bad[0].text)["cells"]["value"] == "12,5"


BAD = [
    (reading("1"), "value is not a finite number"),
    (reading(True), "value is not a finite number"),
    (reading(None), "value is not a finite number"),
    (reading(1, ts="2026-06-22T00:00:00"), "ts is not a time"),
    (reading(1, ts=1782086400), "ts is not a time"),
    (reading(1, device=7), "device is missing or not a text"),
    (reading(1, tag=""), "tag is missing or not a text"),
    (reading(1, tag=BY_KEY), "tag is missing or not a text"),
    (reading(1, quality=-1), "quality is not"),
    (reading(1, quality=1.5), "quality is not"),
    (reading(1, quality=True), "quality is not"),
    ([], "a reading is a JSON object"),
    (7, "a reading is a JSON object"),
    ({}, "ts is not a time"),
    (reading(1, series=7), "device is missing or not a text"),
]


@pytest.mark.parametrize(("body", "write"), [(NdjsonBody, ndjson), (JsonBody, orjson.dumps)])
@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_named_and_the_rest_goes_on(body, write, row, reason):
    good, bad = taken(body(), [write([reading(1), row, reading(3)])])
    assert [g[0] for g in good] == [1, 3]
    assert bad.keys() == {2}
    assert bad[2].startswith(reason)


def test_lines_that_are_no_json_are_bad_rows_and_empty_ones_are_none():
    text = b"\n" + orjson.dumps(reading(1)) + b"\r\n{\n  \nNaN\n" + orjson.dumps(reading(2))
    good, bad = taken(NdjsonBody(), [text])
    assert [g[0] for g in good] == [2, 6]
    assert bad.keys() == {3, 5}
    assert all(reason.startswith("not JSON") for reason in bad.values())


def test_rows_may_name_their_series():
    keyed = {"series": "demo/meter-1/p_mw", "ts": TS, "value": 2, "unit": "kW"}
    plain = {"device": "d", "tag": "t", "ts": TS, "value": 1, "quality": 32}
    expected = [(1, "d", "t", None, 1.0), (2, "demo/meter-1/p_mw", BY_KEY, "kW", 2.0)]
    for body, text in ((NdjsonBody, ndjson([plain, keyed])), (JsonBody, spaced([plain, keyed]))):
        assert taken(body(), [text]) == (expected, {})
    text = f"series,ts,value\ndemo/meter-1/p_mw,{TS},3\n".encode()
    assert taken(CsvBody(), [text]) == ([(2, "demo/meter-1/p_mw", BY_KEY, None, 3.0)], {})


def test_bad_rows_of_csv_have_the_numbers_of_their_lines():
    rows = [f"d,t,kW,{TS},1", "1,2", "", f"d,t,kW,{TS},x", f"d,t,kW,{TS},2", "9"]
    text = "\n".join(["device,tag,unit,ts,value", *rows]).encode()
    for size in (5, 1_000):
        good, bad = taken(CsvBody(), cut(text, size))
        assert [g[0] for g in good] == [2, 6], size
        assert bad.keys() == {3, 5, 7}, size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no end: it breaks off at byte 0, behind row 0"),
        (b"[", "no end"),
        (b'[{"a":1}', "no end: it breaks off at byte 8, behind row 1"),
        (b'[{"a":1},', "behind row 1"),
        (b'[{"a":1},]', "malformed near byte .*behind row 1"),
        (b'[{"a":1}{"a":2}]', "malformed"),
        (b"[,]", "malformed"),
        (b'[{"a":1}] x', "goes on behind its JSON array"),
        (b"{}", "is no JSON array"),
        (b'"x"', "is no JSON array"),
        (b'[{"a":01}]', "malformed"),
        (b'[{"a":"\xff"}]', "malformed"),
    ],
)
@pytest.mark.parametrize("size", [1, 1_000])
def test_a_malformed_array_is_named_by_its_place(text, words, size):
    with pytest.raises(DecodeError, match=words):
        taken(JsonBody(), cut(text, size))


@pytest.mark.parametrize("text", [b"[]", b" [ ] ", b"\r\n[\n]\n"])
def test_an_empty_array_is_no_reading(text):
    assert taken(JsonBody(), cut(text, 1)) == ([], {})


def test_what_never_ends_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(bodies, "LONGEST_FEED", 1_000)
    monkeypatch.setattr(bodies, "LONGEST_ROW", 1_000)
    for body, start in ((JsonBody, b'[{"device":"'), (NdjsonBody, b"{"), (CsvBody, b"device")):
        with pytest.raises(DecodeError, match=r"malformed|a line of more than 1,000"):
            taken(body(), [start, *[b"x" * 500] * 20])


@pytest.mark.parametrize(
    ("text", "words"),
    [(b"", "no header"), (b"device,tag,ts\n", "no column value"), (b"\xff\n", "no header")],
)
def test_csv_without_its_header_is_refused(text, words):
    with pytest.raises(DecodeError, match=words):
        taken(CsvBody(), [text])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("application/json", JsonBody),
        ("Application/JSON; charset=UTF-8", JsonBody),
        ("application/x-ndjson", NdjsonBody),
        ("text/csv; header=present", CsvBody),
        ("text/csv; charset=gb18030", None),
        ("text/plain", None),
        ("", None),
    ],
)
def test_content_types(name, body):
    assert of_type(name) is body


JUNK = st.binary(max_size=80) | st.text('[]{},:" \\\n01.eE-truenulsdvicag', max_size=80).map(
    str.encode
)


@given(st.sampled_from([JsonBody, NdjsonBody, CsvBody]), st.lists(JUNK, max_size=4), st.booleans())
def test_no_bytes_raise_anything_but_a_decode_error(body, pieces, with_start):
    start = [b"device,tag,ts,value\n"] if body is CsvBody else [b"["]
    sentence = "The request"
    try:
        taken(body(), [*(start if with_start else []), *pieces])
    except DecodeError as error:
        sentence = str(error)
    assert sentence.startswith("The request")


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["device", "tag", "unit", "ts", "value", "series", "quality", "x"]),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=5)
            | st.just(TS)
            | st.lists(st.integers(), max_size=2),
        )
        | st.integers(),
        max_size=6,
    ),
    st.integers(1, 50),
)
def test_every_row_is_good_or_bad(rows, size):
    """Whatever the elements are, none is lost and none is counted twice."""
    text = json.dumps(rows).replace("NaN", "null").replace("Infinity", "1").encode()
    body = JsonBody()
    seen: list[int] = []
    parts = [c for piece in cut(text, size) for c in body.feed(piece)]
    for part in [*parts, *body.close()]:
        seen += part.line.tolist() + [b.line for b in part.bad]
    assert sorted(seen) == list(range(1, len(rows) + 1))
