"""The command line: every command helps, answers in JSON, and fails in one sentence."""

from __future__ import annotations

import json
import logging
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import cli
from app.alertwatch import AlertWatch
from app.auth import DEMO_PASSWORD, SessionLimits, ensure_demo_accounts, sign_in
from app.bookkeeping import Bookkeeping
from app.commands.output import emit_json, emit_table
from app.wiring import City, wall_now
from core.clock import CityClock
from core.readings import Rejected
from core.setpoints import Acknowledgement, Answer, Setpoint
from core.sites import AssetKind, DeviceProfile, ProfileTag, Site
from core.sitetree import to_tree
from core.timeaxis import QUARTER_HOUR, steps
from store import alerts, cityclock, quarantine, readings, runs, setpoints, sites, users
from store.database import Database

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The failure, as it is told."""
        assert self.code == 1, self
        assert self.out == ""
        assert "Traceback" not in self.err
        *_progress, last = self.err.splitlines()
        assert last.startswith("verdigrid: "), self.err
        return last.removeprefix("verdigrid: ")


Run = Callable[..., Said]


@pytest.fixture(autouse=True)
def _own_logs_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A command sets up logging for its process, which here is ours."""
    for name in [name for name in os.environ if name.startswith("VERDIGRID_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VERDIGRID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VERDIGRID_LOG_LEVEL", "error")
    monkeypatch.setenv("COLUMNS", "300")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``verdigrid ARGUMENTS`` in this process."""

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def installed(
    city: City, database_url: str, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> City:
    """The tiny city as the commands find it; it stands at noon, nearly."""
    with city.database.connection() as connection:
        cityclock.save(connection, CityClock(wall_now(), now, 0.001))
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", database_url)
    return city


# --- help --------------------------------------------------------------------------------------

GROUPS = (
    "forecast",
    "alerts",
    "carbon",
    "ledger",
    "ingest",
    "charging",
    "grid",
    "quarantine",
    "series",
    "site",
    "account",
    "store",
)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_helps(run: Run, command: str) -> None:
    said = run(command, "--help")
    assert said.code == 0
    assert f"verdigrid {command}" in said.out
    assert run(command, "-h") == said
    listed = set(re.findall(r"^│ ([a-z]+)  ", said.out, re.MULTILINE))
    if command in GROUPS:
        assert listed
        for name in listed:
            part = run(command, name, "--help")
            assert part.code == 0
            assert "--json" in part.out or (command, name) in (
                ("site", "export"),
                ("grid", "export"),
            )
    elif not cli.COMMANDS[command].hidden:
        assert "--json" in said.out


def test_the_overview_lists_every_command_but_the_hidden_ones(run: Run) -> None:
    said = run("--help")
    assert said.code == 0
    listed = re.findall(r"^│ ([a-z]+) +(.+?) +│$", said.out, re.MULTILINE)
    shown = {name: command for name, command in cli.COMMANDS.items() if not command.hidden}
    assert [name for name, _ in listed] == list(shown)
    for name, text in listed:
        assert text == shown[name].help


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["dispatch", "--nonsense"], ["alerts", "ack", "x"]]
)
def test_a_slip_of_the_pen_is_a_usage_error(run: Run, arguments: Sequence[str]) -> None:
    said = run(*arguments)
    assert said.code == 2
    assert "Usage: verdigrid" in said.err
    assert "Traceback" not in said.err


# --- nothing there -----------------------------------------------------------------------------


def test_status_says_that_nothing_runs(run: Run) -> None:
    said = run("status")
    assert said.code == 3
    assert "does not run" in said.err
    said = run("status", "--json")
    assert (said.code, json.loads(said.out)) == (3, {"running": False})


def test_down_where_nothing_runs_is_no_failure(run: Run) -> None:
    said = run("down", "--json")
    assert (said.code, json.loads(said.out)) == (0, {"stopped": False})


NOWHERE = "postgresql://nobody:secret-word@127.0.0.1:1/nothing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["dispatch"],
        ["forecast", "scores"],
        ["alerts", "list"],
        ["ledger", "verify", "--json"],
        ["ingest", "file", "x.csv"],
        ["quarantine", "counts"],
        ["site", "show"],
        ["account", "list"],
    ],
)
def test_a_database_that_is_nowhere_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", NOWHERE)
    sentence = run(*arguments).sentence
    assert sentence.startswith("The database 127.0.0.1:1/nothing cannot be reached")
    assert "VERDIGRID_DATABASE_URL" in sentence
    assert "secret-word" not in sentence


def test_a_bad_setting_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERDIGRID_PORT", "0")
    assert run("status").sentence.startswith("VERDIGRID_PORT cannot be used")


def test_a_database_without_a_city_is_one_sentence(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", database_url)
    for arguments in (["dispatch"], ["site", "show"], ["forecast", "run"], ["serve"]):
        assert "No city is described" in run(*arguments).sentence


@pytest.fixture
def as_somebody() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the command line as a user who is not root, by a Python that this user may run."""
    identity: dict[str, Any] = {}
    programs = [sys.executable]
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        programs.append("/usr/bin/python3")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VERDIGRID_")}
    packages = Path(pytest.__file__).parents[1]
    environment = {**kept, "PYTHONPATH": f"{ROOT}:{packages}", "HOME": "/"}

    def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        for program in programs:
            try:
                done = subprocess.run(
                    [program, "-m", "app.cli", *arguments],
                    cwd="/",
                    env={**environment, "VERDIGRID_HOME": str(home)},
                    capture_output=True,
                    text=True,
                    check=False,
                    **identity,
                )
            except OSError:
                continue
            if "ModuleNotFoundError" not in done.stderr:
                return done
        pytest.skip("no Python here that an ordinary user may run")

    return run  # type: ignore[return-value]


@pytest.mark.parametrize("command", [["status"], ["up"], ["alerts", "list"]])
def test_a_folder_of_somebody_else_is_one_sentence(
    as_somebody: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    command: list[str],
) -> None:
    home = tmp_path / "locked" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o700 if os.geteuid() == 0 else 0o000)
    done = as_somebody(*command, home=home)
    home.parent.chmod(0o700)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("verdigrid: ") == 1
    assert str(home) in done.stderr
    assert "Permission denied" in done.stderr


