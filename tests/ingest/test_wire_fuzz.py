"""Whatever a device or a file holds, a parser answers with readings or DecodeError only."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from core.timeaxis import from_us
from ingest import wire
from ingest.protocols import MessageProtocol, chirpstack, csv_file, find, parquet_file, senml

FRAMES = Path(__file__).parent / "frames"
NOW = datetime(2026, 6, 22, 4, 0, tzinfo=UTC)
TOPICS = {
    "chirpstack": "application/a/device/0101010101010101/event/up",
    "senml": "senml/demo/gateway",
}
PACKS = [path.read_bytes() for path in sorted(FRAMES.glob("senml_*.json"))]
UPLINK = (FRAMES / "chirpstack_v4_up_object.json").read_bytes()
MODULES = {"chirpstack": chirpstack, "senml": senml}

fast = settings(max_examples=150, deadline=None)
with_files = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def check(name: str, payload: bytes) -> None:
    """Readings that can be stored, or DecodeError."""
    try:
        decoded = MODULES[name].decode(TOPICS[name], payload, NOW)
    except DecodeError:
        return
    assert decoded.names
    assert len(decoded.names) == len(decoded.ts_us) == len(decoded.value)
    for (device, tag, unit), ts_us, value in zip(
        decoded.names, decoded.ts_us, decoded.value, strict=True
    ):
        assert math.isfinite(value)
        assert wire.EARLIEST <= from_us(ts_us) < wire.LATEST
        assert device.isprintable()
        assert tag.isprintable()
        (device + tag + (unit or "")).encode()


def test_every_protocol_is_fuzzed_here_or_in_a_test_of_its_own():
    tests = Path(__file__).parents[1]
    texts = [path.read_text() for path in tests.glob("**/test_*.py")]
    fuzzed = [text for text in texts if "@given" in text and "DecodeError" in text]
    for protocol in (*find().messages, *find().files):
        module = protocol.decode if isinstance(protocol, MessageProtocol) else protocol.read
        name = module.__module__.rpartition(".")[2]
        assert any(name in text for text in fuzzed), f"nobody fuzzes {name}"


@pytest.mark.parametrize("name", MODULES)
@fast
@given(payload=st.binary(max_size=200))
def test_any_bytes(name, payload):
    check(name, payload)


@pytest.mark.parametrize("name", MODULES)
@fast
@given(value=anything)
def test_any_json(name, value):
    check(name, json.dumps(value).encode())


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """``original`` with a piece replaced by other bytes."""
    place = st.integers(0, len(original))
    return st.builds(
        lambda start, length, piece: original[:start] + piece + original[start + length :],
        place,
        st.integers(0, 8),
        st.binary(max_size=8) | st.sampled_from([b"1e999", b"-", b"null", b"[", b"\\ud800", b"_"]),
    )


@fast
@given(payload=st.sampled_from(PACKS).flatmap(mutated))
def test_damaged_packs(payload):
    check("senml", payload)


@fast
@given(payload=mutated(UPLINK))
def test_damaged_uplinks(payload):
    check("chirpstack", payload)


@fast
@given(
    key=st.sampled_from(["time", "deviceInfo", "object", "fCnt", "rxInfo"]),
    value=anything,
    inner=st.none() | st.text(max_size=6),
)
def test_uplinks_with_a_field_exchanged(key, value, inner):
    event = json.loads(UPLINK)
    if inner is not None and isinstance(event.get(key), dict):
        event[key][inner] = value
    else:
        event[key] = value
    check("chirpstack", json.dumps(event).encode())


@fast
@given(
    fields=st.dictionaries(
        st.sampled_from(["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "s", "t", "ut"]),
        anything,
    )
)
def test_packs_with_fields_exchanged(fields):
    check("senml", json.dumps([{"n": "a:b", "v": 1}, fields]).encode())


def drain(chunks) -> None:
    try:
        for chunk in chunks:
            assert np.isfinite(chunk.value).all()
            assert chunk.code.max(initial=-1) < len(chunk.names)
            assert len(chunk.ts_us) == len(chunk.line) == len(chunk.quality) == len(chunk.code)
            for row in chunk.bad:
                row.text.encode()
    except DecodeError:
        pass


CSV = (
    b"device,tag,unit,ts,value,quality\n"
    b"urn:dev:meter-1,p,kW,2026-06-22T00:00:00Z,1.5,0\n"
    b'"urn:dev:meter-1",p,,2026-06-22T00:15:00.250+08:00,-2e3,\n'
    b"urn:dev:meter-1,p,kW,2026-06-22T00:30:00Z,3,32\n"
)


@with_files
@given(data=st.binary(max_size=300) | mutated(CSV) | mutated(CSV).map(lambda b: b * 3))
def test_csv_files(tmp_path, data):
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    drain(csv_file.read(path, block_bytes=120))


@with_files
@given(data=st.data())
def test_parquet_files(tmp_path, data):
    path = tmp_path / "any.parquet"
    ts = pa.array([0, 900_000_000, None], type=pa.timestamp("us", tz="UTC"))
    table = pa.table({"device": ["a", "b", None], "tag": ["p"] * 3, "ts": ts, "value": [1, 2, 3]})
    pq.write_table(table, path)
    path.write_bytes(data.draw(st.binary(max_size=60) | mutated(path.read_bytes())))
    drain(parquet_file.read(path))
