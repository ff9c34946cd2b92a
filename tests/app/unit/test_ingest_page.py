"""docs/ingest.md stays true: its JSON describes a city, its TOML a file, its commands exist."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app import cli
from app.settings import Settings
from core.setpoints import Answer
from core.sitetree import from_tree
from ingest import description, setpoint_listener, setpoints
from ingest.filemapping import of_tree
from ingest.hj212_frame import frame
from ingest.messages import Message
from ingest.spool import Spool

AT = datetime(2026, 6, 22, 4, tzinfo=UTC)
FACTORS = (34004, 34002, 21026, 21004, 50124, 21005, 10011, 10012, 10062, 10073)
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "ingest.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)


def parts() -> Iterator[dict[str, Any]]:
    """What the JSON of the page adds to a description: whole lists, or single things."""
    for text in blocks("json"):
        tree = json.loads(text if text.lstrip().startswith("{") else "{" + text + "}")
        if "issued_at" in tree:  # a message, not a part of a description
            continue
        if "pattern" in tree:
            yield {"profiles": [tree]}
        elif "host" in tree:
            yield {"links": [tree]}
        else:
            yield tree


def test_its_json_describes_a_city() -> None:
    (city,) = [part for part in parts() if "timezone" in part]
    for part in parts():
        if part is not city and "timezone" not in part:
            for name, things in part.items():
                city[name] = [*city.get(name, []), *things]
    site = from_tree(city, "")
    description.check(site)
    spoken = {p.protocol for p in site.profiles} | {link.protocol for link in site.links}
    assert spoken == {"sunspec", "json", "hj212", "ocpp", "modbus"}
    assert site.tags


def test_its_setpoint_and_the_answer_are_read_as_such() -> None:
    asked, answered = [text.encode() for text in blocks("json") if "issued_at" in text]
    schedule = setpoint_listener.decode("verdigrid/setpoints/battery-003", asked)
    answer = setpoints.decode_answer(setpoints.answer_topic("battery-003"), answered)
    assert (answer.asset, answer.answer) == ("battery-003", Answer.ACCEPTED)
    assert answer.issued_at == schedule.issued_at


def test_its_toml_describes_files() -> None:
    (text,) = blocks("toml")
    assert of_tree(tomllib.loads(text), "page").files == "meter_*.csv"


def test_its_settings_exist() -> None:
    named = set(re.findall(r"VERDIGRID_([A-Z0-9_]+)", PAGE))
    assert len(named) >= 15
    assert named <= {name.upper() for name in Settings.model_fields}


def station() -> Message:
    """Minute data as in HJ 212-2017, C.4."""
    factors = ";".join(f"a{n}-Min=35.5,a{n}-Avg=36.1,a{n}-Max=37.2,a{n}-Flag=N" for n in FACTORS)
    head = "QN=20260622080501000;ST=22;CN=2051;PW=123456;MN=A110000_0001;Flag=5"
    sent = frame(f"{head};CP=&&DataTime=20260622080000;{factors}&&".encode())
    return Message("hj212/A110000_0001/Asia%2FShanghai", sent, AT)


def post() -> Message:
    samples = [
        {"value": "11040.0", "measurand": measurand, "unit": unit, "context": "Sample.Periodic"}
        for measurand, unit in (
            ("Power.Active.Import", "W"),
            ("Energy.Active.Import.Register", "Wh"),
            ("SoC", "Percent"),
        )
    ]
    call = {
        "connectorId": 1,
        "transactionId": 217000001,
        "meterValue": [{"timestamp": "2026-06-22T04:00:00Z", "sampledValue": samples}],
    }
    tags = ["1:Energy.Active.Import.Register", "1:Power.Active.Import", "1:SoC"]
    envelope = {
        "version": "ocpp1.6",
        "frame": [2, "0f1c2a77-4e0b-4a53", "MeterValues", call],
        "tags": tags,
    }
    return Message("ocpp/post-1", json.dumps(envelope, separators=(",", ":")).encode(), AT)


def inverter() -> Message:
    """Model 103: 50 registers behind its id and length."""
    document = {
        "sunspec": 1,
        "ts": "2026-06-22T04:00:00Z",
        "unit": 1,
        "tags": ["103.W", "103.WH"],
        "models": [{"address": 40070, "registers": "0067" * 52}],
        "refused": [],
    }
    return Message("sunspec/pv-roof-7", json.dumps(document, separators=(",", ":")).encode(), AT)


@pytest.mark.parametrize(
    ("named", "message", "each_s"),
    [("HJ 212 stations", station, 60), ("charging points", post, 60), ("inverters", inverter, 10)],
)
def test_an_hour_without_the_database_takes_what_it_says(
    tmp_path: Path, named: str, message: Callable[[], Message], each_s: int
) -> None:
    """By what one message takes, which is all that counts (tests/ingest/test_spool.py)."""
    (count, told_mb) = re.findall(rf"\| ([\d,]+) [^|]*{named}[^|]*\| (\d+) MB \|", PAGE)[0]
    with Spool(tmp_path / "spool.sqlite", capacity_bytes=1_000_000) as spool:
        spool.append([message()])
        hour_mb = spool.held_bytes * int(count.replace(",", "")) * 3600 / each_s / 1e6
    assert hour_mb == pytest.approx(float(told_mb), rel=0.03)
    assert hour_mb < Settings().spool_mb
    (rate,) = re.findall(r"are (\d+) kB/s for an\s+hour", PAGE)
    assert float(rate) == pytest.approx(Settings().spool_mb * 1e3 / 3600, abs=0.5)


@pytest.mark.parametrize(
    "said", sorted(set(re.findall(r"verdigrid ([a-z]+(?: [a-z0-9-]+)?)", PAGE)))
)
def test_its_commands_exist(said: str) -> None:
    name, _, below = said.partition(" ")
    command = get_command(cli.build(name)).commands[name]  # type: ignore[attr-defined]
    assert below in getattr(command, "commands", [""])


def test_its_options_exist() -> None:
    for line in re.findall(r"verdigrid (.*(?:\\\n.*)*)", PAGE):
        words = re.split(r"[^\w-]+", line.split("`")[0].split("#")[0])
        name, below = words[0], words[1] if len(words) > 1 else ""
        options = {word for word in words if word.startswith("--")}
        if options:
            group = get_command(cli.build(name)).commands[name]  # type: ignore[attr-defined]
            known = {o for p in group.commands[below].params for o in p.opts}
            assert options <= known, line