# --- dispatch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ["tomorrow", "2026-13-01", "2026-06-31"])
def test_a_day_that_is_none_is_named(installed: City, run: Run, day: str) -> None:
    assert run("dispatch", "--day", day).sentence == f"{day!r} is no day; write it as YYYY-MM-DD."


def test_a_day_that_is_too_far_is_named(installed: City, run: Run) -> None:
    sentence = run("dispatch", "--day", "2026-06-30").sentence
    assert "2026-06-30 lies more than two days ahead" in sentence
    assert "2026-06-25" in sentence


def test_a_dispatch_is_compared_with_the_uncontrolled_day(
    installed: City, run: Run, write: Callable[..., None], now: datetime
) -> None:
    yesterday = datetime(2026, 6, 23, 16, tzinfo=UTC)
    for i in range(3):
        write({f"tiny/load-00{i}/p_mw": 0.5}, yesterday, now, QUARTER_HOUR)
    said = run("dispatch", "--day", "2026-06-24", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["status"] == "optimal"
    assert found["violations"] == []
    # 1.5 MW: 8 hours at 400 and 16 at 800 CNY/MWh, and what little the line loses.
    assert found["baseline"]["cost_cny"] == pytest.approx(1.5 * (8 * 400 + 16 * 800), rel=0.01)
    assert found["planned"]["cost_cny"] < found["baseline"]["cost_cny"]
    shown = run("dispatch", "--day", "2026-06-24")
    assert shown.code == 0
    for word in ("Dispatch of 2026-06-24", "uncontrolled", "planned", "Losses", "Highest voltage"):
        assert word in shown.out
    assert "AC check clean" in shown.err


def test_a_dispatch_that_must_open_limits_says_which_and_ends_with_2(
    run: Run,
    installed: City,
    with_site: Callable[..., City],
) -> None:
    full = {"p_max_mw": 0.001, "e_max_mwh": 2.0, "soc_end": 1.0}
    given = installed.site.assets
    with_site(assets=tuple(replace(a, parameters=full) if "battery" in a.id else a for a in given))
    said = run("dispatch", "--json")
    assert said.code == 2, said.err
    told = json.loads(said.out)
    assert told["status"] == "relaxed"
    assert told["planned"] is not None
    assert {g["limit"] for g in told["given"] if g["hard"]} == {"least_energy"}
    shown = run("dispatch")
    assert shown.code == 2
    assert "Status relaxed" in shown.err
    assert "What must give" in shown.out
    assert "no schedule keeps it" in shown.out


def test_a_dispatch_says_why(run: Run, installed: City) -> None:
    battery = next(a.id for a in installed.site.assets if "battery" in a.id)
    said = run("dispatch", "--day", "2026-06-24", "--why", battery, "--at", "02:00", "--json")
    told = json.loads(said.out)
    assert told["why"]["asset"] == battery
    assert "at 02:00" in told["why"]["text_en"]
    assert "02:00" in told["why"]["text_zh"]
    assert len(told["why"]["steps"]) == 96
    kept = run("dispatch", "--why", battery, "--at", "02:00", "--run", str(told["run_id"]))
    assert kept.code == 0
    assert told["why"]["text_en"] in kept.err
    assert "What decides on" in kept.out
    assert (
        "no device 'nobody'"
        in run("dispatch", "--why", "nobody", "--run", str(told["run_id"])).sentence
    )
    assert run("dispatch", "--at", "02:00").sentence == "--at and --run go with --why."


def test_a_plan_is_approved_or_refused_once(installed: City, run: Run, now: datetime) -> None:
    with installed.database.connection() as connection:
        waiting = []
        for _ in range(2):
            waiting.append(runs.start(connection, "day_ahead", "schedule", now))
            runs.finish(connection, waiting[-1], "proposed", {})
            runs.propose(connection, waiting[-1], now + timedelta(hours=1))
    said = run("dispatch", "approve", waiting[0], "--comment", "fine", "--by", "li", "--json")
    assert json.loads(said.out) == {"id": waiting[0], "decision": "approved"}
    assert run("dispatch", "refuse", waiting[1], "--comment", "no").code == 0
    sentence = run("dispatch", "approve", waiting[1]).sentence
    assert sentence == f"Run {waiting[1]} does not wait for approval: it is refused."
    assert run("dispatch", "approve", 999_999).sentence == "There is no run 999999."
    rows = json.loads(run("dispatch", "runs", "--json").out)
    assert [(r["id"], r["state"], r["decided_by"], r["comment"]) for r in rows] == [
        (waiting[1], "refused", "console", "no"),
        (waiting[0], "optimal", "li", "fine"),
    ]


def test_set_points_are_listed_with_their_answers(installed: City, run: Run, now: datetime) -> None:
    times = steps(now, now + timedelta(hours=1), QUARTER_HOUR)
    asked = [
        Setpoint(asset, times, np.full(4, 0.2), now + timedelta(hours=1), 0.0)
        for asset in ("battery-000", "pv-000")
    ]
    issued = now - timedelta(minutes=10)
    with installed.database.connection() as connection:
        run_id = runs.start(connection, "intraday", "schedule", now)
        runs.finish(connection, run_id, "optimal", {})
        setpoints.prepare(connection, run_id, asked)
        setpoints.sending(connection, run_id, asked, issued)
        answer = Acknowledgement("battery-000", issued, Answer.ACCEPTED, "b0")
        setpoints.acknowledge(connection, [answer], now)
    rows = json.loads(run("dispatch", "setpoints", "--json").out)
    assert [(r["asset"], r["status"], r["asked_mw"]) for r in rows] == [
        ("battery-000", "accepted", 0.2),
        ("pv-000", "overdue", 0.2),
    ]
    shown = run("dispatch", "setpoints", "--open").out
    assert "pv-000" in shown
    assert "battery-000" not in shown


# --- what if -----------------------------------------------------------------------------------


def test_a_city_with_another_tariff_and_a_battery_is_compared_and_never_followed(
    installed: City, run: Run, write: Callable[..., None], now: datetime, tmp_path: Path
) -> None:
    yesterday = datetime(2026, 6, 23, 16, tzinfo=UTC)
    for i in range(3):
        write({f"tiny/load-00{i}/p_mw": 0.5}, yesterday, now, QUARTER_HOUR)
    base = json.loads(run("dispatch", "--day", "2026-06-24", "--json").out)["run_id"]
    tariff = tmp_path / "flat.csv"
    tariff.write_text("hour,import_cny_per_mwh\n" + "".join(f"{h},1000\n" for h in range(24)))
    said = run("whatif", "--base", base, "--tariff", tariff, "--battery", "1:1:4", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["title"] == "tariff of flat.csv, battery of 1 MW, 4 MWh at bus 1"
    # At one price all day there is nothing to gain: 1.5 MW for a day, and what the line loses.
    assert found["planned"]["cost_cny"] == pytest.approx(1.5 * 24 * 1000, rel=0.01)
    assert found["base"]["cost_cny"] < found["planned"]["cost_cny"]
    shown = run("whatif", "--base", base, "--tariff-factor", 2)
    assert shown.code == 0, shown.err
    assert "What if: import tariff × 2" in shown.out
    # The only line is lost: the findings say who is in the dark by it.
    lost = json.loads(run("whatif", "--base", base, "--line", 0, "--json").out)
    assert lost["title"] == "without line 0"
    assert any("dark" in finding for finding in lost["findings"])
    with installed.database.connection() as connection:
        kept = runs.recent(connection, 5, ["what_if"])[1:]
        followed = runs.in_force(connection, "intraday", yesterday, now)
        sent = setpoints.newest(connection)
    assert [r.summary["what_if"]["base_run"] for r in kept] == [base, base]
    assert kept[0].summary["what_if"]["title_zh"] == "购电电价 × 2"
    assert not followed.data_vars
    assert sent == []
    assert [r["id"] for r in json.loads(run("dispatch", "runs", "--json").out)] == [base]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs something that is different"),
        (("--tariff-factor", 2), "There is no plan yet to start from"),
        (("--base", 99_999, "--pv", 2), "There is no run 99999 to start from"),
        (("--battery", "12"), "write BUS:MW:MWH"),
        (("--tariff", "nowhere.csv"), "nowhere.csv cannot be read"),
        (("--line", 7), "The network has no line 7"),
    ],
)
def test_a_what_if_of_no_use_is_one_sentence(
    installed: City, run: Run, arguments: Sequence[object], said: str
) -> None:
    assert said in run("whatif", *arguments).sentence


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0,100\n", "lacks the hours 1, 2"),
        ("0,100\n0,100\n", "Line 3 .* stands twice"),
        ("24,100\n", "Line 2 .* the hour 24 is none"),
        ("0,cheap\n", "Line 2 .* could not convert"),
    ],
)
def test_a_tariff_of_no_use_is_named_by_line(
    installed: City, run: Run, tmp_path: Path, rows: str, said: str
) -> None:
    tariff = tmp_path / "wrong.csv"
    tariff.write_text("hour,import_cny_per_mwh\n" + rows)
    assert re.search(said, run("whatif", "--tariff", tariff).sentence)


