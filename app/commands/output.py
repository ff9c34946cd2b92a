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
from dataclasses import asdict, dataclass, is_dataclass
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
    found = [
        _Column.of(name, values)
        for name, values in zip(columns, zip(*rows, strict=True), strict=True)
        if any(value not in (None, "") for value in values)
    ]
    widths = _widths(found, console.width - _EDGES - _BETWEEN * len(found))
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column, width in zip(found, widths, strict=True):
        justify: Literal["right", "left"] = "right" if column.numbers else "left"
        table.add_column(column.texts[0], width=width, overflow="fold", justify=justify)
    for row in zip(*(column.texts[1:] for column in found), strict=True):
        table.add_row(*map(Text, row))  # plain: what came over the wire may look like markup
    console.print(table)


_ONE_LINE = 100_000
_EDGES, _BETWEEN = 1, 2
"""Characters at the sides of a table, and behind each column."""
_SENTENCE = 30
"""Characters of a sentence that stand on a line, if there is room."""
_NARROWEST_SENTENCE, _NARROWEST = 16, 8


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as text, its name first; sentences, times, numbers: what stands in it."""

    texts: tuple[str, ...]
    sentences: bool
    times: bool
    numbers: bool

    @classmethod
    def of(cls, name: str, values: Sequence[object]) -> _Column:
        texts = tuple(_words(value) for value in values)
        there = [value for value in values if value is not None]
        return cls(
            (name, *texts),
            sentences=any(" " in text for text in texts),
            times=all(isinstance(value, datetime) for value in there),
            numbers=all(
                isinstance(value, int | float) and not isinstance(value, bool) for value in there
            ),
        )

    @property
    def whole(self) -> int:
        """How wide it is on one line."""
        return max(map(cell_len, self.texts))

    @property
    def least(self) -> int:
        """How wide it must be to break no word, and to show the beginning of a sentence."""
        words = max(cell_len(word) for text in self.texts for word in (text.split() or [""]))
        return max(words, min(_SENTENCE, self.whole)) if self.sentences else words


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """Widths, together no more than ``room``: sentences give way first, then keys, then times."""
    widths = [column.least for column in columns]
    for narrowest, may in (
        (_NARROWEST_SENTENCE, [c.sentences for c in columns]),
        (_NARROWEST, [not c.times for c in columns]),
        (_NARROWEST, [True] * len(columns)),
    ):
        while sum(widths) > room:
            widest = max(range(len(widths)), key=lambda i: widths[i] if may[i] else 0)
            if not may[widest] or widths[widest] <= narrowest:
                break
            widths[widest] -= 1
    whole = [column.whole for column in columns]
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
