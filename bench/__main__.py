"""Runs benchmarks and writes docs/benchmarks.md: ``python -m bench [NAME ...]``.

Every file ``bench/NAME_bench.py`` is a benchmark. It has ``rows()``, which gives dicts of figure,
ours, reference, ratio, unit, note; one with settings has ``arguments(parser)`` as well, and its
``rows(asked)`` takes what was asked. Its first line of documentation is the heading of its table.

Ratios travel between machines, seconds do not: both sides of a ratio are measured in one run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "benchmarks.md"

HEADER = """# Benchmarks

Made by `make bench`; a part of it anew by `python -m bench NAME --write`. `ratio` is ours over the
reference, both measured in the same run; seconds and rates depend on the machine, ratios much less.
"""
SECTION = """
## {name}

{title}
{date}: {cores} cores ({model}), {memory:.0f} GB of memory, Python {python}; {seconds:.0f} s.

| figure | ours | reference | ratio | unit | note |
|---|---|---|---|---|---|
"""


def names() -> list[str]:
    """All benchmarks there are."""
    return sorted(p.stem.removesuffix("_bench") for p in Path(__file__).parent.glob("*_bench.py"))


def section(name: str, rows: list[str], module: ModuleType, seconds: float) -> str:
    """The part of docs/benchmarks.md that one benchmark fills."""
    return SECTION.format(
        name=name,
        title=(module.__doc__ or name).partition("\n")[0],
        date=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        model=_model(),
        memory=_memory_gb(),
        python=platform.python_version(),
        seconds=seconds,
    ) + "".join(rows)


def merged(text: str, sections: dict[str, str]) -> str:
    """The document with these sections in it, the others as they stand in ``text``, by name."""
    parts = re.split(r"^## (\S+)$", text, flags=re.MULTILINE)
    kept = {
        name: f"\n## {name}{body.rstrip()}\n"
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
        if name in names()
    }
    return HEADER + "".join(body for _, body in sorted({**kept, **sections}.items()))


def main() -> int:
    """Run all benchmarks and write the document, or run those named and only print."""
    parser = argparse.ArgumentParser(prog="bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--write", action="store_true", help="renew the sections of those named")
    # Names come first: what settings there are depends on them.
    named = list(takewhile(lambda a: not a.startswith("-"), sys.argv[1:]))
    unknown = sorted(set(named) - set(names()))
    if unknown:
        print(
            f"No benchmark {', '.join(unknown)}; there are {', '.join(names())}.", file=sys.stderr
        )
        return 1
    modules = {n: importlib.import_module(f"bench.{n}_bench") for n in named or names()}
    for module in modules.values():
        if hasattr(module, "arguments"):
            module.arguments(parser)
    asked = parser.parse_args()
    done = {name: _run(name, module, asked) for name, module in modules.items()}
    if asked.write or not asked.names:
        TARGET.write_text(merged(TARGET.read_text() if TARGET.exists() else "", done))
    return 0


def _run(name: str, module: ModuleType, asked: argparse.Namespace) -> str:
    started = time.monotonic()
    found = module.rows(asked) if hasattr(module, "arguments") else module.rows()
    lines = [_line(row) for row in found]
    seconds = time.monotonic() - started
    print("".join(lines), end="", flush=True)
    print(f"({name}: {seconds:.0f} s)", file=sys.stderr)
    return section(name, lines, module, seconds)


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return "" if value is None else str(value).replace("|", "/")


def _line(row: dict[str, Any]) -> str:
    columns = ("figure", "ours", "reference", "ratio", "unit", "note")
    return "| " + " | ".join(_cell(row.get(name)) for name in columns) + " |\n"


if __name__ == "__main__":
    sys.exit(main())