# --- series ------------------------------------------------------------------------------------


class TestSeries:
    KEY = "tiny/load-000/p_mw"

    @pytest.fixture(autouse=True)
    def rows(self, installed: City, now: datetime, write: Callable[..., None]) -> None:
        """A day of power without the hour before noon."""
        write({self.KEY: 1.0}, now - timedelta(days=1), now - timedelta(hours=1), QUARTER_HOUR)

    def test_search(self, run: Run) -> None:
        rows = json.loads(run("series", "search", "LOAD", "q_mvar", "--json").out)
        assert [row["key"] for row in rows] == [f"tiny/load-00{n}/q_mvar" for n in range(3)]
        assert rows[0]["resolution_s"] == 900
        assert run("series", "search", "--kind", "battery", "--limit", 1).out.count("tiny/") == 1
        assert run("series", "search", "nowhere").out == "Series: none.\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("search", "--box", "1,2,3"), "south,west,north,east"),
            (("search", "--flag", "late", "--flag", "rotten"), "no flag 'rotten'.*late"),
            (("show", "tiny/nothing/p_mw"), "no series 'tiny/nothing/p_mw'"),
            (("gaps", "tiny/nothing/p_mw"), "no series 'tiny/nothing/p_mw'"),
            (("correct", KEY, "2026-06-25T03:00:00", 1, "--reason", "so"), "has no zone"),
            (("correct", KEY, "2026-06-25T03:00Z", "nan", "--reason", "so"), "no value of p_mw"),
            (("correct", KEY, "2026-06-25T03:00Z", 1e6, "--reason", "so"), "10000 MW"),
            (("correct", KEY, "2026-06-25T03:00Z", 1, "--reason", " "), "needs a reason"),
        ],
    )
    def test_what_makes_no_sense(self, run: Run, arguments: tuple[object, ...], said: str) -> None:
        assert re.search(said, run("series", *arguments).sentence)

    def test_what_is_missing(self, run: Run, now: datetime) -> None:
        (gap,) = json.loads(run("series", "gaps", self.KEY, "--json").out)
        assert (gap["missing"], gap["cause"]) == (4, "source")
        assert datetime.fromisoformat(gap["start"]) == now - timedelta(hours=1)
        assert "missing at the source" in run("series", "gaps").out
        assert run("series", "gaps", "tiny/load-001/p_mw").out == "Gaps: none.\n"

    def test_who_is_online(self, run: Run) -> None:
        rows = json.loads(run("series", "online", "--json").out)
        assert {row["kind"]: row["total"] for row in rows}["meter"] == 3
        assert "air-01" in run("series", "online", "--assets").out

    def test_a_correction_is_made_once_and_kept_for_good(self, run: Run, now: datetime) -> None:
        ts = (now - timedelta(hours=2)).isoformat()
        asked = ("series", "correct", self.KEY, ts, "-0.5", "--reason", "ratio [a]", "--by", "li")
        assert json.loads(run(*asked, "--json").out)["done"] == "changed"
        assert run(*asked).out == ""  # what is told people goes to standard error
        told = json.loads(run("series", "show", self.KEY, "--json").out)
        (revision,) = told["revisions"]
        assert (revision["old_value"], revision["new_value"]) == (1.0, -0.5)
        assert (revision["reason"], revision["by_whom"]) == ("ratio [a]", "li")
        assert "ratio [a]" in run("series", "show", self.KEY).out

    def test_a_gap_is_filled_by_hand(self, run: Run, now: datetime) -> None:
        ts = (now - timedelta(hours=1)).isoformat()
        asked = ("series", "correct", self.KEY, ts, 2, "--reason", "read off", "--estimated")
        assert json.loads(run(*asked, "--json").out)["done"] == "added"
        (gap,) = json.loads(run("series", "gaps", self.KEY, "--json").out)
        assert gap["missing"] == 3


