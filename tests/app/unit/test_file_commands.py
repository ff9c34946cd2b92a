"""``verdigrid ingest file`` and ``folder`` against a real database."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psycopg

from app.wiring import City

MAPPING = """
delimiter = ";"
decimal = ","
[time]
column = "Zeit"
format = "%d.%m.%Y %H:%M"
timezone = "Asia/Shanghai"
[[values]]
column = "P"
device = "meter-0"
tag = "p"
unit = "kW"
"""
TEXT = "Zeit;P\n24.06.2026 08:00;1000,5\n24.06.2026 08:15;x\n"

CALL = """
import os, sys
os.environ |= {"VERDIGRID_DATABASE_URL": sys.argv[1], "VERDIGRID_HOME": sys.argv[2]}
from app.cli import main
main(["ingest", *sys.argv[3:]])
"""


def values(city: City) -> list[float]:
    with psycopg.connect(city.database._url) as connection:
        return [v for (v,) in connection.execute("SELECT value FROM reading").fetchall()]


def test_a_file_is_imported_by_its_mapping(city: City, program, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "m.toml").write_text(MAPPING)
    arguments = ["file", tmp_path / "a.csv", "--mapping", tmp_path / "m.toml", "--json"]
    process = program(CALL, city.database._url, tmp_path / "home", *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (report,) = json.loads(out)
    assert (report["read"], report["stored"], report["rejected"]) == (2, 1, 1)
    assert report["first_reason"] == "row 3, column P: value is not a finite number"
    assert values(city) == [1.0005]


def test_a_file_that_cannot_be_read_does_not_keep_out_the_others(
    city: City, program, tmp_path: Path
) -> None:
    plain = "device,tag,unit,ts,value\nmeter-0,p,kW,2026-06-24T00:0{}:00Z,{}000\n"
    for number, name in enumerate(("a.csv", "d.csv")):
        (tmp_path / name).write_text(plain.format(number, number + 1))
    (tmp_path / "b.csv").write_text("nobody,knows,these,columns\n1,2,3,4\n")
    (tmp_path / "e.csv").write_text(TEXT)
    (tmp_path / "e.toml").write_text("[time]\nlabel = 'end'")
    paths = [tmp_path / name for name in ("a.csv", "b.csv", "gone.csv", "e.csv", "d.csv")]
    process = program(CALL, city.database._url, tmp_path / "home", "file", *paths, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "verdigrid: 3 of 5 files were not imported to their end."
    told = {Path(row["file"]).name: (row["stored"], row["error"]) for row in json.loads(out)}
    assert [name for name, (_, error) in told.items() if not error] == ["a.csv", "d.csv"]
    assert told["d.csv"] == (1, "")
    assert "There is no file" in told["gone.csv"][1]
    assert "needs interval_s" in told["e.csv"][1]
    assert sorted(values(city)) == [1.0, 2.0]


def test_a_broken_mapping_is_one_sentence(city: City, program, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("[time]\nlabel = 'end'")
    arguments = ["file", tmp_path / "a.csv", "--mapping", tmp_path / "m.toml"]
    process = program(CALL, city.database._url, tmp_path / "home", *arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "needs interval_s" in err
    assert "Traceback" not in err


def test_a_folder_is_watched_until_it_is_told_to_stop(
    city: City, program, tmp_path: Path, eventually
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.csv").write_text(TEXT)
    (drop / "a.toml").write_text(MAPPING)
    arguments = ["folder", drop, "--still-s", "0", "--poll-s", "0.05"]
    process = program(CALL, city.database._url, tmp_path / "home", *arguments)
    done = drop / "done"
    eventually("the file is done", lambda: done.exists() and list(done.glob("*-a.csv")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert values(city) == [1.0005]
    assert list((drop / "working").iterdir()) == []
