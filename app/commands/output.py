"""How commands answer: tables for people, JSON for machines (``--json``), on standard output."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
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
    """A table on standard output; says so when it is empty."""
    console = Console(highlight=False)
    if not rows:
        console.print(f"{title}: none.")
        return
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def emit(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Rows as a table with ``columns``, or all of them as JSON."""
    if as_json:
        emit_json(list(rows))
    else:
        emit_table(title, columns, [[row.get(name) for name in columns] for row in rows])


def _cell(value: object) -> Text:
    """Plain text: what came over the wire may look like markup."""
    return Text(_words(value))


def _words(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)
