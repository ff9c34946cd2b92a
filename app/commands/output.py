"""How commands answer: tables for people, JSON for machines (``--json``), on standard output.

A table shows every word whole: keys and names of devices are copied from it. Sentences wrap first;
where the words alone are too wide for the window, the widest columns break theirs over lines. Where
there is no window, as in a pipe, every row is one line.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app import logs, settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

LogJson = Annotated[bool, typer.Option("--json", help="Log one JSON object a line.")]


def log_json(wanted: bool) -> None:
    """Switch the logs of a long-running command to JSON where that is ``wanted``."""
    if wanted:
        logs.configure(level=settings.load().log_level, form="json")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal | bytes):
        return value.hex() if isinstance(value, bytes) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "item"):  # numpy scalars
        return value.item()
    return str(value)


def emit_json(value: object) -> None:
    """One JSON document on standard output; what is no finite number is null."""
    json.dump(_finite(value), sys.stdout, default=_plain, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _finite(value: object) -> object:
    """JSON knows neither NaN nor infinity, and programs that read it strictly stop at them."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emit_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output, without the columns that are empty; says so when it is empty."""
    windowless = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(highlight=False, width=_ONE_LINE if windowless else None)
    if not rows:
        console.print(f"{title}: none.")
        return
    shown = [
        (name, [_words(value) for value in values], all(map(_is_number, values)))
        for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    shown = [column for column in shown if any(column[1])]
    widths = _widths(
        [[name, *texts] for name, texts, _ in shown],
        console.width - _EDGES - _BETWEEN * len(shown),
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for (name, _, number), width in zip(shown, widths, strict=True):
        justify: Literal["right", "left"] = "right" if number else "left"
        table.add_column(name, width=width, overflow="fold", justify=justify)
    for row in zip(*(texts for _, texts, _ in shown), strict=True):
        table.add_row(*map(Text, row))  # plain: what came over the wire may look like markup
    console.print(table)


_ONE_LINE = 100_000
_EDGES, _BETWEEN = 1, 2
"""Characters at the sides of a table, and behind each column."""
_SENTENCE = 30
"""Characters of a sentence that stand on a line, if there is room."""
_NARROWEST_SENTENCE, _NARROWEST = 16, 8


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _least(text: str) -> int:
    """How wide a column must be to show ``text`` without breaking a word."""
    longest = max(map(cell_len, text.split()), default=1)
    return max(longest, min(_SENTENCE, cell_len(text)))


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of columns, together no more than ``room``: sentences give way first, then all."""
    whole = [max(map(cell_len, texts)) for texts in columns]
    sentences = [any(" " in text for text in texts) for texts in columns]
    widths = [max(map(_least, texts)) for texts in columns]
    for narrowest, may in ((_NARROWEST_SENTENCE, sentences), (_NARROWEST, [True] * len(widths))):
        while sum(widths) > room:
            widest = max(range(len(widths)), key=lambda i: widths[i] if may[i] else 0)
            if not may[widest] or widths[widest] <= narrowest:
                break
            widths[widest] -= 1
    while sum(widths) < min(room, sum(whole)):
        narrow = min(range(len(widths)), key=lambda i: widths[i] if widths[i] < whole[i] else room)
        widths[narrow] += 1
    return widths


def emit(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Rows as a table with ``columns``, or all of them as JSON."""
    if as_json:
        emit_json(list(rows))
    else:
        emit_table(title, columns, [[row.get(name) for name in columns] for row in rows])


def _words(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)
