"""Files of the long format: good rows go in, bad ones are named by line, again is harmless."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DecodeError
from core.readings import Quality
from ingest.columns import KEPT_ROWS
from ingest.filemapping import PLAIN, of_tree
from ingest.files import ImportReport, import_file
from ingest.protocols import csv_file, parquet_file

METER = "urn:dev:meter-1"
FIRST_US = 1_782_086_400_000_000  # 2026-06-22T00:00:00Z

DIRTY = b'''\
value,ts,tag,device,note,unit,quality
1,2026-06-22T00:00:00Z,p,urn:dev:meter-1,x,kW,
2,2026-06-22T08:15:00.5+08:00,p,urn:dev:meter-1,x,,32
3,2026-06-22T00:30:00,p,urn:dev:meter-1,x,kW,0
1,2

nan,2026-06-22T00:45:00Z,p,urn:dev:meter-1,x,kW,0
5,2026-02-31T00:45:00Z,p,urn:dev:meter-1,x,kW,0
6,2026-06-22T00:45:00Z,p,urn:dev:\xff,x,kW,0
7,2026-06-22T00:45:00Z,q,urn:dev:meter-1,x,kW,0
8,2026-06-22T00:45:00Z,p,urn:dev:meter-9,x,kW,0
9,2026-06-22T00:45:00Z,p,urn:dev:meter-1,x,m/s,0
1e400,2026-06-22T00:45:00Z,p,urn:dev:meter-1,x,kW,0
0x10,2026-06-22T00:45:00Z,p,urn:dev:meter-1,x,kW,0
,2026-06-22T00:45:00Z,p,urn:dev:meter-1,x,kW,0
5,2026-06-22T00:45:00Z,p,urn:dev:meter-1,x,kW,5000
5,2026-06-22T00:45:00Z,p,urn:dev:meter-1,\xff,kW,0,one,more
5,2126-06-22T00:45:00Z,p,urn:dev:meter-1,x,kW,0
"5",2026-06-22T00:45:00Z,p,urn:dev:meter-1,"a, ""b""",kW,0
1,,

