"""Readings over HTTP to commit, against COPY BINARY of the same number of rows.

The server is a process of its own (uvicorn, one worker) over an embedded database; requests carry
100,000 rows. Both sides write into the same partitioned, keyed table, in turns. The sender is
written so that it costs little, but shares the machine with the server and the database.
"""

from __future__ import annotations

import gzip
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
from psycopg.sql import SQL

from app.machinetokens import new_token
from app.wiring import wall_now
from core.readings import READING_DTYPE
from core.series import Series
from core.sites import Asset, AssetKind, Site, Tag
from core.timeaxis import from_us
from store import backend, copybinary, series, sites, writing
from store.database import Database
from store.embedded import EmbeddedServer
from store.migrate import migrate

ROWS = 100_000
SERIES = 1_000
ROUNDS = 8
_STEP_US = 60_000_000
_FIRST_US = 1_782_057_600_000_000  # 2026-06-22 00:00 +08:00

_COPY = SQL("COPY reading (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY)")

_SERVE = """
import sys
import uvicorn
from datetime import timedelta
from fastapi import FastAPI
from app.accountgate import AccountGate
from app.auth import SessionLimits
from app.ingest_api import ingest_router
from app.wiring import load_city
from store.database import Database

with Database(sys.argv[1]) as database:
    application = FastAPI()
    limits = SessionLimits(timedelta(hours=1), timedelta(hours=1))
    application.add_middleware(AccountGate, database=database, limits=limits)
    application.include_router(ingest_router(load_city(database)))
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[2]), log_config=None)
"""


def _site() -> Site:
    ids = [f"meter-{n}" for n in range(SERIES)]
    return Site(
        id="bench",
        name_en="Bench",
        name_zh="",
        timezone="UTC",
        lat=0.0,
        lon=0.0,
        simulated=True,
        network_json="",
        assets=tuple(Asset(i, AssetKind.METER, i, "") for i in ids),
        enterprises=(),
        series=tuple(Series("bench", i, "p_mw", timedelta(minutes=1)) for i in ids),
        tags=tuple(Tag(i, "p", "kW", f"bench/{i}/p_mw") for i in ids),
    )


@contextmanager
def _served() -> Iterator[tuple[Database, str]]:
    """A database, and the address of the interface over it."""
    folder = Path(tempfile.mkdtemp(prefix="verdigrid-bench-"))
    server = EmbeddedServer.start(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        with Database(server.url) as database:
            migrate(database)
            with database.connection() as connection:
                sites.save(connection, _site())
                series.register(connection, _site().series)
            process = subprocess.Popen([sys.executable, "-c", _SERVE, server.url, str(port)])
            try:
                _wait(f"http://127.0.0.1:{port}")
                yield database, f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(30)
    finally:
        server.stop()
        shutil.rmtree((folder / "cluster").resolve())
        shutil.rmtree(folder)


def _wait(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            httpx.get(address)
            return
        time.sleep(0.1)
    raise TimeoutError(address)


def _batch(number: int, ids: np.ndarray) -> np.ndarray:
    """ROWS readings of SERIES series, no key twice over all numbers."""
    times = ROWS // SERIES
    rows = np.zeros(ROWS, READING_DTYPE)
    rows["series_id"] = np.tile(ids, times)
    rows["ts_us"] = _FIRST_US + (np.repeat(np.arange(times), SERIES) + number * times) * _STEP_US
    rows["value"] = np.arange(ROWS) * 0.5
    return rows


def _texts(batch: np.ndarray) -> Iterator[tuple[int, str, float]]:
    stamps = {us: from_us(us).isoformat() for us in np.unique(batch["ts_us"]).tolist()}
    for place, (us, value) in enumerate(zip(batch["ts_us"].tolist(), batch["value"], strict=True)):
        yield place % SERIES, stamps[us], float(value)


def _ndjson(batch: np.ndarray) -> bytes:
    return "".join(
        f'{{"device":"meter-{n}","tag":"p","unit":"kW","ts":"{ts}","value":{value}}}\n'
        for n, ts, value in _texts(batch)
    ).encode()


def _json(batch: np.ndarray) -> bytes:
    return b"[" + _ndjson(batch).rstrip().replace(b"\n", b",") + b"]"


def _csv(batch: np.ndarray) -> bytes:
    lines = "".join(f"meter-{n},p,kW,{ts},{value}\n" for n, ts, value in _texts(batch))
    return b"device,tag,unit,ts,value\n" + lines.encode()


_FORMS = {
    "NDJSON": ("application/x-ndjson", _ndjson, False),
    "JSON": ("application/json", _json, False),
    "CSV": ("text/csv", _csv, False),
    "NDJSON in gzip": ("application/x-ndjson", _ndjson, True),
}


def _post(client: httpx.Client, kind: str, content: bytes, *, packed: bool) -> float:
    headers = {"Content-Type": kind} | ({"Content-Encoding": "gzip"} if packed else {})
    began = time.perf_counter()
    answer = client.post("/api/v1/readings", content=content, headers=headers)
    seconds = time.perf_counter() - began
    if answer.json().get("accepted") != ROWS:
        raise RuntimeError(answer.text)
    return seconds


def _copy(database: Database, batch: np.ndarray) -> float:
    text = b"".join(writing.encode(writing.prepare(batch)))  # prepared before the clock starts
    with database.connection() as connection:
        connection.execute("SELECT 1")
        connection.commit()
        began = time.perf_counter()
        copybinary.send(connection, _COPY, text)
        connection.commit()
        return time.perf_counter() - began


def rows() -> list[dict[str, object]]:
    """figure, ours and reference (rows/s, medians), ratio (median of the rounds), unit, note."""
    spent: dict[str, list[float]] = {name: [] for name in ("copy", *_FORMS)}
    with _served() as (database, address):
        _, secret = new_token(database, "bench", label="", now=wall_now(), days=1)
        with database.connection() as connection:
            known = series.ids(connection)
            turns = (ROUNDS + 1) * (len(_FORMS) + 1)
            last_us = _FIRST_US + turns * (ROWS // SERIES) * _STEP_US
            days = range(_FIRST_US, last_us + 86_400_000_000, 86_400_000_000)
            backend.ensure(connection, (from_us(us).date() for us in days))
        ids = np.array([known[f"bench/meter-{n}/p_mw"] for n in range(SERIES)])
        headers = {"Authorization": f"Bearer {secret}"}
        number = 0
        with httpx.Client(base_url=address, headers=headers, timeout=120) as client:
            for turn in range(ROUNDS + 1):
                for name, (kind, write, packed) in _FORMS.items():
                    content = write(_batch(number, ids))
                    content = gzip.compress(content, 1) if packed else content
                    seconds = _post(client, kind, content, packed=packed)
                    number += 1
                    if turn:  # the first one warms up
                        spent[name].append(seconds)
                seconds = _copy(database, _batch(number, ids))
                number += 1
                if turn:
                    spent["copy"].append(seconds)
    return [_row(name, spent[name], spent["copy"]) for name in _FORMS]


def _row(name: str, ours: list[float], reference: list[float]) -> dict[str, object]:
    ratios = [r / o for o, r in zip(ours, reference, strict=True)]
    return {
        "figure": f"POST /api/v1/readings, {ROWS:,} rows of {name}, to commit",
        "ours": round(ROWS / statistics.median(ours)),
        "reference": round(ROWS / statistics.median(reference)),
        "ratio": round(statistics.median(ratios), 3),
        "unit": "rows/s",
        "note": "against COPY BINARY of bytes ready made; sender, server and database share cores",
    }


if __name__ == "__main__":
    for row in rows():
        print(row)
