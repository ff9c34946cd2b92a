"""docs/ingest.md stays true: its JSON describes a city, its TOML a file, its commands exist."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app import cli
from app.settings import Settings
from core.sitetree import from_tree
from ingest import description
from ingest.filemapping import of_tree

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "ingest.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)


def parts() -> Iterator[dict[str, Any]]:
    """What the JSON of the page adds to a description: whole lists, or single things."""
    for text in blocks("json"):
        tree = json.loads(text if text.lstrip().startswith("{") else "{" + text + "}")
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


def test_its_toml_describes_files() -> None:
    (text,) = blocks("toml")
    assert of_tree(tomllib.loads(text), "page").files == "meter_*.csv"


def test_its_settings_exist() -> None:
    named = set(re.findall(r"VERDIGRID_([A-Z0-9_]+)", PAGE))
    assert len(named) >= 15
    assert named <= {name.upper() for name in Settings.model_fields}


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