# --- ingest ------------------------------------------------------------------------------------


def test_a_file_of_readings_is_imported_once(installed: City, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "readings [a].csv"
    file.write_text(
        "device,tag,unit,ts,value\n"
        "meter-0,p,kW,2026-06-25T11:45:00+08:00,1500\n"
        "meter-9,p,kW,2026-06-25T11:45:00+08:00,1500\n"
    )
    counts = {"file": str(file), "read": 2, "stored": 1, "duplicates": 0, "rejected": 1}
    counts |= {"first_reason": "row 3: unknown device 'meter-9'", "error": ""}
    assert json.loads(run("ingest", "file", file, "--json").out) == [counts]
    again = {**counts, "stored": 0, "duplicates": 1}
    assert json.loads(run("ingest", "file", file, "--json").out) == [again]
    with installed.database.connection() as connection:
        (row,) = readings.latest(connection).itertuples()
    assert (row.key, row.value) == ("tiny/load-000/p_mw", 1.5)
    assert row.ts == datetime(2026, 6, 25, 3, 45, tzinfo=UTC)


def test_a_file_that_is_none_is_named(installed: City, run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "[/nothing].csv"
    assert run("ingest", "file", missing).sentence == f"There is no file {missing}."
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"\x00\xff\xfe")
    assert "broken.csv" in run("ingest", "file", broken).sentence
    headless = tmp_path / "headless.csv"
    headless.write_text("meter-0,p,kW,2026-06-25T11:45:00+08:00,1500\n")
    assert "headless.csv" in run("ingest", "file", headless).sentence
    other = tmp_path / "readings.xml"
    other.write_text("<a/>")
    assert "xml" in run("ingest", "file", other).sentence
    parquet = tmp_path / "readings.parquet"
    parquet.write_text("device,tag,unit,ts,value\n")
    assert "readings.parquet" in run("ingest", "file", parquet).sentence


def test_the_protocols_need_no_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", NOWHERE)
    names = {row["name"] for row in json.loads(run("ingest", "protocols", "--json").out)}
    assert {"chirpstack", "senml", "csv", "parquet"} <= names


# --- site --------------------------------------------------------------------------------------


@pytest.fixture
def description(site: Site, tmp_path: Path) -> Path:
    file = tmp_path / "city.json"
    file.write_text(json.dumps(to_tree(site)), "utf-8")
    return file


def test_a_city_goes_in_and_comes_out_again(
    database: Database,
    database_url: str,
    site: Site,
    run: Run,
    description: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VERDIGRID_DATABASE_URL", database_url)
    grid = tmp_path / "grid.json"
    grid.write_text(site.network_json)
    said = run("site", "load", description, "--network", grid, "--json")
    assert (said.code, json.loads(said.out)["saved"]) == (0, True)
    with database.connection() as connection:
        assert sites.load(connection) == site
        assert users.all_users(connection) == []  # describing a city makes no accounts
    out, out_grid = tmp_path / "out.json", tmp_path / "out-grid.json"
    assert run("site", "export", out, "--network", out_grid).code == 0
    assert json.loads(out.read_text()) == json.loads(description.read_text())
    assert out_grid.read_text() == site.network_json
    shown = json.loads(run("site", "show", "--json").out)
    assert shown["assets"]["meter"] == 3


def test_a_description_without_a_grid_leaves_the_city_the_one_it_has(
    installed: City, run: Run, description: Path
) -> None:
    assert installed.site.network_json
    assert run("site", "load", description).code == 0
    with installed.database.connection() as connection:
        assert sites.load(connection) == installed.site


def test_a_description_takes_the_place_of_one_that_is_of_no_use_any_more(
    installed: City, run: Run, description: Path
) -> None:
    """What a former version saved may be refused by this one: that is when one is needed."""
    with installed.database.connection() as connection:
        connection.execute("UPDATE site SET description = description - 'timezone'")
    assert "'timezone' is missing" in run("site", "show").sentence
    assert run("site", "load", description).code == 0
    with installed.database.connection() as connection:
        assert sites.load(connection) == installed.site  # with the grid it had


def test_a_changed_profile_reaches_the_devices_that_are_registered(
    installed: City, run: Run, tmp_path: Path
) -> None:
    power, voltage = ProfileTag("p", "p_mw", "kW", 60.0), ProfileTag("v", "vm_pu", "1")
    profile = DeviceProfile("street meters", "senml", "m-*", AssetKind.METER, (power,))

    def load(*tags: ProfileTag) -> Said:
        changed = replace(installed.site, profiles=(replace(profile, tags=tags),))
        file = tmp_path / "changed.json"
        file.write_text(json.dumps(to_tree(changed)))
        return run("site", "load", file)

    def register(*device: str) -> list[dict[str, Any]]:
        said = run("ingest", "register", *device, "--profile", "street meters", "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)

    load(power)
    for device in ("m-1", "m-2"):
        assert [row["change"] for row in register(device)] == ["new"]
    told = load(replace(power, unit="W"), voltage).err
    assert "2 devices are registered by 'street meters' as it was before" in told
    assert "verdigrid ingest register --profile 'street meters'" in told
    (row,) = json.loads(run("ingest", "profiles", "--json").out)
    assert row["behind"] == 2
    assert [(r["tag"], r["change"]) for r in register("m-1")] == [
        ("p", "in kW before"),
        ("v", "new"),
    ]
    assert [(r["tag"], r["change"], r["devices"]) for r in register()] == [
        ("p", "in kW before", 1),
        ("v", "new", 1),
    ]
    assert register() == []
    assert "registered by" not in load(replace(power, unit="W")).err  # what went stays, and is told
    assert [r["change"] for r in register("m-1")] == [
        "",
        "stays, though the profile does not have it",
    ]


def test_a_description_that_no_receiver_could_use_changes_nothing(
    installed: City, run: Run, description: Path
) -> None:
    tree = json.loads(description.read_text("utf-8"))
    tree["links"].append({"protocol": "bacnet", "device": "d", "host": "h", "port": 1})
    description.write_text(json.dumps(tree), "utf-8")
    assert "'bacnet'" in run("site", "load", description).sentence
    with installed.database.connection() as connection:
        assert sites.load(connection) == installed.site


def test_a_real_city_in_the_place_of_the_sandbox_closes_its_accounts(
    installed: City, site: Site, run: Run, tmp_path: Path
) -> None:
    ensure_demo_accounts(installed.database, "ent-a")
    file = tmp_path / "real.json"
    file.write_text(json.dumps(to_tree(replace(site, simulated=False))))
    assert run("site", "load", file).code == 0
    limits = SessionLimits(timedelta(hours=1), timedelta(hours=1))
    token = sign_in(installed.database, "admin", DEMO_PASSWORD, now=wall_now(), limits=limits)
    assert token is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "must be a JSON object"),
        ('{"assets": [{}]}', r"assets\[0\] in the description of the city"),
    ],
)
def test_a_description_that_cannot_be_used_changes_nothing(
    installed: City, run: Run, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "city.json"
    if text is not None:
        file.write_text(text)
    assert re.search(said, run("site", "load", file).sentence)
    with installed.database.connection() as connection:
        assert sites.load(connection) == installed.site


def test_a_grid_that_cannot_be_used_changes_nothing(
    installed: City, run: Run, description: Path, tmp_path: Path
) -> None:
    grid = tmp_path / "grid.json"
    grid.write_text("{")
    run("site", "load", description, "--network", grid).sentence  # noqa: B018 - it asserts
    with installed.database.connection() as connection:
        assert sites.load(connection) == installed.site


def test_a_place_that_cannot_be_written_is_named(installed: City, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "no" / "such" / "folder.json"
    assert f"The file {target} cannot be written" in run("site", "export", target).sentence


# --- what is there -----------------------------------------------------------------------------

LOOKS_LIKE_MARKUP = "[/red] [bold]x[/bold] [/]"


def test_what_came_over_the_wire_is_shown_as_it_is(
    installed: City, run: Run, now: datetime
) -> None:
    with installed.database.connection() as connection:
        payload = LOOKS_LIKE_MARKUP.encode() + b"\xff"
        quarantine.add(connection, [Rejected("mqtt", LOOKS_LIKE_MARKUP, payload, now)])
    shown = run("quarantine", "list")
    assert shown.code == 0
    assert LOOKS_LIKE_MARKUP in shown.out
    assert LOOKS_LIKE_MARKUP in run("quarantine", "counts").out
    (row,) = json.loads(run("quarantine", "list", "--json").out)
    assert row["payload"] == LOOKS_LIKE_MARKUP + "\N{REPLACEMENT CHARACTER}"
    assert json.loads(run("quarantine", "counts", "--json").out) == {LOOKS_LIKE_MARKUP: 1}


def test_every_answer_in_json_can_be_read(
    installed: City, run: Run, write: Callable[..., None], now: datetime
) -> None:
    for i in range(3):
        write({f"tiny/load-00{i}/p_mw": 0.5}, now - timedelta(hours=3), now, QUARTER_HOUR)
    Bookkeeping(installed).footprints(now)
    for arguments in (
        ["alerts", "list"],
        ["alerts", "list", "--all"],
        ["ledger", "list"],
        ["ledger", "balances"],
        ["ledger", "verify"],
        ["forecast", "scores"],
        ["quarantine", "list"],
        ["site", "show"],
        ["account", "list"],
        ["store", "status"],
        ["store", "refresh"],
        ["store", "compress"],
    ):
        said = run(*arguments, "--json")
        assert said.code == 0, said.err
        json.loads(said.out)
        assert run(*arguments).code == 0
    assert json.loads(run("ledger", "verify", "--json").out)["findings"] == []
    rows = json.loads(run("ledger", "balances", "--owner", "ent-b", "--json").out)
    found = {row["account"]: row["balance"] for row in rows if row["account"].startswith("scope2.")}
    # 0.5 MW for 3 hours are 1.5 MWh; 0.5306 and 0.5827 kg/kWh; decimals stay decimals. No power
    # flow was traced, so that the province's factor stands in by the bus.
    assert found == {
        "scope2.location.national": "795.9",
        "scope2.location.province": "874.05",
        "scope2.location.bus": "874.05",
    }


def test_how_long_readings_are_kept(installed: City, run: Run) -> None:
    kept = json.loads(run("store", "policy", "pv", "raw", "26w", "--json").out)
    assert {"kind": "pv", "level": "raw", "keep": "182d", "after": ""} in kept
    assert json.loads(run("store", "status", "--json").out)["policies"] == kept
    assert "182d" in run("store", "status").out
    for keep, left in (("forever", "forever"), ("default", None)):
        kept = json.loads(run("store", "policy", "pv", "raw", keep, "--json").out)
        assert [p["keep"] for p in kept if p["kind"] == "pv"] == ([left] if left else [])
    for after, told in (("30d", "30d"), ("never", "never"), ("default", "7d")):
        kept = json.loads(run("store", "policy", "*", "packed", after, "--json").out)
        assert [p["after"] for p in kept if p["level"] == "packed"] == [told]
    assert "all kinds" in run("store", "policy", "pv", "packed", "30d").sentence
    assert "is no age" in run("store", "policy", "*", "packed", "forever").sentence
    assert "no length of time" in run("store", "policy", "pv", "raw", "soon").sentence
    assert "no kind of asset" in run("store", "policy", "windmill", "raw", "90d").sentence


def test_a_ledger_that_was_tampered_with_ends_with_2(
    installed: City, run: Run, write: Callable[..., None], now: datetime, database: Database
) -> None:
    write({"tiny/load-002/p_mw": 0.5}, now - timedelta(hours=3), now, QUARTER_HOUR)
    Bookkeeping(installed).footprints(now)
    with database.connection() as connection:
        connection.execute("ALTER TABLE ledger_entry DISABLE TRIGGER USER")
        connection.execute("UPDATE ledger_entry SET memo = 'less' WHERE sequence = 2")
    said = run("ledger", "verify", "--json")
    assert said.code == 2
    assert json.loads(said.out)["findings"]
    assert "is broken" in run("ledger", "verify").err


def test_an_alert_is_acknowledged_by_its_number(installed: City, run: Run) -> None:
    AlertWatch(installed).check(installed.now())
    number = json.loads(run("alerts", "list", "--json").out)[0]["id"]
    assert run("alerts", "ack", number, "--comment", "seen", "--by", "li").code == 0
    with installed.database.connection() as connection:
        (found,) = [a for a in alerts.active(connection) if a.id == number]
    assert (found.acknowledged_by, found.comment) == ("li", "seen")
    assert "no open alert 4711" in run("alerts", "ack", "4711").sentence


def test_a_forecast_is_made_at_the_console(
    installed: City, run: Run, write: Callable[..., None], now: datetime
) -> None:
    loads = {f"tiny/load-00{i}/p_mw": 0.5 for i in range(3)}
    write(loads, now - timedelta(days=9), now, QUARTER_HOUR)
    said = run("forecast", "run", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["series"] == 6  # three loads, one PV, and their two totals


def test_a_number_that_is_none_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (float("-inf"),)}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": [None]}}
    emit_table("Empty", ("a",), [])
    assert capsys.readouterr().out == "Empty: none.\n"


def test_the_console_script_is_this_command_line() -> None:
    installed_script = shutil.which("verdigrid", path=str(Path(sys.executable).parent))
    if installed_script is None:
        pytest.skip("the project is not installed in this environment")
    done = subprocess.run([installed_script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Commands" in done.stdout


def test_intensities_of_an_hour_by_bus(
    installed: City, run: Run, write: Callable[..., None], now: datetime
) -> None:
    assert "No hour has been traced" in run("carbon", "intensity").sentence
    p_mw = {"load-000": 1.2, "load-001": 0.8, "load-002": 0.5, "pv-000": 1.0, "battery-000": 0.0}
    values = {f"tiny/{asset}/p_mw": value for asset, value in p_mw.items()}
    write(values, now - timedelta(hours=1), now, QUARTER_HOUR)
    Bookkeeping(installed).hourly(now)
    rows = json.loads(run("carbon", "intensity", "--json").out)
    # 1.5 of 2.5 MW come from upstream, at 647.9.
    assert [(r["bus"], r["kgco2e_per_mwh"]) for r in rows] == [(0, 647.9), (1, 388.74)]
    assert "388.7" in run("carbon", "intensity", "--hour", "2026-06-25T11:30+08:00").out
    early = run("carbon", "intensity", "--hour", "2026-06-20T03:00Z")
    assert early.code == 1
    assert "was not traced" in early.sentence
