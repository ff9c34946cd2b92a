"""The house rules that a linter does not know."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHECKED = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))
PACKAGES = [name for name in CHECKED if name != "bench"]  # what is measured is not shipped


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout, so that nothing says which files belong to it")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def test_the_wheel_lists_exactly_the_packages_there_are() -> None:
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == PACKAGES


def test_the_linters_read_exactly_the_packages_there_are() -> None:
    assert PROJECT["tool"]["importlinter"]["root_packages"] == CHECKED
    assert PROJECT["tool"]["mypy"]["packages"] == CHECKED


@pytest.mark.parametrize("name", ["requirements.lock", "bench/peers.lock"])
def test_the_lock_holds_pins_and_hashes_and_no_address(name: str) -> None:
    for line in (ROOT / name).read_text().splitlines():
        assert re.fullmatch(r"\S+==\S+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_the_lock_satisfies_the_project() -> None:
    pins = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    pinned = {canonicalize_name(name): Version(version) for name, version in pins.items()}
    wanted = [*PROJECT["project"]["dependencies"]]
    wanted += PROJECT["project"]["optional-dependencies"]["dev"]
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not in requirements.lock; run `make lock`"
        assert pinned[name] in requirement.specifier, text


def test_what_is_imported_is_declared() -> None:
    """A package that comes with another one may go with it as well."""
    provided: dict[str, set[str]] = {}
    for distribution in distributions():
        for top in (distribution.read_text("top_level.txt") or "").split() or {
            f.parts[0].removesuffix(".py") for f in distribution.files or () if f.parts
        }:
            provided.setdefault(top, set()).add(canonicalize_name(distribution.metadata["Name"]))
    declared = {canonicalize_name(Requirement(r).name) for r in PROJECT["project"]["dependencies"]}
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
                if (
                    name not in PACKAGES
                    and name not in sys.stdlib_module_names
                    and name in provided
                ):
                    found.add((name, path.relative_to(ROOT)))
    undeclared = {(n, str(p)) for n, p in found if not provided[n] & declared}
    # They are the frameworks' own ground: fastapi is starlette and anyio, and says so.
    undeclared = {(n, p) for n, p in undeclared if n not in ("starlette", "anyio", "pydantic")}
    assert undeclared == set()


def test_no_module_is_named_like_a_package_or_the_standard_library() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).glob("*.py"):
            name = path.stem
            assert name not in PACKAGES, path
            assert name.startswith("__") or name not in sys.stdlib_module_names, path


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_only_store_holds_sql() -> None:
    assert {p.relative_to(ROOT).parts[0] for p in tracked() if p.suffix == ".sql"} == {"store"}
    statement = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|DELETE FROM|CREATE TABLE)\b")
    for package in PACKAGES:
        if package != "store":
            for path in (ROOT / package).rglob("*.py"):
                text = path.read_text()
                # A broker's spool is an SQLite file of its own, not the database.
                assert "sqlite3" in text or not statement.search(text), path


def test_the_readme_and_the_makefile_name_the_same_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)(?:^|`)make ([a-z]+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
