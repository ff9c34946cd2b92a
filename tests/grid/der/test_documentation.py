"""docs/der.md names what the types read, each where an integrator looks for it."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

import grid.der
from core.sites import AssetKind
from grid.der import found

FOLDER = Path(grid.der.__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "der.md"
READERS = {"parameter", "optional", "by_hour", "pairs", "word"}
KINDS = sorted(str(kind) for kind in found())


@cache
def _functions() -> dict[tuple[str, str], ast.AST]:
    """Every function of the folder, by module and name."""
    made = {}
    for path in FOLDER.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                made[path.stem, node.name] = node
    return made


@cache
def _imported(module: str) -> dict[str, tuple[str, str]]:
    """What a module takes from its neighbours: name there -> (module, name)."""
    names = {}
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grid.der._"):
            for alias in node.names:
                names[alias.asname or alias.name] = ((node.module or "")[9:], alias.name)
    return names


def _read_by(module: str, function: str, seen: set[tuple[str, str]]) -> set[str]:
    """The names of parameters that a function reads, with all that it calls."""
    if (module, function) in seen:
        return set()
    seen.add((module, function))
    read = set()
    for node in ast.walk(_functions()[module, function]):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        name = node.func.id
        if name in READERS:
            assert isinstance(node.args[1], ast.Constant), f"{module}: a name in quotes, please"
            read.add(node.args[1].value)
        elif (module, name) in _functions():
            read |= _read_by(module, name, seen)
        elif name in _imported(module):
            read |= _read_by(*_imported(module)[name], seen)
    return read


def _read(kind: str) -> set[str]:
    module, function = kind, "envelope"
    if (module, function) not in _functions():
        module, function = _imported(kind)["curtailable"]
    return _read_by(module, function, set())


def _sections() -> dict[str, str]:
    parts = re.split(r"(?m)^##+ (.+)$", PAGE.read_text())
    return {
        name.lower().replace(" ", "-"): text
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def _told(kind: str) -> str:
    """The section of a kind, and those it leads to."""
    sections, told, ahead = _sections(), "", [kind]
    for name in ahead:
        told += sections[name]
        ahead += [link for link in re.findall(r"\]\(#([\w-]+)\)", sections[name])
                  if link not in ahead]  # fmt: skip
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_names_all_that_a_type_reads(kind):
    told = set(re.findall(r"`(\w+)`", _told(kind)))
    der_type = found()[AssetKind(kind)]
    assert _read(kind), kind
    assert _read(kind) - told == set()
    assert {*der_type.profiles, *der_type.states} - told == set()


def test_the_page_names_nothing_that_no_type_reads():
    rows = re.findall(r"(?m)^\| (`.+?) \|", PAGE.read_text())
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set().union(*(_read(kind) for kind in KINDS))
    assert len(named) > 90


def test_its_example_is_a_plant(make):
    (text,) = re.findall(r"(?s)```json\n(.+?)```", PAGE.read_text())
    asset = json.loads(text)
    made = make(AssetKind(asset["kind"]), asset["parameters"])
    assert made.element == asset["element"]
    assert made.account.capacity_mwh == 1.0