'''
REASONS = {
    4: "ts is not a time with its zone",
    5: "2 columns instead of 7",
    7: "value is not a finite number",
    8: "ts is not a time",
    9: "unknown device 'urn:dev:\ufffd'",
    10: "unknown tag 'q'",
    11: "unknown device 'urn:dev:meter-9'",
    12: "Cannot convert",
    13: "value is not a finite number",
    14: "value is not a finite number",
    15: "value is not a finite number",
    16: "quality is not a number of known flags",
    17: "9 columns instead of 7",
    18: "ts is not a time",
    20: "3 columns instead of 7",
}


@pytest.mark.parametrize("block_bytes", [csv_file.BLOCK_BYTES, 150])
def test_bad_rows_are_named_and_the_rest_goes_on(
    tmp_path, monkeypatch, sink, tag_map, received_at, block_bytes
):
    """Also when the file comes in pieces of two rows: lines count over all pieces."""
    path = tmp_path / "dirty.csv"
    path.write_bytes(DIRTY)
    monkeypatch.setattr(csv_file.read, "__defaults__", (PLAIN, block_bytes))
    report = import_file(path, sink, tag_map, received_at=received_at)
    found = {int(r.detail["line"]): r.reason for r in sink.rejected}
    assert found.keys() == REASONS.keys()
    for line, reason in REASONS.items():
        assert reason in found[line], line
    assert report == ImportReport(read=18, stored=3, duplicates=0, rejected=15)
    assert sink.readings == {
        (1, FIRST_US): pytest.approx(0.001),
        (1, FIRST_US + 900_500_000): pytest.approx(0.002),
        (1, FIRST_US + 2_700_000_000): pytest.approx(0.005),
    }


def test_again_is_harmless(tmp_path, sink, tag_map, received_at):
    path = tmp_path / "readings.csv"
    path.write_text(
        "device,tag,ts,value\n"
        + "".join(f"{METER},p,2026-06-22T00:{m:02}:00Z,{m}\n" for m in range(60))
    )
    first = import_file(path, sink, tag_map, received_at=received_at)
    second = import_file(path, sink, tag_map, received_at=received_at)
    assert first == ImportReport(read=60, stored=60, duplicates=0, rejected=0)
    assert second == ImportReport(read=60, stored=0, duplicates=60, rejected=0)


def test_other_headers_are_declared(tmp_path):
    path = tmp_path / "vendor.csv"
    path.write_text(f"\ufeffZähler;x,Wert,Zeit,Kanal\n{METER},1.5,2026-06-22T00:00:00Z,p\n")
    columns = {"device": "Zähler;x", "value": "Wert", "tag": "Kanal"}
    mapping = of_tree({"columns": columns, "time": {"column": "Zeit"}}, "vendor")
    (piece,) = csv_file.read(path, mapping)
    assert piece.names == [(METER, "p", None)]
    assert piece.value.tolist() == [1.5]
    with pytest.raises(DecodeError, match="no column ts, device, tag, value"):
        list(csv_file.read(path))


@pytest.mark.parametrize("unit", [pa.timestamp("ns", "UTC"), pa.timestamp("s", "Asia/Shanghai")])
def test_parquet_of_several_types(tmp_path, sink, tag_map, received_at, unit):
    path = tmp_path / "readings.parquet"
    # In UTC: pyarrow reads other offsets as UTC once pandapower has been imported.
    ts = [datetime(2026, 6, 22, 0, tzinfo=UTC), datetime(2026, 6, 22, 1, tzinfo=UTC), None]
    table = pa.table(
        {
            "device": pa.array([METER, METER, METER]).dictionary_encode(),
            "tag": pa.array(["p", "p", "p"], type=pa.large_string()),
            "ts": pa.array(ts, type=unit),
            "value": pa.array([1, 2, 3], type=pa.decimal128(8, 2)),
            "quality": pa.array([0, None, 0], type=pa.uint8()),
        }
    )
    pq.write_table(table, path)
    report = import_file(path, sink, tag_map, received_at=received_at)
    assert report == ImportReport(read=3, stored=2, duplicates=0, rejected=1)
    assert sink.rejected[0].detail == {"line": "3", "column": "ts"}
    assert sink.readings.keys() == {(1, FIRST_US), (1, FIRST_US + 3_600_000_000)}


def test_quality_of_a_file_is_kept(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text(f"device,tag,ts,value,quality\n{METER},p,2026-06-22T00:00:00Z,1,32\n")
    (piece,) = csv_file.read(path)
    assert Quality(int(piece.quality[0])) == Quality.ESTIMATED


def test_parquet_without_a_zone_is_refused(tmp_path):
    path = tmp_path / "naive.parquet"
    ts = pa.array([0], type=pa.timestamp("us"))
    pq.write_table(pa.table({"device": ["d"], "tag": ["t"], "ts": ts, "value": [1.0]}), path)
    with pytest.raises(DecodeError, match="without a zone"):
        list(parquet_file.read(path))


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\xff\xfe", b"PAR1"])
def test_a_file_that_is_none_is_one_sentence(tmp_path, sink, tag_map, received_at, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DecodeError, match=name):
        import_file(tmp_path / name, sink, tag_map, received_at=received_at)
    with pytest.raises(DecodeError, match="There is no file"):
        import_file(tmp_path / f"no-{name}", sink, tag_map, received_at=received_at)


def test_a_wrong_file_does_not_flood_the_quarantine(tmp_path, sink, tag_map, received_at):
    path = tmp_path / "wrong.csv"
    rows = KEPT_ROWS + 234
    path.write_text("device,tag,ts,value\n" + "d,t,2026-06-22T00:00:00Z,1\n" * rows)
    report = import_file(path, sink, tag_map, received_at=received_at)
    assert report.rejected == rows
    assert len(sink.rejected) == KEPT_ROWS + 1
    assert sink.rejected[-1].reason == "unknown device 'd' (234 further rows)"
