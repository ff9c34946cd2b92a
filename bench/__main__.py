"""Runs every ``bench/*_bench.py`` and writes docs/benchmarks.md.

A benchmark file has ``rows()``, which gives dicts of figure, ours, reference, ratio, unit, note.
Ratios travel between machines, seconds do not: both sides of a ratio are measured in one run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "benchmarks.md"

HEADER = """# Benchmarks

Made by `make bench` on {date}: {cores} cores ({model}), {memory:.0f} GB of memory, Python {python}.
`ratio` is ours over the reference, both measured in the same run; seconds and rates depend on
the machine, ratios much less.

| figure | ours | reference | ratio | unit | note |
|---|---|---|---|---|---|
"""


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
    names = ("figure", "ours", "reference", "ratio", "unit", "note")
    return "| " + " | ".join(_cell(row.get(name)) for name in names) + " |\n"


def main() -> int:
    """Run all, or only those named on the command line; without names the table is written."""
    parser = argparse.ArgumentParser(prog="bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="as in bench/NAME_bench.py")
    parser.add_argument("--minutes", help="how long the replay takes; 1 unless said")
    asked = parser.parse_args()
    if asked.minutes:
        os.environ["VERDIGRID_BENCH_REPLAY_MINUTES"] = asked.minutes
    found = sorted(p.stem for p in Path(__file__).parent.glob("*_bench.py"))
    named = {name.removesuffix("_bench") + "_bench" for name in asked.names}
    wanted = [name for name in found if not named or name in named]
    if not wanted:
        print(f"No benchmark of that name; there are {', '.join(found)}.", file=sys.stderr)
        return 1
    text = HEADER.format(
        date=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        model=_model(),
        memory=_memory_gb(),
        python=platform.python_version(),
    )
    for name in wanted:
        started = time.monotonic()
        for row in importlib.import_module(f"bench.{name}").rows():
            line = _line(row)
            text += line
            print(line, end="", flush=True)
        print(f"({name}: {time.monotonic() - started:.0f} s)", file=sys.stderr)
    if len(wanted) == len(found):
        TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
